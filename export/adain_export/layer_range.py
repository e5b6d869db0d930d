"""The range of what enters one convolution: four methods' findings, and the step of int8 codes over each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from adain_export import strict_json
from adain_runtime.errors import InputError

LEVELS = 127
"""The largest of the 255 codes -127..127: int8, symmetric, zero point 0."""

Method = Literal["minmax", "entropy", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

NEGLIGIBLE = 1e-30
"""A tensor that never leaves this is taken for zero: the steps of its range would not be normal float32 numbers."""

FALLBACK = 1.0
"""The range of a tensor that is zero all over: any positive one represents it exactly."""

_FIELDS = ("min", "max", "range", "scale", "ranges", "histogram")


@dataclass(frozen=True)
class LayerRange:
    """What enters one convolution, before its padding.

    Attributes:
        minimum: smallest value seen.
        maximum: largest value seen.
        ranges: of each method; values beyond -range..range are clipped. Positive; float32, as a Python number.
        histogram: SHA-256 of the histogram that the ranges came from.
    """

    minimum: float
    maximum: float
    ranges: Mapping[Method, float]
    histogram: str

    def scale(self, method: Method) -> float:
        """The step of the codes, the float32 that goes into a graph: range / 127."""
        return scale_of(self.ranges[method])

    def to_json(self, method: Method) -> dict[str, object]:
        """The layer as JSON values, with the range and the scale of the calibration's method for people to read."""
        return {
            "min": self.minimum,
            "max": self.maximum,
            "range": self.ranges[method],
            "scale": self.scale(method),
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
        )
        _check_ranges(where, layer)
        for field, value in (("range", layer.ranges[method]), ("scale", layer.scale(method))):
            if _float32(f"{where}.{field}", values[field]) != value:
                wanted = f"{value}, as the method {method} has it"
                raise InputError(f"{where}.{field}: expected {wanted}; found {values[field]}")
        return layer


def as_float32(value: float) -> float:
    """The nearest float32 as the Python number whose text is shortest: what calibration.json holds."""
    return float(str(np.float32(value)))


def scale_of(range_: float) -> float:
    """The step of the codes -127..127 over a range, rounded to float32."""
    return as_float32(np.float32(range_) / np.float32(LEVELS))


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
    largest = max(-layer.minimum, layer.maximum)
    highest = FALLBACK if largest < NEGLIGIBLE else largest
    for name, range_ in layer.ranges.items():
        if not 0 < range_ <= highest or scale_of(range_) < np.finfo(np.float32).tiny:
            wanted = f"a positive number of at most {highest}, the largest value seen"
            raise InputError(f"{where}.ranges.{name}: expected {wanted}; found {range_}")


def _float32(where: str, value: object) -> float:
    found = strict_json.number(where, value)
    with np.errstate(over="ignore"):
        rounded = as_float32(found)
    if not math.isfinite(rounded):
        raise InputError(f"{where}: expected a number that float32 holds, found {found}")
    return rounded
