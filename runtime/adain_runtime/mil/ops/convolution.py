"""Convolutions in one and two dimensions, as matrix products over strips of the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adain_runtime.errors import InputError
from adain_runtime.mil.arithmetic import Accumulate, product, widen
from adain_runtime.mil.dtypes import Array
from adain_runtime.mil.ops.padding import window_padding

_STRIP_BYTES = 8 << 20  # of columns at a time: the matrix product runs at full speed and stays in the caches


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: Array | int = 1,
    accumulate: Accumulate = "float32",
) -> Array:
    """``x`` [N,C,H,W] or [N,C,W] under ``weight`` [O,C/groups,h,w] or [O,C/groups,w], padded with zeros."""
    axes = weight.ndim - 2
    if axes not in (1, 2) or x.ndim != weight.ndim:
        raise InputError(
            f"convolves {list(x.shape)} by {list(weight.shape)}; the reference does one and two dimensions"
        )
    steps, spread = _each(strides, axes), _each(dilations, axes)
    kernel = weight.shape[2:]
    windows = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, spread, strict=True)]
    amounts = window_padding(pad_type, pad, x.shape[2:], windows, steps)
    padded = np.pad(widen(x), ((0, 0), (0, 0), *amounts)) if any(map(any, amounts)) else widen(x)
    if axes == 1:  # as a map of one row
        padded, weight = padded[:, :, None], weight[:, :, None]
        steps, spread = (1, *steps), (1, *spread)
    groups, sums_in = int(groups), accumulate if x.dtype == np.float16 else "float32"
    filters = widen(weight).reshape(groups, -1, *weight.shape[1:])
    if filters.shape[2] * groups != padded.shape[1]:
        raise InputError(f"convolves {x.shape[1]} channels by weights for {filters.shape[2] * groups}")
    maps = padded.reshape(padded.shape[0], groups, -1, *padded.shape[2:])
    made = np.stack(
        [
            np.concatenate(
                [_one(image, kernels, steps, spread, sums_in) for image, kernels in zip(group, filters, strict=True)]
            )
            for group in maps
        ]
    )
    if bias is not None:
        made += widen(bias).reshape(-1, 1, 1)
    return made[:, :, 0] if axes == 1 else made


def _one(
    image: Array, kernels: Array, strides: tuple[int, ...], dilations: tuple[int, ...], accumulate: Accumulate
) -> Array:
    """[C,H,W] under [O,C,h,w], nothing padded."""
    outputs, channels, high, wide = kernels.shape
    (down, across), (rows_apart, columns_apart) = strides, dilations
    height = (image.shape[1] - (high - 1) * rows_apart - 1) // down + 1
    width = (image.shape[2] - (wide - 1) * columns_apart - 1) // across + 1
    matrix = kernels.reshape(outputs, -1)
    made = np.empty((outputs, height, width), np.float32)
    strip = max(1, _STRIP_BYTES // (4 * matrix.shape[1] * width))
    columns = np.empty((channels, high, wide, min(strip, height), width), np.float32)
    for first in range(0, height, strip):
        rows = min(strip, height - first)
        for i in range(high):
            top = first * down + i * rows_apart
            for j in range(wide):
                left = j * columns_apart
                columns[:, i, j, :rows] = image[
                    :, top : top + (rows - 1) * down + 1 : down, left : left + (width - 1) * across + 1 : across
                ]
        taken = columns[:, :, :, :rows].reshape(matrix.shape[1], rows * width)
        made[:, first : first + rows] = product(matrix, taken, accumulate).reshape(outputs, rows, width)
    return made


def _each(values: Array | None, axes: int) -> tuple[int, ...]:
    return (1,) * axes if values is None else tuple(int(value) for value in np.ravel(values))


OPS: Mapping[str, Callable[..., Array]] = {"conv": conv}
