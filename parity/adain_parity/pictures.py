"""The pictures of a matrix: some by name, made here or in the package, and any image file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from adain_runtime.errors import InputError
from adain_runtime.image import load_image, to_pil

Pixels = NDArray[np.uint8]
_FOLDER = Path(__file__).with_name("pictures")
_TAUPE = (145, 120, 96)  # no two channels alike, so that a swap of two shows on one colour too
_SEED = 20170320  # any number; the day the AdaIN paper was submitted


@dataclass(frozen=True)
class PictureFile:
    """A picture of a matrix: the name in case ids, and its file; None where it is drawn."""

    name: str
    path: Path | None

    def pixels(self, height: int, width: int) -> Pixels:
        """[height, width, 3] uint8: the picture's middle, reduced or enlarged to fill that.

        Raises:
            InputError: the file can't be read.
        """
        if self.path is None:
            return _DRAWN[self.name](height, width)
        whole = to_pil(load_image(self.path)).convert("RGB")
        return np.asarray(ImageOps.fit(whole, (width, height), Image.Resampling.LANCZOS))


def _flat(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), _TAUPE, np.uint8)


def _noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(_SEED).integers(0, 256, (height, width, 3), dtype=np.uint8)


_DRAWN: Mapping[str, Callable[[int, int], Pixels]] = {"flat": _flat, "noise": _noise}


def find_picture(name: str, folder: Path) -> PictureFile:
    """A picture by name or file.

    Args:
        name: ``cat``, ``summertime``, ``flat``, ``noise``, or an image file.
        folder: where a relative path starts.

    Raises:
        InputError: neither.
    """
    if name in _DRAWN:
        return PictureFile(name, None)
    carried = {path.stem: path for path in sorted(_FOLDER.glob("*.jpg"))}
    if name in carried:
        return PictureFile(name, carried[name])
    path = folder / name
    if not path.is_file():
        raise InputError(f"{name}: no such picture: neither a file nor one of {', '.join([*carried, *_DRAWN])}")
    return PictureFile(path.stem, path)


def to_image(pixels: Pixels) -> NDArray[np.float32]:
    """[H, W, 3] uint8 to the network's [1, 3, H, W] float32 in [0, 1]."""
    planes: NDArray[np.float32] = (pixels.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
    return planes
