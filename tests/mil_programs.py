"""ML Programs and packages for tests, made by coremltools: single operations, and the parts of tiny networks."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adain_export.graphs import part_module
from adain_model.network import Network

ct = pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")
INPUTS = {
    "encoder": ("image",),
    "decoder": ("features", "scale", "shift"),
    "stylizer": ("image", "mean", "std", "alpha"),
}
OUTPUTS = {"encoder": ("features", "mean", "std"), "decoder": ("decoded",), "stylizer": ("stylized",)}
TARGETS = {"iOS16": ct.target.iOS16, "iOS17": ct.target.iOS17, "iOS18": ct.target.iOS18, "iOS26": ct.target.iOS26}


def feeds_for(part: str, network: Network, height: int = 32, width: int = 48, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs of a part, statistics positive."""
    random, channels = np.random.default_rng(seed), network.spec.channels
    cells = (height // network.spec.stride, width // network.spec.stride)
    shapes = {
        "image": (1, 3, height, width),
        **dict.fromkeys(("features", "scale", "shift"), (1, channels, *cells)),
        **dict.fromkeys(("mean", "std"), (1, channels, 1, 1)),
        "alpha": (1, 1, 1, 1),
    }
    feeds = {name: random.random(shapes[name], np.float32) for name in INPUTS[part]}
    return feeds | {name: values + np.float32(0.2) for name, values in feeds.items() if name == "std"}


def torch_outputs(part: str, network: Network, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What torch makes of the same inputs, by the packages' output names."""
    with torch.inference_mode():
        made = part_module(part, network)(*(torch.from_numpy(feeds[name]) for name in INPUTS[part]))
    values = made if isinstance(made, tuple) else (made,)
    return {name: value.numpy() for name, value in zip(OUTPUTS[part], values, strict=True)}


def converted(
    part: str,
    network: Network,
    *,
    target: str = "iOS17",
    half: bool = False,
    shape: Callable[[tuple[int, ...]], Any] = tuple,
    pixels: bool = False,
    height: int = 32,
    width: int = 48,
) -> Any:
    """A coremltools model of a part.

    Args:
        part: its name.
        network: the network.
        target: the deployment target.
        half: float16 instead of float32.
        shape: makes the declared shape of images and maps of their own, such as a RangeDim.
        pixels: images in and out instead of arrays.
        height: of the image.
        width: of the image.
    """
    feeds = feeds_for(part, network, height, width)
    module = _Pixels(part_module(part, network)) if pixels else part_module(part, network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # the network's own checks of shapes are Python
        traced = torch.jit.trace(module, tuple(map(torch.from_numpy, feeds.values())), check_trace=False)
    inputs = [
        ct.ImageType(name, shape=shape(values.shape), scale=1 / 255, color_layout=ct.colorlayout.RGB)
        if pixels and name == "image"
        else ct.TensorType(name, shape=shape(values.shape) if name not in ("mean", "std", "alpha") else values.shape)
        for name, values in feeds.items()
    ]
    outputs = [
        ct.ImageType(name, color_layout=ct.colorlayout.RGB)
        if pixels and name in ("stylized", "decoded")
        else ct.TensorType(name, dtype=np.float32)
        for name in OUTPUTS[part]
    ]
    return ct.convert(
        traced,
        convert_to="mlprogram",
        minimum_deployment_target=TARGETS[target],
        inputs=inputs,
        outputs=outputs,
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        skip_model_load=True,
    )


class _Pixels(torch.nn.Module):
    """Gives pixels from 0 to 255, as an image output wants."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *values: torch.Tensor) -> Any:
        made = self.module(*values)
        return made if isinstance(made, tuple) else made * 255


def program(
    path: Path,
    body: Callable[..., Any],
    shapes: Sequence[tuple[int, ...]],
    *,
    target: str = "iOS17",
    dtype: str = "fp32",
) -> Path:
    """Saves a package whose function is what ``body`` builds of inputs ``x0``, ``x1``...; nothing is optimised away."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813 as its own documentation calls it
    from coremltools.converters.mil.mil import types

    specs = [mb.TensorSpec(shape=shape, dtype=getattr(types, dtype)) for shape in shapes]
    names = [f"x{number}" for number in range(len(shapes))]
    scope: dict[str, Any] = {"body": body}
    exec(f"def main({', '.join(names)}): return body({', '.join(names)})", scope)  # the builder reads parameter names
    made = mb.program(input_specs=specs, opset_version=TARGETS[target])(scope["main"])
    model = ct.convert(
        made,
        convert_to="mlprogram",
        minimum_deployment_target=TARGETS[target],
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    return save(model, path)


def save(model: Any, path: Path) -> Path:
    """Saves a coremltools model as a package, in the place of what is there."""
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))
    return path


def model_file(package: Path) -> Path:
    """A package's model.mlmodel."""
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def weight_file(package: Path) -> Path:
    """A package's weight.bin."""
    return model_file(package).parent / "weights" / "weight.bin"


def edit_spec(package: Path, change: Callable[[Any], None]) -> None:
    """Changes a package's protobuf with the published classes."""
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString(model_file(package).read_bytes())
    change(spec)
    model_file(package).write_bytes(spec.SerializeToString())
