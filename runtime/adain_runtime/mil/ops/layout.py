"""Operations that move values and change none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adain_runtime.mil.dtypes import Array


def identity(x: Array) -> Array:
    """``x``."""
    return x


def reshape(x: Array, shape: Array) -> Array:
    """The same values in another shape; 0 keeps a size, -1 is what remains."""
    return x.reshape([x.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)])


def transpose(x: Array, perm: Array) -> Array:
    """Axes in another order."""
    return np.asarray(x.transpose([int(axis) for axis in perm]))


def expand_dims(x: Array, axes: Array) -> Array:
    """New axes of size 1."""
    return np.expand_dims(x, tuple(int(axis) for axis in np.ravel(axes)))


def squeeze(x: Array, axes: Array | None = None) -> Array:
    """Without axes of size 1, all of them by default."""
    return x.squeeze(None if axes is None else tuple(int(axis) for axis in np.ravel(axes)))


def concat(values: list[Array], axis: Array, interleave: Array | bool = False) -> Array:
    """Joined along an axis; interleaved, the first of each come first."""
    if not interleave:
        return np.concatenate(values, int(axis))
    where = int(axis) % values[0].ndim
    shape = list(values[0].shape)
    shape[where] *= len(values)
    return np.stack(values, where + 1).reshape(shape)


def stack(values: list[Array], axis: Array) -> Array:
    """Joined along a new axis."""
    return np.stack(values, int(axis))


def split(
    x: Array, axis: Array, num_splits: Array | int | None = None, split_sizes: Array | None = None
) -> tuple[Array, ...]:
    """Cut along an axis, into equal parts or parts of the sizes given."""
    if split_sizes is not None:
        return tuple(np.split(x, np.cumsum(split_sizes)[:-1], int(axis)))
    return tuple(np.split(x, 1 if num_splits is None else int(num_splits), int(axis)))


def slice_by_index(
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    """``x[begin:end:stride]`` of each axis; a mask leaves an end open, or takes the one element and its axis away."""
    index: list[Any] = []
    for axis in range(x.ndim):
        if squeeze_mask is not None and squeeze_mask[axis]:
            index.append(int(begin[axis]))
            continue
        low = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
        high = None if end_mask is not None and end_mask[axis] else int(end[axis])
        index.append(slice(low, high, None if stride is None else int(stride[axis])))
    return np.asarray(x[tuple(index)])


def slice_by_size(x: Array, begin: Array, size: Array) -> Array:
    """``size`` elements of each axis from ``begin``; -1 is all that remain."""
    index = tuple(
        slice(int(first), None if count == -1 else int(first) + int(count))
        for first, count in zip(begin, size, strict=True)
    )
    return x[index]


def tile(x: Array, reps: Array) -> Array:
    """Repeated, each axis as often as ``reps`` says."""
    return np.tile(x, [int(count) for count in reps])


def pixel_shuffle(x: Array, upscale_factor: Array | int) -> Array:
    """[N,C*r*r,H,W] to [N,C,H*r,W*r], in PyTorch's order of channels."""
    factor = int(upscale_factor)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels // factor**2, factor, factor, height, width)
    return np.asarray(parts.transpose(0, 1, 4, 2, 5, 3).reshape(batch, -1, height * factor, width * factor))


def pixel_unshuffle(x: Array, downscale_factor: Array | int) -> Array:
    """[N,C,H*r,W*r] to [N,C*r*r,H,W]: ``pixel_shuffle`` undone."""
    factor = int(downscale_factor)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // factor, factor, width // factor, factor)
    return np.asarray(parts.transpose(0, 1, 3, 5, 2, 4).reshape(batch, -1, height // factor, width // factor))


def depth_to_space(x: Array, block_size: Array | int) -> Array:
    """[N,r*r*C,H,W] to [N,C,H*r,W*r], the place within a block before the channel, as TensorFlow has it."""
    factor = int(block_size)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, factor, factor, channels // factor**2, height, width)
    return np.asarray(parts.transpose(0, 3, 4, 1, 5, 2).reshape(batch, -1, height * factor, width * factor))


OPS: Mapping[str, Callable[..., Any]] = {
    "concat": concat,
    "depth_to_space": depth_to_space,
    "expand_dims": expand_dims,
    "identity": identity,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "reshape": reshape,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}
