"""Weights of a float32 ONNX model stored in half: a file of half the size that computes in float32."""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
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
        if weight.data_type != TensorProto.FLOAT or math.prod(weight.dims) < _SMALLEST:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(_nearest(weight), name + _SUFFIX))
        casts.append(onnx.helper.make_node("Cast", [name + _SUFFIX], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def rounded_to_half(model: ModelProto) -> ModelProto:
    """A copy whose float32 initialisers are rounded to the nearest float16, and float32 still.

    For a converter that cuts the digits that float16 doesn't have, which is twice as far off.

    Raises:
        InputError: a weight is beyond what float16 holds.
    """
    made = ModelProto()
    made.CopyFrom(model)
    for weight in made.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            weight.CopyFrom(onnx.numpy_helper.from_array(_nearest(weight).astype(np.float32), weight.name))
    return made


def _nearest(weight: TensorProto) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = onnx.numpy_helper.to_array(weight).astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError(f"{weight.name} has weights over 65504, too large for --weights fp16; leave it out")
    return half
