"""Crafts that put a picture together from pieces: stones, panes, dots, facets, blocks, stitches."""

from __future__ import annotations

import numpy as np

from adain_train.fields import Field, cell_means, grid, over, sampled, smooth_noise, voronoi


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
    return over(surface, inside, mortar)


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
    return over(surface, inside, np.full(3, rng.uniform(0, 0.15)))


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
        drawn = over(colours[cells], inside, drawn)
    return drawn


def facets(rng: np.random.Generator, picture: Field) -> Field:
    """Flat or shaded facets, each of which sees the picture from elsewhere."""
    shape, size = picture.shape[:2], rng.uniform(20, 80)
    cells, gap = voronoi(rng, shape, size, jitter=rng.uniform(0.3, 0.5), square=bool(rng.random() < 0.3))
    count = cells.max() + 1
    down, across = grid(shape)
    shift = (rng.normal(size=(count, 2)) * size * rng.uniform(0, 0.8))[cells]
    seen = sampled(picture, down + shift[..., 0], across + shift[..., 1])
    flat = rng.uniform(0.2, 1)
    seen = seen * (1 - flat) + cell_means(seen, cells)[cells] * flat
    places = np.stack([down, across], -1)
    from_middle = (places - cell_means(places, cells)[cells]) / size
    angle = rng.uniform(0, 2 * np.pi, count)[cells]
    slope = from_middle[..., 0] * np.sin(angle) + from_middle[..., 1] * np.cos(angle)
    seen = seen + (slope * rng.uniform(0, 0.5))[..., None] + rng.normal(size=(count, 3))[cells] * rng.uniform(0, 0.12)
    border = (gap * size / rng.uniform(1, 3) + rng.uniform(0, 1)).clip(0, 1)
    return over(seen, border, np.full(3, rng.choice([0.05, 0.2, 0.9])))


def blocks(rng: np.random.Generator, picture: Field) -> Field:
    """Upright rectangles of flat colour, many of one, with lines between."""
    height, width = picture.shape[:2]
    smallest, line = rng.uniform(12, 60), rng.uniform(0, 5)
    ground = rng.choice([0.95, 0.85, 0.15]) + rng.normal(size=3) * 0.03
    bare, strays, vivid = rng.uniform(0, 0.7), rng.uniform(0, 0.3), rng.uniform(0, 1.5)
    drawn: Field = np.empty(picture.shape)
    drawn[:] = rng.choice([0.05, 0.2, 0.9]) + rng.normal(size=3) * 0.03  # the lines
    left = [(0, 0, height, width)]
    while left:
        top, start, bottom, end = left.pop()
        high, wide = bottom - top, end - start
        tall = high > wide * rng.uniform(0.6, 1.6)
        side = high if tall else wide
        if side > 2 * smallest and rng.random() < 0.93:
            cut = int(side * rng.uniform(0.25, 0.75))
            if tall:
                left += [(top, start, top + cut, end), (top + cut, start, bottom, end)]
            else:
                left += [(top, start, bottom, start + cut), (top, start + cut, bottom, end)]
            continue
        colour = picture[top:bottom, start:end].mean((0, 1))
        colour = colour + (colour - colour.mean()) * vivid + rng.normal(size=3) * strays
        if rng.random() < bare:
            colour = ground
        half = int(line / 2)
        drawn[top + half : bottom - int(line) + half, start + half : end - int(line) + half] = colour
    return drawn + smooth_noise(rng, (height, width), int(rng.integers(2, 12))) * rng.uniform(0, 0.05)


def stitches(rng: np.random.Generator, picture: Field) -> Field:
    """Threads: woven over and under, knitted, or in crosses."""
    shape, size, angle = picture.shape[:2], rng.uniform(4, 13), rng.choice([0, 0, rng.uniform(0, np.pi)])
    down, across = grid(shape)
    bent = smooth_noise(rng, shape, int(rng.integers(30, 120)), 2) * size * rng.uniform(0, 0.6)
    u = (np.cos(angle) * across + np.sin(angle) * down + bent[..., 0]) / size
    v = (np.cos(angle) * down - np.sin(angle) * across + bent[..., 1]) / size
    kind = ("knitted", "woven", "crosses")[rng.integers(3)]
    if kind == "knitted":  # knitted: the two halves of a stitch lean towards its middle
        v = v + abs(u - np.floor(u) - 0.5) * rng.uniform(0.8, 1.6)
    column, row = np.floor(u), np.floor(v)
    _, cells = np.unique(column * 8192 + row, return_inverse=True)
    cells = cells.reshape(shape)
    colours = cell_means(picture, cells)
    colours = colours + rng.normal(size=(len(colours), 1)) * rng.uniform(0, 0.1)
    surface, ground = colours[cells], picture.mean((0, 1))
    x, y = u - column - 0.5, v - row - 0.5
    if kind == "woven":  # threads across and along in turn
        above = (column + row) % 2 > 0
        thread, along = np.where(above, y, x), np.where(above, x, y)
        tint = rng.normal(size=(2, 3)) * rng.uniform(0, 0.2)
        light = np.cos(thread * np.pi) * np.cos(along * np.pi * 0.8)
        surface = surface + np.where(above[..., None], tint[0], tint[1])
    elif kind == "knitted":
        light = np.cos(y * np.pi) * np.cos((abs(x) - 0.25) * 2 * np.pi * 0.8)
    else:
        light = np.exp(-(np.minimum(abs(x - y), abs(x + y)) ** 2) * rng.uniform(8, 25))
    ground = np.full(3, rng.uniform(0.6, 1)) if kind == "crosses" else ground * rng.uniform(0, 0.4)
    ground = ground + rng.normal(size=3) * 0.03
    fibres = rng.normal(size=shape)[..., None] * rng.uniform(0, 0.06)
    return over(surface, (light * rng.uniform(0.8, 1.3) + rng.uniform(0, 0.3)).clip(0, 1), ground) + fibres
