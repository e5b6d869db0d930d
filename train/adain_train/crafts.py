"""Pictures as crafts would make them: mosaics, hatching, brushwork, marbling, ornaments and others.

Collections of paintings hold few of some kinds, and a network that has seen few of a kind reads its style badly. So
they are drawn after other pictures, each with random sizes, colours and strengths; nothing is meant to look like
any one work.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from adain_runtime.errors import InputError
from adain_train import crafts_ink, crafts_paint, crafts_pattern, crafts_pieces
from adain_train.data import Pixels
from adain_train.fields import Field

Craft: TypeAlias = Callable[[np.random.Generator, Field], Field]
"""Draws after a picture [H, W, 3] in [0, 1], and gives one of its size, not clipped."""

SMALLEST = 32
"""Pixels a side that a picture to draw after must have."""

_CRAFTS: tuple[Craft, ...] = (
    crafts_pieces.mosaic,
    crafts_ink.hatching,
    crafts_ink.graphite,
    crafts_ink.lines,
    crafts_pieces.glass,
    crafts_pieces.dots,
    crafts_pieces.facets,
    crafts_pieces.blocks,
    crafts_pieces.stitches,
    crafts_ink.engraving,
    crafts_ink.halftone,
    crafts_paint.brushwork,
    crafts_paint.swirls,
    crafts_paint.wash,
    crafts_paint.marbling,
    crafts_paint.splatter,
    crafts_pattern.ornament,
    crafts_pattern.fractal,
)
CRAFTS = MappingProxyType({craft.__name__: craft for craft in _CRAFTS})
"""All kinds, by name."""


def draw(picture: Pixels, kind: str, number: int, seed: int) -> Pixels:
    """The picture of a kind and number: all that is random comes from number and seed alone.

    Args:
        picture: [H, W, 3] uint8, 32 pixels a side or more.
        kind: one of ``CRAFTS``.
        number: from 0.
        seed: of the whole set.

    Returns:
        the drawn picture [H, W, 3] uint8.

    Raises:
        InputError: a picture of less than 32 pixels a side.
    """
    if min(picture.shape[:2]) < SMALLEST:
        raise InputError(f"a picture of {picture.shape[1]}x{picture.shape[0]}: crafts want {SMALLEST} pixels a side")
    drawn: Field = CRAFTS[kind](np.random.default_rng([seed, number]), picture.astype(np.float32) / 255)
    shown: Pixels = (drawn.clip(0, 1) * 255).round().astype(np.uint8)
    return shown
