"""Muon (Jordan et al. 2024): the momentum of each convolution's weights is orthogonalised before it is a step.

A plain step follows the few directions in which a layer's gradient is large; an orthogonalised one goes as far in all
of them. Deep chains of convolutions without normalisation, which these networks are, profit: in trials on a student
300 steps did what 600 of Adam's did (docs/training.md). ``torch.optim.Muon`` takes matrices only, so convolutions,
seen as matrices of outputs by inputs and taps, have this one. Biases have Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic: steepest at 0, and it keeps 1 within 0.7 to 1.2
_ITERATIONS = 5
_MOMENTUM = 0.95
_ADAM_BETAS, _ADAM_EPS = (0.9, 0.999), 1e-8
_RMS = 0.2  # of Adam's steps, so that one learning rate suits both (Liu et al. 2025, "Muon is scalable", section 2.2)


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix with its singular vectors and singular values near 1, by five Newton-Schulz iterations.

    Args:
        matrix: [rows, columns], float32; zeros stay zeros.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    found: Tensor = wide / wide.norm().clamp_min(1e-30)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = found @ found.T
        found = a * found + (b * square + c * square @ square) @ found
    return found if wide is matrix else found.T


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more dimensions, Adam for the others.

    Args:
        parameters: of one network.
        lr: of both; sized as Adam's is.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(list(parameters), {"lr": lr})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    move = _matrix_step if parameter.dim() >= 2 else _vector_step
                    parameter.sub_(move(parameter.grad.float(), self.state[parameter]), alpha=group["lr"])
        return loss


def _matrix_step(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    momentum: Tensor = state["momentum"]
    momentum.lerp_(gradient, 1 - _MOMENTUM)
    ahead = gradient.lerp(momentum, _MOMENTUM)  # Nesterov's
    matrix = ahead.reshape(len(ahead), -1)
    size: float = _RMS * max(matrix.shape) ** 0.5
    return orthogonalised(matrix).reshape(gradient.shape) * size


def _vector_step(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    if not state:
        state |= {"step": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
    state["step"] += 1
    first, second = _ADAM_BETAS
    state["mean"].lerp_(gradient, 1 - first)
    state["square"].lerp_(gradient.square(), 1 - second)
    mean: Tensor = state["mean"] / (1 - first ** state["step"])
    square: Tensor = state["square"] / (1 - second ** state["step"])
    return mean / (square.sqrt() + _ADAM_EPS)
