"""INT8 as Q/DQ in an ONNX model: symmetric, zero point 0, weights per output channel, inputs per tensor, float bias.

A convolution whose input and weights come out of a DequantizeLinear is what TensorRT, and every other reader of
Q/DQ, computes in int8. Everything else stays as it was: AdaIN, its statistics, padding and the clip. Weights are
stored as int8, a quarter of their float32 size.

Codes of int8 are as many below zero as above, and what comes out of a ReLU is never below. So that half of them are not
lost, 128 steps are taken off such values where they are made, and given back where they are used, both in biases and
exactly: the ReLU becomes a Clip whose lower bound is the new zero, and since a convolution is linear, and its padding
repeats values, the constant comes out of it as one number for each output channel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from adain_export.conv_nodes import conv_layers, padding_of, relu_before
from adain_export.layer_range import SIGNED, Codes
from adain_export.target import Placement
from adain_runtime.errors import InputError

OPSET = 19
"""The first whose QuantizeLinear takes float16 scales; every int8 model has it."""


def quantise(
    model: ModelProto, codes: Mapping[str, Codes], layers: Collection[str], *, placement: Placement = "after-pad"
) -> None:
    """Put Q/DQ before the input and the weights of some convolutions, in place.

    Args:
        model: of `adain_export.onnx_model.part_model`, opset 19 or later; float32 or float16.
        codes: of each layer's input.
        layers: network names of the convolutions, such as ``encoder.conv2_1``; those that the model lacks are passed
            over, since a part holds only some of a network's.
        placement: where the input is quantised.

    Raises:
        InputError: a layer without codes; a step that the model's precision can't hold; or shifted codes where no ReLU
            is before.
    """
    found = conv_layers(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    channels = {layer: weights[node.input[1]].dims[0] for layer, node in found.items()}
    added = {layer: np.zeros(count) for layer, count in channels.items()}
    for layer in sorted(set(layers) & set(found)):
        if layer not in codes:
            raise InputError(f"{layer}: the calibration has no range for it; collect it again for this network")
        node = found[layer]
        relu = relu_before(model, node) if codes[layer].shifted else None
        quantised = _quantise_weights(model, weights[node.input[1]], layer)
        step = np.array(codes[layer].step, quantised.dtype)
        _quantise_input(model, node, step, layer, placement)
        if codes[layer].shifted:
            before = None if relu is None else _convolution_before(relu, found)
            if relu is None or before is None:
                raise InputError(f"{layer}: its codes are shifted, and no ReLU is before it; collect its range again")
            shift = 128 * float(step)
            _clip(model, relu, -shift, SIGNED * float(step), layer, quantised.dtype)
            added[before] -= shift
            added[layer] += shift * quantised.astype(np.float64).sum((1, 2, 3))
    for layer, change in added.items():
        if change.any():
            _add_to_bias(model, found[layer], change, layer)
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
    steps = np.where(largest > 0, largest / SIGNED, 1.0).astype(weights.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):  # a step of 0 is refused by who asked for it
        codes = np.rint(wide / steps.astype(np.float64)[:, None, None, None])
    return np.clip(np.nan_to_num(codes), -SIGNED, SIGNED).astype(np.int8), steps


def _quantise_weights(model: ModelProto, weights: TensorProto, layer: str) -> NDArray[np.floating]:
    """Put codes in the place of weights; returns what they stand for, in the precision that the weights had."""
    codes, steps = quantised_weights(onnx.numpy_helper.to_array(weights))
    _check_held(steps, layer)
    name = weights.name
    model.graph.initializer.remove(weights)
    _initialise(model, f"{name}.int8", codes)
    _initialise(model, f"{name}.step", steps)
    _initialise(model, f"{name}.zero", np.zeros(len(codes), np.int8))
    inputs = [f"{name}.int8", f"{name}.step", f"{name}.zero"]
    model.graph.node.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], f"{layer}.weight_dq", axis=0))
    made: NDArray[np.floating] = codes.astype(steps.dtype) * steps[:, None, None, None]
    return made


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


def _convolution_before(relu: NodeProto, found: Mapping[str, NodeProto]) -> str | None:
    return next((layer for layer, node in found.items() if node.output[0] == relu.input[0]), None)


def _clip(
    model: ModelProto, relu: NodeProto, low: float, high: float, layer: str, dtype: np.dtype[np.floating]
) -> None:
    """Make a ReLU the Clip that it is once a constant is off; beyond the upper bound codes end anyway."""
    relu.op_type = "Clip"
    if max(-low, high) > float(np.finfo(dtype).max):
        raise InputError(
            f"{layer}: its biases or bounds don't fit {dtype}; keep this layer float, or export --int8 alone"
        )
    for name, bound in (("low", low), ("high", high)):
        _initialise(model, f"{layer}.input_{name}", np.array(bound, dtype))
        relu.input.append(f"{layer}.input_{name}")


def _add_to_bias(model: ModelProto, conv: NodeProto, change: NDArray[np.float64], layer: str) -> None:
    """Give a convolution a bias of its own: the exporter stores equal ones once, and leaves out zeros."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    old, new = list(conv.input[2:]), f"{layer}.shifted_bias"
    plain = sum((onnx.numpy_helper.to_array(held[name]) for name in old), np.zeros(len(change), _precision(model)))
    with np.errstate(over="ignore"):
        changed = (plain.astype(np.float64) + change).astype(plain.dtype)
    if not np.isfinite(changed).all():
        raise InputError(
            f"{layer}: its biases or bounds don't fit {plain.dtype}; keep this layer float, or export --int8 alone"
        )
    _initialise(model, new, changed)
    conv.input[2:] = [new]
    for name in old:
        if not any(name in node.input for node in model.graph.node):
            model.graph.initializer.remove(held[name])


def _precision(model: ModelProto) -> np.dtype[np.floating]:
    """Of the model's convolutions: that of the steps of codes, of which there are some."""
    of_codes = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight.step"))
    return onnx.numpy_helper.to_array(of_codes).dtype


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
