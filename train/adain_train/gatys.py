"""Style transfer by optimisation (Gatys, Ecker & Bethge 2016) with the paper's mean/std loss: slow, and the yardstick.

Huang & Belongie 2017 compare their feed-forward network with it in section 6.2. Here the pixels themselves are what
is trained, from the content image on, by Adam. Gatys used L-BFGS without bounds: tried on test pairs it falls faster
in the first 50 steps, but what it finds lies outside [0, 1], and clipped to an image its style loss was three times
that of Adam (0.143 against 0.045 after 100 steps at 128 px), whose every step is projected into [0, 1].
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adain_runtime.errors import InputError, QualityError
from adain_train.losses import Perceptual, Summary

STYLE_WEIGHT = 10.0
"""Lambda of the paper: what the style loss counts beside the content loss."""

LEARNING_RATE = 0.05
"""Of Adam, on pixels in [0, 1]; 0.01 and 0.02 were slower on a test pair."""

CONSTANT_STEPS = 100
"""Steps at the full learning rate; step k after them takes ``CONSTANT_STEPS / k`` of it, or the losses jump about."""


@dataclass(frozen=True, eq=False)
class Optimised:
    """What an optimisation went through; place k of a list is after k steps, place 0 the start.

    Attributes:
        content: content losses.
        style: style losses.
        seconds: since the start, on this machine.
        images: [1, 3, H, W] in [0, 1], after the steps that were asked for.
    """

    content: tuple[float, ...]
    style: tuple[float, ...]
    seconds: tuple[float, ...]
    images: Mapping[int, Tensor]


def optimise(
    perceptual: Perceptual,
    start: Tensor,
    target: Tensor,
    style: Sequence[Summary],
    *,
    steps: int,
    keep: Collection[int] = (),
    style_weight: float = STYLE_WEIGHT,
    learning_rate: float = LEARNING_RATE,
    on_step: Callable[[], object] = lambda: None,
) -> Optimised:
    """Change an image's pixels until its features and their statistics are those wanted.

    Args:
        perceptual: the network that measures.
        start: [1, 3, H, W], RGB in [0, 1]; it stays as it is.
        target: features that the content loss compares with, [1, C, H/8, W/8].
        style: the style's mean and std of each tap.
        steps: how many.
        keep: the steps whose image is wanted.
        style_weight: what the style loss counts; the content loss counts 1.
        learning_rate: of Adam, in pixels' units; it falls after `CONSTANT_STEPS`, the same way however many follow.
        on_step: called after each step, for a progress bar.

    Raises:
        InputError: ``steps`` is below 1, or an image is wanted from a step that is not taken.
        QualityError: a loss is not finite.
    """
    if steps < 1 or not all(0 <= step <= steps for step in keep):
        raise InputError(f"an optimisation of {steps} steps can't keep {sorted(keep)}; give steps from 0 to the last")
    image = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
    adam = torch.optim.Adam([image], lr=learning_rate)
    content, styles, seconds, images = [], [], [], {}
    began = time.perf_counter()
    for step in range(steps + 1):
        losses = perceptual.losses(image, target, style)
        loss = losses["content"] + style_weight * losses["style"]
        if not loss.isfinite():
            raise QualityError(f"the optimisation's loss is {loss.item()} at step {step}; is the start image finite?")
        content.append(losses["content"].item())
        styles.append(losses["style"].item())
        seconds.append(time.perf_counter() - began)
        if step in keep:
            images[step] = image.detach().clone()
        if step < steps:
            (image.grad,) = torch.autograd.grad(loss, image)
            adam.param_groups[0]["lr"] = learning_rate * min(1, CONSTANT_STEPS / (step + 1))
            adam.step()
            with torch.no_grad():
                image.clamp_(0, 1)
            on_step()
    return Optimised(tuple(content), tuple(styles), tuple(seconds), images)


def mean_curves(runs: Sequence[Optimised]) -> dict[str, list[float]]:
    """Content and style loss after each number of steps, means over runs of as many steps, five digits; or empty."""
    curves = {"content": [run.content for run in runs], "style": [run.style for run in runs]}
    return {
        loss: [float(f"{statistics.fmean(values):.5g}") for values in zip(*each, strict=True)]
        for loss, each in curves.items()
    }
