"""A histogram of a tensor's magnitudes that takes any number of batches in constant memory."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from adain_runtime.errors import QualityError

BINS = 2048


class Histogram:
    """How often each magnitude of a tensor was seen, in ``BINS`` bins from 0 to a power of two.

    Where a batch goes beyond the range, the range doubles and neighbouring bins are merged, as often as it takes. The
    width of a bin is a power of two too, so that binning and merging are exact: the result does not depend on the order
    of the batches or on how values were batched. The range ends within a factor of two above the largest magnitude, so
    a bin is between 1/1024 and 1/2048 of it wide.

    Zeros are counted on their own: after a ReLU they are half of all values, and every range represents them exactly.

    Beside the counts it keeps how loud each channel is, which is summed in float64 and so exact to its rounding alone.

    Attributes:
        name: of the tensor, for errors.
        counts: [BINS] int64, values by magnitude, without zeros.
        zeros: values that were zero.
        minimum: smallest value; 0 before the first.
        maximum: largest value; 0 before the first.
        exponent: the range is 2 to this; None while nothing but zeros was seen.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.zeros = 0
        self.minimum = 0.0
        self.maximum = 0.0
        self.exponent: int | None = None
        self._empty = True
        self._squares: NDArray[np.float64] = np.zeros(0)

    def add(self, values: NDArray[np.float32], *, times: int = 1, source: str = "") -> None:
        """Count values.

        Args:
            values: float32 [N, C, ...], or [n] of one channel.
            times: how often they were seen.
            source: what they were computed from, for errors.

        Raises:
            QualityError: a value is NaN or infinite.
        """
        require_finite(f"what enters {self.name}", values, source)
        if not values.size or times < 1:
            return
        low, high = float(values.min()) + 0.0, float(values.max()) + 0.0  # which of two zeros comes first is chance
        self.minimum = low if self._empty else min(low, self.minimum)
        self.maximum = high if self._empty else max(high, self.maximum)
        self._empty = False
        channels = values.reshape(*values.shape[:2], -1) if values.ndim > 1 else values.reshape(1, 1, -1)
        squares: NDArray[np.float64] = times * np.square(channels, dtype=np.float64).sum((0, 2))
        self._squares = self._squares + squares if self._squares.size else squares
        magnitudes = np.abs(values.reshape(-1))
        magnitudes = magnitudes[magnitudes > 0]
        self.zeros += times * (values.size - magnitudes.size)
        if not magnitudes.size:
            return
        self._grow(int(np.frexp(magnitudes.max())[1]))
        assert self.exponent is not None  # noqa: S101 for the type checker: it has just grown
        # ldexp is exact, and the largest magnitude is below 2 to the exponent
        bins = np.ldexp(magnitudes, BINS.bit_length() - 1 - self.exponent).astype(np.int64)
        self.counts += times * np.bincount(bins, minlength=BINS)

    @property
    def count(self) -> int:
        """How many values were seen."""
        return self.zeros + int(self.counts.sum())

    @property
    def loudness(self) -> NDArray[np.float64]:
        """Root of the mean square of each channel, [C]; empty before the first values."""
        mean: NDArray[np.float64] = self._squares * self._squares.size / max(self.count, 1)
        return np.sqrt(mean)

    @property
    def largest(self) -> float:
        """The largest magnitude, exactly."""
        return max(-self.minimum, self.maximum, 0.0)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where the bins begin and end, [BINS + 1]; bin i holds magnitudes from edge i to below edge i + 1."""
        width = np.ldexp(1.0, (self.exponent or 0) - (BINS.bit_length() - 1))
        edges: NDArray[np.float64] = np.arange(BINS + 1) * width
        return edges

    @property
    def digest(self) -> str:
        """SHA-256 of all that the histogram knows."""
        head = f"{BINS} {self.exponent} {self.zeros} {self.minimum!r} {self.maximum!r}\n"
        return hashlib.sha256(head.encode() + self.counts.astype("<i8").tobytes()).hexdigest()

    def _grow(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent
        while self.exponent < exponent and self.counts.any():
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, np.int64)])
            self.exponent += 1
        self.exponent = max(self.exponent, exponent)


def require_finite(name: str, values: NDArray[np.float32], source: str = "") -> None:
    """Refuse an activation that holds NaN or infinity.

    Raises:
        QualityError: it does; names the tensor and what it was computed from.
    """
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        where = f" for {source}" if source else ""
        raise QualityError(
            f"{name}: {bad:,} of {values.size:,} values are not finite{where}; no range can hold them: look at the "
            "weights (adain-model info), or use an earlier checkpoint"
        )
