"""What is measured of a model, as data: the lines of an evaluation's tables and the points of its figures."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of the model.
        pairs: how many outputs were measured.
        mean: over the pairs.
        error: standard error of that mean, from the spread over the pairs; None with a single pair.
        milliseconds: for one image, of this run on this machine: a network's stylizer with the style given
            (median), or an optimisation up to its step (mean). None where nothing is computed.
        macs_per_pixel: multiply-accumulates of encoder and decoder for a pixel of content.
        parameters: weights and biases.
    """

    name: str
    pairs: int
    mean: Scores
    error: Scores | None
    milliseconds: float | None = None
    macs_per_pixel: float | None = None
    parameters: int | None = None
