"""Whole test pictures as squares: from a folder into tensors, and from tensors back into pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adain_runtime.image import Photo, resize_shorter
from adain_train.data import Framing, ImageSet, Pixels, check_folder


def to_tensor(pixels: Pixels) -> Tensor:
    """[H, W, 3] uint8 to [1, 3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255


def to_pixels(image: Tensor) -> Pixels:
    """[1, 3, H, W] in [0, 1] to [H, W, 3] uint8."""
    pixels: Pixels = (image[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return pixels


def read_squares(folder: Path, size: int, *, count: int | None = None, seed: int = 0) -> tuple[ImageSet, list[Tensor]]:
    """Images of a folder: the shorter side made ``size`` pixels, the middle square cut, [1, 3, size, size].

    Args:
        folder: of images.
        size: pixels a side.
        count: how many to take, where there are more; None takes every one.
        seed: of which.

    Raises:
        InputError: there is no such folder, no image in it, or none that can be used.
    """
    images = check_folder(
        folder, Framing(crop=size, shorter_min=size, shorter_max=size, flip=False), count=count, seed=seed
    )
    squares = []
    for place in range(len(images.names)):
        photo = resize_shorter(Photo(images.image(place)), size, enlarge=True)
        top, left = (photo.height - size) // 2, (photo.width - size) // 2
        squares.append(to_tensor(photo.rgb[top : top + size, left : left + size]))
    return images, squares
