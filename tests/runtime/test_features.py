"""Features between the passes: whichever way they are kept, a window reads what was put."""

from __future__ import annotations

import shutil
import tempfile
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_runtime.errors import InputError
from adain_runtime.features import IN_MEMORY, FileFeatures, MemoryFeatures, choose_keeping
from adain_runtime.grid import spans, tiles


@given(
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 3),
    st.sampled_from(["float16", "float32"]),
    st.sampled_from([MemoryFeatures, FileFeatures]),
)
def test_a_window_holds_what_the_tiles_put(channels, height, width, halo, dtype, kind):
    values = np.random.default_rng(0).random((channels, height, width)).astype(dtype)
    writing = tiles(spans(height, 3, 1), spans(width, 4, 1))
    reading = tiles(spans(height, 2 * halo + 2, halo), spans(width, 2 * halo + 3, halo))
    features = kind(channels, height, width, np.dtype(dtype))
    for tile in writing:
        rows, columns = tile.rows, tile.columns
        features.put(rows, columns, values[:, rows.start : rows.stop, columns.start : columns.stop])
    for tile in reading:
        rows, columns = tile.rows, tile.columns
        found = features.window(rows, columns)
        assert found.flags.c_contiguous
        assert found.dtype == dtype
        np.testing.assert_array_equal(found[0], values[:, rows.low : rows.high, columns.low : columns.high])
    features.close()


def test_few_features_stay_in_memory_and_many_go_to_a_disk_that_has_room(monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10 << 30))
    assert choose_keeping(IN_MEMORY, None) == "memory"
    assert choose_keeping(IN_MEMORY, 8 * IN_MEMORY) == "memory"
    assert choose_keeping(IN_MEMORY, IN_MEMORY) == "file"
    assert choose_keeping(IN_MEMORY + 1, None) == "file"
    assert choose_keeping(20 << 30, None) == "recompute"


def test_without_a_temporary_folder_features_are_computed_again(monkeypatch):
    def nowhere():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert choose_keeping(IN_MEMORY + 1, None) == "recompute"


def test_a_disk_that_fills_is_one_line_with_the_fix(monkeypatch):
    features = FileFeatures(2, 4, 4, np.dtype("float32"))

    class Full:
        def seek(self, place):
            pass

        def write(self, data):
            raise OSError(28, "No space left on device")

    features.close()
    monkeypatch.setattr(features, "_file", Full())
    whole = spans(4, 4, 0)[0]
    with pytest.raises(InputError, match=r"features can't be kept there \(No space left on device\).*TMPDIR"):
        features.put(whole, whole, np.zeros((2, 4, 4), np.float32))


def test_without_a_temporary_folder_it_says_what_to_set(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(InputError, match=r"no temporary folder can be written.*set TMPDIR"):
        FileFeatures(2, 4, 4, np.dtype("float32"))


def test_a_file_that_was_cut_is_noticed():
    features = FileFeatures(2, 4, 4, np.dtype("float32"))
    whole = spans(4, 4, 0)[0]
    with pytest.raises(InputError, match="was cut short; run again"):
        features.window(whole, whole)
    features.close()
