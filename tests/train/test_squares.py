"""Test pictures as squares: the middle, at the size that was asked for."""

from __future__ import annotations

import numpy as np
from PIL import Image

from adain_train.squares import read_squares, to_pixels


def test_squares_are_the_middle_of_images_whose_shorter_side_is_the_size(tmp_path):
    stripes = np.zeros((30, 90, 3), np.uint8)
    stripes[:, 30:60] = 200
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    Image.fromarray(np.full((18, 18, 3), 99, np.uint8)).save(tmp_path / "small.png")
    images, (small, square) = read_squares(tmp_path, 30)
    assert images.names == ("small.png", "wide.png")
    assert small.shape == (1, 3, 30, 30)
    np.testing.assert_array_equal(to_pixels(small), 99)
    np.testing.assert_array_equal(to_pixels(square), 200)


def test_so_many_are_taken_as_were_asked_for_and_a_seed_says_which(tmp_path):
    for number in range(6):
        Image.fromarray(np.full((20, 20, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    first, again, other = (read_squares(tmp_path, 20, count=3, seed=seed)[0].names for seed in (0, 0, 1))
    assert first == again != other
    assert list(first) == sorted(first)
    images, squares = read_squares(tmp_path, 20, count=3)
    assert [f"{to_pixels(square)[0, 0, 0]}.png" for square in squares] == list(images.names)
    assert len(read_squares(tmp_path, 20, count=99)[1]) == 6
