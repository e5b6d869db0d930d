"""How good a model is, in numbers and pictures: losses by VGG-19, similarity to the content, time and operations.

Losses are those of the paper's section 5, measured by the network that the method was trained on: ``content``
compares the output's relu4_1 with the AdaIN target ``t`` made by VGG-19, ``style`` the means and standard deviations
of relu1_1 to relu4_1 with the style's. Every model is measured on the same pairs, in whole images of one size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adain_model import Network, adain
from adain_model.cost import layer_costs, macs
from adain_model.network import check_size
from adain_model.similarity import luminance, ssim, vgg_distance
from adain_runtime.errors import InputError, QualityError
from adain_train.data import Pixels
from adain_train.gatys import Optimised, optimise
from adain_train.losses import Perceptual, Summary, content_loss, summary_loss
from adain_train.pair_statistics import Pair
from adain_train.scores import NO_STYLE, Measured, Row, Scores, table
from adain_train.squares import to_pixels

_TIMED_RUNS = 7


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found.

    Attributes:
        scores: of every model, pair by pair, by the names in ``rows`` and in their order.
        rows: every model over all pairs.
        examples: every model, and the optimisation after each number of steps, over the example pairs.
        example_pairs: those pairs.
        optimised: what the optimisation went through, for each of them.
        sheet: for each of them: content, style, and the image of each line of ``examples`` but "no style".
    """

    scores: Mapping[str, Measured]
    rows: tuple[Row, ...]
    examples: tuple[Row, ...]
    example_pairs: tuple[Pair, ...]
    optimised: tuple[Optimised, ...]
    sheet: tuple[tuple[Pixels, ...], ...]


def choose_pairs(contents: int, styles: int, count: int | None, seed: int) -> list[Pair]:
    """Pairs in a seeded order in which contents and styles take turns: any first part has each as often as every other.

    Or once more, where its length is no multiple of their number.

    Args:
        contents: how many there are.
        styles: how many there are.
        count: how many pairs; None for all.
        seed: of the order.

    Raises:
        InputError: fewer pairs than one, or more than there are.
    """
    every = contents * styles
    if count is not None and not 1 <= count <= every:
        raise InputError(f"{count} pairs of {contents} contents and {styles} styles: give 1 to {every}")
    rng = np.random.default_rng(seed)
    first, second = rng.permutation(contents), rng.permutation(styles)
    turn = lcm(contents, styles)  # after which the same pairs would come again: one style further on they don't
    order = [(int(first[k % contents]), int(second[(k + k // turn) % styles])) for k in range(every)]
    return order[:count]


class _Content:
    """A content, and what is compared with it, measured once."""

    def __init__(self, perceptual: Perceptual, image: Tensor) -> None:
        self.image = image
        self.taps = perceptual.taps(image)
        self.luminance = luminance(image)
        self.spec = perceptual.encoder.spec

    def target(self, style: Sequence[Summary]) -> Tensor:
        mean, std = style[-1]
        return adain(self.taps[-1], mean, std, correction=self.spec.correction, eps=self.spec.eps)


class _Judge:
    """VGG-19 and the summaries of every style, measured once."""

    def __init__(self, perceptual: Perceptual, styles: Sequence[Tensor]) -> None:
        self.perceptual = perceptual
        self.styles = [perceptual.summarize(perceptual.taps(style)) for style in styles]

    def score(self, name: str, output: Tensor, content: _Content, style: int) -> Scores:
        found = content.taps if output is content.image else self.perceptual.taps(output)
        wanted = self.styles[style]
        measured = torch.stack(
            [
                content_loss(found[-1], content.target(wanted)),
                summary_loss(self.perceptual.summarize(found), wanted),
                content_loss(found[-1], content.taps[-1]),
                ssim(luminance(output), content.luminance)[0],
                vgg_distance(found, content.taps)[0],
            ]
        )
        if not measured.isfinite().all():
            raise QualityError(f"{name}: its output for style {style} is not finite; train it again, or export float32")
        return Scores(*measured.tolist())


def evaluate(
    models: Mapping[str, Network],
    perceptual: Perceptual,
    contents: Sequence[Tensor],
    styles: Sequence[Tensor],
    pairs: Sequence[Pair],
    *,
    examples: int = 3,
    steps: Sequence[int] = (),
    saved: Mapping[str, Sequence[tuple[Tensor, Tensor]]] | None = None,
    against: str | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Measure models on pairs, all on the device that they are on.

    Args:
        models: the networks by their names.
        perceptual: VGG-19, which measures.
        contents: [1, 3, H, W] each, RGB in [0, 1].
        styles: likewise.
        pairs: what is stylised.
        examples: how many of the first pairs are shown, and optimised.
        steps: after how many steps the optimisation is measured; none leaves it out.
        saved: mean and std of each style as they were saved, by the name of the model that they are for: a row more.
        against: the model whose losses the others' are compared with; None compares none.
        advance: called after each pair and each step of the optimisation, for a progress bar.

    Raises:
        InputError: a size that a model does not take.
        QualityError: an output is not finite.
    """
    for name, network in models.items():
        check_size(network.spec, contents[0].shape[-2], contents[0].shape[-1], f"{name}: the image")
    given = saved or {}
    scores: dict[str, dict[Pair, Scores]] = {name: {} for name in (NO_STYLE, *_rows(models, given))}
    shown = list(pairs[:examples])
    pictures: dict[Pair, list[Pixels]] = {}
    runs: dict[Pair, Optimised] = {}
    with torch.no_grad():
        judge = _Judge(perceptual, styles)
        measured = {name: [network.stats(network.encoder(s)) for s in styles] for name, network in models.items()}
    for place in dict.fromkeys(content for content, _ in pairs):
        with torch.no_grad():
            content = _Content(perceptual, contents[place])
            features = {name: network.encoder(content.image) for name, network in models.items()}
        for pair in (pair for pair in pairs if pair[0] == place):
            style = pair[1]
            outputs = {NO_STYLE: content.image}
            with torch.no_grad():
                for name, network in models.items():
                    outputs[name] = _restyled(network, features[name], measured[name][style])
                    if name in given:
                        outputs[_saved_name(name)] = _restyled(network, features[name], given[name][style])
            if pair in shown and steps:
                runs[pair] = optimise(
                    perceptual,
                    content.image,
                    content.target(judge.styles[style]),
                    judge.styles[style],
                    steps=max(steps),
                    keep=steps,
                    on_step=advance,
                )
                outputs |= {_optimised_name(step): runs[pair].images[step] for step in steps}
            with torch.no_grad():
                for name, output in outputs.items():
                    scores.setdefault(name, {})[pair] = judge.score(name, output, content, style)
            if pair in shown:
                stylised = [to_pixels(output) for name, output in outputs.items() if name != NO_STYLE]
                pictures[pair] = [to_pixels(content.image), to_pixels(styles[style]), *stylised]
            advance()
    facts = {name: _facts(network, contents[0], measured[name][0]) for name, network in models.items()}
    facts |= {_saved_name(name): facts[name] for name in given}
    for step in steps if shown else ():
        name = _optimised_name(step)
        facts[name] = {"milliseconds": 1000 * statistics.fmean(run.seconds[step] for run in runs.values())}
    whole = {name: found for name, found in scores.items() if len(found) == len(pairs)}
    first = {name: {pair: found[pair] for pair in shown} for name, found in scores.items()}
    return Evaluation(
        scores=whole,
        rows=table(whole, facts, against),
        examples=table(first, facts, against) if shown else (),
        example_pairs=tuple(shown),
        optimised=tuple(runs[pair] for pair in shown if steps),
        sheet=tuple(tuple(pictures[pair]) for pair in shown),
    )


def _rows(models: Mapping[str, Network], given: Mapping[str, object]) -> Iterator[str]:
    """The networks' rows: each model, and behind it the one of its saved styles."""
    for name in models:
        yield name
        if name in given:
            yield _saved_name(name)


def _saved_name(name: str) -> str:
    return f"{name}, saved styles"


def _optimised_name(step: int) -> str:
    return f"optimisation, {step} steps"


def _restyled(network: Network, features: Tensor, style: tuple[Tensor, Tensor]) -> Tensor:
    target = adain(features, *style, correction=network.spec.correction, eps=network.spec.eps)
    image: Tensor = network.decoder(target)
    return image.clamp(0, 1)


def _facts(network: Network, image: Tensor, style: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """What a network costs at this size: time on this machine, operations, parameters."""
    height, width = image.shape[-2:]
    layers = layer_costs(network, height, width)
    seconds = []
    with torch.no_grad():
        for _ in range(_TIMED_RUNS + 1):
            began = time.perf_counter()
            _restyled(network, network.encoder(image), style)[0, 0, 0, 0].item()  # a value that is read: a GPU is done
            seconds.append(time.perf_counter() - began)
    return {
        "milliseconds": 1000 * statistics.median(seconds[1:]),  # the first one warms up
        "macs_per_pixel": (macs(layers, "encoder") + macs(layers, "decoder")) / (height * width),
        "parameters": sum(layer.parameters for layer in layers),
    }
