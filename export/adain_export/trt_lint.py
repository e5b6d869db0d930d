"""What TensorRT doesn't accept of an ONNX graph, or computes unsafely, found before anybody waits for a builder.

Each rule is a function that says why it is there. TensorRT for RTX, which builds without a GPU, confirms most of them
in the tests; it is no judge of the rest, since it takes more than TensorRT does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from adain_runtime.errors import InputError

OPSETS = range(13, 20)
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_STATISTICS = ("Sqrt", "ReduceMean", "ReduceSum", "Pow", "ReduceSumSquare", "InstanceNormalization")
_CONSTANT_INPUTS: Mapping[str, tuple[int, ...]] = {
    # inputs that are attributes in all but name: which axes, how much, what shape of kernel
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "ReduceMax": (1,),
    "ReduceSumSquare": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Pad": (1, 2),
    "Conv": (1, 2),
    "Clip": (1, 2),
    "Resize": (2,),
}


@dataclass(frozen=True)
class Problem:
    """One thing that TensorRT would refuse, or compute wrongly.

    Attributes:
        node: its name, or its operation where it has none.
        reason: what is wrong, and why that matters.
    """

    node: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Graph:
    """A model with what the rules ask of it.

    Attributes:
        model: the model, weights inside.
        makers: tensor name to the node that makes it.
        constants: initialisers and Constant nodes by name.
        types: element type of every tensor that shape inference knows.
    """

    model: ModelProto
    makers: Mapping[str, NodeProto]
    constants: Mapping[str, NDArray[np.generic]]
    types: Mapping[str, int]

    @classmethod
    def of(cls, model: ModelProto) -> Graph:
        """Look a model up and down."""
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                values = [onnx.numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"]
                constants |= zip(node.output, values, strict=False)
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        known = (*graph.value_info, *graph.input, *graph.output)
        types = {info.name: info.type.tensor_type.elem_type for info in known}
        types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        makers = {name: node for node in model.graph.node for name in node.output}
        return cls(model, makers, constants, types)

    def nodes(self, *operations: str) -> Iterator[NodeProto]:
        """Nodes of some operations."""
        return (node for node in self.model.graph.node if node.op_type in operations)


Rule = Callable[[Graph], Iterator[Problem]]


def lint(model: ModelProto) -> list[Problem]:
    """Everything that TensorRT would refuse or compute unsafely; empty for a graph that it takes."""
    graph = Graph.of(model)
    return [problem for rule in RULES for problem in rule(graph)]


def require_clean(part: str, model: ModelProto) -> None:
    """Go on only with a graph that TensorRT takes.

    Raises:
        InputError: it has problems; the message has the first three.
    """
    if problems := lint(model):
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise InputError(f"{part}: not for TensorRT: {'; '.join(map(str, problems[:3]))}{more}")


def opset_is_known(graph: Graph) -> Iterator[Problem]:
    """From 13 on axes and steps are what these rules read; 19 is the newest that is needed here."""
    for entry in graph.model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            yield Problem(f"domain {entry.domain}", "operations outside ONNX need a plugin")
        elif entry.version not in OPSETS:
            yield Problem(
                f"opset {entry.version}", f"{OPSETS[0]} to {OPSETS[-1]} is wanted, which TensorRT 10 and 11 read"
            )


def constants_are_constant(graph: Graph) -> Iterator[Problem]:
    """Axes, pads, scales, weights and bounds are read while parsing: a computed one is refused, or slow."""
    for node in graph.nodes(*_CONSTANT_INPUTS):
        for place in _CONSTANT_INPUTS[node.op_type]:
            name = node.input[place] if place < len(node.input) else ""
            maker = graph.makers.get(name)
            dequantised = node.op_type == "Conv" and maker is not None and maker.op_type == "DequantizeLinear"
            if name and name not in graph.constants and not dequantised:
                yield Problem(_name(node), f"{node.op_type}'s input {place} ({name}) must be an initialiser")


def zero_points_are_zero(graph: Graph) -> Iterator[Problem]:
    """TensorRT quantises symmetrically: the parser refuses any other zero point."""
    for node in graph.nodes("QuantizeLinear", "DequantizeLinear"):
        if len(node.input) > 2 and node.input[2]:
            zero = graph.constants.get(node.input[2])
            if zero is None:
                yield Problem(_name(node), "its zero point must be an initialiser")
            elif zero.any():
                yield Problem(
                    _name(node), f"has the zero point {zero.ravel()[zero.ravel().nonzero()][0]}, and 0 is wanted"
                )
            elif zero.dtype != np.int8:
                yield Problem(_name(node), f"quantises to {zero.dtype}, and TensorRT computes in int8")
        else:
            yield Problem(_name(node), "has no zero point, which means uint8; int8 is wanted")


def activations_have_one_scale(graph: Graph) -> Iterator[Problem]:
    """A convolution's input has one step: TensorRT has no kernels for one a channel. TensorRT for RTX takes it."""
    for node in graph.nodes("QuantizeLinear", "DequantizeLinear"):
        of_weights = node.input[0] in graph.constants
        scale = graph.constants.get(node.input[1])
        if scale is None:
            yield Problem(_name(node), "its scale must be an initialiser")
        elif not of_weights and scale.size != 1:
            yield Problem(_name(node), f"has {scale.size} scales for an activation, which must have one")
        elif not (np.isfinite(scale) & (scale.astype(np.float64) > 0)).all():
            yield Problem(_name(node), "has a scale that is not positive and finite")


def weights_are_quantised_by_output(graph: Graph) -> Iterator[Problem]:
    """Weights have a step for each output channel: axis 0 of a convolution's kernel."""
    for conv in graph.nodes("Conv"):
        maker = graph.makers.get(conv.input[1])
        if maker is None or maker.op_type != "DequantizeLinear":
            continue
        scale = graph.constants.get(maker.input[1], np.ones(1))
        axis = next((attribute.i for attribute in maker.attribute if attribute.name == "axis"), 1)
        if scale.size > 1 and axis != 0:
            yield Problem(_name(conv), f"its weights have steps along axis {axis}, and 0, the output's, is wanted")


def bias_is_float(graph: Graph) -> Iterator[Problem]:
    """The parser refuses a bias out of an INT32 DequantizeLinear, which onnxruntime's quantiser makes unasked."""
    for node in graph.nodes("Conv"):
        maker = graph.makers.get(node.input[2]) if len(node.input) > 2 else None
        if maker is not None and maker.op_type == "DequantizeLinear":
            yield Problem(_name(node), "its bias is quantised, and float is wanted (onnxruntime: QuantizeBias False)")


def convolutions_have_one_type(graph: Graph) -> Iterator[Problem]:
    """Strong typing: input, weights and bias of a convolution have one type, and it is float32 or float16."""
    for node in graph.nodes("Conv"):
        types = [graph.types.get(name, 0) for name in node.input if name]
        if len(set(types)) > 1:
            yield Problem(_name(node), f"mixes {' and '.join(sorted({_type(which) for which in types}))}")
        elif types[0] not in _FLOATS:
            yield Problem(_name(node), f"is {_type(types[0])}, and float32 or float16 is wanted")


def resizes_are_plain(graph: Graph) -> Iterator[Problem]:
    """The parser refuses antialias and exclude_outside, and has nearest, linear and cubic."""
    for node in graph.nodes("Resize"):
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if settings.get("antialias", 0) or settings.get("exclude_outside", 0):
            yield Problem(_name(node), "Resize with antialias or exclude_outside is refused")
        mode = settings.get("mode", b"nearest")
        if mode not in (b"nearest", b"linear", b"cubic"):
            yield Problem(_name(node), f"Resize has no mode {mode.decode()}")


def pads_are_known(graph: Graph) -> Iterator[Problem]:
    """TensorRT pads by a constant, by reflection and by the edge; not by wrapping round."""
    for node in graph.nodes("Pad"):
        mode = next((a.s.decode() for a in node.attribute if a.name == "mode"), "constant")
        if mode not in ("constant", "reflect", "edge"):
            yield Problem(_name(node), f"Pad has no mode {mode}")


def clips_have_both_bounds(graph: Graph) -> Iterator[Problem]:
    """A Clip without its upper bound gets one that float16 can't hold; and the image is clipped in float32.

    Clips between layers, before int8, may be float16: both bounds are there, and finite.
    """
    outputs = {info.name for info in graph.model.graph.output}
    for node in graph.nodes("Clip"):
        if sum(bool(name) for name in node.input) < 3:
            yield Problem(_name(node), "Clip wants both bounds")
        elif not all(np.isfinite(graph.constants[name]).all() for name in node.input[1:] if name in graph.constants):
            yield Problem(_name(node), f"Clip wants bounds that {_type(graph.types.get(node.input[0], 0))} can hold")
        elif node.output[0] in outputs and graph.types.get(node.input[0]) != TensorProto.FLOAT:
            yield Problem(_name(node), f"clips an output in {_type(graph.types.get(node.input[0], 0))}, not in float32")


def statistics_are_float32(graph: Graph) -> Iterator[Problem]:
    """In float16 an x of 300 squared is infinite, a sum over a map overflows, and eps is lost: no safe AdaIN."""
    for node in graph.nodes(*_STATISTICS):
        if graph.types.get(node.input[0]) != TensorProto.FLOAT:
            yield Problem(
                _name(node), f"{node.op_type} in {_type(graph.types.get(node.input[0], 0))}; float32 is wanted"
            )


def types_are_known(graph: Graph) -> Iterator[Problem]:
    """TensorRT has no float64, and no strings or 16-bit integers."""
    allowed = {*_FLOATS, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8}
    for name, found in graph.types.items():
        if found and found not in allowed:
            yield Problem(name, f"is {_type(found)}, which TensorRT hasn't got")


RULES: tuple[Rule, ...] = (
    opset_is_known,
    types_are_known,
    constants_are_constant,
    zero_points_are_zero,
    activations_have_one_scale,
    weights_are_quantised_by_output,
    bias_is_float,
    convolutions_have_one_type,
    resizes_are_plain,
    pads_are_known,
    clips_have_both_bounds,
    statistics_are_float32,
)


def _name(node: NodeProto) -> str:
    return node.name or node.output[0]


def _type(which: int) -> str:
    return str(TensorProto.DataType.Name(which)).lower() if which else "of an unknown type"
