"""The range of what enters one convolution: four methods' findings, and the step of int8 codes over each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from adain_export import strict_json
from adain_runtime.errors import InputError

SIGNED, SHIFTED = 127, 255
"""Steps in a range whose codes stand for -range..range, and in one whose codes stand for 0..range."""

Method = Literal["minmax", "entropy", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

NEGLIGIBLE = 1e-30
"""A tensor that never leaves this is taken for zero: the steps of its range would not be normal float32 numbers."""

FALLBACK = 1.0
"""The range of a tensor that is zero all over: any positive one represents it exactly."""

_FIELDS = ("min", "max", "shifted", "range", "scale", "ranges", "histogram")


@dataclass(frozen=True)
class Codes:
    """How int8 codes with zero point 0 stand for the values of a tensor.

    Attributes:
        step: between neighbouring codes; positive.
        shifted: whether 128 steps are taken off the values first. What comes out of a ReLU is never negative, and
            would leave half of the codes unused: so it has all 256, and half the step.
    """

    step: float
    shifted: bool = False

    @property
    def least(self) -> int:
        """The smallest value that a code stands for, in steps."""
        return 0 if self.shifted else -128

    @property
    def largest(self) -> int:
        """The largest value that a code stands for, in steps."""
        return SHIFTED if self.shifted else SIGNED


@dataclass(frozen=True)
class LayerRange:
    """What enters one convolution, before its padding.

    Attributes:
        minimum: smallest value seen.
        maximum: largest value seen.
        ranges: of each method; values beyond -range..range are clipped. Positive; float32, as a Python number.
        histogram: SHA-256 of the histogram that the ranges came from.
        shifted: whether the codes stand for 0..range: what enters is never negative, and nothing pads it with zeros.
    """

    minimum: float
    maximum: float
    ranges: Mapping[Method, float]
    histogram: str
    shifted: bool = False

    def codes(self, method: Method) -> Codes:
        """The codes that a graph has; their step is a float32."""
        return codes_over(self.ranges[method], shifted=self.shifted)

    def to_json(self, method: Method) -> dict[str, object]:
        """The layer as JSON values, with the range and the scale of the calibration's method for people to read."""
        return {
            "min": self.minimum,
            "max": self.maximum,
            "shifted": self.shifted,
            "range": self.ranges[method],
            "scale": self.codes(method).step,
            "ranges": {name: self.ranges[name] for name in METHODS},
            "histogram": self.histogram,
        }

    @classmethod
    def from_json(cls, where: str, plain: object, method: Method) -> LayerRange:
        """Read a layer.

        Args:
            where: what it is called in the file.
            plain: what `to_json` gave.
            method: the calibration's.

        Raises:
            InputError: a field is missing, unknown or out of its range, or the numbers contradict one another.
        """
        values = strict_json.fields_of(where, plain, _FIELDS)
        ranges = strict_json.fields_of(f"{where}.ranges", values["ranges"], METHODS)
        layer = cls(
            minimum=_float32(f"{where}.min", values["min"]),
            maximum=_float32(f"{where}.max", values["max"]),
            ranges={name: _float32(f"{where}.ranges.{name}", ranges[name]) for name in METHODS},
            histogram=strict_json.hexadecimal(f"{where}.histogram", values["histogram"]),
            shifted=strict_json.boolean(f"{where}.shifted", values["shifted"]),
        )
        _check_ranges(where, layer)
        for field, value in (("range", layer.ranges[method]), ("scale", layer.codes(method).step)):
            if _float32(f"{where}.{field}", values[field]) != value:
                wanted = f"{value}, as the method {method} has it"
                raise InputError(f"{where}.{field}: expected {wanted}; found {values[field]}")
        return layer


def as_float32(value: float) -> float:
    """The nearest float32 as the Python number whose text is shortest: what calibration.json holds."""
    return float(str(np.float32(value)))


def codes_over(range_: float, *, shifted: bool = False) -> Codes:
    """The codes over a range, their step rounded to float32: range / 127, or range / 255 where they are shifted."""
    return Codes(as_float32(np.float32(range_) / np.float32(SHIFTED if shifted else SIGNED)), shifted)


def method_named(where: str, value: object) -> Method:
    """A method by name.

    Raises:
        InputError: there is no such method.
    """
    if value not in METHODS:
        raise InputError(f"{where}: no method {value!r}; there are {', '.join(METHODS)}")
    return value


def _check_ranges(where: str, layer: LayerRange) -> None:
    if layer.minimum > layer.maximum:
        raise InputError(f"{where}: min {layer.minimum} is over max {layer.maximum}")
    if layer.shifted and layer.minimum < 0:
        raise InputError(f"{where}: shifted codes hold nothing below 0, and min is {layer.minimum}")
    largest = max(-layer.minimum, layer.maximum)
    highest = FALLBACK if largest < NEGLIGIBLE else largest
    for name, range_ in layer.ranges.items():
        if not 0 < range_ <= highest or codes_over(range_, shifted=layer.shifted).step < np.finfo(np.float32).tiny:
            wanted = f"a positive number of at most {highest}, the largest value seen"
            raise InputError(f"{where}.ranges.{name}: expected {wanted}; found {range_}")


def _float32(where: str, value: object) -> float:
    found = strict_json.number(where, value)
    with np.errstate(over="ignore"):
        rounded = as_float32(found)
    if not math.isfinite(rounded):
        raise InputError(f"{where}: expected a number that float32 holds, found {found}")
    return rounded
