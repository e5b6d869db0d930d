"""Noise, cells and strokes: what procedural pictures are made of."""

from __future__ import annotations

import numpy as np
import pytest

from adain_train.fields import cell_means, resized, smooth_noise, strokes, voronoi


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_noise_has_neighbours_that_are_alike_within_a_cell_and_not_beyond(rng):
    noise = smooth_noise(rng, (96, 120), 12, channels=3)
    assert (noise.shape, noise.dtype) == ((96, 120, 3), np.float32)

    def alike(far):
        return np.corrcoef(noise[:, :-far, 0].ravel(), noise[:, far:, 0].ravel())[0, 1]

    assert alike(2) > 0.9
    assert abs(alike(40)) < 0.5
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.5


@pytest.mark.parametrize("square", [False, True])
def test_cells_are_numbered_without_gaps_and_have_about_the_size_that_was_asked_for(rng, square):
    cells, gap = voronoi(rng, (80, 100), 10.0, jitter=0.2, square=square)
    assert cells.shape == gap.shape == (80, 100)
    assert np.array_equal(np.unique(cells), np.arange(cells.max() + 1))
    assert 40 < cells.max() + 1 < 240  # 80 cells of 100 pixels; those at the edges are cut, and rows may be flatter
    assert gap.min() >= 0
    crossed = cells[:, 1:] != cells[:, :-1]
    assert gap[:, 1:][crossed].mean() < 0.5 * gap[:, 1:][~crossed].mean()


def test_a_cells_mean_is_that_of_its_pixels(rng):
    cells, _ = voronoi(rng, (40, 48), 9.0, jitter=0.3, square=False)
    values = rng.random((40, 48, 3))
    means = cell_means(values, cells)
    assert means.shape == (cells.max() + 1, 3)
    for cell in (0, 5, cells.max()):
        assert np.allclose(means[cell], values[cells == cell].mean(0), atol=1e-12)


@pytest.mark.parametrize(("angle", "along"), [(0.0, 1), (np.pi / 2, 0)])
def test_strokes_are_long_in_their_direction_and_evenly_dark(rng, angle, along):
    drawn = strokes(rng, (96, 96), angle, length=30, width=1.5)
    assert drawn.shape == (96, 96)
    assert np.allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.01)
    steps = [np.abs(np.diff(drawn, axis=axis)).mean() for axis in (0, 1)]
    assert steps[along] < 0.3 * steps[1 - along]


def test_resizing_keeps_a_constant():
    assert np.allclose(resized(np.full((3, 4), 0.25), (17, 9)), 0.25, atol=1e-6)
    assert resized(np.zeros((3, 4)), (17, 9)).shape == (17, 9)
