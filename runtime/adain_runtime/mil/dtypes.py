"""Element types of an ML Program, by their numbers in MIL.proto and in weight.bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adain_runtime.errors import BundleError

Array = NDArray[Any]


@dataclass(frozen=True)
class DType:
    """An element type.

    Attributes:
        name: as MIL spells it in ``cast``: ``fp16``, ``int8``, ``uint4``.
        number: its number in MIL.proto's ``DataType``.
        blob: its number in a blob's header in weight.bin; None for types that are never stored there.
        numpy: the type of the array that holds it; one of fewer bits is held in a byte.
        bits: bits an element takes in a file.
    """

    name: str
    number: int
    blob: int | None
    numpy: np.dtype[Any]
    bits: int

    @property
    def is_float(self) -> bool:
        """Whether it is a floating-point type."""
        return self.numpy.kind == "f"


def _dtype(name: str, number: int, blob: int | None, numpy: str, bits: int | None = None) -> DType:
    held = np.dtype(numpy)
    return DType(name, number, blob, held, held.itemsize * 8 if bits is None else bits)


TEXT = _dtype("string", 2, None, "U")
_ALL = (
    _dtype("bool", 1, None, "?"),
    TEXT,
    _dtype("fp16", 10, 1, "<f2"),
    _dtype("fp32", 11, 2, "<f4"),
    _dtype("fp64", 12, None, "<f8"),
    _dtype("int8", 21, 4, "i1"),
    _dtype("int16", 22, 6, "<i2"),
    _dtype("int32", 23, 14, "<i4"),
    _dtype("int64", 24, None, "<i8"),
    _dtype("int4", 25, 8, "i1", 4),
    _dtype("uint8", 31, 3, "u1"),
    _dtype("uint16", 32, 7, "<u2"),
    _dtype("uint32", 33, 15, "<u4"),
    _dtype("uint64", 34, None, "<u8"),
    _dtype("uint4", 35, 11, "u1", 4),
    _dtype("uint2", 36, 10, "u1", 2),
    _dtype("uint1", 37, 9, "u1", 1),
    _dtype("uint6", 38, 13, "u1", 6),
    _dtype("uint3", 39, 12, "u1", 3),
)
BY_NUMBER = {dtype.number: dtype for dtype in _ALL}
BY_NAME = {dtype.name: dtype for dtype in _ALL}


def unpack(data: bytes | memoryview, dtype: DType, count: int) -> Array:
    """Elements from the bytes of a file; those of fewer than eight bits are packed, low bits first.

    Raises:
        BundleError: the bytes don't hold just ``count`` elements.
    """
    wanted = (count * dtype.bits + 7) // 8
    if len(data) != wanted:
        raise BundleError(f"{count} elements of {dtype.name} take {wanted} bytes, found {len(data)}: it is damaged")
    if dtype.bits >= 8:
        return np.frombuffer(data, dtype.numpy)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * dtype.bits]
    weights = 1 << np.arange(dtype.bits)
    if dtype.numpy.kind == "i":
        weights[-1] = -weights[-1]
    return (bits.reshape(count, dtype.bits) @ weights).astype(dtype.numpy)
