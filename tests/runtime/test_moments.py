"""Moments of pieces, merged: those of the whole, also where naive sums would lose every digit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_runtime.moments import Moments

sides = st.integers(1, 9)


def merged(pieces):
    total = Moments.nothing(pieces[0].mean.size)
    for piece in pieces:
        total = total.merged(piece)
    return total


@given(sides, sides, st.integers(0, 9), st.integers(0, 9), st.integers(0, 99), st.sampled_from([0, 1]))
def test_the_pieces_moments_are_the_wholes(height, width, row, column, seed, correction):
    values = np.random.default_rng(seed).normal(3, 2, (2, height + 1, width + 1)).astype(np.float32)
    parts = [
        values[:, rows, columns]
        for rows in (slice(None, row), slice(row, None))
        for columns in (slice(None, column), slice(column, None))
    ]
    found = merged([Moments.of(part) for part in parts if part.size])
    wide = values.astype(np.float64)
    np.testing.assert_allclose(found.mean, wide.mean((1, 2)), rtol=1e-7, atol=1e-7)
    variance = wide.var((1, 2), ddof=correction)
    np.testing.assert_allclose(found.std(correction=correction, eps=1e-5), np.sqrt(variance + 1e-5), rtol=1e-6)


def test_a_large_mean_takes_no_digits_from_a_small_variance():
    values = (10_000 + np.random.default_rng(0).normal(0, 0.5, (3, 64, 512))).astype(np.float32)
    wide = values.astype(np.float64)
    found = merged([Moments.of(values[:, :, i : i + 32]) for i in range(0, 512, 32)])
    np.testing.assert_allclose(found.mean, wide.mean((1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std(correction=1, eps=1e-12), wide.std((1, 2), ddof=1), rtol=1e-6)
    naive = np.square(values).mean((1, 2)) - values.mean((1, 2)) ** 2
    assert np.abs(naive - wide.var((1, 2))).max() > 0.1  # what float32 sums of squares would have given


def test_order_and_grouping_change_nothing_that_counts():
    pieces = [Moments.of(np.random.default_rng(i).normal(i, 1 + i, (4, 5, 6)).astype(np.float32)) for i in range(8)]
    forward, backward = merged(pieces), merged(pieces[::-1])
    halves = merged(pieces[:3]).merged(merged(pieces[3:]))
    for other in (backward, halves):
        np.testing.assert_allclose(forward.mean, other.mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(forward.squares, other.squares, rtol=1e-12)
    assert forward.weight == backward.weight == 8 * 30


def test_weights_are_counts_where_they_are_whole():
    values = np.random.default_rng(1).normal(2, 3, (3, 4, 5)).astype(np.float32)
    mask = np.random.default_rng(2).integers(0, 3, (4, 5)).astype(np.float32)
    repeated = np.repeat(values.reshape(3, -1), mask.astype(int).ravel(), axis=1)[:, None]
    weighted, counted = Moments.of(values, mask), Moments.of(repeated)
    assert weighted.weight == counted.weight
    np.testing.assert_allclose(weighted.mean, counted.mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(weighted.squares, counted.squares, rtol=1e-5)


def test_pieces_without_weight_change_nothing():
    values = np.ones((2, 3, 3), np.float32)
    some = Moments.of(values * 4)
    for nothing in (Moments.nothing(2), Moments.of(values, np.zeros((3, 3), np.float32))):
        assert merged([nothing, some, nothing]).mean.tolist() == some.mean.tolist()
        assert merged([nothing, nothing]).std(correction=1, eps=0.25).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_half_features_are_measured_as_wider_ones(kind):
    values = np.full((1, 40, 40), 300, kind)
    values[:, ::2] = 100
    found = Moments.of(values)
    assert found.mean.tolist() == [200]
    assert found.std(correction=0, eps=0.0).tolist() == pytest.approx([100])
