"""Folders of images as training crops: checked once, then any crop by its position alone.

A training's data is a function of (seed, position): the p-th crop of a stream is the same however many worker
threads load it, in which process, and whether the run was interrupted before it. So where a run stands in its
data is one number, its step.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adain_runtime.errors import InputError
from adain_runtime.files import sha256_file
from adain_runtime.image import load_image, resize_shorter

Pixels: TypeAlias = NDArray[np.uint8]
T = TypeVar("T")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""What counts as an image in a folder; other files are none of ours."""

_SHOWN = 3


@dataclass(frozen=True)
class Framing:
    """How a crop is cut from an image.

    Attributes:
        crop: pixels a side.
        shorter_min: the image's shorter side is first made a random size, at least this...
        shorter_max: ...and at most this; never larger than the source, unless the crop itself is. The paper
            has 512 for both, and crops of 256.
        flip: whether half of the crops are mirrored.
        jitter: how far a crop's colours stray, 0 to 1: hues turn by up to this share of half a turn, saturation,
            contrast and brightness grow or shrink by up to this share. A small network that only ever saw a few
            thousand pictures learns their palettes instead of painting any.
    """

    crop: int = 256
    shorter_min: int = 512
    shorter_max: int = 512
    flip: bool = True
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 1:
            raise InputError(f"crops of {self.crop} pixels can't be cut; give 16 or more")
        if not 0 <= self.jitter <= 1:
            raise InputError(f"colours that stray by {self.jitter} are none; give 0 to 1")
        if not self.crop <= self.shorter_min <= self.shorter_max:
            found = f"crop {self.crop}, shorter_min {self.shorter_min}, shorter_max {self.shorter_max}"
            raise InputError(f"framing: found {found}; each must be at least the one before it")


@dataclass(frozen=True)
class ImageSet:
    """The readable images of a folder.

    Attributes:
        folder: where they are.
        names: their file names, sorted.
        digest: SHA-256 over names and file digests: what a model card quotes.
        skipped: (name, reason) of each image that was left out.
        pixels: the images themselves where they are kept in memory, resized as the framing has it.
        framing: what they were checked for.
    """

    folder: Path
    names: tuple[str, ...]
    digest: str
    skipped: tuple[tuple[str, str], ...]
    framing: Framing
    pixels: tuple[Pixels, ...] | None = None

    def image(self, index: int) -> Pixels:
        """One image [H, W, 3], its shorter side at most the framing's largest."""
        if self.pixels is not None:
            return self.pixels[index]
        return _prepared(self.folder / self.names[index], self.framing)

    def report(self) -> str:
        """One line for a person: how many images there are, and what was left out and why."""
        line = f"{self.folder}: {len(self.names)} images"
        if not self.skipped:
            return line
        some = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:_SHOWN])
        more = f"; and {len(self.skipped) - _SHOWN} more" if len(self.skipped) > _SHOWN else ""
        return f"{line}, {len(self.skipped)} skipped ({some}{more})"


def check_folder(
    folder: Path,
    framing: Framing,
    *,
    cache: bool = False,
    workers: int = 2,
    count: int | None = None,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> ImageSet:
    """Decode every image of a flat folder once, and leave out what can't be read or is too small.

    Args:
        folder: images lie in it directly; folders in it and other files are passed over.
        framing: an image whose shorter side is below half the crop is too small: it would be a blur.
        cache: keep the images in memory, as uint8.
        workers: threads.
        count: how many images to take, where there are more; None takes all.
        seed: of which.
        advance: called after each image, for a progress bar.

    Raises:
        InputError: there is no such folder, no image in it, or none that can be used.
    """
    names = list_images(folder)
    if count is not None and count < len(names):
        taken = np.random.default_rng(seed).permutation(len(names))[:count]
        names = [names[place] for place in sorted(taken.tolist())]

    def check(name: str) -> tuple[str, Pixels | None] | InputError:
        try:
            digest, pixels = sha256_file(folder / name), _prepared(folder / name, framing)
        except InputError as error:
            return error
        except OSError as error:
            return InputError(error.strerror or str(error))
        finally:
            advance()
        return digest, pixels if cache else None

    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = list(zip(names, pool.map(check, names), strict=True))
    kept = [(name, *found) for name, found in results if not isinstance(found, InputError)]
    skipped = tuple((name, str(found)) for name, found in results if isinstance(found, InputError))
    if not kept:
        name, reason = skipped[0]
        raise InputError(f"{folder}: none of its {len(skipped)} images can be used ({name}: {reason}); give others")
    lines = "".join(f"{digest}  {name}\n" for name, digest, _ in kept)
    pixels = tuple(image for _, _, image in kept if image is not None)
    return ImageSet(
        folder=folder,
        names=tuple(name for name, _, _ in kept),
        digest=hashlib.sha256(os.fsencode(lines)).hexdigest(),
        skipped=skipped,
        framing=framing,
        pixels=pixels if cache else None,
    )


def list_images(folder: Path) -> list[str]:
    """Names of the files in a folder that look like images, sorted.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that holds images")
    names = sorted(
        p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file()
    )
    if not names:
        raise InputError(f"{folder}: no image in it ({', '.join(sorted(SUFFIXES))}); give a folder that holds some")
    return names


@dataclass(frozen=True)
class Stream:
    """An endless sequence of crops, each a function of the seed and its position.

    Every run of ``len(images)`` positions has each image once, in an order of its own.

    Attributes:
        images: where the crops come from.
        seed: of the whole training.
        key: tells the streams of one training apart.
    """

    images: ImageSet
    seed: int
    key: int

    def crop(self, position: int) -> Pixels:
        """The crop at a position, [3, crop, crop] uint8."""
        image = self.images.image(shuffled(position, len(self.images.names), seed=self.seed, key=self.key))
        rng = np.random.default_rng([self.seed, self.key, 1, position])
        return np.ascontiguousarray(_cut(image, self.images.framing, rng).transpose(2, 0, 1))

    def crops(self, positions: range) -> Pixels:
        """The crops at several positions, [N, 3, crop, crop] uint8."""
        return np.stack([self.crop(position) for position in positions])


def shuffled(position: int, count: int, *, seed: int, key: int) -> int:
    """Which of ``count`` things is at a position of an endless sequence that has each once in every round."""
    round_, place = divmod(position, count)
    return int(_permutation(seed, key, round_, count)[place])


def prefetch(make: Callable[[int], T], steps: range, *, workers: int) -> Generator[T, None, None]:
    """``make`` of each step in order, made ahead by worker threads; without workers, when it is asked for."""
    if workers < 1:
        yield from map(make, steps)
        return
    pending: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="adain-data")
    try:
        for step in steps:
            pending.append(pool.submit(make, step))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@lru_cache(maxsize=16)
def _permutation(seed: int, key: int, round_: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, key, 0, round_]).permutation(count)


def _prepared(path: Path, framing: Framing) -> Pixels:
    photo = resize_shorter(load_image(path), framing.shorter_max, enlarge=False)
    smallest, least = min(photo.height, photo.width), (framing.crop + 1) // 2
    if smallest < least:
        raise InputError(f"{photo.width}x{photo.height} is too small for crops of {framing.crop}: under {least} a side")
    return photo.rgb


def _cut(image: Pixels, framing: Framing, rng: np.random.Generator) -> Pixels:
    """Resize and crop in one: only the pixels under the crop are resampled."""
    height, width = image.shape[:2]
    smallest, crop = min(height, width), framing.crop
    wanted = int(rng.integers(framing.shorter_min, framing.shorter_max + 1))
    shorter = max(crop, min(wanted, smallest))
    top = int(rng.integers(height * shorter // smallest - crop + 1))
    left = int(rng.integers(width * shorter // smallest - crop + 1))
    mirrored = framing.flip and bool(rng.integers(2))
    if shorter == smallest:
        cut = image[top : top + crop, left : left + crop]
    else:
        cut = _resampled(image, (left, top), crop, smallest / shorter)
    cut = cut[:, ::-1] if mirrored else cut
    return _recoloured(cut, framing.jitter, rng) if framing.jitter else cut


def _recoloured(pixels: Pixels, jitter: float, rng: np.random.Generator) -> Pixels:
    """Turn the hues about the grey axis, then change saturation, contrast and brightness, as one affine map."""
    turn, saturation, contrast, brightness = rng.uniform(-jitter, jitter, size=4)
    cosine, sine = np.cos(np.pi * turn), np.sin(np.pi * turn)
    grey = np.full((3, 3), 1 / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turned = grey + (1 + saturation) * (cosine * (np.eye(3) - grey) + sine * across)
    values = pixels.astype(np.float32)
    middle = values.mean(axis=(0, 1))
    gain = ((1 + contrast) * turned).astype(np.float32)
    made = (values - middle) @ gain.T + (1 + brightness) * (turned @ middle).astype(np.float32)
    recoloured: Pixels = np.rint(made).clip(0, 255).astype(np.uint8)
    return recoloured


def _resampled(image: Pixels, corner: tuple[int, int], crop: int, scale: float) -> Pixels:
    height, width = image.shape[:2]
    left, top = (place * scale for place in corner)
    right, bottom = min(width, left + crop * scale), min(height, top + crop * scale)
    x, y = int(left), int(top)
    part = np.ascontiguousarray(image[y : int(np.ceil(bottom)), x : int(np.ceil(right))])
    box = (left - x, top - y, right - x, bottom - y)
    return np.asarray(Image.fromarray(part).resize((crop, crop), Image.Resampling.LANCZOS, box=box))
