"""The streaming histogram: constant memory, exact counts, and no order that matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adain_calib.histogram import BINS, Histogram
from adain_runtime.errors import QualityError

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
BATCHES = st.lists(arrays(np.float32, st.integers(0, 6), elements=FLOATS), min_size=1, max_size=6)


def filled(*batches, times=1):
    histogram = Histogram("layer")
    for batch in batches:
        histogram.add(np.asarray(batch, np.float32), times=times)
    return histogram


@given(BATCHES, st.randoms())
def test_the_order_and_the_batching_of_values_change_nothing(batches, random):
    shuffled = random.sample(batches, len(batches))
    wanted = filled(np.concatenate(batches)).digest
    assert filled(*batches).digest == wanted
    assert filled(*shuffled).digest == wanted


@given(BATCHES)
def test_every_value_is_in_its_bin_and_counted_once(batches):
    values = np.abs(np.concatenate(batches)).astype(np.float64)
    histogram = filled(*batches)
    assert histogram.count == values.size
    assert histogram.zeros == (values == 0).sum()
    wanted, _ = np.histogram(values[values > 0], histogram.edges)
    assert histogram.counts.tolist() == wanted.tolist()
    assert histogram.largest == max(values, default=0)


@given(BATCHES)
def test_a_bin_is_at_most_a_thousandth_of_the_largest_value_wide(batches):
    histogram = filled(*batches)
    if histogram.largest:
        assert histogram.largest < histogram.edges[-1] <= 2 * histogram.largest
        assert histogram.edges[1] <= histogram.largest / (BINS / 2)


def test_a_range_that_doubles_merges_neighbours():
    first = filled([0.3, 0.6, 0.9])
    before = first.counts.copy()
    first.add(np.array([3.5], np.float32))
    quartered = before.reshape(-1, 4).sum(1)
    quartered = np.concatenate([quartered, np.zeros(3 * BINS // 4, np.int64)])
    quartered[int(3.5 * BINS / 4)] += 1
    assert first.counts.tolist() == quartered.tolist()
    assert first.counts.size == BINS


def test_minimum_and_maximum_are_exact_with_their_signs():
    histogram = filled([-0.7, -0.2], [-0.1])
    assert (histogram.minimum, histogram.maximum) == (float(np.float32(-0.7)), float(np.float32(-0.1)))


def test_times_counts_a_batch_so_often():
    assert filled([0, 1, 2], times=3).digest == filled(*[[0, 1, 2]] * 3).digest


def test_loudness_is_the_root_of_the_mean_square_of_each_channel():
    first, second = np.random.default_rng(0).normal(0, [[[1]], [[1e-3]], [[0]]], (2, 5, 3, 4, 6)).astype(np.float32)
    found = filled(first, second, second)
    wanted = np.sqrt((np.concatenate([first, second, second]).astype(np.float64) ** 2).mean((0, 2, 3)))
    np.testing.assert_allclose(found.loudness, wanted, rtol=1e-12)
    assert found.loudness[2] == 0
    twice = filled(first)
    twice.add(second, times=2)
    np.testing.assert_allclose(twice.loudness, wanted, rtol=1e-12)
    assert filled().loudness.size == 0


def test_digests_tell_histograms_apart():
    digests = {filled(values).digest for values in ([], [0], [1], [-1], [1, 1], [2], [0, 1])}
    assert len(digests) == 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_stops_and_names_the_tensor_and_the_images(bad):
    histogram = Histogram("decoder.conv3_1")
    values = np.array([[1, bad], [0, 2]], np.float32)
    with pytest.raises(QualityError, match=r"enters decoder\.conv3_1: 1 of 4 values are not finite for a\.jpg under b"):
        histogram.add(values, source="a.jpg under b.jpg")
    assert histogram.count == 0
