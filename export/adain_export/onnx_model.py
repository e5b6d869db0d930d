"""A part as an ONNX model: traced by torch.export, with the manifest's names and dynamic batch, height and width."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import torch
from onnx import ModelProto
from torch.export import Dim

from adain_export.graphs import part_module
from adain_export.target import IO
from adain_model.network import Network
from adain_runtime.manifest import Part
from adain_runtime.manifest import Tensor as TensorInfo

OPSET = 18
_TRACED = (2, 6, 9)  # batch, and cells of the map: not square, and no size that the check uses
OUTPUT_NAMES = {"stylizer": ("stylized",)}  # a graph's names are unique, and its input is `image` already
PREFIX = "network."  # where the parts keep the network; the ONNX initialisers are named as in the checkpoint

_BYTES = "RGB, a byte each; height and width are multiples of the encoder's stride"
_DESCRIPTIONS: Mapping[str, str] = {
    "image": "RGB in [0, 1]; height and width are multiples of the encoder's stride",
    "features": "the encoder's last activation",
    "mean": "channel-wise mean of the features, the style's at the stylizer's input",
    "std": "channel-wise standard deviation of the features, the style's at the stylizer's input",
    "scale": "what the features are multiplied by; broadcasts over the map",
    "shift": "what is added to the scaled features; broadcasts over the map",
    "alpha": "content-style trade-off: 0 content, 1 style",
}


def part_model(name: str, network: Network, interface: Part, *, opset: int = OPSET, io: IO = "float") -> ModelProto:
    """Trace one part.

    Args:
        name: ``encoder``, ``decoder`` or ``stylizer``.
        network: in its precision, rewritten; evaluation mode.
        interface: what the part takes and gives.
        opset: of the model.
        io: what the images are, as the interface says.

    Returns:
        A model whose initialisers hold the weights, named as in the checkpoint; no trace of this machine in it.
    """
    stride = network.spec.stride
    height, width = Dim("height", min=2, max=8192), Dim("width", min=2, max=8192)
    batch = Dim("batch", min=1, max=1024)
    symbols = {"batch": batch, "height": stride * height, "width": stride * width}
    symbols |= {f"height/{stride}": height, f"width/{stride}": width}
    shapes = tuple(
        {axis: symbols[word] for axis, word in enumerate(tensor.shape) if word in symbols}
        for tensor in interface.inputs
    )
    outputs = list(OUTPUT_NAMES.get(name, [tensor.name for tensor in interface.outputs]))
    with _without_known_remarks():
        program = torch.onnx.export(
            part_module(name, network, io),
            tuple(_example(tensor, stride) for tensor in interface.inputs),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=[tensor.name for tensor in interface.inputs],
            output_names=outputs,
            opset_version=opset,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program, though it was asked for one")
    model = program.model_proto
    _clean(model)
    _declare(model, interface, outputs)
    onnx.helper.set_model_props(model, {"adain_edge.model": network.spec.name, "adain_edge.part": name})
    return model


@contextmanager
def _without_known_remarks() -> Iterator[None]:
    """Keep two remarks of torch's exporter from the person, who can do nothing about them; all others pass.

    It names the axis that two inputs share by the first of them, and it has no operations of torchvision where that
    is not installed; these graphs have none.
    """
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")

    def about_torchvision(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed")

    logger.addFilter(about_torchvision)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
            yield
    finally:
        logger.removeFilter(about_torchvision)


def _example(tensor: TensorInfo, stride: int) -> torch.Tensor:
    batch, height, width = _TRACED[0], _TRACED[1] * stride, _TRACED[2] * stride
    sizes = {"batch": batch, "height": height, "width": width}
    sizes |= {f"height/{stride}": height // stride, f"width/{stride}": width // stride}
    shape = [axis if isinstance(axis, int) else sizes.get(axis, 1) for axis in tensor.shape]
    return torch.full(shape, 0.5, dtype=getattr(torch, tensor.dtype))


def _clean(model: ModelProto) -> None:
    """Drop what tells of the machine (paths in stack traces) and shapes that shape inference finds again."""
    graph = model.graph
    del model.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    model.doc_string = graph.doc_string = ""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for names in (node.input, node.output):
            names[:] = [name.removeprefix(PREFIX) for name in names]
    for weight in graph.initializer:
        weight.doc_string = ""
        weight.name = weight.name.removeprefix(PREFIX)
        del weight.metadata_props[:]


def _declare(model: ModelProto, interface: Part, outputs: list[str]) -> None:
    """Give inputs and outputs the manifest's dimensions: an axis that broadcasts is free, a name of its own."""
    names = [tensor.name for tensor in interface.inputs] + outputs
    declared = [*model.graph.input, *model.graph.output]
    if [info.name for info in declared] != names:
        raise RuntimeError(f"torch.onnx.export named {[info.name for info in declared]}, and {names} was asked for")
    for info, tensor in zip(declared, (*interface.inputs, *interface.outputs), strict=True):
        info.doc_string = _BYTES if tensor.dtype == "uint8" else _DESCRIPTIONS[tensor.name]
        del info.metadata_props[:]
        for axis, wanted in zip(info.type.tensor_type.shape.dim, tensor.shape, strict=True):
            axis.Clear()
            if isinstance(wanted, int):
                axis.dim_value = wanted
            else:
                free, _, word = wanted.rpartition("|")
                axis.dim_param = f"{tensor.name}_{word.partition('/')[0]}" if free else word
