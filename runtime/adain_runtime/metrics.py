"""How far two arrays are apart: the numbers that every parity line quotes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[np.floating]


def max_abs(a: Floating, b: Floating) -> float:
    """Largest absolute difference, computed in float64; NaN where either holds one."""
    return float(np.abs(a.astype(np.float64) - b).max())


def psnr(a: Floating, b: Floating, *, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(peak^2 / MSE)``; infinite for equal arrays.

    Args:
        a: values in [0, peak].
        b: the same shape.
        peak: 1 for images in [0, 1], 255 for uint8 ones.
    """
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))
