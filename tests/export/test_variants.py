"""Bytes in and out, and weights stored in half: what an app or a download wants, and the numbers stay what they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from adain_export import check
from adain_export.graphs import part_module
from adain_export.stored_weights import store_half
from adain_export.target import GraphRequest, Int8, get_target
from adain_runtime import Stylizer
from adain_runtime.backend import open_bundle
from adain_runtime.errors import InputError
from adain_runtime.pixels import to_bytes, to_floats
from calibrations import calibrated
from networks import SPECS, make_network

TARGET = get_target("onnx")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One network as float planes and as bytes."""
    network, out = make_network(SPECS["strided"]), tmp_path_factory.mktemp("variants")
    return tuple(TARGET.export(network, GraphRequest("tiny", io=io), out) for io in ("float", "uint8"))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_bytes_and_floats_stand_side_by_side_and_the_manifest_says_which(pair):
    floats, pixels = pair
    assert (floats.path.name, pixels.path.name) == ("tiny-onnx-fp32", "tiny-onnx-fp32-uint8")
    image = pixels.manifest.parts["stylizer"].inputs[0]
    assert (image.dtype, image.shape) == ("uint8", ("batch", "height", "width", 3))
    assert pixels.manifest.parts["stylizer"].outputs[0].dtype == "uint8"
    graph = onnx.load(pixels.graph("stylizer"), load_external_data=False).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_a_graph_of_bytes_gives_the_bytes_that_the_runtime_would_round_to(pair):
    floats, pixels = pair
    image = noise(2, 32, 24, 3)
    with open_bundle(floats.path, threads=1) as plain, open_bundle(pixels.path, threads=1) as packed:
        planes = image.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        style = {name: plain.run("encoder", {"image": planes})[name] for name in ("mean", "std")}
        feeds = {**style, "alpha": np.ones((2, 1, 1, 1), np.float32)}
        wanted = plain.run("stylizer", {"image": planes, **feeds})["image"]
        found = packed.run("stylizer", {"image": image, **feeds})["image"]
        assert (found.dtype, found.shape) == (np.uint8, image.shape)
        rounded = np.rint(wanted * np.float32(255)).astype(np.int16).transpose(0, 2, 3, 1)
        assert np.abs(found - rounded).max() <= 1
        assert (found != rounded).mean() < 1e-3
        np.testing.assert_allclose(packed.run("encoder", {"image": image})["mean"], style["mean"], atol=1e-5)


def test_the_runtime_uses_a_bundle_of_bytes_as_any_other(pair):
    photo, style = noise(37, 50, 3), noise(40, 40, 3, seed=1)
    mask = np.zeros((37, 50), np.uint8)
    mask[:, 20:] = 255
    for extra in ({}, {"masks": [mask]}):
        made = []
        for bundle in pair:
            with Stylizer.open(bundle.path, threads=1) as stylizer:
                made.append(np.asarray(stylizer(photo, style, **extra)).astype(int))
        assert np.abs(made[0] - made[1]).max() <= 1
        assert made[0].std() > 1


def test_floats_in_give_floats_out_and_what_is_no_image_is_refused(pair):
    _, pixels = pair
    with open_bundle(pixels.path, threads=1) as session:
        with pytest.raises(InputError, match=r"encoder input 'image': wants the shape \[batch, height, width, 3\]"):
            session.run("encoder", {"image": noise(1, 3, 16, 16)})
        with pytest.raises(InputError, match="wants uint8, found int64"):
            session.run("encoder", {"image": np.zeros((1, 16, 16, 3), np.int64)})
        assert session.run("encoder", {"image": np.zeros((1, 3, 16, 16), np.float64)})["mean"].dtype == np.float32


def test_every_byte_survives_the_way_to_floats_and_back(pair):
    part = pair[1].manifest.parts["encoder"]
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(to_bytes(part, to_floats({"image": image}))["image"], image)


@pytest.mark.parametrize("shape", SPECS)
def test_half_weights_make_half_a_file_that_computes_what_rounded_weights_compute(shape, tmp_path):
    network = make_network(SPECS[shape])
    bundle = TARGET.export(network, GraphRequest("half", weights="fp16", rewrites=()), tmp_path)
    assert bundle.path.name == "half-onnx-fp32-w16"
    graph = onnx.load(bundle.graph("decoder")).graph
    large = [weight for weight in graph.initializer if np.prod(weight.dims) >= 64]
    assert large
    assert {weight.data_type for weight in large} <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    rounded = make_network(SPECS[shape])
    for parameter in rounded.parameters():
        if parameter.numel() >= 64:
            parameter.copy_(parameter.half().float())
    image = check.pink_noise(np.random.default_rng(0), 1, 24, 40)
    wanted = check.in_torch("encoder", rounded, {"image": image})
    with open_bundle(bundle.path, threads=1) as session:
        found = session.run("encoder", {"image": image})
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4 * np.abs(values).max())


def test_a_weight_that_half_can_not_hold_is_named():
    huge = onnx.numpy_helper.from_array(np.full(64, 7e4, np.float32), "conv.weight")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [huge]))
    with pytest.raises(InputError, match=r"conv\.weight has weights over 65504"):
        store_half(model)


def test_what_contradicts_itself_is_refused(strided, tmp_path):
    with pytest.raises(InputError, match="weights fp16 is about a float32 network, and this one is fp16"):
        GraphRequest("x", "fp16", weights="fp16")
    with pytest.raises(InputError, match="and this one is int8"):
        GraphRequest("x", int8=Int8(calibrated(strided)), weights="fp16")
    with pytest.raises(InputError, match="target onnx stores weights as fp32 or fp16, and target mnn as int8"):
        TARGET.export(strided, GraphRequest("x", weights="int8"), tmp_path)
    with pytest.raises(InputError, match="unknown io uint16"):
        GraphRequest("x", io="uint16")
    with pytest.raises(KeyError):
        part_module("encoder", strided, "uint16")
