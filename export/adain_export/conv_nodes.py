"""The convolutions of a part's graph by the names that the network has for them, and what enters each."""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto, NodeProto

from adain_runtime.errors import InputError

_WEIGHT = ".weight"
_PARTS = ("encoder.", "decoder.")
_MOVES = {"Pad", "Resize", "MaxPool", "DepthToSpace", "Slice"}
"""What only repeats, picks or moves values, so that taking a constant off them commutes with it."""


def conv_layers(model: ModelProto) -> dict[str, NodeProto]:
    """Every convolution of a graph by its layer's name, such as ``encoder.conv2_1``, in the order of the graph.

    A layer is known by its weights: `adain_export.onnx_model.part_model` names initialisers as the checkpoint does, in
    all three parts. A convolution that the phase rewrite made keeps its layer's name.

    Args:
        model: float32 or float16, before Q/DQ (which puts a DequantizeLinear between a convolution and its weights).

    Raises:
        InputError: a convolution whose weights are no layer's, or weights that two convolutions share: the exporter
            stores equal small tensors once, so that layers that are equal (zero, for one) can't be told apart.
    """
    known = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, NodeProto] = {}
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        weights = node.input[1]
        if weights not in known or not weights.endswith(_WEIGHT) or not weights.startswith(_PARTS):
            raise InputError(
                f"{node.name}: its weights are {weights!r}, and a layer's (such as encoder.conv1_1.weight) are "
                "wanted; export the graph again from its checkpoint"
            )
        layer = weights.removesuffix(_WEIGHT)
        if layer in found:
            raise InputError(
                f"{layer}: two convolutions have these weights, equal to the last bit; the network has layers that say "
                "nothing, so look at its checkpoint: adain-model info"
            )
        found[layer] = node
    return found


def padding_of(model: ModelProto, conv: NodeProto) -> NodeProto | None:
    """The Pad that stands right before a convolution; None where it pads by itself (zeros) or not at all."""
    makers = (node for node in model.graph.node if conv.input[0] in node.output)
    maker = next(makers, None)
    return maker if maker is not None and maker.op_type == "Pad" else None


def entering(model: ModelProto, conv: NodeProto) -> str:
    """The tensor that enters a convolution, before its padding.

    Reflected and repeated borders hold values of the map, and zeros are inside every symmetric range: before the
    padding and after it the range is the same. Nearest upsampling repeats values too, so what enters a convolution of
    the phase rewrite, the small map, has the range of the large one.
    """
    pad = padding_of(model, conv)
    name: str = conv.input[0] if pad is None else pad.input[0]
    return name


def relu_before(model: ModelProto, conv: NodeProto) -> NodeProto | None:
    """The ReLU whose values enter a convolution and nothing else, repeated, picked or moved at most.

    None where there is no such ReLU, or the convolution pads by itself: with zeros, which are of no ReLU.
    """
    if any(pad for attribute in conv.attribute if attribute.name == "pads" for pad in attribute.ints):
        return None
    makers = {name: node for node in model.graph.node for name in node.output}
    readers = Counter(name for node in model.graph.node for name in node.input)
    tensor = conv.input[0]
    while tensor in makers and readers[tensor] == 1:
        node: NodeProto = makers[tensor]
        if node.op_type == "Relu":
            return node
        if node.op_type not in _MOVES or _mode(node) not in (None, "reflect", "edge", "nearest", "CRD", "DCR"):
            return None
        tensor = node.input[0]
    return None


def _mode(node: NodeProto) -> str | None:
    """The attribute ``mode``; of a Pad without one, that is zeros."""
    found = next((attribute.s.decode() for attribute in node.attribute if attribute.name == "mode"), None)
    return "constant" if node.op_type == "Pad" and found is None else found
