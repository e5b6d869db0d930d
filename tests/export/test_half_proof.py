"""float16 as a device computes it, every result rounded: ours holds where activations are large, the naive doesn't."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adain_export import half_proof
from adain_export.half_emulation import emulated, float16_tensors, float_tensors, outcomes, run
from adain_export.onnx_parts import onnx_parts
from adain_export.target import Request
from adain_model import embedded_checkpoint, load_network


def chain(kind):
    """y = (x * w) * w in one type, out in float32."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("Cast", ["x"], ["x_"], to=kind),
        helper.make_node("Mul", ["x_", "w"], ["once"]),
        helper.make_node("Mul", ["once", "w"], ["twice"]),
        helper.make_node("Cast", ["twice"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.array(0.1, dtype), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


X = np.array([[0.1, 3.0, 1000.0, 60000.0]], np.float32)


def test_every_result_is_rounded_as_numpy_rounds_it():
    model = chain(TensorProto.FLOAT16)
    found = run(emulated(model, float16_tensors(model)), {"x": X})["y"]
    weight = np.float16(0.1)
    np.testing.assert_array_equal(found, ((X.astype(np.float16) * weight) * weight).astype(np.float32))


def test_a_float32_graph_is_rounded_where_it_is_asked_to_be():
    model = chain(TensorProto.FLOAT)
    plain = run(model, {"x": X})["y"]
    np.testing.assert_array_equal(run(emulated(model, ()), {"x": X})["y"], plain)
    found = run(emulated(model, float_tensors(model)), {"x": X})["y"]
    weight = np.float16(0.1)
    np.testing.assert_array_equal(found, ((X.astype(np.float16) * weight) * weight).astype(np.float32))


def test_an_overflow_shows_that_onnx_runtime_alone_hides():
    model = chain(TensorProto.FLOAT16)
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(np.array(30, np.float16), "w"))
    feeds = {"x": np.array([[1.0, 2.0, 100.0, 100.0]], np.float32)}
    wanted = {"y": feeds["x"] * 900}
    (outcome,) = outcomes(wanted, run(emulated(model, float16_tensors(model)), feeds))
    assert not outcome.finite
    assert outcome.psnr is None
    assert outcome.largest == 90000
    assert not outcome.held


def test_the_emulated_model_is_valid_and_float32_throughout():
    made = emulated(chain(TensorProto.FLOAT16), {"x_", "once", "twice"})
    onnx.checker.check_model(made, full_check=True)
    assert {tensor.data_type for tensor in made.graph.initializer} == {TensorProto.FLOAT}


def test_features_are_scaled_alike_in_torch_and_in_onnx(strided):
    model = onnx_parts(strided, Request("strided", parts=("encoder",))).models["encoder"]
    for scale in half_proof.SCALES:
        feeds = half_proof._feeds("encoder", strided, scale)
        wanted = half_proof.in_torch("encoder", half_proof.scaled_network(strided, scale), feeds)
        found = run(half_proof.with_scaled_features(model, strided, scale), feeds)
        np.testing.assert_allclose(found["features"], wanted["features"], rtol=1e-4, atol=1e-4 * scale)
        plain = half_proof.in_torch("encoder", strided, feeds)
        np.testing.assert_allclose(wanted["features"], plain["features"] * scale, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.slow
def test_the_students_float16_graphs_hold_at_every_scale_and_the_naive_ones_do_not():
    network = load_network(embedded_checkpoint())
    ours = half_proof.prove(network)
    assert [(row.part, row.scale) for row in ours] == [
        (part, scale) for part in ("encoder", "decoder", "stylizer") for scale in half_proof.SCALES
    ]
    assert all(ours)
    naive = {(row.part, row.scale): row for row in half_proof.prove(network, naive=True)}
    assert naive["encoder", 1.0]  # on ordinary features it passes, which is why it is so often shipped
    assert not naive["encoder", 1000.0]
    assert not naive["stylizer", 1000.0]
    assert {out.output for out in naive["encoder", 1000.0].outcomes if not out.finite} == {"std"}
