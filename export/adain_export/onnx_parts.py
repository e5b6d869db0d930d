"""A network's parts as ONNX models in the precision that was asked for: what the formats made of ONNX begin with."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from adain_export import rewrites
from adain_export.graphs import with_precision
from adain_export.onnx_model import OPSET, part_model
from adain_export.quantise import OPSET as INT8_OPSET
from adain_export.quantise import quantise
from adain_export.stored_weights import store_half
from adain_export.target import INT8_REWRITES, REWRITES, GraphRequest
from adain_model.network import Upsample
from adain_runtime.manifest import PART_NAMES, DType, Part
from adain_runtime.parts import part_interface

if TYPE_CHECKING:
    import onnx

    from adain_export.calibration import Calibration
    from adain_export.target import Request
    from adain_model.network import Network

FEATURES: dict[str, DType] = {"fp32": "float32", "fp16": "float16"}


@dataclass(frozen=True, eq=False)
class OnnxParts:
    """Models of the parts that were asked for.

    Attributes:
        models: part name to model, weights inside.
        interfaces: part name to what the model takes and gives; its file is ``PART.onnx``.
        rewrites: the exact rewrites that were applied.
    """

    models: dict[str, onnx.ModelProto]
    interfaces: dict[str, Part]
    rewrites: tuple[str, ...]


def onnx_parts(network: Network, request: Request) -> OnnxParts:
    """The parts of a network, rewritten, in the request's precision, with Q/DQ where it asks for int8.

    Raises:
        InputError: a calibration that was made for another network.
    """
    request = GraphRequest.of(request)
    int8 = request.int8
    rewritten = copy.deepcopy(network) if int8 is None else _prepared(network, int8.calibration, request.rewrites)
    fitting = REWRITES if int8 is None else INT8_REWRITES
    applied = rewrites.apply(rewritten, [name for name in request.rewrites if name in fitting])
    rewritten = with_precision(rewritten, request.precision)
    interfaces = {
        part: part_interface(part, network.spec, f"{part}.onnx", features=FEATURES[request.precision], io=request.io)
        for part in PART_NAMES
        if part in request.parts
    }
    opset = OPSET if int8 is None else INT8_OPSET
    models = {
        part: part_model(part, rewritten, interface, opset=opset, io=request.io)
        for part, interface in interfaces.items()
    }
    if int8 is not None:
        for model in models.values():
            quantise(model, int8.calibration.codes(), int8.calibration.int8, placement=int8.placement)
    if request.weights == "fp16":
        for model in models.values():
            store_half(model)
    return OnnxParts(models, interfaces, applied)


def _prepared(network: Network, calibration: Calibration, asked: Collection[str]) -> Network:
    """Weights ready to become codes; biases are corrected for the codes of the phase rewrite, and for these alone."""
    if "phase" not in asked:
        improvements = calibration.improvements
        steps = list(network.decoder.named_steps())
        others = {f"decoder.{name}" for (_, before), (name, _) in pairwise(steps) if isinstance(before, Upsample)}
        bias = {layer: values for layer, values in improvements.bias.items() if layer not in others}
        calibration = replace(calibration, improvements=replace(improvements, bias=bias))
    return calibration.prepared(network)
