"""The sample pictures in the size of a network's input: what weights are fitted on, and packages checked with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adain_export.check import Pair
from adain_model.samples import sample_folder
from adain_runtime.backend import Array
from adain_runtime.image import load_image, resize_shorter
from adain_runtime.planes import as_planes


def contents() -> list[Path]:
    """The sample photos."""
    return sorted(sample_folder("content").glob("*.jpg"))


def styles() -> list[Path]:
    """The sample paintings."""
    return sorted(sample_folder("style").glob("*.jpg"))


def sample_pairs(height: int, width: int) -> Sequence[Pair]:
    """Every sample photo under every sample painting, both in one size."""
    photos, paintings = (
        [(path.stem, middle(path, height, width)) for path in paths] for paths in (contents(), styles())
    )
    return [Pair(f"{name} under {style}", photo, painting) for name, photo in photos for style, painting in paintings]


def middle(path: Path, height: int, width: int) -> Array:
    """The middle of a picture that is resized to cover a size: [1,3,H,W] in [0, 1], float32."""
    photo = load_image(path)
    shorter = min(photo.height, photo.width)
    covering = max(-(-height * shorter // photo.height), -(-width * shorter // photo.width))
    rgb = resize_shorter(photo, covering, enlarge=True).rgb
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return as_planes([np.ascontiguousarray(rgb[top : top + height, left : left + width])])
