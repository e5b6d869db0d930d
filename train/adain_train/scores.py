"""What is measured of a model, as data: the lines of an evaluation's tables and the points of its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adain_train.pair_statistics import Pair, standard_error, times

NO_STYLE = "no style"
"""The name of the content itself, unstylised."""


@dataclass(frozen=True)
class Scores:
    """What is measured of one output, or the mean of it over pairs.

    Attributes:
        content: MSE between relu4_1 of the output and the AdaIN target t; the paper trains on it.
        style: sum over relu1_1 to relu4_1 of the MSE between means and between standard deviations.
        to_content: MSE between relu4_1 of the output and the content's own: Gatys' content loss, which the
            paper's figure shows; 0 for the content itself.
        ssim: structural similarity of the luminance to the content's; 1 is equal.
        vgg_distance: `vgg_distance` to the content; 0 is equal.
    """

    content: float
    style: float
    to_content: float
    ssim: float
    vgg_distance: float


Measured: TypeAlias = Mapping[Pair, Scores]
"""What was measured of a model, pair by pair."""


@dataclass(frozen=True)
class Times:
    """How many times the losses of another network on the same pairs.

    Attributes:
        content: mean content loss over that network's.
        style: likewise.
        content_error: standard error of ``content``, as other contents and styles would give it; None with one pair.
        style_error: likewise.
    """

    content: float
    style: float
    content_error: float | None = None
    style_error: float | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of the model.
        pairs: how many outputs were measured.
        mean: over the pairs.
        error: standard error of that mean, as other contents and styles would give it; None with a single pair.
        times: how many times the reference's losses they are; None for the reference, and where there is none.
        milliseconds: for one image, of this run on this machine: a network's stylizer with the style given
            (median), or an optimisation up to its step (mean). None where nothing is computed.
        macs_per_pixel: multiply-accumulates of encoder and decoder for a pixel of content.
        parameters: weights and biases.
    """

    name: str
    pairs: int
    mean: Scores
    error: Scores | None
    times: Times | None = None
    milliseconds: float | None = None
    macs_per_pixel: float | None = None
    parameters: int | None = None


def table(
    scores: Mapping[str, Measured], facts: Mapping[str, Mapping[str, Any]], against: str | None = None
) -> tuple[Row, ...]:
    """The rows of models that were measured on the same pairs.

    Args:
        scores: of each model, one pair or more.
        facts: other fields of its row, where there are any.
        against: the model whose losses the others' are compared with; None compares none.
    """
    pairs = list(next(iter(scores.values())))
    values = {name: np.array([astuple(found[pair]) for pair in pairs]) for name, found in scores.items()}
    return tuple(
        Row(
            name,
            len(pairs),
            Scores(*found.mean(axis=0).tolist()),
            Scores(*standard_error(found, pairs).tolist()) if len(pairs) > 1 else None,
            None if against is None or against == name else _times(found, values[against], pairs),
            **facts.get(name, {}),
        )
        for name, found in values.items()
    )


def _times(values: NDArray[Any], others: NDArray[Any], pairs: Sequence[Pair]) -> Times:
    """Of content and style, the first two of `Scores`; of the others a ratio tells nothing."""
    if len(pairs) == 1:
        return Times(*(values[0, :2] / others[0, :2]).tolist())
    ratios, errors = times(values[:, :2], others[:, :2], pairs)
    return Times(*ratios.tolist(), *errors.tolist())
