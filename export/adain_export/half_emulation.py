"""What a device that computes in float16 would give, found without one: every result rounded to float16 and back.

ONNX Runtime's CPU keeps float32 between the operations of a float16 graph, and so hides an overflow. Here every tensor
that is float16 in a graph becomes float32 with a Cast to float16 and back behind it. At optimisation levels above
`ORT_ENABLE_EXTENDED` ONNX Runtime would drop such pairs, so graphs are run below it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from adain_runtime import telemetry
from adain_runtime.metrics import psnr

_HALF, _SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT
_LARGEST_HALF = 65504.0
_SUFFIX = ".unrounded"
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Outcome:
    """One output of an emulated graph against float32.

    Attributes:
        output: its name.
        finite: whether every value is.
        psnr: dB, with the largest magnitude of the float32 values as peak (1 for an image); None unless finite.
        largest: magnitude in float32.
    """

    output: str
    finite: bool
    psnr: float | None
    largest: float

    @property
    def held(self) -> bool:
        """Whether float16 could hold the float32 values at all."""
        return self.largest <= _LARGEST_HALF


def float16_tensors(model: ModelProto) -> set[str]:
    """The tensors that a typed graph computes in float16."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    infos = (*graph.value_info, *graph.input, *graph.output)
    return {info.name for info in infos if info.type.tensor_type.elem_type == _HALF}


def float_tensors(model: ModelProto) -> set[str]:
    """All floating-point tensors that nodes make: those that a graph cast to float16 as a whole would round."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    infos = (*graph.value_info, *graph.input, *graph.output)
    return {info.name for info in infos if info.type.tensor_type.elem_type in (_HALF, _SINGLE)}


def emulated(model: ModelProto, half: Collection[str]) -> ModelProto:
    """A copy in float32 with some tensors rounded to float16 where they are made, and the weights that they meet too.

    Args:
        model: float32 or float16, weights inside, without Q/DQ.
        half: tensors to round.

    Returns:
        A model of the same inputs and outputs, all of them float32.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype in (np.float16, np.float32):
            rounded = values.astype(np.float16) if _meets(model, tensor.name, half) else values
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded.astype(np.float32), tensor.name))
    for info in (*graph.input, *graph.output):
        if info.type.tensor_type.elem_type == _HALF:
            info.type.tensor_type.elem_type = _SINGLE
    del graph.value_info[:]
    nodes: list[NodeProto] = []
    inputs = {info.name for info in graph.input if info.name in half}
    for name in sorted(inputs):
        nodes += _rounding(name, f"{name}.rounded")
    for node in graph.node:
        node.input[:] = [f"{name}.rounded" if name in inputs else name for name in node.input]
        _cast_to_single(node)
        after = []
        for place, name in enumerate(node.output):
            if name in half:
                node.output[place] = name + _SUFFIX
                after += _rounding(name + _SUFFIX, name)
        nodes += [node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return made


def run(model: ModelProto, feeds: Mapping[str, Floats]) -> dict[str, Floats]:
    """A model in ONNX Runtime, below the level that drops pairs of casts."""
    telemetry.opt_out()
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def outcomes(wanted: Mapping[str, Floats], found: Mapping[str, Floats]) -> list[Outcome]:
    """Each output against float32, in the order of ``wanted``; the two go by order, as names of outputs differ."""
    return [_outcome(name, values, given) for (name, values), given in zip(wanted.items(), found.values(), strict=True)]


def _outcome(name: str, wanted: Floats, found: Floats) -> Outcome:
    largest = float(np.abs(wanted.astype(np.float64)).max())
    finite = bool(np.isfinite(found).all())
    peak = 1.0 if wanted.shape[1] == 3 else max(largest, 1e-30)
    return Outcome(name, finite, psnr(wanted, found, peak=peak) if finite else None, largest)


def _rounding(source: str, target: str) -> list[NodeProto]:
    between = f"{target}.half"
    return [
        onnx.helper.make_node("Cast", [source], [between], f"{target}.to_half", to=_HALF),
        onnx.helper.make_node("Cast", [between], [target], f"{target}.to_single", to=_SINGLE),
    ]


def _cast_to_single(node: NodeProto) -> None:
    """A Cast or a Constant of float16 is one of float32 now; its result is rounded behind it."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _HALF:
            attribute.i = _SINGLE
        elif node.op_type == "Constant" and attribute.name == "value" and attribute.t.data_type == _HALF:
            values = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(values))


def _meets(model: ModelProto, name: str, half: Collection[str]) -> bool:
    """Whether a weight goes into a node whose result is rounded."""
    return any(name in node.input and _any_in(node.output, half) for node in model.graph.node)


def _any_in(names: Iterable[str], known: Collection[str]) -> bool:
    return any(name in known for name in names)
