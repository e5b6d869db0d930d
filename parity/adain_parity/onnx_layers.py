"""The layers of an ONNX bundle's graph: a copy of it that also gives what its layers compute, in ONNX Runtime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from adain_runtime import telemetry
from adain_runtime.backend import Array
from adain_runtime.bundle import Bundle
from adain_runtime.pixels import takes_bytes, to_bytes

_WEIGHT = ".weight"
_PARTS = ("encoder.", "decoder.")
_FOLLOWING = frozenset(("Relu", "DepthToSpace", "Slice", "Cast"))
"""What belongs to a convolution's layer behind it: its ReLU, and what lays out the phases of a rewritten one."""
_FATAL_ONLY = 4


def layers(bundle: Bundle, part: str, feeds: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """What every layer of a part's graph computes, and every float between encoder and decoder.

    Args:
        bundle: of ONNX graphs.
        part: whose graph.
        feeds: the manifest's input names to arrays.
    """
    telemetry.opt_out()
    import onnxruntime

    model = onnx.load(str(bundle.graph(part)))
    named = watched(model)
    own = {info.name for info in model.graph.output}
    for tensor in named:
        if tensor not in own:
            model.graph.output.append(onnx.ValueInfoProto(name=tensor))
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _FATAL_ONLY
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    types = {tensor.name: tensor.dtype for tensor in bundle.part(part).inputs}
    taken = bundle.part(part)
    ready = to_bytes(taken, feeds) if takes_bytes(taken) else feeds
    given = {name: values.astype(types[name], copy=False) for name, values in ready.items()}
    outputs = [output.name for output in model.graph.output]
    made = dict(zip(outputs, session.run(outputs, given), strict=True))
    shifts = shifts_of(model)
    phases = phases_of(model)
    for tensor, name in named.items():
        if made[tensor].dtype.kind == "f":
            values = made[tensor] + shifts.get(name, made[tensor].dtype.type(0))
            yield name, laid_out(values) if name in phases else values


def phases_of(model: ModelProto) -> frozenset[str]:
    """The layers whose phases stay channels: they are cut apart behind it (the rewrite ``phase-last``)."""
    readers = [node for node in model.graph.node if node.op_type == "Split"]
    read = {tensor for node in readers for tensor in node.input}
    return frozenset(name for tensor, name in watched(model).items() if tensor in read)


def laid_out(phases: Array) -> Array:
    """[N, 4 C, h+1, w+1], phase after phase, to the map [N, C, 2h, 2w] that they make up."""
    batch, channels, height, width = phases.shape
    apart = phases.reshape(batch, 2, 2, channels // 4, height, width)
    whole = apart.transpose(0, 3, 4, 1, 5, 2).reshape(batch, channels // 4, 2 * height, 2 * width)
    return np.ascontiguousarray(whole[:, :, 1:-1, 1:-1])


def shifts_of(model: ModelProto) -> dict[str, Array]:
    """By layer, the constant that int8 takes off its output, in the Clip that stands for its ReLU."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = {node.output[0]: layer_of(node) for node in model.graph.node}
    return {
        layer: -onnx.numpy_helper.to_array(held[node.input[1]])
        for node in model.graph.node
        if _is_shifted_relu(node) and (layer := convolutions.get(node.input[0])) is not None
    }


def watched(model: ModelProto) -> dict[str, str]:
    """Tensors of a graph to what they are called, in the order of the graph.

    A layer's output goes by the network's name for the layer, which its weights carry; the part's own outputs, and
    what is computed between the last layer of the encoder and the first of the decoder, go by the graph's.
    """
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        if node.op_type != "Shape":  # the unbiased variance asks for the map's size, and reads no value
            for tensor in node.input:
                readers[tensor].append(node)
    named: dict[str, str] = {}
    inside: set[str] = set()  # tensors within a layer, or on the way to one
    between = _between(model)
    for node in model.graph.node:
        layer = layer_of(node)
        if layer is not None:
            tensor = _last_of(node, readers, inside)
            named[tensor] = layer
        for tensor in node.output:
            if tensor in between and tensor not in inside:
                named.setdefault(tensor, tensor)
    for info in model.graph.output:
        named.setdefault(info.name, "image" if info.name == "stylized" else info.name)
    return named


def layer_of(node: NodeProto) -> str | None:
    """The network's name of a convolution; None for any other node."""
    if node.op_type != "Conv" or not node.input[1].startswith(_PARTS) or not node.input[1].endswith(_WEIGHT):
        return None
    return str(node.input[1]).removesuffix(_WEIGHT)


def _last_of(conv: NodeProto, readers: Mapping[str, list[NodeProto]], inside: set[str]) -> str:
    """The tensor that a layer ends in: behind all that belongs to it and that nothing else reads."""
    tensor: str = conv.output[0]
    while len(readers[tensor]) == 1 and _follows(readers[tensor][0]):
        inside.add(tensor)
        tensor = readers[tensor][0].output[0]
    return tensor


def _follows(node: NodeProto) -> bool:
    return node.op_type in _FOLLOWING or _is_shifted_relu(node)


def _is_shifted_relu(node: NodeProto) -> bool:
    """Whether a Clip is what `adain_export.quantise` makes of a ReLU before shifted codes."""
    return node.op_type == "Clip" and len(node.input) > 1 and node.input[1].endswith(".input_low")


def _between(model: ModelProto) -> set[str]:
    """Tensors computed outside of both halves: behind the encoder's last convolution, before the decoder's first."""
    halves = [(layer_of(node) or "").partition(".")[0] for node in model.graph.node]
    nodes = list(model.graph.node)
    first = max((i for i, half in enumerate(halves) if half == "encoder"), default=-1) + 1
    end = next((i for i, half in enumerate(halves) if half == "decoder"), len(nodes))
    return {tensor for node in nodes[first:end] for tensor in node.output}
