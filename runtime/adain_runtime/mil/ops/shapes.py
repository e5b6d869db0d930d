"""Shapes as values: what networks of flexible sizes compute with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adain_runtime.errors import InputError
from adain_runtime.mil.dtypes import Array


def const(val: Array | str) -> Array | str:
    """A constant."""
    return val


def shape(x: Array) -> Array:
    """The sizes of ``x``."""
    return np.array(x.shape, np.int32)


def gather(
    x: Array,
    indices: Array,
    axis: Array | int = 0,
    batch_dims: Array | int = 0,
    validate_indices: Array | bool = False,
) -> Array:
    """Elements of ``x`` along an axis by their indices; negative ones count from the end."""
    if int(batch_dims) != 0:
        raise InputError(f"gathers with batch_dims {int(batch_dims)}; the reference does 0")
    size = x.shape[int(axis)]
    whole = indices.astype(np.int64)
    if whole.size and (whole.min() < -size or whole.max() >= size):
        checked = ", which the model asks to be checked" if validate_indices else ""
        raise InputError(f"gathers the index {whole.max()} of {size}{checked}")
    return np.asarray(np.take(x, whole, int(axis)))


def fill(shape: Array, value: Array | float = 0.0) -> Array:
    """One value in a shape."""
    return np.full([int(size) for size in shape], value)


OPS: Mapping[str, Callable[..., Array | str]] = {
    "const": const,
    "fill": fill,
    "gather": gather,
    "shape": shape,
}
