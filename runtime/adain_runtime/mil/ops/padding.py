"""Padding of maps, and the windows that convolutions and pooling slide over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from adain_runtime.errors import InputError
from adain_runtime.mil.dtypes import Array

Amounts = tuple[tuple[int, int], ...]
_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def pad(x: Array, pad: Array, mode: str = "constant", constant_val: Array | float = 0.0) -> Array:
    """The last axes of ``x`` padded by [before, after] of each; the last two only if by reflection or replication."""
    if mode not in _MODES:
        raise InputError(f"pads by {mode!r}, which the reference doesn't know ({', '.join(_MODES)})")
    given = pairs(pad)
    amounts = ((0, 0),) * (x.ndim - len(given)) + given
    if mode == "constant":
        return np.pad(x, amounts, "constant", constant_values=x.dtype.type(constant_val))
    if any(amount != (0, 0) for amount in amounts[:-2]):
        raise InputError(f"pads by {mode!r} beyond the last two axes, which Core ML doesn't")
    if mode == "reflect" and any(max(sides) >= size for sides, size in zip(amounts, x.shape, strict=True)):
        raise InputError(f"reflects {list(amounts)} of a map {list(x.shape)}, which is too small for it")
    kind: Any = _MODES[mode]
    return np.pad(x, amounts, kind)


def pairs(pad: Array) -> Amounts:
    """[before, after, before, after, ...] as pairs."""
    values = [int(value) for value in np.ravel(pad)]
    return tuple(zip(values[::2], values[1::2], strict=True))


def window_padding(
    pad_type: str, pad: Array | None, sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int]
) -> Amounts:
    """How much a sliding window's map is padded, by MIL's ``pad_type``.

    Args:
        pad_type: ``valid``, ``custom`` (by ``pad``), ``same`` or ``same_lower``.
        pad: [before, after] of each axis.
        sizes: the map's.
        windows: the window's, with its dilation.
        strides: of the window.
    """
    if pad_type == "valid":
        return ((0, 0),) * len(sizes)
    if pad_type == "custom":
        return pairs(np.zeros(2 * len(sizes)) if pad is None else pad)
    if pad_type not in ("same", "same_lower"):
        raise InputError(f"has the pad_type {pad_type!r}, which the reference doesn't know")
    missing = [
        max((-(-size // stride) - 1) * stride + window - size, 0)
        for size, window, stride in zip(sizes, windows, strides, strict=True)
    ]
    less = pad_type == "same"  # where they are odd, the one more is after; with same_lower before
    return tuple((m // 2, m - m // 2) if less else (m - m // 2, m // 2) for m in missing)


OPS: Mapping[str, Callable[..., Array]] = {"pad": pad}
