"""Crafts of wet paint: brushwork, flowing strokes, watercolour, marbling, splatter."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from adain_train.fields import Field, forms, grid, over, palette, sampled, slope, smooth_noise, smoothed, streaks


def brushwork(rng: np.random.Generator, picture: Field) -> Field:
    """Strokes of a brush or a knife along the forms, a little off their colours, thick enough to catch the light."""
    (height, width), angles = picture.shape[:2], forms(rng, picture)
    drawn = Image.fromarray((smoothed(picture, 8).clip(0, 1) * 255).astype(np.uint8)).resize((2 * width, 2 * height))
    relief = Image.new("L", drawn.size, 0)
    colours, heights = ImageDraw.Draw(drawn), ImageDraw.Draw(relief)
    broad = rng.uniform(3, 14)
    long, strays, turns = broad * rng.uniform(1.2, 5), rng.uniform(0.01, 0.1), rng.uniform(0.03, 0.35)
    vivid = rng.uniform(1, 1.8)
    count = int(rng.uniform(1.2, 2.5) * height * width / (broad * long))
    rows, columns = rng.integers(0, height, count), rng.integers(0, width, count)
    found = picture[rows, columns]
    found = found.mean(1, keepdims=True) + (found - found.mean(1, keepdims=True)) * vivid
    found = found + rng.normal(size=found.shape) * strays + rng.normal(size=(count, 1)) * strays
    angle = angles[rows, columns] + rng.normal(size=count) * turns
    half = np.stack([np.cos(angle), np.sin(angle)], 1) * (long * rng.uniform(0.5, 1.2, (count, 1)))
    side = np.stack([-np.sin(angle), np.cos(angle)], 1) * (broad * rng.uniform(0.5, 1.1, (count, 1)))
    middle = np.stack([columns, rows], 1) * 2.0
    taper = rng.uniform(0.3, 1)  # of the end of a stroke
    corners = [middle - half + side, middle + half + side * taper, middle + half - side * taper, middle - half - side]
    outlines = np.stack(corners, 1).reshape(count, 8).tolist()
    paints = (found.clip(0, 1) * 255).astype(int).tolist()
    for number, (outline, colour) in enumerate(zip(outlines, paints, strict=True)):
        colours.polygon(outline, fill=tuple(colour))
        heights.polygon(outline, fill=80 + number * 97 % 176)
    paint = np.asarray(drawn.resize((width, height), Image.Resampling.BOX)) / 255
    thick = np.asarray(relief.resize((width, height), Image.Resampling.BOX)) / 255
    bristles = streaks(rng, angles, int(rng.integers(3, 12)))
    thick = thick * rng.uniform(0, 1) + bristles * rng.uniform(0, 0.35)
    return _lit(rng, paint, thick, rng.uniform(0, 0.6))


def swirls(rng: np.random.Generator, picture: Field) -> Field:
    """Long flowing streaks of colours that stray from the picture's."""
    angles = forms(rng, picture)
    grain, contrast = int(rng.integers(1, 5)), rng.uniform(0.05, 0.3)
    wild = rng.uniform(0, 1) ** 2  # 0: all colours of a place stray together
    length = int(rng.integers(6, 26))
    together = streaks(rng, angles, length, cell=grain)
    apart = np.stack([streaks(rng, angles, length, cell=grain) for _ in range(3)], -1)
    flowing = together[..., None] * (1 - wild) + apart * wild
    paint = smoothed(picture, int(rng.integers(2, 9)))
    grey = paint.mean(-1, keepdims=True)
    paint = grey + (paint - grey) * rng.uniform(1, 2) + flowing * contrast
    return _lit(rng, paint, together, rng.uniform(0, 0.3))


def wash(rng: np.random.Generator, picture: Field) -> Field:
    """Watercolour: pale pools with dark rims, pigment that settles in the paper, blooms."""
    shape = picture.shape[:2]
    down, across = grid(shape)
    ragged = smooth_noise(rng, shape, int(rng.integers(3, 10)), 2) * rng.uniform(1, 6)
    bled = sampled(smoothed(picture, int(rng.integers(3, 9))), down + ragged[..., 0], across + ragged[..., 1])
    levels = rng.uniform(2.5, 7)
    steps = bled * levels + smooth_noise(rng, shape, int(rng.integers(20, 80)), 3) * rng.uniform(0, 0.6)
    from_step = steps - np.floor(steps) - 0.5
    pools = (np.floor(steps) + 0.5 + from_step.clip(-0.5, 0.5) ** 3 * 4) / levels
    rims = (slope(pools.mean(-1)) * levels * rng.uniform(0.3, 1.2)).clip(0, 1) * rng.uniform(0.05, 0.35)
    paper = smooth_noise(rng, shape, 2)[..., 0] + smooth_noise(rng, shape, 5)[..., 0]
    settled = paper * rng.uniform(0.01, 0.08) * (1.2 - pools.mean(-1))
    pale = rng.uniform(0, 0.55)
    sheet = (1 - rng.exponential(0.04) + rng.normal(size=3) * 0.02).clip(0, 1)
    painted = pools * (1 - pale) + sheet * pale - rims[..., None] + settled[..., None]
    bare = smooth_noise(rng, shape, int(rng.integers(8, 60)))[..., 0] + smooth_noise(rng, shape, 5)[..., 0] * 0.3
    bare = ((bare - rng.uniform(0.6, 3)) * rng.uniform(2, 12)).clip(0, 1)
    return over(sheet + paper[..., None] * 0.01, bare, painted)


def marbling(rng: np.random.Generator, picture: Field) -> Field:
    """Inks that float on water, drawn out into bands and veins; of the picture, only its colours."""
    shape = picture.shape[:2]
    down, across = grid(shape)
    heights = smooth_noise(rng, shape, int(rng.integers(20, 120)))
    for _ in range(int(rng.integers(1, 5))):
        drawn_out = smooth_noise(rng, shape, int(rng.integers(12, 70)), 2) * rng.uniform(5, 35)
        heights = sampled(heights, down + drawn_out[..., 0], across + drawn_out[..., 1])
    colours = palette(rng, picture, int(rng.integers(3, 9)))
    turn = heights[..., 0] * rng.uniform(1, 6) + len(colours) * 8
    place = np.floor(turn).astype(int) % len(colours)
    sharp = ((turn - np.floor(turn)) * rng.uniform(1, 12)).clip(0, 1)
    return over(colours[place], sharp, colours[place - 1]) + smooth_noise(rng, shape, 2) * rng.uniform(0, 0.05)


def splatter(rng: np.random.Generator, picture: Field) -> Field:
    """Paint that was dripped and thrown on a ground: threads, pools and drops of a few colours."""
    height, width = picture.shape[:2]
    colours = (palette(rng, picture, int(rng.integers(2, 7))).clip(0, 1) * 255).astype(int).tolist()
    ground = (smoothed(picture, 30) * rng.uniform(0, 1) + rng.uniform(0, 0.6)).clip(0, 1)
    drawn = Image.fromarray((ground * 255).astype(np.uint8)).resize((2 * width, 2 * height))
    paint = ImageDraw.Draw(drawn)
    threads, drops, thin = rng.integers(5, 120), rng.integers(30, 900), rng.uniform(0.5, 4)
    for number in range(threads):
        turning = rng.normal(size=60).cumsum() * rng.uniform(0.05, 0.5) + rng.uniform(0, 2 * np.pi)
        steps = np.stack([np.cos(turning), np.sin(turning)], 1) * rng.uniform(2, 16)
        path = steps.cumsum(0) + rng.uniform(0, 1, 2) * drawn.size
        thread, broad = [tuple(place) for place in path.tolist()], 1 + int(rng.exponential(thin))
        paint.line(thread, fill=tuple(colours[number % len(colours)]), width=broad, joint="curve")
    places, radii = rng.uniform(0, 1, (drops, 2)) * drawn.size, rng.exponential(thin, drops) + 0.5
    chosen = rng.integers(len(colours), size=drops).tolist()
    for (x, y), radius, colour in zip(places.tolist(), radii.tolist(), chosen, strict=True):
        paint.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colours[colour]))
    flat = np.asarray(drawn.resize((width, height), Image.Resampling.BOX)) / 255
    return _lit(rng, flat, flat.mean(-1), rng.uniform(0, 0.5))


def _lit(rng: np.random.Generator, paint: Field, thick: Field, strength: float) -> Field:
    """Paint [H, W, 3] that stands so high [H, W], in light from a side."""
    angle = rng.uniform(0, 2 * np.pi)
    down, across = np.gradient(thick)
    light = (down * np.sin(angle) + across * np.cos(angle)).clip(-0.5, 0.5) * strength
    shown: Field = paint + light[..., None]
    return shown
