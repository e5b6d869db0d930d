"""Let DepthToSpace read its phases one after another (mode DCR) where a graph has those of each channel together (CRD).

The same numbers. MNN keeps 4 to 16 neighbouring channels together, and moves them so in a quarter of the time or less.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto


def lay_out_by_phase(model: ModelProto) -> int:
    """Change every DepthToSpace behind a convolution, perhaps with a ReLU between them, in place.

    Args:
        model: float, its weights inside; of `adain_export.onnx_model.part_model`.

    Returns:
        how many there were.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    found = 0
    for node in model.graph.node:
        mode = next((attribute for attribute in node.attribute if attribute.name == "mode"), None)
        if node.op_type != "DepthToSpace" or mode is None or mode.s != b"CRD":
            continue
        conv = makers.get(node.input[0])
        if conv is not None and conv.op_type == "Relu":
            conv = makers.get(conv.input[0])
        if conv is None or conv.op_type != "Conv":
            continue
        phases = next(attribute.i for attribute in node.attribute if attribute.name == "blocksize") ** 2
        for place in range(1, len(conv.input)):
            _reorder(model, conv, place, phases)
        mode.s = b"DCR"
        found += 1
    return found


def _reorder(model: ModelProto, conv: NodeProto, place: int, phases: int) -> None:
    """Give a convolution an input of its own in the other order: the exporter stores equal tensors once."""
    old = conv.input[place]
    values = onnx.numpy_helper.to_array(_held(model)[old])
    by_phase = values.reshape(-1, phases, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)
    conv.input[place] = f"{old}.by_phase"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(by_phase), conv.input[place]))
    if not any(old in node.input for node in model.graph.node):
        model.graph.initializer.remove(_held(model)[old])


def _held(model: ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}
