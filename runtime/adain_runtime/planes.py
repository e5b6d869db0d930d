"""Between pixels and planes: [H,W,3] uint8 as the parts take it, [N,3,H,W] float32 in [0, 1], padded, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
_ROWS = 64  # rounded at once: they stay in the processor's cache from the first step to the last


def padded_length(length: int, multiple: int, minimum: int) -> int:
    """A side as the parts take it: a multiple of ``multiple``, at least ``minimum``."""
    return -(-max(minimum, length) // multiple) * multiple


def pad_to_fit(image: Pixels, multiple: int, minimum: int) -> Pixels:
    """[H,W,3] padded below and to the right to multiples of ``multiple``, at least ``minimum``.

    Reflected, or the edge repeated where a side has too little to reflect.
    """
    height, width = (padded_length(side, multiple, minimum) for side in image.shape[:2])
    return padded_window(image, (0, height), (0, width))


def padded_window(image: Pixels, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
    """A window of the padded image, without padding the whole; a view where it reaches no padding."""
    for axis, (low, high) in enumerate((rows, columns)):
        length = image.shape[axis]
        if high <= length:
            image = image[low:high] if axis == 0 else image[:, low:high]
        else:
            image = image.take(padded_indices(length, high)[low:], axis=axis)
    return image


def padded_indices(length: int, padded: int) -> NDArray[np.intp]:
    """Which of ``length`` rows stands at each of ``padded`` places."""
    places = np.arange(padded)
    if padded - length < length:
        return np.where(places < length, places, 2 * (length - 1) - places)
    return np.minimum(places, length - 1)


def to_planes(images: list[Pixels], multiple: int, minimum: int) -> Floats:
    """Images of one size as [N,3,H,W] float32 in [0, 1], padded."""
    return as_planes([pad_to_fit(image, multiple, minimum) for image in images])


def as_planes(images: list[Pixels]) -> Floats:
    """Images of one size as [N,3,H,W] float32 in [0, 1]."""
    height, width = images[0].shape[:2]
    planes = np.empty((len(images), 3, height, width), np.float32)
    for image, out in zip(images, planes, strict=True):
        np.divide(image.transpose(2, 0, 1), np.float32(255), out=out)
    return planes


def to_pixels(planes: NDArray[np.floating], out: Pixels) -> None:
    """Round [3,H',W'] in [0, 1] to the pixels ``out``, [H,W,3] uint8; what lies beyond H and W is cut off."""
    height, width = out.shape[:2]
    for top in range(0, height, _ROWS):
        rows = slice(top, min(height, top + _ROWS))
        for channel in range(3):
            block = planes[channel, rows, :width] * np.float32(255)
            np.rint(block, out=block)
            out[rows, :, channel] = np.clip(block, 0, 255, out=block)
