"""Palettes: as good as the best, the same each time, and exact where there are few values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adain_export.coreml.palette import palette


@given(arrays(np.float16, st.integers(1, 300), elements=st.floats(-4, 4, width=16)), st.sampled_from([1, 4, 6, 8]))
def test_every_weight_takes_the_nearest_of_at_most_so_many_values(weights, bits):
    values, indices = palette(weights, bits)
    assert values.shape == (1 << bits,)
    assert values.dtype == weights.dtype
    assert np.all(np.diff(values) >= 0)
    errors = np.abs(weights.astype(np.float64)[:, None] - values.astype(np.float64))
    assert np.allclose(errors[np.arange(len(weights)), indices], errors.min(1), rtol=0, atol=1e-12)


def test_few_values_are_kept_exactly():
    weights = np.array([[0.5, -1.0], [0.5, 2.0]], np.float32)
    values, indices = palette(weights, 4)
    assert np.array_equal(values[indices].reshape(2, 2), weights)


@pytest.mark.parametrize(("bits", "known"), [(2, 0.1175), (3, 0.03454), (4, 0.009497)])
def test_normal_weights_get_the_error_of_the_best_quantiser(bits, known):
    """Max 1960, table 1: the least mean squared error of 4, 8 and 16 values for a normal distribution."""
    weights = np.random.default_rng(0).normal(0, 1, 200_000)
    values, indices = palette(weights, bits)
    assert np.mean((weights - values[indices]) ** 2) == pytest.approx(known, rel=0.02)
