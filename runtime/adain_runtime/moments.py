"""Mean and variance of each channel over cells that come in pieces, merged without losing digits.

Source of the merge: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
1979 (Stanford STAN-CS-79-773), with weights in the place of counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NOTHING = 1e-12  # cells; far below any mask that changes a pixel
_Wide = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted moments of C channels over some cells.

    Attributes:
        weight: sum of the cells' weights; without a mask, their number.
        mean: [C] float64.
        squares: [C] float64, weighted sum of squared differences from the mean.
    """

    weight: float
    mean: _Wide
    squares: _Wide

    @classmethod
    def nothing(cls, channels: int) -> Moments:
        """Of no cells: what merging begins with."""
        return cls(0.0, np.zeros(channels), np.zeros(channels))

    @classmethod
    def of(cls, features: NDArray[np.floating], mask: NDArray[np.floating] | None = None) -> Moments:
        """Of one piece.

        Products are of the features' own type (float32 for half ones), sums of at most a row of cells too; what is
        summed further is float64.

        Args:
            features: [C,h,w].
            mask: [h,w] weights, not negative; None weighs all alike.
        """
        values = features.astype(np.float32, copy=False)
        channels, height, width = values.shape
        if mask is None:
            weight = float(height * width)
            mean = values.sum(2).sum(1, dtype=np.float64) / weight
            centred = values - mean.astype(np.float32)[:, None, None]
            squares = np.einsum("chw,chw->ch", centred, centred).sum(1, dtype=np.float64)
            off = centred.sum(2).sum(1, dtype=np.float64) / weight  # what rounding the mean to float32 left
            return cls(weight, mean.astype(np.float32) + off, np.maximum(squares - weight * off * off, 0))
        weights = mask.astype(np.float64)
        weight = float(weights.sum())
        if weight <= 0:
            return cls.nothing(channels)
        mean = np.einsum("chw,hw->c", values, weights) / weight
        away = values - mean[:, None, None]
        return cls(weight, mean, np.einsum("chw,chw,hw->c", away, away, weights, optimize=True))

    def merged(self, other: Moments) -> Moments:
        """Of both pieces together."""
        weight = self.weight + other.weight
        if weight == 0:
            return self
        share = other.weight / weight
        apart = other.mean - self.mean
        return Moments(
            weight,
            self.mean + apart * share,
            self.squares + other.squares + apart * apart * (self.weight * share),
        )

    def std(self, *, correction: int, eps: float) -> _Wide:
        """Standard deviation [C], ``sqrt(squares / max(n - correction, n / 2) + eps)``.

        The divisor is ``n - correction`` from two cells on; below, in a region of soft mask, it stays positive.
        """
        count = max(self.weight, _NOTHING)
        deviation: _Wide = np.sqrt(self.squares / max(count - correction, count / 2) + eps)
        return deviation
