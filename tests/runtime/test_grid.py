"""Windows over a side: all of one size, each cell kept once, and never nearer to a window's edge than the halo."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adain_runtime.errors import InputError
from adain_runtime.grid import Span, smallest_tile, spans, tiles


@given(st.integers(1, 400), st.integers(0, 60), st.integers(0, 5), st.sampled_from([1, 2, 4]), st.integers(1, 6))
def test_windows_cover_a_side_once_with_their_halo_and_are_alike(length, over, halo, unit, minimum):
    length *= unit
    assume(length >= minimum)
    tile = smallest_tile(halo, unit=unit, minimum=minimum) + over
    found = spans(length, tile, halo, unit=unit, minimum=minimum)
    assert [cell for span in found for cell in range(span.start, span.stop)] == list(range(length))
    assert len({span.high - span.low for span in found}) == 1
    size = found[0].high - found[0].low
    assert size % unit == 0
    assert size <= max(tile, unit)
    assert size >= minimum
    for span in found:
        assert 0 <= span.low <= span.start < span.stop <= span.high <= length
        assert span.start - span.low >= halo or span.low == 0
        assert span.high - span.stop >= halo or span.high == length


def test_a_side_that_fits_is_one_window():
    assert spans(20, 20, 4) == [Span(0, 20, 0, 20)]


def test_windows_are_no_larger_than_their_number_asks():
    assert [(s.low, s.high) for s in spans(100, 96, 4)] == [(0, 54), (46, 100)]
    assert [(s.start, s.stop) for s in spans(100, 96, 4)] == [(0, 50), (50, 100)]


def test_a_tile_that_keeps_nothing_is_refused():
    with pytest.raises(InputError, match="a tile of 8 cells is smaller than 9, a cell with a halo of 4"):
        spans(100, 8, 4)
    assert smallest_tile(4, unit=1, minimum=1) == 9
    assert smallest_tile(4, unit=4, minimum=1) == 12
    assert smallest_tile(0, unit=1, minimum=2) == 2


def test_tiles_run_row_by_row():
    rows, columns = spans(10, 10, 0), spans(10, 5, 0)
    assert [(tile.rows.start, tile.columns.start) for tile in tiles(rows, columns)] == [(0, 0), (0, 5)]
