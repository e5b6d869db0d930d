"""Crafts of ink and pencil on paper: hatching, graphite, lines, engravings, halftone."""

from __future__ import annotations

import numpy as np

from adain_train.fields import Field, edges, grid, over, slope, smooth_noise, strokes, turned

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


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
    left = left * (1 - (edges(light) * rng.uniform(2, 8)).clip(0, rng.uniform(0.3, 0.9)))
    paper = (1 - rng.exponential(0.06) + rng.normal(size=3) * 0.03).clip(0, 1)
    ink = (rng.exponential(0.12) + rng.normal(size=3) * rng.choice([0, 0.03, 0.15])).clip(0, 1)
    grain = smooth_noise(rng, shape, 2) * rng.uniform(0, 0.03)
    return over(paper, left, ink) + grain


def graphite(rng: np.random.Generator, picture: Field) -> Field:
    """Soft tones of a pencil, with its grain and the direction of its strokes."""
    shape = picture.shape[:2]
    light: Field = _spread(picture @ _LUMINANCE) ** rng.uniform(0.4, 1)
    grain = rng.normal(size=shape).astype(np.float32) * rng.uniform(0.3, 1)
    grain = grain + smooth_noise(rng, shape, 2)[..., 0] * rng.uniform(0, 0.8)
    angle = rng.uniform(0, np.pi)
    lines = strokes(rng, shape, angle, length=rng.uniform(6, 40), width=rng.uniform(1, 1.8)) * 2 - 1
    dark = (1 - light) * rng.uniform(0.6, 1.1)
    dark = dark * (1 + grain * rng.uniform(0.05, 0.35) + lines * rng.uniform(0.1, 0.7))
    paper = (1 - rng.exponential(0.04) + rng.normal(size=3) * 0.01).clip(0, 1)
    pencil = (rng.uniform(0, 0.2) + rng.normal(size=3) * rng.choice([0, 0, 0.1])).clip(0, 1)
    return over(pencil, dark.clip(0, 1), paper)


def lines(rng: np.random.Generator, picture: Field) -> Field:
    """A few thin lines on nearly empty paper, perhaps the picture's outlines among them, and a wash."""
    shape = picture.shape[:2]
    ink: Field = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        heights = smooth_noise(rng, shape, int(rng.integers(8, 80)))[..., 0] * rng.uniform(1, 4)
        steepness = slope(heights) + 1e-3
        from_line = abs(heights - np.round(heights)) / steepness  # in pixels
        drawn = smooth_noise(rng, shape, int(rng.integers(6, 60)))[..., 0] * 3 + rng.uniform(-1, 1.5)
        line = (rng.uniform(0.7, 1.8) - from_line).clip(0, 1) * drawn.clip(0, 1)
        ink = np.maximum(ink, line * rng.uniform(0.3, 1))
    if rng.random() < 0.6:
        outlines = (edges(picture @ _LUMINANCE) * rng.uniform(4, 12) - 0.15).clip(0, 1)
        ink = np.maximum(ink, outlines * rng.uniform(0.4, 1))
    paper = (1 - rng.exponential(0.06) + rng.normal(size=3) * 0.02).clip(0, 1)
    pen = (rng.uniform(0, 0.25) + rng.normal(size=3) * rng.choice([0, 0.08, 0.3])).clip(0, 1)
    sheet = paper * (1 + smooth_noise(rng, shape, int(rng.integers(3, 40))) * rng.uniform(0, 0.04))
    wash = (smooth_noise(rng, shape, int(rng.integers(20, 90)))[..., 0] * 2 - rng.uniform(0.5, 3)).clip(0, 1)
    wash = wash * rng.uniform(0, 0.9)
    tint = (picture.mean((0, 1)) + rng.normal(size=3) * 0.3).clip(0, 1)
    return over(pen, ink, over(tint, wash, sheet))


def engraving(rng: np.random.Generator, picture: Field) -> Field:
    """Lines that swell where it is darker, as cut in wood or copper; perhaps a second colour."""
    shape, light = picture.shape[:2], _spread(picture @ _LUMINANCE)
    down, across = grid(shape)
    spacing, angle = rng.uniform(3, 10), rng.uniform(0, np.pi)
    bent = smooth_noise(rng, shape, int(rng.integers(40, 140)))[..., 0] * rng.uniform(0, 25)
    along_forms = (light - 0.5) * rng.uniform(-1, 1) * 40
    darkness = ((1 - light) ** rng.uniform(0.7, 1.6)) * rng.uniform(0.9, 1.3)
    ink: Field = np.zeros(shape)
    for layer in range(int(rng.integers(1, 3))):
        cut = angle + layer * rng.uniform(0.7, 1.6)
        phase = (np.cos(cut) * across + np.sin(cut) * down + bent + along_forms) / spacing
        ragged = smooth_noise(rng, shape, 3)[..., 0] * rng.uniform(0, 0.15)
        from_middle = abs(phase - np.floor(phase) - 0.5) * 2
        ink = np.maximum(ink, ((darkness - layer * 0.5 - from_middle + ragged) * spacing / 2 + 0.5).clip(0, 1))
    solid = ((rng.uniform(-0.2, 0.4) - light) * 12 + 0.5).clip(0, 1)
    ink = np.maximum(ink, solid)
    paper = (1 - rng.exponential(0.1) + rng.normal(size=3) * 0.05).clip(0, 1)
    below: Field = np.broadcast_to(paper, picture.shape)
    if rng.random() < 0.4:
        second = (picture.mean((0, 1)) + rng.normal(size=3) * 0.3).clip(0, 1)
        below = over(second, ((rng.uniform(0.4, 0.8) - light) * 8).clip(0, 1) * rng.uniform(0.4, 1), below)
    colour = (rng.exponential(0.1) + rng.normal(size=3) * rng.choice([0, 0.05, 0.2])).clip(0, 1)
    if rng.random() < 0.15:
        below, colour = np.broadcast_to(colour, picture.shape), paper
    return over(colour, ink, below)


def halftone(rng: np.random.Generator, picture: Field) -> Field:
    """Screens of dots that grow where it is darker, of one ink or of several printed over each other."""
    shape, size, first = picture.shape[:2], rng.uniform(3.5, 11), rng.uniform(0, np.pi)
    several = rng.random() < 0.6
    plates = picture if several else _spread(picture @ _LUMINANCE)[..., None]
    paper = (1 - rng.exponential(0.08) + rng.normal(size=3) * 0.03).clip(0, 1)
    strength = rng.uniform(0.7, 1)
    rng.random()  # of no use, but without it other pictures come than those that the embedded student saw
    inks = 1 - np.eye(3) if several else rng.uniform(0, 0.5, (1, 3))
    drawn: Field = np.broadcast_to(paper, picture.shape)
    for plate, ink in enumerate(inks):
        angle = first + plate * np.pi / 6
        u, v = turned(shape, angle, size)
        far = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
        radius = np.sqrt((1 - plates[..., plate].clip(0, 1)) * 0.6)
        covered = ((radius - far) * size + 0.5).clip(0, 1) * strength
        drawn = drawn * (1 - covered[..., None] * (1 - ink))
    return drawn


def _spread(light: Field) -> Field:
    """From the darkest to the lightest fiftieth, as 0 to 1."""
    low, high = np.quantile(light, [0.02, 0.98])
    spread: Field = ((light - low) / (high - low + 1e-3)).clip(0, 1)
    return spread
