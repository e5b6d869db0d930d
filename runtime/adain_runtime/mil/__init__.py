"""Core ML packages executed on any machine, op by op in numpy: a reference, not Core ML."""

from adain_runtime.mil.arithmetic import Accumulate
from adain_runtime.mil.features import Feature
from adain_runtime.mil.package import Function, Intermediate, Package
from adain_runtime.mil.ranges import Range, intermediates, value_ranges

__all__ = ["Accumulate", "Feature", "Function", "Intermediate", "Package", "Range", "intermediates", "value_ranges"]
