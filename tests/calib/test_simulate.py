"""The simulation is what the exported graph computes: the same images, in torch, without an export."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adain_calib.scoring import Judge
from adain_calib.simulate import SimulatedNetwork
from adain_calib.stylise import decoder_feeds
from adain_export.calibration import layer_names
from adain_export.check import in_torch
from adain_export.target import Int8, Request, get_target
from adain_runtime.backend import Options, get_backend
from adain_runtime.errors import InputError
from adain_runtime.metrics import psnr


@pytest.fixture(scope="module")
def simulated(network, calibration):
    return SimulatedNetwork(network, calibration)


@pytest.fixture(scope="module")
def chosen(calibration):
    """Every other layer: some of the encoder, some of the decoder, some behind an upsampling."""
    return calibration.int8[::2]


@pytest.fixture(scope="module")
def session(network, calibration, chosen, tmp_path_factory):
    request = Request(network.spec.name, int8=Int8(replace(calibration, int8=chosen)))
    bundle = get_target("onnx").export(network, request, tmp_path_factory.mktemp("bundle"))
    assert bundle.manifest.int8 == chosen
    with get_backend("onnx").open(bundle, Options()) as session:
        yield session


def images(judge, held, run):
    encoded = judge.encode(run)
    samples = held.pairs.samples
    return [run("decoder", decoder_feeds(encoded.contents[s.content], s, encoded.styles))["image"] for s in samples]


def test_its_images_are_those_of_the_exported_graph_in_onnxruntime(
    network, calibration, simulated, session, chosen, held
):
    judge = Judge(network, held)
    simulated.switch(chosen)
    found = images(judge, held, simulated.run)
    exact = images(judge, held, lambda part, feeds: in_torch(part, network, feeds))
    for image, exported, float_image in zip(found, images(judge, held, session.run), exact, strict=True):
        assert psnr(image, exported) > 60
        assert psnr(image, float_image) < psnr(image, exported) - 6  # what int8 changes is far more than they differ by
    wanted, scored = judge.score(session.run), judge.score(simulated.run)
    np.testing.assert_allclose(scored.psnr, wanted.psnr, atol=0.5)
    np.testing.assert_allclose(scored.ssim, wanted.ssim, atol=1e-3)


def test_the_stylizer_part_is_simulated_too(network, simulated, session, chosen):
    generator = np.random.default_rng(0)
    image, other = (generator.random((1, 3, 64, 72), np.float32) for _ in range(2))
    simulated.switch(chosen)
    style = simulated.run("encoder", {"image": other})
    feeds = {
        "image": image,
        "mean": style["mean"],
        "std": style["std"],
        "alpha": np.full((1, 1, 1, 1), 0.8, np.float32),
    }
    assert psnr(simulated.run("stylizer", feeds)["image"], session.run("stylizer", feeds)["image"]) > 60


def test_with_every_layer_float_it_is_the_network(network, simulated):
    image = np.random.default_rng(1).random((1, 3, 64, 64), np.float32)
    simulated.switch(())
    found, wanted = simulated.run("encoder", {"image": image}), in_torch("encoder", network, {"image": image})
    np.testing.assert_allclose(found["features"], wanted["features"], atol=1e-5)


def test_a_switched_layer_can_be_switched_back(network, simulated):
    feeds = {"image": np.random.default_rng(2).random((1, 3, 64, 64), np.float32)}
    simulated.switch(())
    before = simulated.run("encoder", feeds)["features"]
    simulated.switch([layer_names(network)[1]])
    assert np.abs(simulated.run("encoder", feeds)["features"] - before).max() > 1e-4
    simulated.switch(())
    assert np.array_equal(simulated.run("encoder", feeds)["features"], before)


def test_the_network_itself_is_left_as_it_was(network, calibration):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    steps = list(network.decoder.steps)
    SimulatedNetwork(network, calibration).switch(calibration.int8)
    assert list(network.decoder.steps) == steps
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


def test_a_layer_that_it_lacks_is_named(simulated):
    with pytest.raises(InputError, match=r"decoder\.conv9_9: no such layer"):
        simulated.switch(["decoder.conv9_9"])
