"""Noise, cells and strokes: what procedural pictures are made of."""

from __future__ import annotations

import numpy as np
import pytest

from adain_train.fields import (
    cell_means,
    edges,
    forms,
    grid,
    palette,
    resized,
    sampled,
    slope,
    smooth_noise,
    smoothed,
    streaks,
    strokes,
    turned,
    voronoi,
)


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


def test_a_picture_is_sampled_where_it_is_between_its_pixels_and_at_its_border(rng):
    picture = rng.random((20, 24, 3))
    down, across = grid((20, 24))
    assert np.allclose(sampled(picture, down, across), picture, atol=0.002)
    halfway = sampled(picture, down[:1, :1] + 0.5, across[:1, :1] + 0.25)
    upper, lower = (picture[row, 0] * 0.75 + picture[row, 1] * 0.25 for row in (0, 1))
    assert np.allclose(halfway[0, 0], (upper + lower) / 2)
    assert np.allclose(sampled(picture, down * 0 - 7, across * 0 + 99), picture[0, 23], atol=0.002)


def test_a_turned_grid_has_its_squares_where_its_angle_says():
    along, athwart = turned((8, 10), 0.0, 4)
    assert np.array_equal(along[5], np.arange(10) / 4)
    assert np.array_equal(athwart[:, 3], np.arange(8) / 4)
    along, athwart = turned((8, 10), np.pi / 2, 4)
    assert np.allclose(along[:, 3], np.arange(8) / 4)
    assert np.allclose(athwart[5], -np.arange(10) / 4)


def test_what_is_small_is_smoothed_away_and_what_is_large_stays():
    down, across = grid((96, 120))
    fine = (down + across) % 2
    coarse = across / 120
    left = smoothed(np.stack([fine, coarse], -1), 8)
    assert left.shape == (96, 120, 2)
    assert left[..., 0].std() < 0.02
    assert np.abs(left[..., 1] - coarse).max() < 0.05


def test_a_ramp_is_as_steep_as_it_rises_and_an_edge_is_where_it_is():
    down, across = grid((40, 40))
    assert np.allclose(slope(0.3 * down + 0.4 * across), 0.5, atol=1e-5)
    steep = edges((across >= 20).astype(np.float32))
    assert steep[:, 18:22].min() > 10 * steep[:, :12].max() + 0.1


def test_forms_run_along_an_edge(rng):
    picture = np.repeat((grid((96, 96))[1] >= 48).astype(np.float32)[..., None], 3, -1)
    upright = [abs(np.sin(forms(rng, picture)[:, 46:50])).mean() for _ in range(8)]
    assert np.median(upright) > 0.9  # the edge is upright


@pytest.mark.parametrize(("angle", "along"), [(0.0, 1), (np.pi / 2, 0)])
def test_streaks_are_long_in_their_direction(rng, angle, along):
    drawn = streaks(rng, np.full((64, 80), angle), 10)
    assert drawn.shape == (64, 80)
    assert (abs(drawn.mean()) < 1e-5, abs(drawn.std() - 1) < 1e-3) == (True, True)
    steps = [np.abs(np.diff(drawn, axis=axis)).mean() for axis in (0, 1)]
    assert steps[along] < 0.4 * steps[1 - along]


def test_a_palette_is_of_the_pictures_colours(rng):
    picture = np.where(rng.random((30, 30, 1)) < 0.5, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9])
    found = np.concatenate([palette(rng, picture, 5) for _ in range(40)])
    assert found.shape == (200, 3)
    off = np.minimum(np.abs(found - [0.9, 0.1, 0.1]).max(1), np.abs(found - [0.1, 0.1, 0.9]).max(1))
    assert np.median(off) < 0.3
    assert 60 < (found[:, 0] > found[:, 2]).sum() < 140
