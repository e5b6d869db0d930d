"""INT8 as Q/DQ in an ONNX model: symmetric, zero point 0, weights per output channel, inputs per tensor, float bias.

A convolution whose input and weights come out of a DequantizeLinear is what TensorRT, and every other reader of
Q/DQ, computes in int8. Everything else stays as it was: AdaIN, its statistics, padding and the clip. Weights are
stored as int8, a quarter of their float32 size.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from adain_export.conv_nodes import conv_layers, padding_of
from adain_export.layer_range import LEVELS
from adain_export.target import Placement
from adain_runtime.errors import InputError

OPSET = 19
"""The first whose QuantizeLinear takes float16 scales; every int8 model has it."""


def quantise(
    model: ModelProto, scales: Mapping[str, float], layers: Collection[str], *, placement: Placement = "after-pad"
) -> None:
    """Put Q/DQ before the input and the weights of some convolutions, in place.

    Args:
        model: of `adain_export.onnx_model.part_model`, opset 19 or later; float32 or float16.
        scales: the step of each layer's input, positive: the range that it is clipped to over 127.
        layers: network names of the convolutions, such as ``encoder.conv2_1``; those that the model lacks are passed
            over, since a part holds only some of a network's.
        placement: where the input is quantised.

    Raises:
        InputError: a layer without a scale, or a scale that the model's precision can't hold.
    """
    found = conv_layers(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in sorted(set(layers) & set(found)):
        if layer not in scales:
            raise InputError(f"{layer}: the calibration has no range for it; collect it again for this network")
        node = found[layer]
        dtype = _quantise_weights(model, weights[node.input[1]], layer)
        _quantise_input(model, node, np.array(scales[layer], dtype), layer, placement)
    _sort(model)


def quantised_weights(weights: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.floating]]:
    """Codes of a convolution's weights and the step of each output channel, so that ``codes * step`` is near them.

    Args:
        weights: [O, I, kh, kw].

    Returns:
        codes [O, I, kh, kw] in -127..127, and steps [O] in the weights' precision; a channel of zeros has step 1.
    """
    wide = weights.astype(np.float64)
    largest = np.abs(wide).reshape(len(wide), -1).max(axis=1)
    steps = np.where(largest > 0, largest / LEVELS, 1.0).astype(weights.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):  # a step of 0 is refused by who asked for it
        codes = np.rint(wide / steps.astype(np.float64)[:, None, None, None])
    return np.clip(np.nan_to_num(codes), -LEVELS, LEVELS).astype(np.int8), steps


def _quantise_weights(model: ModelProto, weights: TensorProto, layer: str) -> np.dtype[np.floating]:
    """Put codes in the place of weights; returns the precision that they had."""
    codes, steps = quantised_weights(onnx.numpy_helper.to_array(weights))
    _check_held(steps, layer)
    name = weights.name
    model.graph.initializer.remove(weights)
    _initialise(model, f"{name}.int8", codes)
    _initialise(model, f"{name}.step", steps)
    _initialise(model, f"{name}.zero", np.zeros(len(codes), np.int8))
    inputs = [f"{name}.int8", f"{name}.step", f"{name}.zero"]
    model.graph.node.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], f"{layer}.weight_dq", axis=0))
    return steps.dtype


def _quantise_input(
    model: ModelProto, conv: NodeProto, scale: NDArray[np.floating], layer: str, placement: Placement
) -> None:
    step, zero = f"{layer}.input_step", f"{layer}.input_zero"
    _check_held(scale, layer)
    _initialise(model, step, scale)
    _initialise(model, zero, np.array(0, np.int8))
    codes, restored = f"{layer}.input_int8", f"{layer}.input_dq"
    pad = padding_of(model, conv)
    if placement == "before-pad" and pad is not None:
        source, padded = pad.input[0], f"{layer}.padded_int8"
        pad.input[0], pad.output[0] = codes, padded
    else:
        source, padded = conv.input[0], codes
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", [source, step, zero], [codes], f"{layer}.input_q"))
    node = onnx.helper.make_node("DequantizeLinear", [padded, step, zero], [restored], restored)
    model.graph.node.append(node)
    conv.input[0] = restored


def _check_held(steps: NDArray[np.floating], layer: str) -> None:
    """Refuse steps that the model's precision rounds to zero, to infinity, or to few digits."""
    if not (np.isfinite(steps) & (steps >= np.finfo(steps.dtype).tiny)).all():
        raise InputError(f"{layer}: its steps don't fit {steps.dtype}; keep this layer float, or export --int8 alone")


def _initialise(model: ModelProto, name: str, values: NDArray[np.generic]) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))


def _sort(model: ModelProto) -> None:
    """Nodes in an order in which each comes after those it reads."""
    nodes = list(model.graph.node)
    known = {tensor.name for tensor in model.graph.initializer} | {info.name for info in model.graph.input} | {""}
    ordered: list[NodeProto] = []
    while nodes:
        waiting = []
        for node in nodes:
            if all(name in known for name in node.input):
                ordered.append(node)
                known.update(node.output)
            else:
                waiting.append(node)
        if len(waiting) == len(nodes):
            raise ValueError(f"{nodes[0].name} reads what nothing makes")
        nodes = waiting
    del model.graph.node[:]
    model.graph.node.extend(ordered)
