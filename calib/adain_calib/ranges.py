"""From a histogram to the range that int8 codes span: min-max, percentile, entropy, least squared error.

A range r has the step ``s = r / n``, a value x the code ``round(x / s)``: of ``n = 127`` steps, -127..127, where values
of both signs come, and of ``n = 255``, 0..255, where none is below zero and codes are shifted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adain_calib.histogram import Histogram
from adain_export.layer_range import FALLBACK, METHODS, NEGLIGIBLE, SHIFTED, SIGNED, Method, as_float32
from adain_runtime import telemetry
from adain_runtime.errors import InputError

PERCENTILE = 99.99
_ENTROPY_BINS = 1024  # a second for a tensor in onnxruntime's Python; its time grows with their square
_SMALLEST = 256  # the smallest range tried is this part of the largest value: 7 bits for the values of one step
_COARSE, _FINE = 193, 65  # ranges tried, a factor of 1.03 apart and then between the best one's neighbours
_POINT = 1e-6  # of a value: the width of a bin that holds the largest value alone


def ranges_of(histogram: Histogram, *, shifted: bool = False, percentile: float = PERCENTILE) -> dict[Method, float]:
    """The range of every method, float32 as Python numbers; ``FALLBACK`` for a tensor that is zero all over.

    Args:
        histogram: of the tensor.
        shifted: whether its codes stand for 0..range, and not for -range..range.
        percentile: of the method of that name, in percent.

    Raises:
        InputError: no percentage over 0.
    """
    check_percentile(percentile)
    if histogram.largest < NEGLIGIBLE:
        return dict.fromkeys(METHODS, FALLBACK)
    steps = SHIFTED if shifted else SIGNED
    found: dict[Method, float] = {
        "minmax": minmax(histogram),
        "entropy": entropy(histogram, steps),
        "percentile": at_percentile(histogram, percentile),
        "mse": least_error(histogram, steps),
    }
    return {method: as_float32(range_) for method, range_ in found.items()}


def minmax(histogram: Histogram) -> float:
    """The largest magnitude: nothing is clipped."""
    return histogram.largest


def at_percentile(histogram: Histogram, percentile: float = PERCENTILE) -> float:
    """The magnitude that ``percentile`` percent of all values, zeros among them, are not beyond: a bin's upper edge.

    Where that is zero, because nearly all values are, it would clip all that the tensor says: then the largest
    magnitude.

    Raises:
        InputError: no percentage over 0.
    """
    check_percentile(percentile)
    reached = histogram.zeros + np.cumsum(histogram.counts)
    wanted = percentile / 100 * histogram.count
    if histogram.zeros >= wanted:
        return histogram.largest
    place = int(np.searchsorted(reached, wanted))
    return min(float(histogram.edges[min(place, len(reached) - 1) + 1]), histogram.largest)


def check_percentile(percentile: float) -> None:
    """Refuse what is no percentage over 0.

    Raises:
        InputError: it is none.
    """
    if not 0 < percentile <= 100:
        raise InputError(
            f"a percentile of {percentile} is out of range; give a percentage over 0, such as {PERCENTILE}"
        )


def entropy(histogram: Histogram, steps: int = SIGNED) -> float:
    """The range that loses the least information (Kullback-Leibler), by onnxruntime's own search.

    A range of n steps has n + 1 codes for this, 128 for 8 bits with a sign, as onnxruntime and TensorRT count them.

    It is given the histogram mirrored to both signs and merged to at most 1024 bins a side (onnxruntime's default of
    128 bins for both sides leaves it one candidate). Zeros are left out, as TensorRT does: they are exact at every
    range, and where they are half of all values they would pull it to the smallest.
    """
    telemetry.opt_out()
    from onnxruntime.quantization.calibrate import HistogramCollector

    used = int(np.flatnonzero(histogram.counts)[-1]) + 1
    factor = 1
    while used > _ENTROPY_BINS * factor:
        factor *= 2
    codes = steps + 1
    bins = max(-(-used // factor), codes)
    counts = histogram.counts.reshape(-1, factor).sum(1)[:bins]
    with np.errstate(over="ignore"):  # the edge above the largest float32 there is
        edges = histogram.edges[::factor][: bins + 1].astype(np.float32)
    largest = np.float32(histogram.largest)
    signed = np.concatenate([counts[::-1], [0], counts])
    mirrored = np.concatenate([-edges[::-1], edges])
    collector = HistogramCollector("entropy", True, signed.size, codes, PERCENTILE, "same")
    low, high = collector.get_entropy_threshold((signed, mirrored, -largest, largest), codes)
    return min(max(-float(low), float(high)), histogram.largest)


def least_error(histogram: Histogram, steps: int = SIGNED) -> float:
    """The range whose codes have the least mean squared error, between 1/256 of the largest magnitude and all of it."""
    largest = histogram.largest
    coarse = np.geomspace(largest, largest / _SMALLEST, _COARSE)  # falling: of equals, the first clips least
    best = int(np.argmin(squared_error(histogram, coarse, steps)))
    fine = np.linspace(coarse[max(best - 1, 0)], coarse[min(best + 1, _COARSE - 1)], _FINE)
    return float(fine[np.argmin(squared_error(histogram, fine, steps))])


def squared_error(histogram: Histogram, ranges: NDArray[np.float64], steps: int = SIGNED) -> NDArray[np.float64]:
    """Mean squared error of the codes over all values, for each of several ranges [K] of so many steps.

    Within a bin, which ends at the largest value, values are taken as spread evenly, and the error
    ``(x - s * min(round(x / s), steps))^2`` is integrated exactly: with ``n = min(round(x / s), steps)`` its integral
    from 0 is ``n s^3 / 12 + (x - n s)^3 / 3``.
    """
    occupied = np.flatnonzero(histogram.counts)
    if not occupied.size:
        return np.zeros(len(ranges))
    lower, upper, counts = histogram.edges[occupied], histogram.edges[occupied + 1], histogram.counts[occupied]
    upper[-1] = max(histogram.largest, lower[-1] * (1 + _POINT))  # no value is beyond the largest
    step = (ranges / steps)[:, None]

    def integral(x: NDArray[np.float64]) -> NDArray[np.float64]:
        codes = np.minimum(np.rint(x / step), steps)
        total: NDArray[np.float64] = codes * step**3 / 12 + (x - codes * step) ** 3 / 3
        return total

    within = (integral(upper) - integral(lower)) / (upper - lower)
    error: NDArray[np.float64] = (within * counts).sum(1) / histogram.count
    return error


def clipped_share(histogram: Histogram, range_: float) -> float:
    """The share of values beyond a range, 0 to 1; within a bin they are taken as spread evenly."""
    if range_ >= histogram.largest or not histogram.count:
        return 0.0
    upper, width = histogram.edges[1:], histogram.edges[1]
    beyond = np.clip((upper - range_) / width, 0, 1)
    return float((histogram.counts * beyond).sum() / histogram.count)
