"""weight.bin, the file beside a Core ML model that holds its weights: a header, then blobs, each with one of its own.

Source of the layout: coremltools' mlmodel/src/MILBlob/Blob/StorageFormat.hpp. The format has no checksum: a flipped bit
in a header is found here, one in the weights only by a bundle's SHA-256.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from adain_runtime.errors import BundleError
from adain_runtime.mil.dtypes import Array, DType, unpack

_VERSION = 2
_SENTINEL = 0xDEADBEEF
_ALIGNMENT = 64
_FILE_HEADER = struct.Struct("<II")
_BLOB_HEADER = struct.Struct("<IIQQQ")
_AGAIN = "copy or export the package again"


class Blobs:
    """An open weight.bin, every header of it checked.

    Raises:
        BundleError: no such file, another format, or headers that contradict each other or the file's size.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._data = memoryview(self._path.read_bytes())
        except OSError as error:
            raise BundleError(f"{self._path}: can't be read ({error.strerror}); {_AGAIN}") from error
        self._headers = self._walk()

    def read(self, offset: int, dtype: DType, count: int) -> Array:
        """The elements of the blob whose header is at ``offset``.

        Raises:
            BundleError: no blob begins there, or it holds another type or another number of elements.
        """
        if offset not in self._headers:
            raise BundleError(f"{self._path}: the model names a blob at {offset}, and none begins there; {_AGAIN}")
        number, size, start, padding = self._headers[offset]
        if number != dtype.blob or padding not in (0, size * 8 - count * dtype.bits):
            raise BundleError(
                f"{self._path}: the blob at {offset} holds type {number}, and the model says {count} elements of "
                f"{dtype.name} ({dtype.blob}); {_AGAIN}"
            )
        try:
            return unpack(self._data[start : start + size], dtype, count)
        except BundleError as error:
            raise BundleError(f"{self._path}: the blob at {offset}: {error}; {_AGAIN}") from error

    def _walk(self) -> dict[int, tuple[int, int, int, int]]:
        if len(self._data) < _ALIGNMENT:
            raise BundleError(f"{self._path}: has {len(self._data)} bytes, fewer than its header; {_AGAIN}")
        count, version = _FILE_HEADER.unpack_from(self._data)
        if version != _VERSION:
            raise BundleError(f"{self._path}: weight format {version}, and this reads format {_VERSION}; {_AGAIN}")
        found: dict[int, tuple[int, int, int, int]] = {}
        offset = _ALIGNMENT
        for index in range(count):
            if offset + _ALIGNMENT > len(self._data):
                raise BundleError(f"{self._path}: ends before blob {index + 1} of {count}: cut short; {_AGAIN}")
            sentinel, number, size, start, padding = _BLOB_HEADER.unpack_from(self._data, offset)
            if sentinel != _SENTINEL or start != offset + _ALIGNMENT:
                raise BundleError(
                    f"{self._path}: no blob header at {offset} ({index + 1} of {count}): damaged; {_AGAIN}"
                )
            if start + size > len(self._data):
                raise BundleError(
                    f"{self._path}: the blob at {offset} ends at {start + size:,}, past the file's {len(self._data):,} "
                    f"bytes: cut short or damaged; {_AGAIN}"
                )
            found[offset] = (number, size, start, padding)
            offset = -(-(start + size) // _ALIGNMENT) * _ALIGNMENT
        if offset < len(self._data):
            raise BundleError(f"{self._path}: holds {count} blobs and bytes after them: damaged; {_AGAIN}")
        return found
