"""The four methods, each against a slow and plain statement of what it should find."""

from __future__ import annotations

import numpy as np
import pytest

from adain_calib.histogram import Histogram
from adain_calib.ranges import (
    at_percentile,
    clipped_share,
    entropy,
    least_error,
    minmax,
    ranges_of,
    squared_error,
)
from adain_export.layer_range import FALLBACK, METHODS
from adain_runtime.errors import InputError

RNG = np.random.default_rng(5)
SAMPLES = {
    "laplace": RNG.laplace(size=40_000),
    "after a relu": np.maximum(RNG.normal(size=40_000), 0),
    "uniform": RNG.uniform(-3, 3, 40_000),
    "an outlier": np.append(RNG.normal(size=40_000), 60),
    "mostly zero": np.where(RNG.random(40_000) < 0.001, RNG.normal(size=40_000), 0),
    "tiny": 1e-20 * RNG.laplace(size=40_000),
    "huge": 1e37 * RNG.uniform(0, 1, 40_000),
}


@pytest.fixture(params=SAMPLES)
def values(request):
    return SAMPLES[request.param].astype(np.float32)


def histogram_of(values):
    histogram = Histogram("layer")
    histogram.add(np.asarray(values, np.float32))
    return histogram


def error_of(values, range_):
    wide = values.astype(np.float64)
    step = range_ / 127
    return float(np.mean((wide - step * np.clip(np.rint(wide / step), -127, 127)) ** 2))


def test_every_method_gives_a_positive_float32_of_at_most_the_largest_value(values):
    found = ranges_of(histogram_of(values))
    assert tuple(found) == METHODS
    for range_ in found.values():
        assert 0 < range_ <= np.abs(values).max()
        assert float(np.float32(range_)) == pytest.approx(range_, rel=1e-7)


def test_minmax_is_the_largest_magnitude_exactly(values):
    assert minmax(histogram_of(values)) == float(np.abs(values).max())


@pytest.mark.parametrize("percentile", [50, 99, 99.99])
def test_the_percentile_is_that_of_the_values_up_to_a_bin(percentile):
    values = SAMPLES["laplace"].astype(np.float32)
    histogram = histogram_of(values)
    wanted = np.percentile(np.abs(values), percentile, method="inverted_cdf")
    assert 0 <= at_percentile(histogram, percentile) - wanted <= histogram.edges[1]


def test_a_percentile_of_100_is_minmax(values):
    assert at_percentile(histogram_of(values), 100) == float(np.abs(values).max())


def test_a_percentile_that_only_zeros_reach_clips_nothing():
    values = SAMPLES["mostly zero"]
    assert at_percentile(histogram_of(values), 99) == float(np.abs(values.astype(np.float32)).max())


@pytest.mark.parametrize("percentile", [0, -1, 100.1, float("nan")])
def test_what_is_no_percentage_is_refused(percentile):
    with pytest.raises(InputError, match="give a percentage"):
        ranges_of(histogram_of([1.0]), percentile=percentile)


def test_the_expected_error_is_that_of_the_samples():
    values = SAMPLES["laplace"].astype(np.float32)
    ranges = np.array([0.5, 2, 5, float(np.abs(values).max())])
    wanted = [error_of(values, range_) for range_ in ranges]
    assert squared_error(histogram_of(values), ranges) == pytest.approx(wanted, rel=0.02)


def test_mse_is_as_good_as_brute_force_over_the_values(values):
    largest = float(np.abs(values).max())
    best = min(error_of(values, range_) for range_ in np.linspace(largest / 300, largest, 600))
    assert error_of(values, least_error(histogram_of(values))) <= 1.02 * best


def test_mse_clips_an_outlier_and_keeps_a_uniform_tensor_whole():
    assert least_error(histogram_of(SAMPLES["an outlier"])) < 55
    assert least_error(histogram_of(SAMPLES["uniform"])) > 2.9


def test_entropy_is_onnxruntimes_and_clips_an_outlier(capfd):
    assert entropy(histogram_of(SAMPLES["an outlier"])) < 60
    assert entropy(histogram_of(SAMPLES["uniform"])) > 2.8
    assert capfd.readouterr().out == ""


def test_entropy_does_not_heed_zeros():
    values = SAMPLES["laplace"]
    assert entropy(histogram_of(values)) == entropy(histogram_of(np.append(values, np.zeros(10**6))))


@pytest.mark.parametrize("values", [[], [0.0], [0.0, -0.0], [1e-35, -1e-40]])
def test_a_tensor_of_zeros_gets_the_fallback_and_no_zero_scale(values):
    assert ranges_of(histogram_of(values)) == dict.fromkeys(METHODS, FALLBACK)


@pytest.mark.parametrize("value", [1.0, -3.7, 1e-28])
def test_a_tensor_of_one_value_can_be_represented(value):
    found = ranges_of(histogram_of([value] * 5))
    for range_ in found.values():
        assert 0.4 * abs(value) < range_ <= float(np.abs(np.float32(value))) * 1.0000001


def test_the_share_beyond_a_range():
    values = SAMPLES["laplace"].astype(np.float32)
    histogram = histogram_of(values)
    assert clipped_share(histogram, 2.0) == pytest.approx((np.abs(values) > 2).mean(), rel=0.02)
    assert clipped_share(histogram, histogram.largest) == 0
    assert clipped_share(Histogram("empty"), 1.0) == 0
