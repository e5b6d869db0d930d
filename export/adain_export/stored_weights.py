"""Weights of a float32 ONNX model stored in half: a file of half the size that computes in float32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from adain_runtime.errors import InputError

_SUFFIX = "_half"
_SMALLEST = 64  # numbers; biases and constants of less stay as they are, which costs nothing and loses nothing


def store_half(model: ModelProto) -> None:
    """Round every larger float32 initialiser to float16 and cast it back in the graph, in place.

    A runtime that folds constants does the cast once, at load.

    Raises:
        InputError: a weight is beyond what float16 holds.
    """
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < _SMALLEST:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise InputError(f"{weight.name} has weights over 65504, too large for --weights fp16; leave it out")
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(half, name + _SUFFIX))
        casts.append(onnx.helper.make_node("Cast", [name + _SUFFIX], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
