"""Normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adain_runtime.mil.arithmetic import Accumulate, half, sums, widen
from adain_runtime.mil.dtypes import Array


def instance_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
    accumulate: Accumulate = "float32",
) -> Array:
    """``x`` [N,C,...], each image and channel brought to mean 0 and biased variance 1, then ``gamma``, ``beta`` [C].

    Where sums are kept in float16, the squares that are summed are float16 too.
    """
    axes = tuple(range(2, x.ndim))
    count = np.prod([x.shape[axis] for axis in axes])
    halves = accumulate == "float16" and x.dtype == np.float16
    mean = sums(x, axes, accumulate) / np.float32(count)
    centred = (widen(x) - mean).astype(np.float32)
    squares = half(half(centred) ** 2) if halves else centred**2
    variance = (sums(squares, axes, accumulate) / np.float32(count)).astype(np.float32)
    return _affine(centred / np.sqrt(variance + np.float32(epsilon)), gamma, beta)


def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """``x`` [N,C,...] normalised by a given mean and variance [C]."""
    mean, variance = (_by_channel(widen(values), x.ndim) for values in (mean, variance))
    return _affine((widen(x) - mean) / np.sqrt(variance + np.float32(epsilon)), gamma, beta)


def _affine(x: Array, gamma: Array | None, beta: Array | None) -> Array:
    if gamma is not None:
        x = x * _by_channel(widen(gamma), x.ndim)
    return x if beta is None else x + _by_channel(widen(beta), x.ndim)


def _by_channel(values: Array, ndim: int) -> Array:
    return values.reshape(1, -1, *[1] * (ndim - 2))


OPS: Mapping[str, Callable[..., Array]] = {"batch_norm": batch_norm, "instance_norm": instance_norm}
