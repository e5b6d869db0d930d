"""A palette for weights: the few values that stand for all of them at the least squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BINS = 4096
_MOST_STEPS = 200


def palette(weights: NDArray[np.floating], bits: int) -> tuple[NDArray[np.floating], NDArray[np.uint8]]:
    """Cluster numbers by Lloyd's algorithm, the same way each time.

    It begins where a fine quantiser of least squared error has its values, with a density of the cube root of the
    weights' (Panter & Dite 1951), so that few steps remain and no start is drawn at random.

    Args:
        weights: of any shape, finite.
        bits: of an index.

    Returns:
        2^bits values, ascending, in the weights' type; and for each weight, flattened, the index of its value.
    """
    values, inverse, counts = np.unique(weights.astype(np.float64).ravel(), return_inverse=True, return_counts=True)
    size = 1 << bits
    if len(values) <= size:
        centres = np.concatenate([values, np.full(size - len(values), values[-1])])
        return centres.astype(weights.dtype), inverse.ravel().astype(np.uint8)
    centres = _start(values, counts, size)
    for _ in range(_MOST_STEPS):
        nearest = _nearest(values, centres)
        number = np.bincount(nearest, counts, size)
        sums = np.bincount(nearest, counts * values, size)
        moved = np.sort(np.where(number > 0, sums / np.maximum(number, 1), centres))
        if np.array_equal(moved, centres):
            break
        centres = moved
    rounded = centres.astype(weights.dtype)
    return rounded, _nearest(values, rounded.astype(np.float64))[inverse.ravel()].astype(np.uint8)


def _start(values: NDArray[np.float64], counts: NDArray[np.intp], size: int) -> NDArray[np.float64]:
    density, edges = np.histogram(values, _BINS, weights=counts)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    places = (np.arange(size) + 0.5) / size * share[-1]
    found: NDArray[np.float64] = np.interp(places, share, edges)
    return found


def _nearest(values: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
