"""What procedural pictures are made of: smooth noise, the cells of a mosaic, and parallel strokes.

Every function draws from the generator that it is given, and from nothing else.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field: TypeAlias = NDArray[np.floating[Any]]
Cells: TypeAlias = NDArray[np.intp]

_FAR = 9.0  # cells: more than any seed near by
_ORIGIN = 1000  # cells: so that none has a negative place
_PLACES, _ROWS = 256, 4096  # cells: random places and shifts repeat after so many


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: int, channels: int = 1) -> Field:
    """Normal noise of one value for every ``cell`` pixels, interpolated.

    Args:
        rng: where it comes from.
        shape: H, W.
        cell: pixels between values.
        channels: of them.

    Returns:
        [H, W, channels] float32; nearly all of it between -2 and 2.
    """
    coarse = tuple(max(2, side // cell + 2) for side in shape)
    return np.stack([resized(rng.normal(size=coarse), shape) for _ in range(channels)], -1)


def voronoi(
    rng: np.random.Generator, shape: tuple[int, int], size: float, *, jitter: float, square: bool
) -> tuple[Cells, Field]:
    """Cells about the seeds of a grid that is turned, bent, and jittered.

    Args:
        rng: where they come from.
        shape: H, W.
        size: pixels from one seed to the next.
        jitter: how far a seed strays from its place, as a part of that.
        square: cells by the largest coordinate, in rows that are shifted like bricks; or by the distance.

    Returns:
        the number of the cell [H, W], all in use, and how much farther the second seed is than the first [H, W], in
        sizes: 0 at a border.
    """
    down, across = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    bent = smooth_noise(rng, shape, int(rng.integers(60, 160)), 2) * size * rng.uniform(0, 2)
    angle = rng.uniform(0, np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    u = (cosine * across + sine * down + bent[..., 0]) / size + _ORIGIN
    v = (-sine * across + cosine * down + bent[..., 1]) / (size * rng.uniform(0.7, 1.4)) + _ORIGIN
    shifts = rng.uniform(0, 1, _ROWS).astype(np.float32)
    if square:
        u = u + shifts[np.floor(v).astype(int) % _ROWS]
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    strayed = rng.uniform(-jitter, jitter, (_PLACES, _PLACES, 2)).astype(np.float32)
    nearest, second = np.full(shape, _FAR, np.float32), np.full(shape, _FAR, np.float32)
    names = np.zeros(shape, np.int64)
    for to_column in (column - 1, column, column + 1):
        for to_row in (row - 1, row, row + 1):
            seeds = strayed[to_column % _PLACES, to_row % _PLACES]
            x, y = u - (to_column + 0.5 + seeds[..., 0]), v - (to_row + 0.5 + seeds[..., 1])
            far = np.maximum(abs(x), abs(y)) if square else np.sqrt(x * x + y * y)
            closer = far < nearest
            second = np.where(closer, nearest, np.minimum(second, far))
            names = np.where(closer, (to_column % _ROWS) * _ROWS + to_row % _ROWS, names)
            nearest = np.where(closer, far, nearest)
    _, cells = np.unique(names, return_inverse=True)
    return cells.reshape(shape), second - nearest


def cell_means(values: Field, cells: Cells) -> Field:
    """The mean over each cell.

    Args:
        values: [H, W, C].
        cells: [H, W], numbers from 0, all in use.

    Returns:
        [cells, C] float64.
    """
    flat = cells.ravel()
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(values, -1, 0)]
    return np.stack(sums, 1) / np.bincount(flat)[:, None]


def strokes(rng: np.random.Generator, shape: tuple[int, int], angle: float, *, length: float, width: float) -> Field:
    """Noise that is long in one direction, its values spread evenly.

    Args:
        rng: where it comes from.
        shape: H, W.
        angle: of the strokes, in radians.
        length: of a stroke, in pixels.
        width: of a stroke, in pixels.

    Returns:
        [H, W] float32, 0 to 1, as much of it below any value as that value says.
    """
    height, width_ = shape
    side = int(np.hypot(height, width_)) + 4
    coarse = rng.normal(size=(int(side / width) + 2, int(side / length) + 2))
    lying = Image.fromarray(resized(coarse, (side, side)))
    turned = np.asarray(lying.rotate(np.degrees(angle), Image.Resampling.BICUBIC))
    top, left = (side - height) // 2, (side - width_) // 2
    cut = turned[top : top + height, left : left + width_]
    ranks: Field = np.argsort(np.argsort(cut.ravel())).reshape(shape) / cut.size
    return ranks.astype(np.float32)


def resized(values: Field, shape: tuple[int, int]) -> NDArray[np.float32]:
    """[h, w] interpolated to [H, W], float32 (cubic)."""
    height, width = shape
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
