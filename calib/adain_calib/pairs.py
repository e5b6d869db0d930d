"""What a calibration is made on: content x style x alpha and mixes of styles, drawn from a seed and kept as a list.

The decoder's activations depend on the content, on the style and on alpha. Ranges that were taken from plain images
miss what styles do to them; `plain_pairs` makes such a list, to compare with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from adain_calib.images import SMALLEST, ImageFile
from adain_export import strict_json
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file

SCHEMA_VERSION = 1
RECOMMENDED = 64
"""Fewer pairs give ranges that a new content or style goes beyond."""

MIXED = 4  # one pair in so many mixes two styles
_FIX = "make it again: adain-calib collect --save-pairs"
_FIELDS = ("schema_version", "seed", "size", "contents", "styles", "samples")
_SAMPLE = ("content", "styles", "weights", "alpha")


@dataclass(frozen=True)
class Sample:
    """One stylised image.

    Attributes:
        content: which content.
        styles: which styles; none where the content is decoded as itself.
        weights: of each style; they sum to 1.
        alpha: content-style trade-off.
    """

    content: int
    styles: tuple[int, ...]
    weights: tuple[float, ...]
    alpha: float


@dataclass(frozen=True)
class Pairs:
    """The list of pairs: with the images it names, a calibration can be repeated.

    Attributes:
        contents: content images.
        styles: style images; none where every content is decoded as itself.
        samples: the pairs.
        seed: that they were drawn with.
        size: pixels that an image's shorter side is reduced to.
    """

    contents: tuple[ImageFile, ...]
    styles: tuple[ImageFile, ...]
    samples: tuple[Sample, ...]
    seed: int
    size: int

    @property
    def digest(self) -> str:
        """SHA-256 of the list as a file."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def warnings(self) -> list[str]:
        """What makes this a weak calibration, one line each."""
        found = []
        if len(self.samples) < RECOMMENDED:
            found.append(f"{len(self.samples)} pairs are few: {RECOMMENDED} or more are recommended (--pairs)")
        if len(self.contents) == 1:
            found.append(f"there is one content image, {self.contents[0].name}: the ranges will fit it and few others")
        if len(self.styles) == 1:
            found.append(f"there is one style image, {self.styles[0].name}: the ranges will fit it and few others")
        return found

    def to_json(self) -> str:
        """The list as JSON text, byte for byte the same for equal lists."""
        return json.dumps({"schema_version": SCHEMA_VERSION} | asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, plain: object) -> Pairs:
        """Read a list.

        Raises:
            InputError: a field is missing, unknown or out of its range.
        """
        strict_json.version("pairs", strict_json.object_of("pairs", plain), SCHEMA_VERSION)
        values = strict_json.fields_of("pairs", plain, _FIELDS)
        contents, styles = (_files(kind, values[kind]) for kind in ("contents", "styles"))
        samples = strict_json.list_of("samples", values["samples"])
        if not contents or not samples:
            raise InputError("pairs: at least one content and one sample are wanted")
        return cls(
            contents,
            styles,
            tuple(_sample(f"samples[{i}]", plain, len(contents), len(styles)) for i, plain in enumerate(samples)),
            strict_json.whole("seed", values["seed"]),
            strict_json.whole("size", values["size"], at_least=SMALLEST),
        )

    def save(self, path: Path) -> None:
        """Write the list; a file that stands there is replaced when the new one is whole.

        Raises:
            InputError: it can't be written.
        """
        with replacing_file(path) as part:
            part.write_bytes(self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> Pairs:
        """Read a list; `adain_calib.images.find_again` verifies the images that it names.

        Raises:
            InputError: it is missing, no JSON, or no sound list.
        """
        plain = strict_json.read_object(path, _FIX)
        try:
            return cls.from_json(plain)
        except InputError as error:
            raise InputError(f"{path}: {error}; {_FIX}") from error


def draw_pairs(
    contents: Sequence[ImageFile],
    styles: Sequence[ImageFile],
    count: int,
    *,
    seed: int,
    size: int,
    alpha_range: tuple[float, float] = (0.0, 1.0),
) -> Pairs:
    """Draw pairs: every content and every style is used equally often, or once more than the others.

    Half of the pairs have alpha 1, what most people run, and the others one from all of its range. One in four mixes
    two styles.

    Args:
        contents: one or more.
        styles: one or more; with one, nothing is mixed.
        count: how many pairs.
        seed: the same seed, images and count give the same pairs.
        size: pixels that an image's shorter side is reduced to.
        alpha_range: smallest and largest alpha, of the network's spec.

    Raises:
        InputError: no images, no pairs, or a size or seed out of range.
    """
    _check_request(contents, count, seed, size)
    if not styles:
        raise InputError("no style images to draw pairs from; give a folder that holds some")
    full = min(max(1.0, alpha_range[0]), alpha_range[1])
    rng = np.random.default_rng([seed, 1])
    others = np.round(rng.uniform(*alpha_range, count), 3).tolist()
    plainly = rng.permutation(np.arange(count) < (count + 1) // 2).tolist()
    mixes = rng.permutation(np.arange(count) < (count // MIXED if len(styles) > 1 else 0)).tolist()
    shares = np.round(rng.uniform(0, 1, count), 3).tolist()
    next_content, next_style = _rounds(len(contents), rng), _rounds(len(styles), rng)
    samples = []
    for alpha, is_full, mixed, share in zip(others, plainly, mixes, shares, strict=True):
        chosen = tuple(next(next_style) for _ in range(2 if mixed else 1))
        weights = (share, round(1 - share, 3)) if mixed else (1.0,)
        samples.append(Sample(next(next_content), chosen, weights, full if is_full else alpha))
    return Pairs(tuple(contents), tuple(styles), tuple(samples), seed, size)


def plain_pairs(contents: Sequence[ImageFile], count: int, *, seed: int, size: int) -> Pairs:
    """As many samples, each a content decoded as itself (alpha 0): calibration on plain images, as elsewhere.

    Raises:
        InputError: no images, no samples, or a size or seed out of range.
    """
    _check_request(contents, count, seed, size)
    order = _rounds(len(contents), np.random.default_rng([seed, 1]))
    return Pairs(tuple(contents), (), tuple(Sample(next(order), (), (), 0.0) for _ in range(count)), seed, size)


def style_uses(count: int) -> int:
    """How many styles so many pairs can use."""
    return count + count // MIXED


def _rounds(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Endless rounds, each with every one of ``count`` things once; never the same twice running, but for one alone."""
    last = -1
    while True:
        order = rng.permutation(count).tolist()
        if order[0] == last:
            order[0], order[-1] = order[-1], order[0]
        yield from order
        last = order[-1]


def _check_request(contents: Sequence[ImageFile], count: int, seed: int, size: int) -> None:
    if not contents:
        raise InputError("no content images to draw pairs from; give a folder that holds some")
    if count < 1:
        raise InputError(f"{count} pairs are none; give 1 or more ({RECOMMENDED} or more to calibrate with)")
    if size < SMALLEST:
        raise InputError(f"a size of {size} pixels is too small to calibrate with; give {SMALLEST} or more")
    if seed < 0:
        raise InputError(f"a seed of {seed} is out of range; give 0 or more")


def _files(where: str, value: object) -> tuple[ImageFile, ...]:
    files = []
    for i, plain in enumerate(strict_json.list_of(where, value)):
        fields = strict_json.fields_of(f"{where}[{i}]", plain, ("name", "sha256"))
        name = strict_json.text(f"{where}[{i}].name", fields["name"])
        if Path(name).name != name or "\\" in name or name in {".", ".."}:
            raise InputError(f"{where}[{i}].name: expected a file's name without a folder, found {name!r}")
        files.append(ImageFile(name, strict_json.hexadecimal(f"{where}[{i}].sha256", fields["sha256"])))
    return tuple(files)


def _sample(where: str, plain: object, contents: int, styles: int) -> Sample:
    fields = strict_json.fields_of(where, plain, _SAMPLE)
    chosen = strict_json.list_of(f"{where}.styles", fields["styles"])
    weights = strict_json.list_of(f"{where}.weights", fields["weights"])
    sample = Sample(
        strict_json.whole(f"{where}.content", fields["content"], below=contents),
        tuple(strict_json.whole(f"{where}.styles", style, below=styles) for style in chosen),
        tuple(strict_json.number(f"{where}.weights", weight) for weight in weights),
        strict_json.number(f"{where}.alpha", fields["alpha"]),
    )
    if (
        len(chosen) != len(weights)
        or any(weight < 0 for weight in sample.weights)
        or (chosen and not sum(sample.weights))
    ):
        raise InputError(f"{where}.weights: expected one for each style, not negative, not all zero; found {weights}")
    if not chosen and sample.alpha != 0:
        raise InputError(f"{where}.alpha: expected 0 for a sample without a style, found {sample.alpha}")
    return sample
