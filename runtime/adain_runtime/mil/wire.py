"""The protobuf wire format, as much of it as a Core ML model needs: fields of a message by number.

Source: https://protobuf.dev/programming-guides/encoding. A reader of our own, so that a package is executed where
neither protobuf nor coremltools is installed (coremltools has no wheels for every Python and platform).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adain_runtime.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


class Message:
    """One message: its fields by number, decoded when they are asked for.

    A field that isn't there has protobuf's default (0, empty), as every reader of the format sees it.

    Raises:
        BundleError: the bytes end within a field, or are no protobuf at all.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def which(self, *numbers: int) -> int | None:
        """The one of a ``oneof``'s field numbers that is set."""
        return next((number for number in numbers if number in self._fields), None)

    def whole(self, number: int) -> int:
        """An integer, signed; enums and booleans too."""
        value = self._fields.get(number, [0])[-1]
        if not isinstance(value, int):
            raise BundleError(f"field {number} of a message is no whole number: the model is damaged")
        return value - (1 << 64) if value >> 63 else value

    def text(self, number: int) -> str:
        """A UTF-8 text."""
        views = self._views(number)
        return _text(views[-1]) if views else ""

    def texts(self, number: int) -> tuple[str, ...]:
        """A repeated text."""
        return tuple(map(_text, self._views(number)))

    def raw(self, number: int) -> bytes:
        """A field of bytes."""
        views = self._views(number)
        return bytes(views[-1]) if views else b""

    def one(self, number: int) -> Message:
        """A message within this one."""
        views = self._views(number)
        return Message(views[-1] if views else b"")

    def many(self, number: int) -> Iterator[Message]:
        """A repeated message."""
        return map(Message, self._views(number))

    def mapping(self, number: int) -> Iterator[tuple[str, Message]]:
        """A map from text to message, in the order of the file."""
        return ((entry.text(1), entry.one(2)) for entry in self.many(number))

    def wholes(self, number: int) -> tuple[int, ...]:
        """Repeated integers, packed or not, signed."""
        found: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(value)
                continue
            position = 0
            while position < len(value):
                whole, position = _varint(value, position)
                found.append(whole)
        return tuple(value - (1 << 64) if value >> 63 else value for value in found)

    def numbers(self, number: int, dtype: str) -> NDArray[Any]:
        """Repeated floats (``<f4``) or doubles (``<f8``), packed or not."""
        data = b"".join(self._views(number))
        if len(data) % np.dtype(dtype).itemsize:
            raise BundleError(f"field {number} of a message ends within a number: the model is damaged")
        return np.frombuffer(data, dtype)

    def _views(self, number: int) -> list[memoryview]:
        values = self._fields.get(number, [])
        views = [value for value in values if isinstance(value, memoryview)]
        if len(views) != len(values):
            raise BundleError(f"field {number} of a message is a number where bytes are due: the model is damaged")
        return views


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if number == 0 or kind not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise BundleError("not a protobuf message, or a damaged one: copy or export the package again")
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        else:
            size = _FIXED_SIZES[kind]
        if position + size > len(data):
            raise BundleError("the model ends within a field: it was cut short; copy or export the package again")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for count in range(_LONGEST_VARINT):
        if position + count >= len(data):
            raise BundleError("the model ends within a number: it was cut short; copy or export the package again")
        byte = data[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position + count + 1
    raise BundleError("a number of more than ten bytes: not a protobuf message, or a damaged one")


def _text(view: memoryview) -> str:
    try:
        return bytes(view).decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"a name in the model is no UTF-8 ({error}): it is damaged") from error
