"""How numbers are computed: in float32 or wider, and sums either there or, at the pessimist's wish, in float16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adain_runtime.mil.dtypes import Array

Accumulate = Literal["float32", "float16"]
"""How sums over float16 values are kept.

``float32``: in float32, rounded once, as a matrix unit with wide accumulators does. ``float16``: every partial sum is
rounded to float16, term by term (a convolution: after every ``PRODUCTS`` products), as the poorest accelerator might.
Apple doesn't publish which of its units do what; a network that stays good under both doesn't depend on it.
"""

PRODUCTS = 32


def widen(values: Array) -> Array:
    """Float16 as float32, which holds every value of it; all other types as they are."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def half(values: Array) -> NDArray[np.float16]:
    """Rounded to float16; what is too large is infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float16)


def sums(values: Array, axes: tuple[int, ...], accumulate: Accumulate) -> Array:
    """Sums over axes, which are kept with size 1.

    Float16 is summed in float32 and float32 in float64, unless float16 is to be accumulated in itself.
    """
    if values.dtype == np.float16 and accumulate == "float16":
        return _half_sums(values, axes)
    wide: Any = {np.dtype(np.float16): np.float32, np.dtype(np.float32): np.float64}.get(values.dtype)
    total: Array = np.add.reduce(values, axis=axes, keepdims=True, dtype=wide)
    return total


def product(left: Array, right: Array, accumulate: Accumulate) -> Array:
    """The matrix product of float32 matrices, whose values are float16's where the sums are to be."""
    if accumulate == "float32":
        return left @ right
    total = np.zeros((left.shape[0], right.shape[1]), np.float32)
    for chunk in _chunks(left.shape[1]):
        total = _to_half(total + _to_half(left[:, chunk] @ right[chunk]))
    return total


def _half_sums(values: Array, axes: tuple[int, ...]) -> Array:
    """One term after the other: numpy's own sum of float16 keeps float32 inside and would flatter."""
    kept = tuple(axis for axis in range(values.ndim) if axis not in axes)
    terms = np.ascontiguousarray(values.transpose(axes + kept)).reshape(-1, *(values.shape[axis] for axis in kept))
    total = np.zeros(terms.shape[1:], np.float32)
    for term in terms:
        total = _to_half(total + term)
    return half(total).reshape([1 if axis in axes else size for axis, size in enumerate(values.shape)])


def _to_half(values: Array) -> Array:
    """Float32 rounded to what float16 holds; sums of two such, rounded again, are float16's own, and faster."""
    return half(values).astype(np.float32)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + PRODUCTS) for start in range(0, count, PRODUCTS))
