"""A function's inputs and outputs as an app sees them: arrays and images, the sizes that they take, their checks.

Field numbers: coremltools' mlmodel/format/Model.proto and FeatureTypes.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adain_runtime.errors import InputError, QualityError
from adain_runtime.mil.dtypes import Array
from adain_runtime.mil.wire import Message

Range = tuple[int, int]
Color = Literal["rgb", "bgr", "gray"]

_IMAGE, _ARRAY = 4, 5
_ARRAYS = {65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8", 65552: "float16"}
_COLORS: dict[int, Color] = {10: "gray", 20: "rgb", 30: "bgr"}
_UNBOUNDED = 1 << 31


@dataclass(frozen=True)
class Feature:
    """An input or output of a function.

    Attributes:
        name: its name.
        color: how an image's planes are ordered in the network; None for an array. Images are given and returned as
            RGB, [H,W,3] uint8 ([H,W] where gray), whatever the order within.
        dtype: an array's element type.
        shape: its default shape; of an image [H,W]. None where the model doesn't say.
        shapes: all shapes that it takes, where they are listed.
        ranges: the smallest and largest size of each dimension, where they are given.
        description: what its author says of it.
    """

    name: str
    color: Color | None
    dtype: str
    shape: tuple[int, ...] | None
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[Range, ...] = ()
    description: str = ""

    @property
    def flexible(self) -> bool:
        """Whether it takes more than one shape."""
        return self.shape is None or bool(self.shapes or self.ranges)

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether it takes a shape (of an image, [H,W])."""
        if self.shapes:
            return shape in self.shapes
        if self.ranges:
            return len(shape) == len(self.ranges) and all(
                low <= size <= high for size, (low, high) in zip(shape, self.ranges, strict=True)
            )
        return self.shape is None or shape == self.shape

    def accepts(self) -> str:
        """The shapes that it takes, in words."""
        if self.shapes:
            return " or ".join(str(list(shape)) for shape in self.shapes)
        if self.ranges:
            spans = [str(low) if low == high else f"{low}..{_bound(high)}" for low, high in self.ranges]
            return f"[{', '.join(spans)}]"
        return "any shape" if self.shape is None else str(list(self.shape))

    def take(self, given: object) -> Array:
        """What the network is fed for what an app gives: an image becomes planes [1,3,H,W] float32 from 0 to 255.

        Raises:
            InputError: another type or a shape that it doesn't take.
            QualityError: a number that is not finite.
        """
        values = np.asarray(given)
        if self.color is not None:
            return self._take_image(values)
        wanted = np.dtype(self.dtype)
        if values.dtype.kind != wanted.kind:
            raise InputError(f"input {self.name!r}: wants {wanted}, found {values.dtype}")
        self._check(values.shape)
        if wanted.kind == "f" and not np.isfinite(values).all():
            raise QualityError(f"input {self.name!r} holds values that are not finite")
        return values.astype(wanted, copy=False)

    def give(self, values: Array) -> Array:
        """What an app gets for what the network made: an image is clipped to 0..255 and rounded.

        Core ML's own rounding of image outputs is not documented; this rounds to the nearest.
        """
        if self.color is None:
            return values.astype(self.dtype, copy=False)
        planes = np.rint(np.clip(values[0].astype(np.float32), 0, 255)).astype(np.uint8)
        if self.color == "gray":
            return np.asarray(planes[0])
        return np.ascontiguousarray((planes[::-1] if self.color == "bgr" else planes).transpose(1, 2, 0))

    def _take_image(self, values: Array) -> Array:
        gray = self.color == "gray"
        if values.dtype != np.uint8 or values.ndim != (2 if gray else 3) or not (gray or values.shape[2] == 3):
            wanted = "[H,W]" if gray else "[H,W,3]"
            raise InputError(
                f"input {self.name!r}: wants an image {wanted} uint8, found {values.dtype} {list(values.shape)}"
            )
        self._check(values.shape[:2])
        planes = values[None] if gray else values.transpose(2, 0, 1)
        return (planes[::-1] if self.color == "bgr" else planes)[None].astype(np.float32)

    def _check(self, shape: tuple[int, ...]) -> None:
        if not self.admits(shape):
            raise InputError(f"input {self.name!r}: takes {self.accepts()}, found {list(shape)}")


def read_features(messages: Iterable[Message]) -> tuple[Feature, ...]:
    """Inputs or outputs of a model's description.

    Raises:
        InputError: one is neither an array nor an image of 8 bits.
    """
    return tuple(map(_feature, messages))


def _feature(message: Message) -> Feature:
    name, kind, description = message.text(1), message.one(3), message.text(2)
    if kind.which(_IMAGE, _ARRAY) == _IMAGE:
        return _image(name, kind.one(_IMAGE), description)
    array = kind.one(_ARRAY)
    if _ARRAY not in kind or array.whole(2) not in _ARRAYS:
        raise InputError(f"{name!r} is neither an array nor an image, which the reference doesn't execute; use Core ML")
    return Feature(
        name,
        None,
        _ARRAYS[array.whole(2)],
        array.wholes(1) or None,
        shapes=tuple(shape.wholes(1) for shape in array.one(21).many(1)),
        ranges=tuple(_range(sizes) for sizes in array.one(31).many(1)),
        description=description,
    )


def _image(name: str, image: Message, description: str) -> Feature:
    if image.whole(3) not in _COLORS:
        raise InputError(
            f"{name!r} is an image of the color space {image.whole(3)}, and the reference takes 8-bit ones"
        )
    ranges = image.one(31)
    return Feature(
        name,
        _COLORS[image.whole(3)],
        "uint8",
        (image.whole(2), image.whole(1)),
        shapes=tuple((size.whole(2), size.whole(1)) for size in image.one(21).many(1)),
        ranges=(_range(ranges.one(2)), _range(ranges.one(1))) if 31 in image else (),
        description=description,
    )


def _range(message: Message) -> Range:
    low, high = message.whole(1), message.whole(2)
    return low, _UNBOUNDED if high < 0 else high


def _bound(high: int) -> str:
    return "any" if high == _UNBOUNDED else str(high)
