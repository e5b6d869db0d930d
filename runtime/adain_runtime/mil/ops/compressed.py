"""Quantised activations, and weights stored as integers, palettes or what of them is not zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adain_runtime.errors import BundleError, InputError
from adain_runtime.mil.arithmetic import widen
from adain_runtime.mil.dtypes import BY_NAME, Array, DType, unpack

_PALETTE_BITS = {1: "uint1", 2: "uint2", 4: "uint4", 6: "uint6", 8: "uint8"}


def quantize(
    input: Array,  # noqa: A002 MIL's name
    scale: Array,
    output_dtype: str,
    zero_point: Array | int = 0,
    axis: Array | int = 0,
) -> Array:
    """``round(input / scale) + zero_point``, halves to even, clipped to ``int8`` or ``uint8``."""
    if output_dtype not in ("int8", "uint8"):
        raise InputError(f"quantizes to {output_dtype!r}; the reference does int8 and uint8")
    ends = np.iinfo(output_dtype)
    whole = np.rint(widen(input) / _along(scale, axis, input.ndim)) + _along(zero_point, axis, input.ndim)
    return np.asarray(np.clip(whole, ends.min, ends.max).astype(output_dtype))


def dequantize(
    input: Array,  # noqa: A002 MIL's name
    scale: Array,
    zero_point: Array | int = 0,
    axis: Array | int = 0,
) -> Array:
    """``scale * (input - zero_point)``, each a number or one for each index of the axis."""
    return (input.astype(np.float32) - _along(zero_point, axis, input.ndim)) * _along(scale, axis, input.ndim)


def constexpr_affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """Weights of iOS16: ``scale * (quantized_data - zero_point)``."""
    return dequantize(quantized_data, scale, zero_point, axis)


def constexpr_blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """Weights of iOS18: ``scale * (data - offset)``, one of each for every block of ``data``."""
    shifted = data.astype(np.float32)
    if offset is not None:
        shifted -= _blocks(widen(offset).astype(np.float32), data.shape)
    return shifted * _blocks(widen(scale), data.shape)


def constexpr_lut_to_dense(
    indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None
) -> Array:
    """Weights as indices into a palette.

    iOS16: ``indices`` are packed in bytes, ``lut`` is [entries], and ``shape`` says what they make. iOS18: ``indices``
    have the weights' shape, and ``lut`` [groups of each axis..., entries, vector] has a palette for every block of
    them; entries that are vectors spread along ``vector_axis``.
    """
    if shape is not None:
        return lut[_packed(indices, math.log2(lut.size), shape)]
    rank = indices.ndim
    blocks = [
        np.arange(size).reshape([-1 if axis == at else 1 for at in range(rank)]) // (size // groups)
        for axis, (size, groups) in enumerate(zip(indices.shape, lut.shape[:rank], strict=True))
    ]
    index: Any = (*blocks, indices)
    found: Array = lut[index]  # [..., vector]
    if vector_axis is None:
        if found.shape[-1] != 1:
            raise BundleError("a palette of vectors without the axis that they spread along: damaged")
        return np.asarray(found[..., 0])
    axis = int(vector_axis) % rank
    made = np.moveaxis(found, -1, axis + 1)
    return np.asarray(
        made.reshape([size * (lut.shape[-1] if at == axis else 1) for at, size in enumerate(indices.shape)])
    )


def constexpr_sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """Weights of which only those under the mask are stored, the others being zero.

    iOS16: ``mask`` is bits packed in bytes, for ``shape``. iOS18: ``mask`` has the weights' shape.
    """
    return _dense(nonzero_data, mask if shape is None else _packed(mask, 1, shape))


def constexpr_lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: Array | None = None
) -> tuple[Array, Array]:
    """A mask and what is under it, of weights that are a palette and sparse."""
    dense = constexpr_lut_to_dense(_dense(indices_nonzero_data, indices_mask), lut, vector_axis=vector_axis)
    mask = indices_mask if vector_axis is None else indices_mask.repeat(lut.shape[-1], int(vector_axis))
    return mask, dense[mask != 0]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """A mask and what is under it, of weights that are integers and sparse."""
    dense = constexpr_blockwise_shift_scale(_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


def constexpr_cast(source_val: Array, output_dtype: str) -> Array:
    """Weights of another float type."""
    if output_dtype not in BY_NAME:
        raise InputError(f"casts to {output_dtype!r}, which the reference doesn't know")
    return source_val.astype(BY_NAME[output_dtype].numpy)


def _along(values: Array | float, axis: Array | int, ndim: int) -> Array:
    """A number, or one for each index of an axis, so that it broadcasts."""
    wide = np.asarray(values, np.float32)
    return (
        wide.reshape([-1 if at == int(axis) % ndim else 1 for at in range(ndim)]) if wide.size > 1 else wide.reshape(())
    )


def _blocks(values: Array, shape: tuple[int, ...]) -> Array:
    if values.ndim != len(shape) or any(size % count for size, count in zip(shape, values.shape, strict=True)):
        raise BundleError(f"weights {list(shape)} don't fall into blocks {list(values.shape)}: damaged")
    for axis, size in enumerate(shape):
        values = values.repeat(size // values.shape[axis], axis) if values.shape[axis] > 1 else values
    return values


def _packed(data: Array, bits: float, shape: Array) -> Array:
    if bits not in _PALETTE_BITS:
        raise BundleError(f"a palette of 2 to the {bits:.3g} entries: damaged")
    dtype: DType = BY_NAME[_PALETTE_BITS[int(bits)]]
    sizes = [int(size) for size in shape]
    return unpack(data.tobytes(), dtype, math.prod(sizes)).reshape(sizes)


def _dense(values: Array, mask: Array) -> Array:
    if np.count_nonzero(mask) != values.size:
        raise BundleError(f"a mask of {np.count_nonzero(mask)} elements for {values.size} values: damaged")
    made = np.zeros(mask.shape, values.dtype)
    made[mask != 0] = values
    return made


OPS: Mapping[str, Callable[..., Any]] = {
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "constexpr_cast": constexpr_cast,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
    "constexpr_lut_to_sparse": constexpr_lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": constexpr_sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": constexpr_sparse_to_dense,
    "dequantize": dequantize,
    "quantize": quantize,
}
