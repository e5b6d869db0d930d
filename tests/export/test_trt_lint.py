"""Each rule finds its own kind of graph, TensorRT for RTX agrees where it can, and what we export is clean."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adain_export.onnx_parts import onnx_parts
from adain_export.target import Int8, Request
from adain_export.trt_lint import RULES, Graph, lint, require_clean
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError
from adain_runtime.trt.build import build_bundle
from adain_runtime.trt.library import Log
from adain_runtime.trt.options import Options, Profile
from adain_runtime.trt.sidecar import read_sidecar
from calibrations import calibrated

F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16


def graph(nodes, initialisers, opset=19, half=False):
    """A model from x [1,3,h,w] to y."""
    kind = F16 if half else F32
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, [1, 3, "h", "w"])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in initialisers.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def weights(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(dtype)


def quantised(*, zero=0, scales=None, weight_axis=0, kind=np.int8, bias=None):
    """Q/DQ before the input and the weights of a convolution."""
    step = np.float32(0.02) if scales is None else np.asarray(scales, np.float32)
    activation = {} if step.ndim == 0 else {"axis": 1}
    zeros = np.full(step.shape, zero, kind)
    channels = 4 if weight_axis == 0 else 3
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantise", **activation),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequantise", **activation),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "weights", axis=weight_axis),
    ]
    inputs = ["d", "wd"]
    values = {
        "s": step,
        "z": zeros,
        "w": np.clip(weights() * 40, -127, 127).astype(np.int8),
        "ws": np.full(channels, 0.01, np.float32),
        "wz": np.zeros(channels, np.int8),
    }
    if bias == "quantised":
        nodes.append(helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], "bias", axis=0))
        values |= {"b": np.ones(4, np.int32), "bs": np.full(4, 1e-3, np.float32), "bz": np.zeros(4, np.int32)}
        inputs.append("bd")
    return graph([*nodes, helper.make_node("Conv", inputs, ["y"], "conv")], values)


def resize(**settings):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "resize", **settings)
    return graph([node], {"scales": np.array([1, 1, 0.5, 0.5], np.float32)})


def conv(half_bias):
    bias = np.zeros(4, np.float16 if half_bias else np.float32)
    return graph([helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")], {"w": weights(), "b": bias})


def computed_axes():
    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2]))),
        helper.make_node("Add", ["two", "two"], ["sum"], "add"),
        helper.make_node("Sub", ["sum", "two"], ["axes"], "subtract"),
        helper.make_node("ReduceMean", ["x", "axes"], ["y"], "mean"),
    ]
    return graph(nodes, {})


def clip(*bounds, half=False):
    names = [name for name in ("low", "high") if name in bounds]
    values = {name: np.array(name == "high", np.float16 if half else np.float32) for name in names}
    return graph([helper.make_node("Clip", ["x", *names], ["y"], "clip")], values, half=half)


def endless_clip():
    values = {"low": np.float16(0), "high": np.float16(np.inf)}
    return graph([helper.make_node("Clip", ["x", "low", "high"], ["y"], "clip")], values, half=True)


def foreign():
    made = graph([helper.make_node("Gelu", ["x"], ["y"], "gelu", domain="com.microsoft")], {})
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


BAD = {
    "an opset of tomorrow": ("opset_is_known", lambda: graph([helper.make_node("Relu", ["x"], ["y"])], {}, opset=25)),
    "another domain": ("opset_is_known", foreign),
    "computed axes": ("constants_are_constant", computed_axes),
    "a zero point": ("zero_points_are_zero", lambda: quantised(zero=3)),
    "uint8": ("zero_points_are_zero", lambda: quantised(kind=np.uint8)),
    "scales by channel": ("activations_have_one_scale", lambda: quantised(scales=[0.02, 0.03, 0.04])),
    "a scale of nothing": ("activations_have_one_scale", lambda: quantised(scales=0.0)),
    "weights by input": ("weights_are_quantised_by_output", lambda: quantised(weight_axis=1)),
    "an int32 bias": ("bias_is_float", lambda: quantised(bias="quantised")),
    "mixed types": ("convolutions_have_one_type", lambda: conv(half_bias=True)),
    "antialias": ("resizes_are_plain", lambda: resize(mode="linear", antialias=1)),
    "wrapping pads": (
        "pads_are_known",
        lambda: graph(
            [helper.make_node("Pad", ["x", "pads"], ["y"], "pad", mode="wrap")],
            {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
        ),
    ),
    "an endless clip": ("clips_have_both_bounds", endless_clip),
    "half a clip": ("clips_have_both_bounds", lambda: clip("low")),
    "a clip in float16": ("clips_have_both_bounds", lambda: clip("low", "high", half=True)),
    "a root in float16": (
        "statistics_are_float32",
        lambda: graph([helper.make_node("Sqrt", ["x"], ["y"], "root")], {}, half=True),
    ),
    "float64": (
        "types_are_known",
        lambda: graph([helper.make_node("Cast", ["x"], ["y"], "cast", to=TensorProto.DOUBLE)], {}),
    ),
}
REFUSED_BY_RTX = ("a zero point", "an int32 bias", "mixed types", "antialias")
TAKEN_BY_RTX = ("scales by channel",)


@pytest.mark.parametrize("what", BAD)
def test_a_rule_finds_what_it_is_for(what):
    rule, make = BAD[what]
    problems = lint(make())
    assert problems, what
    (wanted,) = (found for found in RULES if found.__name__ == rule)
    assert list(wanted(Graph.of(make()))) != []
    with pytest.raises(InputError, match="encoder: not for TensorRT: "):
        require_clean("encoder", make())


def test_every_rule_has_its_bad_graph_and_its_reason():
    assert {rule for rule, _ in BAD.values()} == {rule.__name__ for rule in RULES}
    for rule in RULES:
        assert rule.__doc__


@pytest.mark.parametrize(
    "make",
    [
        quantised,
        lambda: conv(half_bias=False),
        lambda: resize(mode="nearest"),
        lambda: clip("low", "high"),
    ],
)
def test_good_graphs_are_clean(make):
    assert lint(make()) == []


def rtx_takes(trt, model, path):
    log = Log(trt)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    builder = trt.Builder(log.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    return parser.parse_from_file(str(path))


@pytest.mark.parametrize("what", REFUSED_BY_RTX)
def test_tensorrt_for_rtx_refuses_it_too(what, tmp_path, rtx):
    assert not rtx_takes(rtx, BAD[what][1](), tmp_path / "bad.onnx")


@pytest.mark.parametrize("what", TAKEN_BY_RTX)
def test_tensorrt_for_rtx_takes_what_tensorrt_does_not(what, tmp_path, rtx):
    assert rtx_takes(rtx, BAD[what][1](), tmp_path / "bad.onnx")


def test_tensorrt_for_rtx_takes_the_good_ones(tmp_path, rtx):
    for make in (quantised, lambda: conv(half_bias=False), lambda: resize(mode="nearest")):
        assert rtx_takes(rtx, make(), tmp_path / "good.onnx")


def test_what_is_exported_is_clean(exported):
    _, bundle = exported
    for part in bundle.manifest.parts:
        require_clean(part, onnx.load(bundle.graph(part)))


def test_int8_before_the_padding_is_clean_too(strided):
    request = Request("strided", int8=Int8(calibrated(strided), "before-pad"), parts=("decoder",))
    for part, model in onnx_parts(strided, request).models.items():
        require_clean(part, model)


def test_tensorrt_for_rtx_builds_what_is_exported(exported, tmp_path, rtx):
    network, bundle = exported
    options = Options(Profile((16, 16), (64, 64), (128, 96), (1, 1, 2)), "rtx", compute_capabilities=("8.6", "12.0"))
    engines = Bundle.open(build_bundle(bundle.path, tmp_path, options))
    assert engines.manifest.folder_name == f"{network.spec.name}-trt-rtx-{bundle.manifest.precision}"
    for part in bundle.manifest.parts:
        assert engines.graph(part).stat().st_size > 1000
        assert read_sidecar(engines, part).compute_capabilities == ("8.6", "12.0")
