"""Transparent pixels: what is put where nobody sees anything, and images put on a ground."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BLOCK = 1 << 18  # pixels
_SEEN = 15  # of 255: from this alpha on a pixel's own colour is what is seen; a divisor of 255
_CELL = 8  # pixels a side: how finely hidden places follow the colours beside them


def cover_hidden(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with what is visible near by under its hidden pixels, so that neither their colours nor edges are seen.

    The colours are means weighted by alpha, over squares of 8 pixels, or of 16, 32 and so on the less a smaller one
    shows, interpolated (pull-push, Gortler et al. 1996).

    Args:
        rgb: [H, W, 3].
        alpha: opacity [H, W], 255 is opaque.

    Returns:
        [H, W, 3]: pixels of an alpha from 15 on as they were, others the more of the ground the less of them shows. An
        image that is transparent all over stays as it is.
    """
    if not alpha.any():
        return rgb
    totals, weights = [], []
    for rows in _row_blocks(rgb):
        shown = alpha[rows]
        weighted = [np.multiply(rgb[rows, :, channel], shown, dtype=np.uint16) for channel in range(3)]
        totals.append(np.stack([_cells(channel, _CELL) for channel in weighted], -1))
        weights.append(_cells(shown, _CELL))
    height, width = alpha.shape
    pixels = np.outer(*(_cells(np.ones((1, side), np.int64), _CELL)[0] for side in (height, width)))
    ground = _grounded(np.concatenate(totals), np.concatenate(weights), pixels)
    small = Image.fromarray((ground + 0.5).astype(np.uint8))
    shown = np.minimum(alpha, _SEEN) * np.uint8(255 // _SEEN)
    return over(rgb, shown, np.asarray(_enlarged(small, (height, width), _CELL)))


def over(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], ground: NDArray[np.uint8] | tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Composite over one colour, or over an image [H, W, 3], rounded to the nearest."""
    out = np.empty_like(rgb)
    behind = np.broadcast_to(np.array(ground, np.uint8), rgb.shape)
    for rows in _row_blocks(rgb):
        for channel in range(3):  # at most 255 x 255 + 127, which uint16 holds
            mixed = np.multiply(rgb[rows, :, channel], alpha[rows], dtype=np.uint16)
            mixed += np.multiply(255 - alpha[rows], behind[rows, :, channel], dtype=np.uint16) + np.uint16(127)
            out[rows, :, channel] = mixed // np.uint16(255)
    return out


def _grounded(totals: NDArray[np.int64], weights: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean colours [h, w, 3] of cells of so many pixels; the less a cell shows, the more of the cells about it."""
    means: NDArray[np.float64] = totals / np.maximum(weights, 1)[..., None]
    trusted = np.minimum(weights / (pixels * _SEEN), 1)[..., None] ** 2  # squared, as all levels have their say
    if weights.size == 1 or (trusted == 1).all():
        return means
    sums = np.stack([_cells(totals[..., channel], 2) for channel in range(3)], -1)
    coarser = _grounded(sums, _cells(weights, 2), _cells(pixels, 2))
    channels = [Image.fromarray(coarser[..., channel].astype(np.float32)) for channel in range(3)]
    about = np.stack([np.asarray(_enlarged(channel, weights.shape, 2)) for channel in channels], -1)
    blended: NDArray[np.float64] = trusted * means + (1 - trusted) * about
    return blended


def _cells(values: NDArray[np.integer], side: int) -> NDArray[np.int64]:
    """Sums over squares of so many values a side, those at the right and the bottom cut."""
    height, width = values.shape
    across = np.add.reduceat(values, range(0, width, side), axis=1, dtype=np.int64)
    return np.add.reduceat(across, range(0, height, side), axis=0)


def _enlarged(image: Image.Image, shape: tuple[int, ...], times: int) -> Image.Image:
    """Interpolated between the middles of cells of so many pixels, the last of which may be cut."""
    height, width = shape[:2]
    return image.resize((width, height), Image.Resampling.BILINEAR, box=(0, 0, width / times, height / times))


def _row_blocks(image: NDArray[np.uint8]) -> Iterator[slice]:
    """Rows to work on at once, whole cells: wider numbers than uint8 never fill an image."""
    rows = max(1, _BLOCK // image.shape[1] // _CELL) * _CELL
    return (slice(top, top + rows) for top in range(0, len(image), rows))
