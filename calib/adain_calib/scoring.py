"""What int8 costs on images: pairs that were not calibrated on, PSNR and SSIM against the float network in torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adain_calib.histogram import require_finite
from adain_calib.images import ImageFolder, open_folder
from adain_calib.pairs import Pairs, draw_pairs, style_uses
from adain_calib.simulate import SimulatedNetwork
from adain_calib.stylise import decoder_feeds, style_of
from adain_export.calibration import Calibration
from adain_export.check import in_torch
from adain_model.checkpoint import encoder_id
from adain_model.network import Network
from adain_model.similarity import luminance, ssim
from adain_runtime.backend import Array
from adain_runtime.errors import InputError
from adain_runtime.metrics import psnr
from adain_runtime.style import Style

CEILING = 100.0
"""dB; images that are nearer than this, equal ones among them, count as so near: a mean needs finite numbers."""

Run = Callable[[str, Mapping[str, Array]], Mapping[str, Array]]
"""Runs a part: `adain_export.check.in_torch` of a network, a simulation, or the session of a bundle."""


@dataclass(frozen=True)
class Scores:
    """How near images are to those of the float network, one number a pair.

    Attributes:
        psnr: dB, at most ``CEILING``.
        ssim: of the luminance, at most 1.
    """

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]

    @property
    def mean_psnr(self) -> float:
        """Mean over pairs of the PSNR: what a target is about."""
        return float(np.mean(self.psnr))

    @property
    def worst_psnr(self) -> float:
        """The PSNR of the pair that lost most."""
        return min(self.psnr)

    @property
    def squared_errors(self) -> NDArray[np.float64]:
        """Mean squared error of each pair's image."""
        errors: NDArray[np.float64] = 10 ** (-np.asarray(self.psnr, np.float64) / 10)
        return errors

    @property
    def mean_ssim(self) -> float:
        """Mean over pairs of the SSIM."""
        return float(np.mean(self.ssim))

    def to_json(self) -> dict[str, float]:
        """The three numbers that people compare."""
        return {"psnr": self.mean_psnr, "worst_psnr": self.worst_psnr, "ssim": self.mean_ssim}


@dataclass(frozen=True)
class HeldOut:
    """Pairs of images that a calibration never saw, in either role.

    Attributes:
        pairs: contents, styles, mixes and alphas, drawn as for a calibration; each pair once.
        contents: the images of ``pairs.contents``.
        styles: the images of ``pairs.styles``.
    """

    pairs: Pairs
    contents: ImageFolder
    styles: ImageFolder

    def notes(self) -> list[str]:
        """What a person should know of them, one line each."""
        alone = [
            f"there is one {kind} image, {files[0].name}: the numbers say little about others"
            for kind, files in (("content", self.pairs.contents), ("style", self.pairs.styles))
            if len(files) == 1
        ]
        return [*self.contents.notes(), *self.styles.notes(), *alone]


def held_out(
    content: Path,
    style: Path,
    *,
    saw: Callable[[str], bool],
    size: int,
    pairs: int,
    seed: int,
    alpha_range: tuple[float, float],
    fix: str = "give a folder that holds others",
) -> HeldOut:
    """Pairs from two folders, none of whose images a calibration saw.

    Args:
        content: folder of contents.
        style: folder of styles.
        saw: whether the calibration saw the image of a digest; a copy saved anew is another image to it.
        size: pixels that an image's shorter side is reduced to, as for the calibration.
        pairs: how many to draw; one that was drawn twice counts once.
        seed: of the draw.
        alpha_range: of the network's spec.
        fix: what to do where the calibration saw all.

    Raises:
        InputError: a folder without images, or with none that the calibration did not see; an image that can't be read
            or is too small.
    """
    folders = [
        open_folder(folder, most=most, seed=seed, known=saw)
        for folder, most in ((content, max(1, pairs)), (style, max(1, style_uses(pairs))))
    ]
    for folder in folders:
        if not folder.files:
            raise InputError(
                f"{folder.folder}: all {len(folder.known)} images of it were calibrated on, and would flatter the "
                f"result; {fix}"
            )
    contents, styles = folders
    drawn = draw_pairs(contents.files, styles.files, pairs, seed=seed, size=size, alpha_range=alpha_range)
    return HeldOut(replace(drawn, samples=tuple(dict.fromkeys(drawn.samples))), contents, styles)


@dataclass(frozen=True)
class Encoded:
    """What an encoder gave for the images of the pairs, by their place.

    Attributes:
        contents: features, mean and std.
        styles: the styles.
    """

    contents: Mapping[int, Mapping[str, Array]]
    styles: Mapping[int, Style]


class Judge:
    """Compares whatever runs a network's parts with the float network in torch, on held-out pairs.

    Attributes:
        samples: the pairs.
        contents: the content images that they name, [1, 3, H, W] in [0, 1], by place.
        styles: likewise.
        wanted: the float network's image of each pair.
    """

    def __init__(self, network: Network, held: HeldOut) -> None:
        spec, size = network.spec, held.pairs.size
        self._encoder_id = encoder_id(network)
        self.samples = held.pairs.samples
        contents, styles = {s.content for s in self.samples}, {i for s in self.samples for i in s.styles}
        self.contents, self.styles = (
            {i: folder.planes(i, size=size, stride=spec.stride) for i in sorted(used)}
            for folder, used in ((held.contents, contents), (held.styles, styles))
        )

        def exact(part: str, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
            return in_torch(part, network, feeds)

        self.wanted = list(self.images(exact, self.encode(exact)))

    def encode(self, run: Run) -> Encoded:
        """Every image through the encoder; styles too, as in a bundle, whose int8 encoder gives their statistics."""
        contents = {i: run("encoder", {"image": image}) for i, image in self.contents.items()}
        styles = {i: style_of(run("encoder", {"image": image}), self._encoder_id) for i, image in self.styles.items()}
        return Encoded(contents, styles)

    def score(self, run: Run, encoded: Encoded | None = None) -> Scores:
        """Stylise every pair and compare.

        Args:
            run: runs the parts.
            encoded: what `encode` gave with the same encoder, so that it is not run again.

        Raises:
            QualityError: an image that is not finite.
        """
        images = self.images(run, encoded or self.encode(run))
        found = [compare(image, wanted) for image, wanted in zip(images, self.wanted, strict=True)]
        return Scores(tuple(psnr for psnr, _ in found), tuple(ssim for _, ssim in found))

    def images(self, run: Run, encoded: Encoded) -> Iterator[Array]:
        """Every pair's image, [1, 3, H, W] in [0, 1].

        Raises:
            QualityError: an image that is not finite.
        """
        for sample in self.samples:
            feeds = decoder_feeds(encoded.contents[sample.content], sample, encoded.styles)
            image = run("decoder", feeds)["image"]
            require_finite(f"the image of pair {sample}", image)
            yield image


class Simulator:
    """Scores of sets of int8 layers, by simulation; no set is run twice, nor the encoder where its layers stay."""

    def __init__(self, network: Network, calibration: Calibration, judge: Judge) -> None:
        self.judge = judge
        self._simulated = SimulatedNetwork(network, calibration)
        self._scores: dict[frozenset[str], Scores] = {}
        self._encoded: tuple[frozenset[str], Encoded] | None = None
        self._float: Encoded | None = None

    @property
    def runs(self) -> int:
        """How many sets were run."""
        return len(self._scores)

    def __call__(self, layers: Collection[str]) -> Scores:
        """How near the images are with these layers in int8, and all others float."""
        chosen = frozenset(layers)
        if chosen not in self._scores:
            self._simulated.switch(chosen)
            self._scores[chosen] = self.judge.score(self._simulated.run, self._encode(chosen))
        return self._scores[chosen]

    def images(self, layers: Collection[str]) -> Iterator[Array]:
        """Every pair's image with these layers in int8."""
        self._simulated.switch(layers)
        return self.judge.images(self._simulated.run, self._encode(frozenset(layers)))

    def _encode(self, chosen: frozenset[str]) -> Encoded:
        """The last encoding, or that of the float encoder, where it is the same."""
        inside = frozenset(layer for layer in chosen if layer.startswith("encoder."))
        if not inside:
            self._float = self._float or self.judge.encode(self._simulated.run)
            return self._float
        if self._encoded is None or self._encoded[0] != inside:
            self._encoded = (inside, self.judge.encode(self._simulated.run))
        return self._encoded[1]


def compare(image: Array, wanted: Array) -> tuple[float, float]:
    """PSNR in dB, at most ``CEILING``, and SSIM of two images [1, 3, H, W] in [0, 1]."""
    alike = ssim(*(luminance(torch.from_numpy(planes).double()) for planes in (image, wanted)))
    return min(psnr(image, wanted), CEILING), float(alike)
