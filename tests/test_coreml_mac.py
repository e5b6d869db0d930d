"""The real Core ML against torch and against the reference executor: on a Mac only."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np
import pytest

from adain_runtime.backend import Options, get_backend

pytestmark = [
    pytest.mark.macos,
    pytest.mark.skipif(sys.platform != "darwin", reason=f"Core ML runs on macOS only, and this is {sys.platform}"),
]
SIZES = ((64, 64), (64, 96))
FLOORS = {"fp32": 45.0, "fp16": 40.0, "fp16-pal6": 30.0}
"""dB between Core ML and the reference, 8-bit images. Not measured: no Mac was there; a first run shall raise them."""


@pytest.fixture(scope="module", params=FLOORS)
def bundle(request, tmp_path_factory):
    pytest.importorskip("coremltools", reason="coremltools is not installed")
    from adain_export.coreml.request import CoremlRequest
    from adain_export.target import get_target
    from adain_model.checkpoint import embedded_checkpoint, load_network

    precision, _, weights = request.param.partition("-")
    made = CoremlRequest(
        "lite",
        precision,
        parts=("encoder", "decoder", "stylizer"),
        sizes=SIZES,
        weights=weights or "none",
    )
    return get_target("coreml").export(load_network(embedded_checkpoint()), made, tmp_path_factory.mktemp("mac"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A cache for all tests: compiling for the Neural Engine takes long."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=os.environ.get("ADAIN_MAC_UNITS", "cpu all").split())
def session(request, bundle, compiled, monkeypatch):
    """On each of the compute units that ADAIN_MAC_UNITS names, with blanks between; by default cpu and all."""
    monkeypatch.setenv("ADAIN_COREML_CACHE", str(compiled))
    with get_backend("coreml").open(bundle, Options(provider=request.param)) as opened:
        yield opened


@pytest.fixture
def reference(bundle):
    with get_backend("coreml-reference").open(bundle, Options()) as opened:
        yield opened


def feeds(reference, height, width):
    from adain_export.check import pink_noise, to_eight_bits

    rng = np.random.default_rng(7)
    content, style = (to_eight_bits(pink_noise(rng, 1, height, width)) for _ in range(2))
    encoded = reference.run("encoder", {"image": style})
    return {
        "image": content,
        "mean": encoded["mean"],
        "std": encoded["std"],
        "alpha": np.ones((1, 1, 1, 1), np.float32),
    }


@pytest.mark.parametrize("size", SIZES)
def test_core_ml_makes_the_image_that_the_reference_makes(session, reference, bundle, size):
    from adain_runtime.metrics import psnr

    given = feeds(reference, *size)
    found, wanted = (run.run("stylizer", given)["image"] for run in (session, reference))
    assert psnr(wanted, found) >= FLOORS[bundle.manifest.precision]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_other_parts_agree_too(session, reference, part):
    given = feeds(reference, *SIZES[0])
    taken = {"image": given["image"]}
    if part == "decoder":
        features = reference.run("encoder", taken)["features"]
        taken = {"features": features, "scale": given["std"], "shift": given["mean"]}
    found, wanted = session.run(part, taken), reference.run(part, taken)
    for name, values in wanted.items():
        scale = max(float(np.abs(values).max()), 1e-6)
        assert np.abs(values.astype(np.float32) - found[name].astype(np.float32)).max() <= 0.05 * scale


def test_a_picture_of_one_colour_stays_finite(session, reference):
    """Its features have no variance: what is divided by is eps alone, which float16 holds as a subnormal."""
    given = feeds(reference, *SIZES[0]) | {"image": np.full((1, 3, *SIZES[0]), 0.5, np.float32)}
    assert np.isfinite(session.run("stylizer", given)["image"]).all()


@pytest.mark.skipif(platform.mac_ver()[0].startswith(("13.", "14.0", "14.1", "14.2", "14.3")), reason="no compute plan")
def test_what_runs_where_is_known(session):
    assert sum(session.placement("stylizer", *SIZES[0]).values()) > 10
