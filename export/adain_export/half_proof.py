"""Whether float16 graphs stay finite where activations are large: features scaled up, every result rounded to float16.

The encoder's last convolution is scaled, weights and bias, so that its features are too; AdaIN takes the scale out
again, and the image stays what it was.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import ModelProto

from adain_export.calibration import layer_names
from adain_export.check import in_torch, part_feeds
from adain_export.half_emulation import Floats, Outcome, emulated, float16_tensors, float_tensors, outcomes, run
from adain_export.onnx_parts import onnx_parts
from adain_export.target import Request
from adain_export.tolerances import limits_of

if TYPE_CHECKING:
    from adain_model.network import Network

SCALES = (1.0, 100.0, 1000.0)
_SIZE = (1, 64, 72)  # batch, height, width


@dataclass(frozen=True)
class Proved:
    """One part at one scale of its features.

    Attributes:
        part: encoder, decoder or stylizer.
        scale: of the features.
        outcomes: its outputs.
    """

    part: str
    scale: float
    outcomes: tuple[Outcome, ...]

    def __bool__(self) -> bool:
        least = limits_of("onnx", "fp16").least_psnr  # what an fp16 export must reach too
        return all(outcome.psnr is not None and outcome.psnr >= least for outcome in self.outcomes)


def prove(network: Network, *, naive: bool = False, scales: tuple[float, ...] = SCALES) -> list[Proved]:
    """Every part at every scale.

    Args:
        network: float32, trained.
        naive: round the statistics too, as a graph that is cast to float16 as a whole does.
        scales: of the features.
    """
    made = onnx_parts(network, Request(network.spec.name, "fp32" if naive else "fp16"))
    rows = []
    for part, model in made.models.items():
        half = float_tensors(model) if naive else float16_tensors(model)
        for scale in scales:
            feeds = _feeds(part, network, scale)
            found = run(emulated(with_scaled_features(model, network, scale), half), feeds)
            wanted = in_torch(part, scaled_network(network, scale), feeds)
            rows.append(Proved(part, scale, tuple(outcomes(wanted, found))))
    return rows


def last_encoder_layer(network: Network) -> str:
    """The name of the convolution whose output is the features."""
    return next(layer for layer in reversed(layer_names(network)) if layer.startswith("encoder."))


def scaled_network(network: Network, scale: float) -> Network:
    """A copy whose encoder gives ``scale`` times the features: a ReLU behind its last convolution doesn't mind."""
    made = copy.deepcopy(network)
    last = made.get_submodule(last_encoder_layer(network))
    with torch.no_grad():
        for values in last.parameters():
            values.mul_(scale)
    return made


def with_scaled_features(model: ModelProto, network: Network, scale: float) -> ModelProto:
    """The same of a part's model; one without the encoder's last convolution is as it was."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    layer = last_encoder_layer(network)
    for tensor in made.graph.initializer:
        if tensor.name in (f"{layer}.weight", f"{layer}.bias"):
            values = onnx.numpy_helper.to_array(tensor)
            scaled = (values.astype(np.float64) * scale).astype(values.dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(scaled, tensor.name))
    return made


def _feeds(part: str, network: Network, scale: float) -> Mapping[str, Floats]:
    """Those of an export's check; the decoder's features are scaled, and its affine map undoes it.

    The stylizer keeps the style that it has without scaling: what the decoder gets is what it was trained on.
    """
    feeds = dict(part_feeds(part, network, *_SIZE))
    if part == "decoder":
        feeds["features"] = feeds["features"] * scale
        feeds["scale"] = feeds["scale"] / scale
    if part == "stylizer":
        feeds["alpha"] = feeds["alpha"] * 0 + 1
    return {name: values.astype("float32") for name, values in feeds.items()}
