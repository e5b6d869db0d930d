"""How far two arrays are apart: the numbers that every parity line quotes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[np.floating]


_NOTHING = 1e-12  # a length in the place of none


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


def relative_l2(wanted: Floating, found: Floating) -> float:
    """Length of the difference over the length of what is wanted, in float64; NaN where either holds one.

    What is wanted is nowhere 0 in these networks' maps; where it is, as of a backend that paints black, any difference
    is huge, and finite.
    """
    reference = wanted.astype(np.float64)
    size, difference = float(np.linalg.norm(reference)), float(np.linalg.norm(found.astype(np.float64) - reference))
    return difference / (size or _NOTHING)


def cosine(wanted: Floating, found: Floating) -> float:
    """Cosine of the angle between two arrays as vectors, from -1 to 1; NaN where one is 0 or holds a NaN."""
    a, b = wanted.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(np.dot(a, b) / lengths, -1, 1)) if lengths else float("nan")
