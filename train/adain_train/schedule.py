"""Learning rates and the moving average of weights, as functions of the step."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from adain_train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of a step, counted from 0: the warm-up, times the paper's decay or the cosine."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "paper":
        return config.lr * rise / (1.0 + config.decay * step)
    fall = 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
    return config.lr * rise * (config.lr_floor + (1.0 - config.lr_floor) * fall)


class MovingAverage:
    """An exponential moving average of a module's weights.

    The decay starts low, at (1 + n) / (10 + n) after n updates, so that the random beginning is soon forgotten.

    Attributes:
        module: a copy of the module with the averaged weights.
        decay: 0 follows the weights themselves.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        new = 1.0 - min(self.decay, (step + 1) / (step + 10))
        ours: list[Tensor] = list(self.module.state_dict().values())
        theirs: list[Tensor] = list(module.state_dict().values())
        torch._foreach_lerp_(ours, theirs, new)
