"""Crafts that repeat: ornaments, and sets that are alike at every size."""

from __future__ import annotations

import numpy as np

from adain_train.fields import Field, over, palette, sampled, smooth_noise, turned


def ornament(rng: np.random.Generator, picture: Field) -> Field:
    """A piece of the picture in a few colours, mirrored and repeated as on tiles, cloth and carpets."""
    shape = picture.shape[:2]
    angle, period = rng.choice([0, 0, np.pi / 4, rng.uniform(0, np.pi)]), rng.uniform(24, 130)
    u, v = turned(shape, angle, period)
    u = u + (np.floor(v) % 2) * rng.choice([0, 0, 0.5])
    x, y = abs(u - np.floor(u) - 0.5) * 2, abs(v - np.floor(v) - 0.5) * 2
    if rng.random() < 0.6:  # eightfold
        x, y = np.maximum(x, y), np.minimum(x, y)
    reach = rng.uniform(0.3, 1) * min(shape) / 2
    top, start = rng.uniform(0, 1, 2) * (np.array(shape) - reach)
    seen = sampled(picture, top + y * reach, start + x * reach)
    if rng.random() < 0.7:
        colours = palette(rng, picture, int(rng.integers(2, 7)))
        light = seen.mean(-1)
        places = np.quantile(light, np.linspace(0, 1, len(colours) + 1)[1:-1])
        seen = colours[np.digitize(light, places)]
    rim = (abs(np.minimum(1 - x, 1 - y)) * period / 2 - rng.uniform(-1, 4)).clip(0, 1)
    seen = over(seen, rim, np.full(3, rng.uniform(0, 1)))
    return seen + smooth_noise(rng, shape, int(rng.integers(1, 6))) * rng.uniform(0, 0.06)


def fractal(rng: np.random.Generator, picture: Field) -> Field:
    """How long points stay near by under z -> z^n + c, in the picture's colours."""
    shape = picture.shape[:2]
    down, across = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    angle, zoom = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 3)
    turn = np.exp(1j * angle)
    z = ((across - 0.5) + 1j * (down - 0.5)) * turn * zoom + rng.normal() * 0.2
    power = int(rng.choice([2, 2, 2, 3]))
    boundary = np.exp(1j * rng.uniform(0, 2 * np.pi))  # c near the main body's rim, where the sets are rich
    c = boundary / 2 - boundary**2 / 4 if power == 2 else boundary * 0.55
    c = c * rng.uniform(0.98, 1.15)
    stays, trap = np.zeros(shape), np.full(shape, 9.0)
    for _ in range(60):
        inside = abs(z) < 8
        z = np.where(inside, z**power + c, z)
        stays += inside
        trap = np.where(inside, np.minimum(trap, abs(z)), trap)
    smooth = stays - np.log2(np.log2(abs(z).clip(8, 1e6)) / 3)
    colours = palette(rng, picture, int(rng.integers(3, 8)))
    colours = colours[np.argsort(colours.sum(1))] if rng.random() < 0.5 else colours
    place = smooth * rng.uniform(0.15, 1) + np.where(stays >= 60, trap * 6, 0)
    low = np.floor(place).astype(int)
    blend = place - low if rng.random() < 0.7 else np.ones(shape)
    drawn = over(colours[(low + 1) % len(colours)], blend, colours[low % len(colours)])
    glow = (trap.clip(0, 1) - 0.5) * rng.uniform(-0.6, 0.6)
    return drawn + glow[..., None]
