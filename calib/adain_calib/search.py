"""The largest set of int8 convolutions that keeps a target: greedy from the sensitivities, then refined.

Rounding errors of different layers are nearly independent, so the squared errors of layers alone nearly add up to that
of the layers together. That foretells every set for nothing; the sets worth a look are then really run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from adain_calib.scoring import CEILING, Scores
from adain_calib.sensitivity import error_shares
from adain_runtime.errors import InputError, QualityError

_MARGIN = 0.2  # dB: a set that is foretold to miss the target by less is run all the same
_LOOKS = 32  # sets that refining runs at most
_TOGETHER = 2  # layers that one step of refining takes in, or out, at most

Score = Callable[[Collection[str]], Scores]
Errors = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """The set that a search ends with.

    Attributes:
        layers: in int8, in the order they run.
        scores: of them all together.
    """

    layers: tuple[str, ...]
    scores: Scores


def check_target(target: float) -> None:
    """Refuse a target that is no PSNR.

    Raises:
        InputError: not a number, not over 0, or one that equal images would not be said to have.
    """
    if not 0 < target < CEILING:
        raise InputError(
            f"a target of {target:g} dB is out of range; give one over 0 and below {CEILING:g}, such as 35"
        )


def search(alone: Mapping[str, Scores], macs: Mapping[str, float], score: Score, target: float) -> Found:
    """The set of layers with the most multiply-accumulates whose mean PSNR over the pairs is the target or better.

    Greedy: layers are taken in by multiply-accumulates for their error, as many as are foretold to keep the target;
    while that set, really run, does not, the last one goes. Refined: one or two layers come in, for none, one or two
    that go, the largest gain that is foretold to keep the target first, until none is found that really does. It is no
    proof that there is no larger set.

    Args:
        alone: each layer's scores alone in int8, in the order they run.
        macs: each layer's share of the network's multiply-accumulates.
        score: runs a set.
        target: dB.

    Raises:
        InputError: no PSNR.
        QualityError: no layer keeps it even alone; says what is reachable.
    """
    check_target(target)
    if not alone:
        raise QualityError("no convolution can be int8: there is none between the first and the last")
    fits = [layer for layer, scores in alone.items() if scores.mean_psnr >= target]
    if not fits:
        best = max(alone, key=lambda layer: alone[layer].mean_psnr)
        reachable = math.floor(10 * alone[best].mean_psnr) / 10
        raise QualityError(
            f"no convolution can be int8 at {target:g} dB: the one that costs least, {best}, leaves "
            f"{reachable:.1f} dB alone; ask for {reachable:.1f} or less, or collect other ranges; nothing was written"
        )
    errors = {layer: scores.squared_errors for layer, scores in alone.items()}
    shares = error_shares(alone, alone)
    worth = sorted(alone, key=lambda layer: shares[layer] / macs[layer])
    chosen = _greedy(worth, errors, score, target) or (max(fits, key=lambda layer: macs[layer]),)
    chosen = _refined(chosen, errors, macs, score, target)
    return Found(chosen, score(chosen))


def foretold(errors: Sequence[Errors]) -> float:
    """Mean PSNR over the pairs of layers whose squared errors add up."""
    if not errors:
        return CEILING
    return float(np.minimum(-10 * np.log10(np.sum(errors, axis=0)), CEILING).mean())


def _greedy(worth: Sequence[str], errors: Mapping[str, Errors], score: Score, target: float) -> tuple[str, ...]:
    count = len(worth)
    while count and foretold([errors[layer] for layer in worth[:count]]) < target - _MARGIN:
        count -= 1
    while count and score(_ordered(worth[:count], errors)).mean_psnr < target:
        count -= 1
    return _ordered(worth[:count], errors)


def _refined(
    chosen: tuple[str, ...], errors: Mapping[str, Errors], macs: Mapping[str, float], score: Score, target: float
) -> tuple[str, ...]:
    looks = 0
    moved = True
    while moved:
        moved = False
        # what adding up leaves out is much the same for a set and its neighbours
        off = score(chosen).mean_psnr - foretold([errors[layer] for layer in chosen])
        for other in _larger(chosen, errors, macs, target - off - _MARGIN):
            if looks == _LOOKS:
                return chosen
            looks += 1
            if score(other).mean_psnr >= target:
                chosen, moved = other, True
                break
    return chosen


def _larger(
    chosen: tuple[str, ...], errors: Mapping[str, Errors], macs: Mapping[str, float], wanted: float
) -> Iterator[tuple[str, ...]]:
    """Neighbours with more multiply-accumulates that are foretold to be as good as ``wanted``, the largest first."""
    others = [layer for layer in errors if layer not in chosen]
    neighbours = [
        _ordered({*chosen, *added} - set(gone), errors)
        for added in _some(others, at_least=1)
        for gone in _some(chosen, at_least=0)
        if _total(added, macs) > _total(gone, macs)
    ]
    for layers in sorted(neighbours, key=lambda layers: -_total(layers, macs)):
        if foretold([errors[layer] for layer in layers]) >= wanted:
            yield layers


def _some(layers: Sequence[str], *, at_least: int) -> Iterator[tuple[str, ...]]:
    for count in range(at_least, _TOGETHER + 1):
        yield from combinations(layers, count)


def _ordered(layers: Sequence[str] | set[str], every: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(layer for layer in every if layer in layers)


def _total(layers: Sequence[str], macs: Mapping[str, float]) -> float:
    return math.fsum(macs[layer] for layer in layers)
