"""Stands in for coremltools on a Mac: Core ML's calls, with the reference executor behind them."""

from enum import Enum


class ComputeUnit(Enum):
    """Which devices may be used."""

    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4
