"""Features between encoding and decoding in tiles: kept in memory, in a temporary file, or computed again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import IO, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adain_runtime.errors import InputError
from adain_runtime.grid import Span

Keeping = Literal["memory", "file", "recompute"]
IN_MEMORY = 256 << 20
"""Bytes of features up to which they stay in memory."""

_Array = NDArray[Any]
_ROOM = 1 << 28  # bytes that a temporary file leaves free on its disk


class Features(Protocol):
    """A feature map [C,h,w] that is written and read in windows. A protocol: the three ways share no code."""

    def put(self, rows: Span, columns: Span, values: _Array) -> None:
        """Take over what a tile keeps: [C,rows,columns]."""
        ...

    def window(self, rows: Span, columns: Span) -> _Array:
        """What a tile needs, halo included: [1,C,rows,columns]."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...


def choose_keeping(size: int, available: int | None) -> Keeping:
    """How to keep so many bytes of features: in memory while they are few, else on disk where there is room.

    Args:
        size: bytes of the whole feature map.
        available: bytes of memory that can be had; None where that is not known.
    """
    if size <= min(IN_MEMORY, IN_MEMORY if available is None else available // 4):
        return "memory"
    try:
        free = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:  # no temporary folder that can be written
        return "recompute"
    return "file" if free >= size + _ROOM else "recompute"


class MemoryFeatures:
    """The whole map as one array."""

    def __init__(self, channels: int, height: int, width: int, dtype: np.dtype[Any]) -> None:
        self._map = np.empty((1, channels, height, width), dtype)

    def put(self, rows: Span, columns: Span, values: _Array) -> None:
        """See ``Features``."""
        self._map[0, :, rows.start : rows.stop, columns.start : columns.stop] = values

    def window(self, rows: Span, columns: Span) -> _Array:
        """See ``Features``."""
        return np.ascontiguousarray(self._map[:, :, rows.low : rows.high, columns.low : columns.high])

    def close(self) -> None:
        """See ``Features``."""
        self._map = np.empty((1, 0, 0, 0), self._map.dtype)


class FileFeatures:
    """The map in a temporary file without a name, cell by cell with its channels together.

    Read and written, not mapped: mapped pages would count as this process's memory.
    """

    def __init__(self, channels: int, height: int, width: int, dtype: np.dtype[Any]) -> None:  # noqa: ARG002 as above
        self._channels, self._width, self._dtype = channels, width, dtype
        try:
            self._where = tempfile.gettempdir()
            self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 it lives as long as this object
        except OSError as error:
            raise InputError(
                f"no temporary folder can be written, and features must be kept in one ({error.strerror or error}); "
                "set TMPDIR to one that can, or make the picture smaller (--size)"
            ) from error

    def put(self, rows: Span, columns: Span, values: _Array) -> None:
        """See ``Features``.

        Raises:
            InputError: the disk is full.
        """
        cells = np.ascontiguousarray(values.transpose(1, 2, 0))
        try:
            for row, line in zip(range(rows.start, rows.stop), cells, strict=True):
                self._seek(row, columns.start)
                left = memoryview(line).cast("B")
                while left:
                    left = left[self._file.write(left) :]
        except OSError as error:
            raise InputError(
                f"{self._where}: features can't be kept there ({error.strerror or error}); make room, or set TMPDIR "
                "to a folder that has it"
            ) from error

    def window(self, rows: Span, columns: Span) -> _Array:
        """See ``Features``."""
        cells = np.empty((rows.high - rows.low, columns.high - columns.low, self._channels), self._dtype)
        for row, line in zip(range(rows.low, rows.high), cells, strict=True):
            self._seek(row, columns.low)
            left = memoryview(line).cast("B")
            while left:
                count = self._file.readinto(left)  # type: ignore[attr-defined]
                if not count:
                    raise InputError(f"{self._where}: the temporary file of the features was cut short; run again")
                left = left[count:]
        return np.ascontiguousarray(cells.transpose(2, 0, 1))[None]

    def _seek(self, row: int, column: int) -> None:
        self._file.seek((row * self._width + column) * self._channels * self._dtype.itemsize)

    def close(self) -> None:
        """See ``Features``."""
        self._file.close()


class RecomputedFeatures:
    """Nothing is kept: each window is encoded again, which costs as much as the encoder."""

    def __init__(self, encode: Callable[[Span, Span], _Array]) -> None:
        self._encode = encode

    def put(self, rows: Span, columns: Span, values: _Array) -> None:
        """See ``Features``."""

    def window(self, rows: Span, columns: Span) -> _Array:
        """See ``Features``."""
        return self._encode(rows, columns)

    def close(self) -> None:
        """See ``Features``."""
