"""The null backend gives the right names, types and shapes for any bundle, and needs nothing to do it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adain_runtime.backend import open_bundle
from adain_runtime.bundle import Bundle
from adain_runtime.parts import part_interface


def feeds_of(part, channels, height, width, batch=1):
    rows, columns = height // 8, width // 8
    shapes = {
        "encoder": {"image": (batch, 3, height, width)},
        "decoder": {
            "features": (batch, channels, rows, columns),
            "scale": (batch, channels, 1, 1),
            "shift": (batch, channels, rows, columns),
        },
        "stylizer": {
            "image": (batch, 3, height, width),
            "mean": (batch, channels, 1, 1),
            "std": (batch, channels, 1, 1),
            "alpha": (batch, 1, 1, 1),
        },
    }[part]
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("part", ["encoder", "decoder", "stylizer"])
def test_outputs_have_the_manifests_names_types_and_shapes(tiny, part):
    with open_bundle(tiny, backend="null") as session:
        out = session.run(part, feeds_of(part, 5, 16, 24, batch=2))
    wanted = {
        "encoder": {"features": (2, 5, 2, 3), "mean": (2, 5, 1, 1), "std": (2, 5, 1, 1)},
        "decoder": {"image": (2, 3, 16, 24)},
        "stylizer": {"image": (2, 3, 16, 24)},
    }[part]
    assert {name: values.shape for name, values in out.items()} == wanted
    assert {values.dtype for values in out.values()} == {np.dtype(np.float32)}


def test_images_are_grey_and_statistics_those_of_nothing(tiny):
    with open_bundle(tiny, backend="null") as session:
        out = session.run("encoder", feeds_of("encoder", 5, 16, 16))
        image = session.run("stylizer", feeds_of("stylizer", 5, 16, 16))["image"]
    assert {name: set(values.ravel()) for name, values in out.items()} == {
        "features": {0.5},
        "mean": {0.0},
        "std": {1.0},
    }
    assert (image == 0.5).all()


def test_a_bundle_of_any_target_is_opened(make_bundle, tmp_path):
    with open_bundle(make_bundle(tmp_path / "tiny-mnn-int8", target="mnn"), backend="null") as session:
        assert session.run("encoder", feeds_of("encoder", 5, 16, 16))["mean"].shape == (1, 5, 1, 1)


def test_half_precision_features_are_half(make_bundle, tmp_path, tiny):
    manifest = Bundle.open(tiny).manifest
    encoder = part_interface("encoder", manifest.spec, "encoder.graph", features="float16")
    parts = {**manifest.parts, "encoder": replace(encoder)}
    with open_bundle(make_bundle(tmp_path / "half", parts=parts), backend="null") as session:
        out = session.run("encoder", feeds_of("encoder", 5, 16, 16))
    assert (out["features"].dtype, out["mean"].dtype) == (np.float16, np.float32)
