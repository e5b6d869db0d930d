"""Between pixels and planes: [H,W,3] uint8 as the parts take it, [N,3,H,W] float32 in [0, 1], padded, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adain_runtime.manifest import Sizes
from adain_runtime.sizes import padded_size

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
_ROWS = 64  # rounded at once: they stay in the processor's cache from the first step to the last


def padded_window(image: Pixels, rows: tuple[int, int], columns: tuple[int, int], *, repeated: bool = False) -> Pixels:
    """A window of the padded image, without padding the whole; a view where it reaches no padding."""
    for axis, (low, high) in enumerate((rows, columns)):
        length = image.shape[axis]
        if high <= length:
            image = image[low:high] if axis == 0 else image[:, low:high]
        else:
            image = image.take(padded_indices(length, high, repeated=repeated)[low:], axis=axis)
    return image


def padded_indices(length: int, padded: int, *, repeated: bool = False) -> NDArray[np.intp]:
    """Which of ``length`` rows stands at each of ``padded`` places.

    Reflected, or the edge repeated where there is too little to reflect; with ``repeated``, reflected as often as it
    takes, so that statistics see the picture and not its edge.
    """
    places = np.arange(padded)
    if repeated and length > 1:
        period = 2 * (length - 1)
        return np.minimum(places % period, -places % period)
    if padded - length < length:
        return np.where(places < length, places, 2 * (length - 1) - places)
    return np.minimum(places, length - 1)


def planes_for(images: list[Pixels], sizes: Sizes) -> Floats:
    """Images of one size as [N,3,H,W] float32 in [0, 1], padded as a bundle takes them.

    Raises:
        InputError: they are larger than the bundle takes.
    """
    return as_planes([pad_to_fit(image, sizes) for image in images])


def pad_to_fit(image: Pixels, sizes: Sizes) -> Pixels:
    """[H,W,3] padded below and to the right to what a bundle takes.

    To a multiple by a reflected border (the edge repeated where a side has too little to reflect), to an exact size by
    as many reflections as it takes.

    Raises:
        InputError: it is larger than the bundle takes.
    """
    height, width = padded_size(image.shape[0], image.shape[1], sizes)
    return padded_window(image, (0, height), (0, width), repeated=bool(sizes.exact))


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
