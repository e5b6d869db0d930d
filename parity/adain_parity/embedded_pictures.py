"""A run's pictures as data URIs for a page: each file once, the first cases' whole, all within a budget."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from adain_parity.results import Case

BUDGET = 32 << 20
"""Bytes of pictures before they are written as text; beyond it, those of the last cases are reduced."""
LONGEST_SIDE = 768
REDUCED_SIDE = 128
_QUALITY = 90
_LOSSLESS_UP_TO = 12 << 10  # bytes: the difference of a good backend is nearly black, and lossy coding would blur it


@dataclass(frozen=True)
class Shown:
    """Where a case's pictures are in the list; None for one that a case doesn't have or whose file is not there."""

    content: int | None = None
    style: int | None = None
    reference: int | None = None
    backend: int | None = None
    difference: int | None = None


@dataclass(frozen=True)
class EmbeddedPictures:
    """The pictures of a page.

    Attributes:
        uris: ``data:`` URIs, referred to by their place.
        shown: by a case's id.
        missing: files that the run names and that can't be read, relative to its folder.
        reduced: how many pictures are smaller than their files, to keep within the budget.
    """

    uris: tuple[str, ...] = ()
    shown: dict[str, Shown] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    reduced: int = 0


def embed_pictures(cases: Sequence[Case], folder: Path, *, budget: int = BUDGET) -> EmbeddedPictures:
    """Read the pictures of cases and make them fit to be part of a page.

    Args:
        cases: in the order of their importance: the first keep their size where there is too much.
        folder: what their paths are relative to; a path that leaves it is not followed.
        budget: bytes that all pictures may take before they are written as text.
    """
    uris: list[str] = []
    places: dict[str, int | None] = {}
    shown: dict[str, Shown] = {}
    missing: list[str] = []
    spent = reduced = 0

    def place(path: str | None, *, exact: bool = False) -> int | None:
        nonlocal spent, reduced
        if path is None:
            return None
        if path not in places:
            image = _read(folder, path)
            if image is None:
                places[path] = None
                missing.append(path)
            else:
                data = _encode(image, LONGEST_SIDE, exact=exact)
                if spent + len(data) > budget and max(image.size) > REDUCED_SIDE:
                    data = _encode(image, REDUCED_SIDE, exact=False)
                    reduced += 1
                spent += len(data)
                places[path] = len(uris)
                uris.append(f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}")
        return places[path]

    for case in cases:
        if (of := case.pictures) is not None:
            shown[case.id] = Shown(
                content=place(of.content),
                style=place(of.style),
                reference=place(of.reference),
                backend=place(of.backend),
                difference=place(of.difference, exact=True),
            )
    return EmbeddedPictures(tuple(uris), shown, tuple(missing), reduced)


def _read(folder: Path, path: str) -> Image.Image | None:
    file = folder / path
    try:
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            return None
        with Image.open(file) as image:
            loaded: Image.Image = image.convert("RGB")
            return loaded
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # reported as missing, by its name
        return None


def _encode(image: Image.Image, longest: int, *, exact: bool) -> bytes:
    fitted = image.copy()
    fitted.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    if exact:
        data = _webp(fitted, lossless=True, quality=0, method=0)
        if len(data) <= _LOSSLESS_UP_TO:
            return data
    return _webp(fitted, lossless=False, quality=_QUALITY, method=2)


def _webp(image: Image.Image, *, lossless: bool, quality: int, method: int) -> bytes:
    made = io.BytesIO()
    image.save(made, "WEBP", lossless=lossless, quality=quality, method=method)
    return made.getvalue()
