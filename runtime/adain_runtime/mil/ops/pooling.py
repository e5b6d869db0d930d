"""Pooling and upsampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adain_runtime.errors import InputError
from adain_runtime.mil.dtypes import Array
from adain_runtime.mil.ops.padding import window_padding


def max_pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    ceil_mode: Array | bool = False,
) -> Array:
    """The largest in each window of ``x`` [N,C,H,W]; with ``ceil_mode`` of windows that reach over the end, too."""
    if x.ndim != 4:
        raise InputError(f"pools {list(x.shape)}; the reference does two dimensions")
    windows = [int(size) for size in np.ravel(kernel_sizes)]
    steps = [1, 1] if strides is None else [int(step) for step in np.ravel(strides)]
    amounts = window_padding(pad_type, pad, x.shape[2:], windows, steps)
    counts = [
        _windows(size, window, step, sides, bool(ceil_mode))
        for size, window, step, sides in zip(x.shape[2:], windows, steps, amounts, strict=True)
    ]
    reach = [(count - 1) * step + window for count, step, window in zip(counts, steps, windows, strict=True)]
    needed = [
        (before, max(0, length - size - before))
        for (before, _), length, size in zip(amounts, reach, x.shape[2:], strict=True)
    ]
    padded = np.pad(x, ((0, 0), (0, 0), *needed), constant_values=-np.inf) if any(map(any, needed)) else x
    made: Array | None = None
    for i in range(windows[0]):
        for j in range(windows[1]):
            seen = padded[
                :, :, i : i + reach[0] - windows[0] + 1 : steps[0], j : j + reach[1] - windows[1] + 1 : steps[1]
            ]
            made = seen.copy() if made is None else np.maximum(made, seen, out=made)
    if made is None:
        raise InputError("pools with windows of no size")
    return made


def upsample_nearest_neighbor(
    x: Array, scale_factor_height: Array | float = 1, scale_factor_width: Array | float = 1
) -> Array:
    """``x`` [N,C,H,W] with every element repeated, a whole number of times."""
    factors = [float(scale_factor_height), float(scale_factor_width)]
    if any(factor < 1 or factor != int(factor) for factor in factors):
        raise InputError(f"upsamples by {factors}; the reference does whole numbers")
    return x.repeat(int(factors[0]), 2).repeat(int(factors[1]), 3)


def _windows(size: int, window: int, step: int, sides: tuple[int, int], ceil: bool) -> int:
    span = size + sum(sides) - window
    count = (-(-span // step) if ceil else span // step) + 1
    # PyTorch's rule, which Core ML follows: a window that would begin in the padding after the map is left out
    return count - 1 if ceil and (count - 1) * step >= size + sides[0] else count


OPS: Mapping[str, Callable[..., Array]] = {
    "max_pool": max_pool,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
