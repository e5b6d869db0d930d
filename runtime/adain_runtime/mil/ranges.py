"""What range every value of a function takes over samples: what int8 activations are calibrated by, off a Mac."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from adain_runtime.errors import QualityError
from adain_runtime.mil.dtypes import Array
from adain_runtime.mil.package import Package


@dataclass(frozen=True)
class Range:
    """The smallest and the largest value seen."""

    low: float
    high: float

    def widened(self, other: Range) -> Range:
        """The range of both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def intermediates(package: Package, function: str, feeds: Mapping[str, object]) -> Iterator[tuple[str, Array]]:
    """Every floating-point value of one run, by its name in the program, inputs included, as it is made."""
    return ((value.name, value.values) for value in package.trace(function, feeds) if value.type.dtype.is_float)


def value_ranges(package: Package, function: str, samples: Iterable[Mapping[str, object]]) -> dict[str, Range]:
    """The range of every floating-point value over all samples.

    Raises:
        QualityError: a value is not finite.
    """
    found: dict[str, Range] = {}
    for number, feeds in enumerate(samples, start=1):
        for name, values in intermediates(package, function, feeds):
            if not np.isfinite(values).all():
                raise QualityError(f"{package.path}: {function}: {name!r} is not finite on sample {number}")
            seen = Range(float(values.min()), float(values.max()))
            found[name] = found[name].widened(seen) if name in found else seen
    return found
