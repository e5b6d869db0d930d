"""What a student is to reach: a teacher's images, and the content and style targets that VGG-19 measures.

Two sources give the same things. `LiveTargets` makes them of fresh crops in every step: a GPU does that quickly.
`KeptTargets` makes them of a set of crops once, and keeps them on disk: on a CPU that halves the work of a step,
because VGG-19 then only ever sees the student's output. Any content crop can meet any style crop; only the
teacher's images are of fixed pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adain_model import Network, adain, weights_sha256
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_folder
from adain_train.config import StudentConfig
from adain_train.data import Stream, shuffled
from adain_train.losses import Perceptual, StyleKind, Summary
from adain_train.pairs import CONTENT, STYLE, PairData

_CONTENT_OF_PAIR, _STYLE_OF_PAIR, _PAIR = 2, 3, 4  # keys of sequences, beside those of `pairs`
_CHUNK = 8  # images that VGG-19 takes at a time while targets are made


@dataclass(frozen=True)
class Wanted:
    """Which targets a step needs.

    Attributes:
        image: the teacher's images.
        features: the content target, and the style's summaries.
        encoding: VGG-19's features of the content as it is.
    """

    image: bool
    features: bool
    encoding: bool = False


@dataclass(frozen=True)
class PairTargets:
    """The targets of a batch, on its device; what was not wanted is None.

    Attributes:
        image: the teacher's, [N, 3, H, W] in [0, 1].
        features: the AdaIN target of VGG-19, [N, 512, H/8, W/8].
        style: the summaries of the style's taps.
        encoding: VGG-19's features of the content, [N, 512, H/8, W/8].
    """

    image: Tensor | None = None
    features: Tensor | None = None
    style: list[Summary] | None = None
    encoding: Tensor | None = None


class Targets(Protocol):
    """Where targets come from."""

    @property
    def measure(self) -> Perceptual:
        """VGG-19, which makes the targets and measures how far they are reached."""

    def load(self, positions: range, wanted: Wanted) -> dict[str, Tensor]:
        """``content`` and ``style`` [n, 3, crop, crop] uint8, and what is kept of their targets; on the CPU."""

    def complete(self, batch: Mapping[str, Tensor], wanted: Wanted) -> PairTargets:
        """The targets of a loaded batch, on its device."""

    def describe(self, positions: range, wanted: Wanted) -> str:
        """The files of a batch."""


class LiveTargets:
    """Targets made in every step, of fresh crops.

    Args:
        teacher: VGG-19 and its decoder; moved to the device by its owner.
        data: contents and styles.
        style_kind: what the style loss compares.
    """

    def __init__(self, teacher: Network, data: PairData, style_kind: StyleKind) -> None:
        self._teacher, self.measure, self._data, self._kind = teacher, Perceptual(teacher.encoder), data, style_kind

    def load(self, positions: range, wanted: Wanted) -> dict[str, Tensor]:  # noqa: ARG002 the crops are all there is
        """Fresh crops."""
        return self._data.load(positions)

    @torch.no_grad()
    def complete(self, batch: Mapping[str, Tensor], wanted: Wanted) -> PairTargets:
        """Run the teacher."""
        if not (wanted.image or wanted.features or wanted.encoding):
            return PairTargets()
        content = self.measure.taps(batch["content"])[-1]
        encoding = content if wanted.encoding else None
        if not (wanted.image or wanted.features):
            return PairTargets(encoding=encoding)
        taps = self.measure.taps(batch["style"])
        target = _adain_target(self.measure, content, self.measure.summarize(taps)[-1])
        return PairTargets(
            encoding=encoding,
            image=self._teacher.decoder(target).clamp(0, 1) if wanted.image else None,
            features=target if wanted.features else None,
            style=self.measure.summarize(taps, self._kind) if wanted.features else None,
        )

    def describe(self, positions: range, wanted: Wanted) -> str:  # noqa: ARG002 as in load
        """The files of a batch."""
        return self._data.describe(positions)


class KeptTargets:
    """Targets read from a folder that `make_targets` wrote.

    Args:
        folder: of `make_targets`.
        config: of the training.
        teacher: VGG-19, for its variance and widths.
        data: for the names of the files.
    """

    def __init__(self, folder: Path, config: StudentConfig, teacher: Network, data: PairData) -> None:
        self._config, self._data, self.measure = config, data, Perceptual(teacher.encoder)
        self._widths = [stage[0] for stage in teacher.spec.encoder]
        try:
            self._arrays: dict[str, NDArray[Any]] = {
                name: np.load(folder / f"{name}.npy", mmap_mode="r")
                for name in ("content", "style", "features", "summaries", "teacher")
            }
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{folder}: kept targets that can't be read ({error}); delete the folder") from error

    def load(self, positions: range, wanted: Wanted) -> dict[str, Tensor]:
        """Kept crops with what is kept of them."""
        pairs = self._pairs(positions, wanted)
        contents, styles = _members(self._config, pairs)
        found = {"content": self._rows("content", contents), "style": self._rows("style", styles)}
        if wanted.image:
            found["image"] = self._rows("teacher", pairs)
        if wanted.features or wanted.encoding:
            found["features"] = self._rows("features", contents)
        if wanted.features:
            found["summaries"] = self._rows("summaries", styles)
        return found

    @torch.no_grad()
    def complete(self, batch: Mapping[str, Tensor], wanted: Wanted) -> PairTargets:
        """Put content and style together."""
        image, encoding = batch.get("image"), batch["features"].float() if wanted.encoding else None
        if not wanted.features:
            return PairTargets(image=image, encoding=encoding)
        style: list[Summary] = []
        for both in torch.split(batch["summaries"], [2 * width for width in self._widths], dim=1):
            mean, std = both[..., None, None].chunk(2, dim=1)
            style.append((mean, std))
        target = _adain_target(self.measure, batch["features"].float(), style[-1])
        return PairTargets(image=image, features=target, style=style, encoding=encoding)

    def describe(self, positions: range, wanted: Wanted) -> str:
        """The files of a batch."""
        contents, styles = _members(self._config, self._pairs(positions, wanted))
        return ", ".join(
            f"{self._data.name(CONTENT, content)} + {self._data.name(STYLE, style)}"
            for content, style in zip(contents, styles, strict=True)
        )

    def _pairs(self, positions: range, wanted: Wanted) -> list[int]:
        """Which pairs: those of the teacher's images where these are wanted, and ever new ones where not."""
        count, seed = self._config.kept_pairs, self._config.seed
        if wanted.image:
            return [shuffled(position, count, seed=seed, key=_PAIR) for position in positions]
        return [count + position for position in positions]

    def _rows(self, name: str, places: list[int]) -> Tensor:
        return torch.from_numpy(self._arrays[name][places])


def targets_folder(root: Path, config: StudentConfig, teacher: Network, data: PairData) -> Path:
    """Where the targets of this teacher, data, seed and framing belong: students of all sizes share them."""
    text = json.dumps(_identity(config, teacher, data), sort_keys=True)
    return root / f"targets-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@torch.no_grad()
def make_targets(
    folder: Path,
    config: StudentConfig,
    teacher: Network,
    data: PairData,
    device: torch.device,
    *,
    advance: Callable[[int], object] = lambda _: None,
) -> None:
    """Make the targets of ``kept_crops`` contents and styles and ``kept_pairs`` pairs; whole, or not at all.

    Args:
        folder: to write; by `targets_folder`.
        config: how many, and of which crops.
        teacher: on ``device``.
        data: contents and styles.
        device: where to run.
        advance: called with a number of images when they are done, for a progress bar.

    Raises:
        InputError: the folder can't be written.
    """
    measure, crops = Perceptual(teacher.encoder), config.kept_crops
    layout = torch.channels_last

    def unit(pixels: NDArray[np.uint8]) -> Tensor:
        return (torch.from_numpy(pixels).to(device).float() / 255).contiguous(memory_format=layout)

    with replacing_folder(folder) as part:
        for images, key, name in ((data.contents, CONTENT, "content"), (data.styles, STYLE, "style")):
            with _Rows(part / f"{name}.npy", crops) as pixels, _Rows(part / f"{_KEPT[name]}.npy", crops) as kept:
                for places in _chunks(crops):
                    chunk = Stream(images, config.seed, key).crops(places)
                    taps = measure.taps(unit(chunk))
                    pixels.append(chunk)
                    kept.append(_kept(measure, taps, name).cpu().numpy())
                    advance(len(places))
        features, summaries = (np.load(part / f"{name}.npy", mmap_mode="r") for name in ("features", "summaries"))
        widest = 2 * teacher.spec.channels
        with _Rows(part / "teacher.npy", config.kept_pairs) as kept:
            for places in _chunks(config.kept_pairs):
                contents, styles = _members(config, list(places))
                content = torch.from_numpy(features[contents]).to(device).float().contiguous(memory_format=layout)
                mean, std = torch.from_numpy(summaries[styles][:, -widest:, None, None]).to(device).chunk(2, dim=1)
                image = teacher.decoder(_adain_target(measure, content, (mean, std))).clamp(0, 1)
                kept.append((image * 255).round().byte().contiguous().cpu().numpy())
                advance(len(places))
        (part / "identity.json").write_text(json.dumps(_identity(config, teacher, data), indent=2), encoding="utf-8")


_KEPT = {"content": "features", "style": "summaries"}


def _kept(measure: Perceptual, taps: list[Tensor], name: str) -> Tensor:
    if name == "content":
        return taps[-1].half().contiguous()
    both = [value for summary in measure.summarize(taps) for value in summary]
    return torch.cat(both, dim=1).flatten(1)


def _adain_target(measure: Perceptual, features: Tensor, style: Summary) -> Tensor:
    spec = measure.encoder.spec
    return adain(features, *style, correction=spec.correction, eps=spec.eps)


def _members(config: StudentConfig, pairs: list[int]) -> tuple[list[int], list[int]]:
    """The content and style crop of each pair, in two orders that are independent of one another."""

    def members(key: int) -> list[int]:
        return [shuffled(pair, config.kept_crops, seed=config.seed, key=key) for pair in pairs]

    return members(_CONTENT_OF_PAIR), members(_STYLE_OF_PAIR)


def _chunks(count: int) -> list[range]:
    return [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]


def _identity(config: StudentConfig, teacher: Network, data: PairData) -> dict[str, Any]:
    return {
        "teacher": weights_sha256(teacher),
        **data.digests,
        "seed": config.seed,
        "framing": asdict(config.framing),
        "crops": config.kept_crops,
        "pairs": config.kept_pairs,
    }


class _Rows:
    """A .npy file that grows row by row: a mapped one would end the process when the disk is full."""

    def __init__(self, path: Path, count: int) -> None:
        self._file, self._count, self._begun = path.open("wb"), count, False

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows; the first give shape and dtype."""
        if not self._begun:
            header = np.lib.format.header_data_from_array_1_0(rows)
            np.lib.format.write_array_header_1_0(self._file, {**header, "shape": (self._count, *rows.shape[1:])})
            self._begun = True
        self._file.write(np.ascontiguousarray(rows).tobytes())
