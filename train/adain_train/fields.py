"""What procedural pictures are made of: smooth noise, the cells of a mosaic, strokes, and a picture's own forms.

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


def grid(shape: tuple[int, int]) -> Field:
    """Where each pixel is: [2, H, W] float32, down and across."""
    return np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)


def turned(shape: tuple[int, int], angle: float, size: float) -> tuple[Field, Field]:
    """Where each pixel is on a grid turned by an angle in radians, in squares of so many pixels: along, and athwart."""
    down, across = grid(shape)
    along = (np.cos(angle) * across + np.sin(angle) * down) / size
    athwart = (np.cos(angle) * down - np.sin(angle) * across) / size
    return along, athwart


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
    down, across = grid(shape)
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


def over(top: Field, covers: Field, below: Field) -> Field:
    """Colours over others, [3] or [H, W, 3] each, where ``covers`` [H, W] is 1."""
    share = covers[..., None]
    return top * share + below * (1 - share)


def smoothed(picture: Field, cell: int) -> Field:
    """A picture [H, W, C] without what is smaller than so many pixels, float32."""
    shape = picture.shape[:2]
    small = (max(2, shape[1] // cell), max(2, shape[0] // cell))
    channels = [Image.fromarray(channel.astype(np.float32)) for channel in np.moveaxis(picture, -1, 0)]
    return np.stack([resized(np.asarray(c.resize(small, Image.Resampling.BOX)), shape) for c in channels], -1)


def sampled(picture: Field, down: Field, across: Field) -> Field:
    """A picture [h, w, C] at the places [H, W], in pixels, interpolated; beyond its border, its border."""
    height, width = picture.shape[:2]
    down, across = down.clip(0, height - 1.001), across.clip(0, width - 1.001)
    row, column = down.astype(int), across.astype(int)
    y, x = (down - row)[..., None], (across - column)[..., None]
    upper = picture[row, column] * (1 - x) + picture[row, column + 1] * x
    lower = picture[row + 1, column] * (1 - x) + picture[row + 1, column + 1] * x
    between: Field = upper * (1 - y) + lower * y
    return between


def slope(heights: Field) -> Field:
    """How steep [H, W] is, per pixel."""
    down, across = np.gradient(heights)
    steep: Field = np.hypot(across, down)
    return steep


def edges(light: Field) -> Field:
    """How steep a [H, W] picture is at half its size."""
    return slope(smoothed(light[..., None], 2)[..., 0])


def forms(rng: np.random.Generator, picture: Field) -> Field:
    """Directions [H, W] in radians, from x to y: along a picture's forms, and where it has none, random ones."""
    shape = picture.shape[:2]
    down, across = np.gradient(smoothed(picture, int(rng.integers(6, 16))).mean(-1))
    heights = smooth_noise(rng, shape, int(rng.integers(25, 120)))[..., 0] * rng.uniform(0.02, 0.6)
    free_down, free_across = np.gradient(heights)
    angles: Field = np.arctan2(down + free_down, across + free_across) + np.pi / 2
    return angles


def streaks(rng: np.random.Generator, angles: Field, length: int, *, cell: int = 1) -> Field:
    """Noise drawn out along directions (line integral convolution, Cabral & Leedom 1993).

    Args:
        rng: where it comes from.
        angles: [H, W] in radians, from x to y.
        length: pixels to each side.
        cell: pixels across a streak, about.

    Returns:
        [H, W] float32, mean 0 and standard deviation 1.
    """
    shape = angles.shape
    noise = smooth_noise(rng, shape, cell)[..., 0]
    sines, cosines = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    total = noise.copy()
    for way in (-1, 1):
        down, across = grid(shape)
        row, column = down.astype(int), across.astype(int)
        for _ in range(length):
            down = down + way * sines[row, column]
            across = across + way * cosines[row, column]
            row = np.round(down).astype(int).clip(0, shape[0] - 1)
            column = np.round(across).astype(int).clip(0, shape[1] - 1)
            total = total + noise[row, column]
    drawn: Field = (total - total.mean()) / (total.std() + 1e-6)
    return drawn


def palette(rng: np.random.Generator, picture: Field, count: int) -> Field:
    """So many colours of a picture, each a little off, [count, 3]; not clipped."""
    flat = picture.reshape(-1, 3)
    return flat[rng.integers(len(flat), size=count)] + rng.normal(size=(count, 3)) * rng.uniform(0, 0.2)
