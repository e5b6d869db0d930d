"""Error by depth: the layers of a graph are found by name, rewritten ones included, or by likeness."""

from __future__ import annotations

import numpy as np
import pytest

from adain_export.check import pink_noise
from adain_export.target import Int8, Request, get_target
from adain_parity.layers import Traceable, curve, held_as_float, layers_of, statistics_alone
from adain_parity.onnx_layers import layers
from adain_parity.reference import Reference
from adain_parity.results import LayerError
from adain_runtime.backend import open_bundle
from adain_runtime.backends.null import NullSession
from adain_runtime.errors import UnavailableError
from calibrations import calibrated

RNG = np.random.default_rng(5)


@pytest.fixture
def truth(exported_small):
    image, style = (pink_noise(np.random.default_rng(seed), 1, 32, 48) for seed in (1, 2))
    return Reference(exported_small[0]).truth(image, style, 0.6)


@pytest.mark.parametrize("part", ["encoder", "decoder", "stylizer"])
def test_every_layer_of_a_good_graph_is_the_reference_layer_of_its_name(exported_small, truth, part):
    network, bundle = exported_small
    feeds = {"encoder": {"image": truth.image}, "decoder": truth.decoder_feeds}.get(part, truth.stylizer_feeds)
    wanted = list(Reference(network).layers(part, feeds))
    found = list(layers(bundle, part, feeds))
    named = {name for name, _ in found}
    assert {name for name, _ in wanted if ".conv" in name} <= named
    points = curve(wanted, found, 1e-4)
    assert [point.layer for point in points] == [name for name, _ in wanted]
    assert all(points), points


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_layers_whose_codes_are_shifted_are_given_without_the_shift(exported_small, truth, part, tmp_path):
    network, _ = exported_small
    bundle = get_target("onnx").export(network, Request("coded", int8=Int8(calibrated(network))), tmp_path)
    feeds = {"encoder": {"image": truth.image}, "decoder": truth.decoder_feeds}[part]
    points = curve(list(Reference(network).layers(part, feeds)), list(layers(bundle, part, feeds)), 0.3)
    assert len(points) > 3
    assert all(points), points


def test_float64_and_float32_references_agree_and_the_exact_one_is_exact(exported_small, truth):
    network, _ = exported_small
    exact = Reference(network, exact=True).truth(truth.image, truth.style_image, 0.6)
    assert exact.stylized.dtype == np.float64
    assert 0 < np.abs(exact.stylized - truth.stylized).max() < 1e-4


def test_a_layer_without_a_name_is_the_likest_of_its_shape_in_order():
    wanted = [(f"encoder.conv{i}", RNG.normal(size=(1, 2, 3, 3))) for i in range(3)]
    noisy = [(f"op{i}", values + 1e-3) for i, (_, values) in enumerate(wanted)]
    others = [("other", RNG.normal(size=(1, 2, 3, 3))), ("small", np.zeros(4))]
    points = curve(wanted, [others[0], noisy[0], others[1], noisy[1], noisy[2]], 0.1)
    assert [(point.layer, point.depth) for point in points] == [(name, i) for i, (name, _) in enumerate(wanted)]
    assert all(points)


def test_a_layer_that_a_graph_does_not_have_is_left_out_where_what_follows_is_good():
    names = ("adain.mean", "adain", "decoder.conv1_1")
    wanted = [(name, RNG.normal(size=(1, 4 + i))) for i, name in enumerate(names)]
    found = [("op0", RNG.normal(size=(1, 4))), ("op1", wanted[1][1]), ("op2", wanted[2][1])]
    assert [point.layer for point in curve(wanted, found, 0.1)] == ["adain", "decoder.conv1_1"]


def test_the_first_layer_that_is_off_is_the_first_beyond_its_tolerance():
    wanted = [(f"encoder.conv{i}", RNG.normal(size=(1, 2, 3, 3))) for i in range(3)]
    found = [wanted[0], ("encoder.conv1", wanted[1][1] * 1.2), ("encoder.conv2", wanted[2][1] * np.nan)]
    points = curve(wanted, found, 0.1)
    assert [bool(point) for point in points] == [True, False, False]
    assert points[1].error == pytest.approx(0.2)
    assert points[2].error is None


def test_a_layer_of_another_shape_is_off_and_one_that_nothing_resembles_is_left_out():
    wanted = [("encoder.conv0", np.ones((1, 2, 3, 3))), ("encoder.conv1", np.ones((1, 9)))]
    (point,) = curve(wanted, [("encoder.conv0", np.ones((1, 2, 3, 4)))], 0.1)
    assert (point.layer, point.error) == ("encoder.conv0", None)


def test_a_session_that_offers_its_layers_is_asked_for_them(exported_small):
    class Open(NullSession):
        def layers(self, part, feeds):
            yield f"{part}.conv1_1", feeds["image"]

    session = Open(exported_small[1], "nowhere")
    assert isinstance(session, Traceable)
    assert list(layers_of(session, "encoder", {"image": np.ones(1)})) == [("encoder.conv1_1", np.ones(1))]


def test_a_session_that_cannot_be_looked_into_says_so(exported_small):
    with open_bundle(exported_small[1].path, backend="null") as session:
        assert not isinstance(session, Traceable)
        assert list(layers_of(session, "encoder", {"image": np.ones((1, 3, 16, 16), np.float32)}))
    from dataclasses import replace

    from adain_runtime.bundle import Bundle

    other = Bundle(session.bundle.path, replace(session.bundle.manifest, target="other"))
    with pytest.raises(UnavailableError, match="NullSession has no layers"):
        layers_of(NullSession(other, "nowhere"), "encoder", {})


def test_layers_before_the_first_in_int8_are_held_to_what_a_float_graph_is():
    points = [LayerError(f"encoder.conv{i}", i, 0.1, 0.4) for i in range(3)]
    held = held_as_float(points, ("encoder.conv1", "encoder.conv2"), 1e-4)
    assert [bool(point) for point in held] == [False, True, True]
    assert held_as_float(points, (), 1e-4) == tuple(points)
    assert held_as_float(points, ("encoder.conv0",), 1e-4) == tuple(points)


def test_statistics_alone_are_those_of_the_parts_own_features(exported_small, truth):
    spec = exported_small[0].spec
    with open_bundle(exported_small[1].path, backend="onnx") as session:
        outputs = session.run("encoder", {"image": truth.image})
    assert max(statistics_alone(outputs, spec).values()) < 1e-6
    wrong = {**outputs, "std": outputs["std"] * np.float32(1.002)}
    assert statistics_alone(wrong, spec)["adain.std"] == pytest.approx(0.002, rel=1e-3)
