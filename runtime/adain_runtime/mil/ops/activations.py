"""Activation functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adain_runtime.mil.arithmetic import widen
from adain_runtime.mil.dtypes import Array


def relu(x: Array) -> Array:
    """The positive part."""
    return np.asarray(np.maximum(x, x.dtype.type(0)))


def relu6(x: Array) -> Array:
    """Between 0 and 6."""
    return np.clip(x, x.dtype.type(0), x.dtype.type(6))


def leaky_relu(x: Array, alpha: Array) -> Array:
    """``x`` where positive, else ``alpha * x``."""
    wide = widen(x)
    return np.where(wide >= 0, wide, wide * widen(alpha))


def prelu(x: Array, alpha: Array) -> Array:
    """``leaky_relu`` with an ``alpha`` [C] for each channel, axis 1."""
    return leaky_relu(x, alpha.reshape(1, -1, *[1] * (x.ndim - 2)))


def clamped_relu(x: Array, alpha: Array, beta: Array) -> Array:
    """``leaky_relu``, at most ``beta``."""
    return np.minimum(leaky_relu(x, alpha), widen(beta))


def sigmoid(x: Array) -> Array:
    """The logistic function, by the hyperbolic tangent, which never overflows."""
    wide = widen(x)
    return np.asarray(wide.dtype.type(0.5) * (np.tanh(wide * wide.dtype.type(0.5)) + wide.dtype.type(1)))


def silu(x: Array) -> Array:
    """``x * sigmoid(x)``."""
    return widen(x) * sigmoid(x)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.tanh(widen(x))


OPS: Mapping[str, Callable[..., Array]] = {
    "clamped_relu": clamped_relu,
    "leaky_relu": leaky_relu,
    "prelu": prelu,
    "relu": relu,
    "relu6": relu6,
    "sigmoid": sigmoid,
    "silu": silu,
    "tanh": tanh,
}
