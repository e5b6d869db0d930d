"""Phases in another order are the same numbers, and what two convolutions share stays as the other wants it."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest

from adain_export import rewrites
from adain_export.onnx_model import part_model
from adain_export.phase_major import lay_out_by_phase
from adain_export.target import REWRITES
from adain_runtime.parts import part_interface
from networks import SPECS, make_network

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=SPECS)
def decoder(request):
    network = make_network(SPECS[request.param])
    for name, values in network.decoder.named_parameters():
        if name.endswith("bias"):  # the exporter stores equal tensors once
            values.data.fill_(0.25)
    rewrites.apply(network, REWRITES)
    return network.spec, part_model("decoder", network, part_interface("decoder", network.spec, "x.onnx"))


def image(spec, model):
    rng = np.random.default_rng(1)
    feeds = {"features": rng.random((1, spec.channels, 5, 4), np.float32)}
    feeds |= {name: np.full((1, spec.channels, 1, 1), 0.5, np.float32) for name in ("scale", "shift")}
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def test_every_layout_changes_its_order_and_no_number(decoder):
    spec, model = decoder
    changed = copy.deepcopy(model)
    levels = sum(node.op_type == "DepthToSpace" for node in model.graph.node)
    assert lay_out_by_phase(changed) == levels == len(spec.decoder) - 1
    modes = [node.attribute for node in changed.graph.node if node.op_type == "DepthToSpace"]
    assert all(b"DCR" in {attribute.s for attribute in attributes} for attributes in modes)
    onnx.checker.check_model(changed)
    wanted = image(spec, model)
    assert wanted.std() > 0.001
    np.testing.assert_array_equal(image(spec, changed), wanted)
    assert lay_out_by_phase(changed) == 0


def test_nothing_is_kept_that_no_one_reads(decoder):
    _, model = decoder
    changed = copy.deepcopy(model)
    lay_out_by_phase(changed)
    read = {name for node in changed.graph.node for name in node.input}
    assert {tensor.name for tensor in changed.graph.initializer} <= read
