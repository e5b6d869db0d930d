"""Pictures as crafts would make them: mosaics, stained glass, dots of paint, hatching, graphite, lines on paper.

Collections of paintings hold few of these, and a network that has seen few of a kind reads its style badly. So
they are drawn after other pictures, each with random sizes, colours and strengths; nothing is meant to look like
any one work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adain_runtime.errors import InputError
from adain_train.data import Pixels
from adain_train.fields import Field, cell_means, resized, smooth_noise, strokes, voronoi

Craft: TypeAlias = Callable[[np.random.Generator, Field], Field]
"""Draws after a picture [H, W, 3] in [0, 1], and gives one of its size, not clipped."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
SMALLEST = 32
"""Pixels a side that a picture to draw after must have."""


def mosaic(rng: np.random.Generator, picture: Field) -> Field:
    """Small stones, laid in rows or at random, with mortar between; some nearly without colour."""
    shape, size = picture.shape[:2], rng.uniform(5, 16)
    stones, gap = voronoi(rng, shape, size, jitter=rng.uniform(0.05, 0.35), square=bool(rng.random() < 0.6))
    colours = cell_means(picture, stones)
    colours = colours + rng.normal(size=(len(colours), 1)) * rng.uniform(0.02, 0.12)
    colours = colours + rng.normal(size=colours.shape) * rng.uniform(0, 0.05)
    if rng.random() < 0.4:
        colours = colours.mean(1, keepdims=True) * 0.8 + 0.2 * colours
    surface = colours[stones] + smooth_noise(rng, shape, 2) * rng.uniform(0, 0.06)
    mortar = (rng.choice([0.08, 0.3, 0.6, 0.9]) + rng.normal(size=3) * 0.06).clip(0, 1)
    inside = (gap * size / rng.uniform(1.0, 2.5) - rng.uniform(0, 0.3)).clip(0, 1)
    return _over(surface, inside, mortar)


def glass(rng: np.random.Generator, picture: Field) -> Field:
    """Panes of bright colours, held by lead."""
    shape, size = picture.shape[:2], rng.uniform(20, 60)
    panes, gap = voronoi(rng, shape, size, jitter=rng.uniform(0.2, 0.5), square=False)
    colours = cell_means(picture, panes)
    grey = colours.mean(1, keepdims=True)
    colours = grey + (colours - grey) * rng.uniform(1, 2.5) + rng.normal(size=colours.shape) * rng.uniform(0, 0.2)
    surface = colours[panes] * (1 + smooth_noise(rng, shape, 6) * rng.uniform(0, 0.15))
    surface = surface + smooth_noise(rng, shape, 20) * rng.uniform(0, 0.1)
    inside = (gap * size / rng.uniform(2, 5) - 0.3).clip(0, 1)
    return _over(surface, inside, np.full(3, rng.uniform(0, 0.15)))


def dots(rng: np.random.Generator, picture: Field) -> Field:
    """Dots of paint in one to three layers, each dot a little off its colour."""
    shape = picture.shape[:2]
    drawn: Field = np.ones(picture.shape) * (picture.mean((0, 1)) + rng.normal(size=3) * 0.2).clip(0, 1)
    size, strays, radius = rng.uniform(3.5, 9), rng.uniform(0.03, 0.25), rng.uniform(0.42, 0.62)
    for _ in range(int(rng.integers(1, 4))):
        cells, _ = voronoi(rng, shape, size, jitter=0.3, square=False)
        places = np.moveaxis(np.mgrid[0 : shape[0], 0 : shape[1]], 0, -1)
        from_middle = places - cell_means(places, cells)[cells]
        colours = cell_means(picture, cells)
        colours = colours + rng.normal(size=colours.shape) * strays
        inside = (size * radius - np.hypot(from_middle[..., 0], from_middle[..., 1]) + 0.5).clip(0, 1)
        drawn = _over(colours[cells], inside, drawn)
    return drawn


def hatching(rng: np.random.Generator, picture: Field) -> Field:
    """Layers of parallel strokes, more where it is darker, and outlines; ink on paper, either may be coloured."""
    shape, light = picture.shape[:2], picture @ _LUMINANCE
    light = ((light - light.min()) / (np.ptp(light) + 1e-3)) ** rng.uniform(0.5, 1.2)
    left: Field = np.ones(shape, np.float32)
    first, layers = rng.uniform(0, np.pi), int(rng.integers(1, 5))
    for layer in range(layers):
        angle = first + layer * rng.uniform(0.4, 1.2)
        lines = strokes(rng, shape, angle, length=rng.uniform(12, 60), width=rng.uniform(1, 2.2))
        soft = rng.uniform(0.05, 0.4)
        covered = (((1 - light) * 1.1 - layer / layers * 0.6 - lines) / soft + 0.5).clip(0, 1)
        left = left * (1 - covered * rng.uniform(0.4, 0.9))
    left = left * (1 - (_edges(light) * rng.uniform(2, 8)).clip(0, rng.uniform(0.3, 0.9)))
    paper = (1 - rng.exponential(0.06) + rng.normal(size=3) * 0.03).clip(0, 1)
    ink = (rng.exponential(0.12) + rng.normal(size=3) * rng.choice([0, 0.03, 0.15])).clip(0, 1)
    grain = smooth_noise(rng, shape, 2) * rng.uniform(0, 0.03)
    return _over(paper, left, ink) + grain


def graphite(rng: np.random.Generator, picture: Field) -> Field:
    """Soft tones of a pencil, with its grain and the direction of its strokes."""
    shape, light = picture.shape[:2], picture @ _LUMINANCE
    low, high = np.quantile(light, [0.02, 0.98])
    light = ((light - low) / (high - low + 1e-3)).clip(0, 1) ** rng.uniform(0.4, 1)
    grain = rng.normal(size=shape).astype(np.float32) * rng.uniform(0.3, 1)
    grain = grain + smooth_noise(rng, shape, 2)[..., 0] * rng.uniform(0, 0.8)
    angle = rng.uniform(0, np.pi)
    lines = strokes(rng, shape, angle, length=rng.uniform(6, 40), width=rng.uniform(1, 1.8)) * 2 - 1
    dark = (1 - light) * rng.uniform(0.6, 1.1)
    dark = dark * (1 + grain * rng.uniform(0.05, 0.35) + lines * rng.uniform(0.1, 0.7))
    paper = (1 - rng.exponential(0.04) + rng.normal(size=3) * 0.01).clip(0, 1)
    pencil = (rng.uniform(0, 0.2) + rng.normal(size=3) * rng.choice([0, 0, 0.1])).clip(0, 1)
    return _over(pencil, dark.clip(0, 1), paper)


def lines(rng: np.random.Generator, picture: Field) -> Field:
    """A few thin lines on nearly empty paper, perhaps the picture's outlines among them, and a wash."""
    shape = picture.shape[:2]
    ink: Field = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        heights = smooth_noise(rng, shape, int(rng.integers(8, 80)))[..., 0] * rng.uniform(1, 4)
        slope = _slope(heights) + 1e-3
        from_line = abs(heights - np.round(heights)) / slope  # in pixels
        drawn = smooth_noise(rng, shape, int(rng.integers(6, 60)))[..., 0] * 3 + rng.uniform(-1, 1.5)
        line = (rng.uniform(0.7, 1.8) - from_line).clip(0, 1) * drawn.clip(0, 1)
        ink = np.maximum(ink, line * rng.uniform(0.3, 1))
    if rng.random() < 0.6:
        outlines = (_edges(picture @ _LUMINANCE) * rng.uniform(4, 12) - 0.15).clip(0, 1)
        ink = np.maximum(ink, outlines * rng.uniform(0.4, 1))
    paper = (1 - rng.exponential(0.06) + rng.normal(size=3) * 0.02).clip(0, 1)
    pen = (rng.uniform(0, 0.25) + rng.normal(size=3) * rng.choice([0, 0.08, 0.3])).clip(0, 1)
    sheet = paper * (1 + smooth_noise(rng, shape, int(rng.integers(3, 40))) * rng.uniform(0, 0.04))
    wash = (smooth_noise(rng, shape, int(rng.integers(20, 90)))[..., 0] * 2 - rng.uniform(0.5, 3)).clip(0, 1)
    wash = wash * rng.uniform(0, 0.9)
    tint = (picture.mean((0, 1)) + rng.normal(size=3) * 0.3).clip(0, 1)
    return _over(pen, ink, _over(tint, wash, sheet))


CRAFTS: tuple[Craft, ...] = (mosaic, hatching, graphite, lines, mosaic, glass, dots)
"""In turn, mosaics twice: theirs are the styles that a network without them is farthest from."""


def draw(picture: Pixels, number: int, seed: int) -> tuple[str, Pixels]:
    """The picture of a number: which craft, and all that is random, come from number and seed alone.

    Args:
        picture: [H, W, 3] uint8, 32 pixels a side or more.
        number: from 0.
        seed: of the whole set.

    Returns:
        the craft's name, and the drawn picture [H, W, 3] uint8.

    Raises:
        InputError: a picture of less than 32 pixels a side.
    """
    if min(picture.shape[:2]) < SMALLEST:
        raise InputError(f"a picture of {picture.shape[1]}x{picture.shape[0]}: crafts want {SMALLEST} pixels a side")
    craft = CRAFTS[number % len(CRAFTS)]
    drawn = craft(np.random.default_rng([seed, number]), picture.astype(np.float32) / 255)
    return craft.__name__, (drawn.clip(0, 1) * 255).round().astype(np.uint8)


def _over(top: Field, covers: Field, below: Field) -> Field:
    """Colours over others, [3] or [H, W, 3] each, where ``covers`` [H, W] is 1."""
    share = covers[..., None]
    return top * share + below * (1 - share)


def _edges(light: Field) -> Field:
    """How steep a [H, W] picture is at half its size."""
    height, width = light.shape
    half = Image.fromarray(light.astype(np.float32)).resize((width // 2, height // 2), Image.Resampling.BOX)
    return _slope(resized(np.asarray(half), (height, width)))


def _slope(heights: Field) -> NDArray[np.floating[Any]]:
    down, across = np.gradient(heights)
    steep: Field = np.hypot(across, down)
    return steep
