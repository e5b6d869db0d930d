"""Packages that the executor's tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A package of a convolution and a relu, weights in weight.bin; it is only read."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    from mil_programs import program

    random = np.random.default_rng(0)
    weight, bias = random.normal(0, 1, (4, 3, 3, 3)).astype(np.float32), random.normal(0, 1, 4).astype(np.float32)
    return program(
        tmp_path_factory.mktemp("small") / "small.mlpackage",
        lambda x: mb.relu(x=mb.conv(x=x, weight=weight, bias=bias, name="convolved"), name="made"),
        [(1, 3, 6, 7)],
    )


@pytest.fixture
def damaged(small, tmp_path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(small, tmp_path / "damaged.mlpackage"))


@pytest.fixture(scope="session")
def image() -> Callable[..., np.ndarray]:
    """Random arrays in [0, 1]."""

    def make(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).random(shape, np.float32)

    return make
