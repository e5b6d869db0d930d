"""Which convolutions int8 hurts: each one alone in int8, and what that leaves of the image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from adain_calib.scoring import Scores, Simulator
from adain_export.calibration import Calibration, inner_layers, int8_macs
from adain_model.cost import mac_shares
from adain_model.network import Network


@dataclass(frozen=True)
class LayerRow:
    """One convolution.

    Attributes:
        macs: its share of the network's multiply-accumulates, 0 to 1.
        alone: scores with it in int8 and all others float.
        error: its squared error over the sum of those of all layers that may be int8, mean over pairs. Errors nearly
            add up, so it is the layer's share in what int8 costs; a layer that stays float would come on top.
        stays_float: whether it is the first or the last, which see pixels.
    """

    macs: float
    alone: Scores
    error: float
    stays_float: bool


@dataclass(frozen=True)
class Together:
    """Several convolutions in int8 at once.

    Attributes:
        layers: which.
        macs: their share of the network's multiply-accumulates, 0 to 1.
        scores: of them all.
    """

    layers: tuple[str, ...]
    macs: float
    scores: Scores


@dataclass(frozen=True)
class Sensitivity:
    """What each layer costs alone and all of them together.

    Attributes:
        rows: layer name to what was found, in the order they run.
        together: by what the set is called: all but the first and the last, and the calibration's own list where it is
            another.
    """

    rows: Mapping[str, LayerRow]
    together: Mapping[str, Together]


def measure_layers(
    network: Network, calibration: Calibration, score: Simulator, *, advance: Callable[[], object] = lambda: None
) -> Sensitivity:
    """Score every convolution of a calibration alone, and the usual sets of them together.

    Args:
        network: as its checkpoint has it.
        calibration: its.
        score: scores a set of layers.
        advance: called after each set, `steps_of` times, for a progress bar.
    """
    shares = mac_shares(network)
    inner = inner_layers(tuple(calibration.layers))

    def scored(layers: tuple[str, ...]) -> Scores:
        found = score(layers)
        advance()
        return found

    alone = {name: scored((name,)) for name in calibration.layers}
    errors = error_shares(alone, inner)
    rows = {name: LayerRow(shares[name], alone[name], errors[name], name not in inner) for name in alone}
    together = {
        name: Together(layers, int8_macs(network, layers), scored(layers))
        for name, layers in _sets(calibration).items()
    }
    return Sensitivity(rows, together)


def error_shares(alone: Mapping[str, Scores], whole: Collection[str]) -> dict[str, float]:
    """Each layer's squared error over the sum of those of ``whole``, mean over pairs; over ``whole`` they sum to 1."""
    total = sum(alone[layer].squared_errors for layer in whole)
    return {layer: float(np.mean(scores.squared_errors / total)) for layer, scores in alone.items()}


def steps_of(calibration: Calibration) -> int:
    """How often `measure_layers` advances."""
    return len(calibration.layers) + len(_sets(calibration))


def _sets(calibration: Calibration) -> dict[str, tuple[str, ...]]:
    inner = inner_layers(tuple(calibration.layers))
    sets = {"all but the first and the last": inner}
    if calibration.int8 not in ((), inner):
        sets["those the calibration lists"] = calibration.int8
    return {name: layers for name, layers in sets.items() if layers}
