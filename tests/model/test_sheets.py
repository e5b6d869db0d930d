"""Contact sheets: every picture in its place, and every name in its column."""

from __future__ import annotations

import numpy as np
import pytest

from adain_model.sheets import picture_grid
from adain_runtime.errors import InputError


def test_a_picture_of_a_cells_size_stands_on_the_sheet_pixel_for_pixel():
    rng = np.random.default_rng(0)
    rows = [[rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)] for _ in range(2)]
    sheet = np.asarray(picture_grid(["a", "b", "c"], rows, cell=64))
    bottom, gutter = sheet.shape[0] - 4, 4
    for i, row in enumerate(reversed(rows)):
        for j, picture in enumerate(row):
            top, left = bottom - 64 - i * (64 + gutter), gutter + j * (64 + gutter)
            np.testing.assert_array_equal(sheet[top : top + 64, left : left + 64], picture)


def test_a_name_without_room_takes_more_lines_and_stays_in_its_column():
    white = np.full((64, 64, 3), 255, np.uint8)
    short = picture_grid(["a", "b"], [[white, white]], cell=64)
    long = picture_grid(["a", "a name of many words, and a-word-wider-than-the-column"], [[white, white]], cell=64)
    assert long.height > short.height
    inked = np.asarray(long).min(axis=(0, 2)) < 255
    assert not inked[: 4 + 20].any()
    assert not inked[-4:].any()
    assert inked[4 + 64 + 4 : -4].any()


@pytest.mark.parametrize("lengths", [(), (2, 1), (3,)])
def test_a_sheet_without_rows_or_with_another_number_of_pictures_is_refused(lengths):
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="a sheet of 2 columns wants as many pictures"):
        picture_grid(["a", "b"], [[picture] * length for length in lengths])
