"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adain_runtime.mil.arithmetic import Accumulate, half, sums, widen
from adain_runtime.mil.dtypes import Array


def reduce_sum(
    x: Array, axes: Array | None = None, keep_dims: Array | bool = False, accumulate: Accumulate = "float32"
) -> Array:
    """The sum over axes, all of them by default."""
    over = _axes(axes, x.ndim)
    return _shaped(sums(x, over, accumulate), over, keep_dims)


def reduce_mean(
    x: Array, axes: Array | None = None, keep_dims: Array | bool = False, accumulate: Accumulate = "float32"
) -> Array:
    """The mean over axes."""
    over = _axes(axes, x.ndim)
    count = np.float32(np.prod([x.shape[axis] for axis in over]))
    return _shaped(widen(sums(x, over, accumulate)) / count, over, keep_dims)


def reduce_sum_square(
    x: Array, axes: Array | None = None, keep_dims: Array | bool = False, accumulate: Accumulate = "float32"
) -> Array:
    """The sum of squares over axes; where sums are kept in float16, so are the squares."""
    over = _axes(axes, x.ndim)
    squares = widen(x) ** 2
    if accumulate == "float16" and x.dtype == np.float16:
        squares = half(squares)
    return _shaped(sums(squares, over, accumulate), over, keep_dims)


def reduce_max(x: Array, axes: Array | None = None, keep_dims: Array | bool = False) -> Array:
    """The largest over axes."""
    return np.asarray(x.max(axis=_axes(axes, x.ndim), keepdims=bool(keep_dims)))


def reduce_min(x: Array, axes: Array | None = None, keep_dims: Array | bool = False) -> Array:
    """The smallest over axes."""
    return np.asarray(x.min(axis=_axes(axes, x.ndim), keepdims=bool(keep_dims)))


def _axes(axes: Array | None, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim)) if axes is None else tuple(sorted(int(axis) % ndim for axis in np.ravel(axes)))


def _shaped(made: Array, axes: tuple[int, ...], keep_dims: Array | bool) -> Array:
    return made if keep_dims else made.squeeze(axes)


OPS: Mapping[str, Callable[..., Array]] = {
    "reduce_max": reduce_max,
    "reduce_mean": reduce_mean,
    "reduce_min": reduce_min,
    "reduce_sum": reduce_sum,
    "reduce_sum_square": reduce_sum_square,
}
