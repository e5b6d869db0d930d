"""Arithmetic on each element, with numpy's broadcasting, and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adain_runtime.errors import InputError
from adain_runtime.mil.arithmetic import widen
from adain_runtime.mil.dtypes import BY_NAME, Array


def clip(x: Array, alpha: Array, beta: Array) -> Array:
    """Between ``alpha`` and ``beta``."""
    return np.clip(widen(x), widen(alpha), widen(beta))


def cast(x: Array, dtype: str) -> Array:
    """To another type: floats to whole numbers toward zero, and what such a type can't hold to its nearest end."""
    if dtype not in BY_NAME or dtype == "string":
        raise InputError(f"casts to {dtype!r}, which the reference doesn't know")
    wanted = BY_NAME[dtype].numpy
    if wanted.kind in "iu" and x.dtype.kind == "f":
        ends = np.iinfo(wanted)
        whole = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0))
        return np.clip(whole, ends.min, ends.max).astype(wanted)
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(wanted)


def select(cond: Array, a: Array, b: Array) -> Array:
    """``a`` where the condition holds, else ``b``."""
    return np.where(cond, a, b)


def rsqrt(x: Array, epsilon: Array | float = 1e-12) -> Array:
    """``1 / sqrt(x + epsilon)``."""
    wide = widen(x)
    return np.asarray(1 / np.sqrt(wide + wide.dtype.type(epsilon)))


def inverse(x: Array, epsilon: Array | float = 1e-4) -> Array:
    """``1 / (x + epsilon)``."""
    wide = widen(x)
    return np.asarray(1 / (wide + wide.dtype.type(epsilon)))


def real_div(x: Array, y: Array) -> Array:
    """The quotient; of whole numbers rounded down."""
    return np.floor_divide(x, y) if x.dtype.kind in "iu" else np.divide(widen(x), widen(y))


def _unary(function: Callable[[Array], Any]) -> Callable[[Array], Array]:
    def operation(x: Array) -> Array:
        return np.asarray(function(widen(x)))

    return operation


def _binary(function: Callable[[Array, Array], Any]) -> Callable[[Array, Array], Array]:
    def operation(x: Array, y: Array) -> Array:
        return np.asarray(function(widen(x), widen(y)))

    return operation


OPS: Mapping[str, Callable[..., Array]] = {
    "abs": _unary(np.abs),
    "add": _binary(np.add),
    "cast": cast,
    "ceil": _unary(np.ceil),
    "clip": clip,
    "equal": _binary(np.equal),
    "exp": _unary(np.exp),
    "floor": _unary(np.floor),
    "floor_div": _binary(np.floor_divide),
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "inverse": inverse,
    "less": _binary(np.less),
    "less_equal": _binary(np.less_equal),
    "log": _unary(np.log),
    "logical_and": _binary(np.logical_and),
    "logical_not": _unary(np.logical_not),
    "logical_or": _binary(np.logical_or),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mod": _binary(np.mod),
    "mul": _binary(np.multiply),
    "not_equal": _binary(np.not_equal),
    "pow": _binary(np.power),
    "real_div": real_div,
    "round": _unary(np.rint),
    "rsqrt": rsqrt,
    "select": select,
    "sign": _unary(np.sign),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "sub": _binary(np.subtract),
}
