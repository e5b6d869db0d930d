"""What is put under transparent pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from adain_runtime.transparency import cover_hidden, over

RED, BLUE = (200, 30, 20), (10, 40, 220)


def disc(side, radius):
    """Opacity of a disc with a soft edge."""
    down, across = np.mgrid[0:side, 0:side] - (side - 1) / 2
    return ((radius - np.hypot(down, across) + 0.5).clip(0, 1) * 255).round().astype(np.uint8)


def test_a_cut_out_of_one_colour_has_it_everywhere():
    alpha = disc(150, 30)
    rgb = np.full((150, 150, 3), RED, np.uint8)
    rgb[alpha == 0] = (0, 255, 0)
    covered = cover_hidden(rgb, alpha)
    assert np.abs(covered.astype(int) - RED).max() <= 1  # 120 pixels away and on the soft edge


def test_hidden_places_have_the_colours_beside_them_and_between_those_no_edge():
    rgb = np.zeros((96, 320, 3), np.uint8)
    alpha = np.zeros((96, 320), np.uint8)
    rgb[:, :40], alpha[:, :40] = RED, 255
    rgb[:, 280:], alpha[:, 280:] = BLUE, 255
    covered = cover_hidden(rgb, alpha).astype(int)
    assert np.abs(covered[:, 40:56] - RED).max() < 30
    assert np.abs(covered[:, 264:280] - BLUE).max() < 30
    steps = np.abs(np.diff(covered, axis=1)).max((0, 2))
    assert steps.max() < 12  # of 200 from one side to the other


def test_half_transparent_pixels_keep_their_own_colours():
    rgb = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    alpha = np.random.default_rng(2).integers(15, 256, (40, 56), dtype=np.uint8)
    assert np.array_equal(cover_hidden(rgb, alpha), rgb)


def test_what_hardly_shows_gives_way_as_if_it_were_hidden():
    """As mattes leave it: an alpha of 1 where nothing should be."""
    rgb = np.full((128, 128, 3), (0, 255, 0), np.uint8)
    alpha = np.full((128, 128), 1, np.uint8)
    rgb[32:96, 32:96], alpha[32:96, 32:96] = RED, 255
    away = np.abs(cover_hidden(rgb, alpha).astype(int) - RED)
    assert away.max() < 25  # of 225


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 5), (64, 64), (65, 129)])
def test_a_lone_visible_pixel_colours_any_size(shape):
    rgb, alpha = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8)
    rgb[-1, -1], alpha[-1, -1] = BLUE, 255
    assert np.array_equal(cover_hidden(rgb, alpha), np.broadcast_to(np.array(BLUE), (*shape, 3)))


def test_large_images_are_worked_on_in_parts_that_leave_no_seam(monkeypatch):
    rng = np.random.default_rng(0)
    rgb = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((90, 200)))
    alpha = disc(200, 60)[:, :90]
    whole = cover_hidden(rgb, alpha)
    monkeypatch.setattr("adain_runtime.transparency._BLOCK", 1)
    assert np.array_equal(cover_hidden(rgb, alpha), whole)


def test_an_image_lies_over_one_colour_or_another_image():
    rgb = np.full((2, 3, 3), 200, np.uint8)
    alpha = np.array([[0, 51, 255], [255, 51, 0]], np.uint8)
    expected = np.array([[100, 120, 200], [200, 120, 100]])
    assert np.array_equal(over(rgb, alpha, (100, 100, 100))[..., 0], expected)
    assert np.array_equal(over(rgb, alpha, np.full((2, 3, 3), 100, np.uint8))[..., 2], expected)
