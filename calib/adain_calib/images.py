"""Folders of images as a calibration takes them: each known by its digest, none too small, none twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adain_runtime.decode import stated_size
from adain_runtime.errors import InputError
from adain_runtime.files import sha256_file
from adain_runtime.image import Photo, load_image, resize_shorter
from adain_runtime.jobs import find_contents, spell_kinds
from adain_runtime.manifest import Sizes
from adain_runtime.planes import planes_for
from adain_runtime.stylizer import MAX_PIXELS

SMALLEST = 64
"""Pixels a side: under this a map has few cells, and its borders weigh more than the picture."""

_LONGEST = 4  # times the shorter side: a panorama's memory is bounded
_SHOWN = 3


@dataclass(frozen=True)
class ImageFile:
    """An image: its file's name and the SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ImageFolder:
    """Images of a folder.

    Attributes:
        folder: where they lie.
        files: what was chosen of it, sorted by name.
        twins: names that were left out, each the same bytes as one that is there.
        known: names that were left out because their bytes were asked not to be taken.
        passed_over: pictures of kinds that aren't read here.
    """

    folder: Path
    files: tuple[ImageFile, ...]
    twins: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    passed_over: tuple[Path, ...] = ()

    def notes(self) -> list[str]:
        """What was left out, one line each."""
        said = (("that are there twice", self.twins), ("that the calibration saw", self.known))
        notes = [
            f"{self.folder}: {len(names)} left out {why} ({', '.join(names[:_SHOWN])})" for why, names in said if names
        ]
        if self.passed_over:
            kinds = spell_kinds(self.passed_over)
            notes.append(f"{self.folder}: {kinds} can't be read here and are passed over: convert them first")
        return notes

    def planes(self, index: int, *, size: int, stride: int) -> NDArray[np.float32]:
        """One image as [1, 3, H, W] float32 in [0, 1], H and W multiples of ``stride``.

        The shorter side is made ``size`` pixels, and never enlarged: a blur has smaller activations than a picture. The
        middle is kept of a side that is no multiple, or over four times the other.

        Raises:
            InputError: it can't be read, or is too small.
        """
        path = self.folder / self.files[index].name
        photo = load_image(path)
        _check_size(path, photo.width, photo.height)
        longest = _LONGEST * min(photo.width, photo.height)
        small = resize_shorter(_middle(photo, longest, 1), size, enlarge=False)
        return planes_for([_middle(small, max(small.width, small.height), stride).rgb], Sizes(stride, 2 * stride))


def open_folder(folder: Path, *, most: int, seed: int, known: Callable[[str], bool] | None = None) -> ImageFolder:
    """The images of a folder that a calibration takes.

    Args:
        folder: images lie in it directly; other files are passed over.
        most: where there are more, so many are drawn.
        seed: of that.
        known: says by an image's digest whether it is to be left out, before any are drawn; where it says so of every
            image, none is taken.

    Raises:
        InputError: no such folder, no image in it, or one that can't be read or is too small.
    """
    names, passed_over = _names(folder)
    left_out = () if known is None else tuple(name for name in names if known(_digest(folder / name)))
    names = [name for name in names if name not in left_out]
    if len(names) > most:
        drawn = np.random.default_rng([seed, 0]).permutation(len(names))[:most]
        names = [names[place] for place in sorted(drawn)]
    by_digest: dict[str, str] = {}
    twins = []
    for name in names:
        _check_header(folder / name)
        digest = _digest(folder / name)
        if by_digest.setdefault(digest, name) != name:
            twins.append(name)
    files = tuple(ImageFile(name, digest) for digest, name in by_digest.items())
    return ImageFolder(folder, files, tuple(twins), left_out, passed_over)


def find_again(folder: Path, files: Sequence[ImageFile]) -> ImageFolder:
    """The images of an earlier calibration.

    Raises:
        InputError: no such folder, or an image that is not there or was changed.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds {files[0].name}")
    for file in files:
        if not (folder / file.name).is_file():
            raise InputError(
                f"{folder / file.name}: not there, and the pairs name it; give the folder that they came from"
            )
        if (found := _digest(folder / file.name)) != file.sha256:
            raise InputError(
                f"{folder / file.name}: changed since the pairs were made (sha256 {found[:16]}, and they have "
                f"{file.sha256[:16]}); bring the file back, or draw pairs anew without --repeat"
            )
    return ImageFolder(folder, tuple(files))


def _names(folder: Path) -> tuple[list[str], tuple[Path, ...]]:
    """Names of the images, and the pictures of kinds that aren't read here."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that holds images")
    found = find_contents(str(folder))
    return [path.name for path in found.files if path.name[0] != "."], tuple(found.passed_over)


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}); take it out of the folder") from error


def _check_header(path: Path) -> None:
    """Look at an image's size alone, so that a folder is refused before any work."""
    try:
        height, width = stated_size(path, None)
    except InputError as error:
        raise InputError(f"{error}; or take it out of the folder") from error
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: {width}x{height}, more than {MAX_PIXELS:,} pixels; make it smaller, or take it out of the folder"
        )
    _check_size(path, width, height)


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < SMALLEST:
        raise InputError(
            f"{path}: {width}x{height}, too small to calibrate with; {SMALLEST} pixels a side or more are wanted: take "
            "it out of the folder"
        )


def _middle(photo: Photo, longest: int, multiple: int) -> Photo:
    """The middle of a photo: sides of at most ``longest``, multiples of ``multiple``."""
    sides = []
    for side in (photo.height, photo.width):
        kept = min(side, longest)
        kept -= kept % multiple if kept > multiple else 0  # what is less than one is padded to it
        start = (side - kept) // 2
        sides.append(slice(start, start + kept))
    return Photo(np.ascontiguousarray(photo.rgb[sides[0], sides[1]]))
