"""Between the two ways a part may take an image: float planes [N,3,H,W] in [0, 1], and bytes [N,H,W,3]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adain_runtime.manifest import Part

IMAGE = "image"


def takes_bytes(part: Part) -> bool:
    """Whether a part's images are bytes, coming in or going out."""
    return any(tensor.name == IMAGE and tensor.dtype == "uint8" for tensor in (*part.inputs, *part.outputs))


def to_bytes(part: Part, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Feeds with a float image as the bytes that it is rounded to; anything that is no such image is left alone."""
    ready = dict(feeds)
    image = ready.get(IMAGE)
    takes = any(tensor.name == IMAGE for tensor in part.inputs)
    if takes and image is not None and image.ndim == 4 and image.dtype.kind == "f":
        scaled = np.rint(image.clip(0, 1) * np.float32(255)).astype(np.uint8)
        ready[IMAGE] = np.ascontiguousarray(scaled.transpose(0, 2, 3, 1))
    return ready


def to_floats(outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs with an image of bytes as float planes."""
    ready = dict(outputs)
    image = ready.get(IMAGE)
    if image is not None and image.dtype == np.uint8:
        ready[IMAGE] = image.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return ready
