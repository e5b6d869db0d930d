"""The published weights, where they are: imported, exported, and held against torch on real pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adain_export.graphs import part_module, with_precision
from adain_export.target import Request, get_target
from adain_model.importers import import_network
from adain_model.specs import VGG19
from adain_runtime import Stylizer
from adain_runtime.backend import open_bundle
from adain_runtime.image import load_image
from adain_runtime.manifest import Sizes
from adain_runtime.metrics import max_abs, psnr
from adain_runtime.planes import planes_for

pytestmark = pytest.mark.slow
PAIRS = (("0000.jpg", "0000.jpg"), ("0024.jpg", "0024.jpg"), ("0031.jpg", "0041.jpg"))


@pytest.fixture(scope="module")
def network(shared):
    weights = shared / "weights"
    return import_network(weights / "vgg_normalised.pth", weights / "decoder.pth", VGG19).module


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def bundle(request, network, tmp_path_factory):
    return get_target("onnx").export(network, Request("vgg19", request.param), tmp_path_factory.mktemp("vgg19"))


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def feeds(request, shared, network):
    """A content image and a style's statistics, as the stylizer takes them."""
    content, style = (
        planes_for([load_image(shared / "data" / "test" / kind / name).rgb], Sizes())
        for kind, name in zip(("content", "style"), request.param, strict=True)
    )
    _, mean, std = part_module("encoder", network)(torch.from_numpy(style))
    return {"image": content, "mean": mean.numpy(), "std": std.numpy(), "alpha": np.ones((1, 1, 1, 1), np.float32)}


def in_torch(network, feeds):
    return part_module("stylizer", network)(*map(torch.from_numpy, feeds.values())).numpy()


def test_onnx_agrees_with_torch(bundle, network, feeds):
    with open_bundle(bundle.path) as session:
        found = session.run("stylizer", feeds)["image"]
    wanted = in_torch(network, feeds)
    if bundle.manifest.precision == "fp32":
        assert max_abs(wanted, found) <= 1e-4
    else:
        assert psnr(wanted, found) >= 45


def test_half_precision_with_every_result_rounded_keeps_45_db(network, feeds):
    """ONNX Runtime's CPU keeps float32 between operations; half-precision torch rounds each of them."""
    assert psnr(in_torch(network, feeds), in_torch(with_precision(network, "fp16"), feeds)) >= 45


def test_alpha_0_is_the_decoder_on_the_encoder(bundle, network, feeds):
    with open_bundle(bundle.path) as session:
        found = session.run("stylizer", {**feeds, "alpha": np.zeros((1, 1, 1, 1), np.float32)})["image"]
    wanted = network.decoder(network.encoder(torch.from_numpy(feeds["image"]))).clamp(0, 1).numpy()
    assert wanted.std() > 0.05
    if bundle.manifest.precision == "fp32":
        assert max_abs(wanted, found) <= 1e-4
    else:
        assert psnr(wanted, found) >= 45


def test_the_weights_1_0_are_the_first_style_alone_exactly(bundle, shared):
    styles = [shared / "data" / "test" / "style" / name for name in ("0000.jpg", "0041.jpg")]
    content = shared / "data" / "test" / "content" / "0031.jpg"
    with Stylizer(open_bundle(bundle.path)) as stylizer:
        alone, mixed = stylizer(content, styles[0]), stylizer(content, styles, weights=[1, 0])
        other = stylizer(content, styles[1])
    assert np.array_equal(alone, mixed)
    assert not np.array_equal(alone, other)
