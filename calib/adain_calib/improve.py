"""Weight improvements, each kept only where it raises the PSNR on pairs that were not calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adain_calib.collect import calibration_of, collect, observe, steps_of
from adain_calib.histogram import Histogram
from adain_calib.images import ImageFolder
from adain_calib.pairs import Pairs
from adain_calib.scoring import HeldOut, Judge, Scores, Simulator, held_out
from adain_calib.simulate import SimulatedNetwork
from adain_calib.stylise import decoder_feeds, style_of
from adain_export.calibration import Calibration
from adain_export.equalise import equalising
from adain_export.improvements import Improvements
from adain_export.layer_range import Method
from adain_model.network import Network
from adain_runtime.backend import Array
from adain_runtime.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

JUDGED = 24
"""Held-out pairs that an improvement is judged on."""

_DIGITS = 4  # of a correction: sums of float32 differ behind them with the number of threads


@dataclass(frozen=True)
class Attempt:
    """An improvement that was tried.

    Attributes:
        name: of it.
        before: scores of the calibration's int8 layers without it.
        after: and with it.
    """

    name: str
    before: Scores
    after: Scores

    @property
    def kept(self) -> bool:
        """Whether it raised the mean PSNR."""
        return self.after.mean_psnr > self.before.mean_psnr

    def to_json(self) -> dict[str, object]:
        """The attempt as JSON values."""
        return {"kept": self.kept, "before": self.before.to_json(), "after": self.after.to_json()}

    def __str__(self) -> str:
        pairs = len(self.before.psnr)
        found = f"{self.before.mean_psnr:.2f} to {self.after.mean_psnr:.2f} dB on {pairs} held-out pairs"
        return f"{self.name}: {found}, {'kept' if self.kept else 'left out'}"


@dataclass(frozen=True)
class Work:
    """All that a calibration is made from.

    Attributes:
        network: as its checkpoint has it.
        pairs: to calibrate on.
        contents: the images of ``pairs.contents``.
        styles: the images of ``pairs.styles``; None where there are none.
        method: whose ranges are the calibration's own.
        percentile: of the method of that name, in percent.
        threads: of onnxruntime; None leaves it the choice.
        signed: give no layer shifted codes.
    """

    network: Network
    pairs: Pairs
    contents: ImageFolder
    styles: ImageFolder | None
    method: Method
    percentile: float
    threads: int | None
    signed: bool = False

    def held_out(self) -> HeldOut:
        """Pairs of the same folders' other images, to judge improvements on.

        Raises:
            InputError: no styles, or no other images.
        """
        if self.styles is None:
            raise InputError("improvements are judged on stylised images, and these pairs have no styles")
        seen = {file.sha256 for file in (*self.pairs.contents, *self.pairs.styles)}
        return held_out(
            self.contents.folder,
            self.styles.folder,
            saw=seen.__contains__,
            size=self.pairs.size,
            pairs=JUDGED,
            seed=self.pairs.seed,
            alpha_range=self.network.spec.alpha_range,
            fix="give a folder that holds others, or calibrate on fewer (--pairs)",
        )

    def collected(
        self, bar: Progress, improvements: Improvements | None = None
    ) -> tuple[Calibration, dict[str, Histogram]]:
        """The calibration of the network as it is, or with improvements, and what it was made from."""
        changed = self.network if improvements is None else improvements.applied(self.network, ())
        observed = observe(changed, threads=self.threads)
        task = bar.add_task("pairs", total=steps_of(self.pairs))
        found = collect(observed, self.pairs, self.contents, self.styles, advance=lambda: bar.advance(task))
        task = bar.add_task("ranges", total=len(found))
        made = calibration_of(
            self.network,
            self.pairs,
            found,
            method=self.method,
            percentile=self.percentile,
            signed=self.signed,
            improvements=improvements,
            advance=lambda: bar.advance(task),
        )
        return made, found

    def equalised(
        self, current: Calibration, found: dict[str, Histogram], judge: Judge, bar: Progress
    ) -> tuple[Calibration, dict[str, Histogram], Attempt]:
        """The calibration of the equalised network, where that is better, or else the current one."""
        loudness = {layer: histogram.loudness.tolist() for layer, histogram in found.items()}
        other, others = self.collected(bar, Improvements(equalisation=equalising(self.network, loudness)))
        attempt = self._attempt("equalisation", judge, current, other)
        return (other, others, attempt) if attempt.kept else (current, found, attempt)

    def bias_corrected(self, current: Calibration, judge: Judge, bar: Progress) -> tuple[Calibration, Attempt]:
        """The calibration with corrected biases, where that is better, or else the current one."""
        assert self.styles is not None  # noqa: S101 for the type checker: without them nothing is held out
        task = bar.add_task("biases", total=steps_of(self.pairs))
        other = with_corrected_biases(
            self.network, current, self.pairs, self.contents, self.styles, advance=lambda: bar.advance(task)
        )
        attempt = self._attempt("bias correction", judge, current, other)
        return (other if attempt.kept else current), attempt

    def _attempt(self, name: str, judge: Judge, current: Calibration, other: Calibration) -> Attempt:
        before, after = (Simulator(self.network, made, judge)(made.int8) for made in (current, other))
        return Attempt(name, before, after)


def with_corrected_biases(
    network: Network,
    calibration: Calibration,
    pairs: Pairs,
    contents: ImageFolder,
    styles: ImageFolder,
    *,
    advance: Callable[[], object] = lambda: None,
) -> Calibration:
    """The calibration with a correction of every int8 layer's bias: the mean of what rounding takes from its output.

    Each layer's is that of its own rounding, with the float network before it, so that it holds whichever others are
    int8 (Nagel et al. 2019, section 4.2, with the mean taken over the calibration's pairs).

    Args:
        network: as its checkpoint has it.
        calibration: without such corrections.
        pairs: that it was made on.
        contents: the images of ``pairs.contents``.
        styles: the images of ``pairs.styles``.
        advance: called after each image and each pair, for a progress bar.
    """
    bare = replace(calibration, improvements=replace(calibration.improvements, bias={}))
    simulated = SimulatedNetwork(network, bare)
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(simulated.layers, 0)

    def watch(layer: str) -> Callable[..., None]:
        def look(_: object, inputs: tuple[Tensor, ...]) -> None:
            error = simulated.layers[layer].error(inputs[0])
            sums[layer] = sums.get(layer, torch.zeros_like(error)) + error
            counts[layer] += 1

        return look

    for layer in calibration.int8:
        simulated.layers[layer].register_forward_pre_hook(watch(layer))

    def encode(folder: ImageFolder, index: int) -> Mapping[str, Array]:
        image = folder.planes(index, size=pairs.size, stride=network.spec.stride)
        encoded = simulated.run("encoder", {"image": image})
        advance()
        return encoded

    known = [style_of(encode(styles, i), calibration.encoder_id) for i in range(len(styles.files))]
    ordered = sorted(dict.fromkeys(pairs.samples), key=lambda sample: sample.content)
    for content, samples in groupby(ordered, key=lambda sample: sample.content):
        encoded = encode(contents, content)
        for sample in samples:
            simulated.run("decoder", decoder_feeds(encoded, sample, known))
            advance()
    bias = {
        layer: tuple(float(f"{value:.{_DIGITS - 1}e}") for value in (sums[layer] / counts[layer]).tolist())
        for layer in calibration.int8
    }
    return replace(calibration, improvements=replace(calibration.improvements, bias=bias))
