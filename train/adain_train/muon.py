"""Muon (Jordan et al. 2024): the momentum of each convolution's weights is orthogonalised before it is a step.

A plain step follows the few directions in which a layer's gradient is large; an orthogonalised one goes as far in all
of them. Deep chains of convolutions without normalisation, which these networks are, profit: in trials on a student
300 steps did what 600 of Adam's did (docs/training.md). ``torch.optim.Muon`` takes matrices only, so convolutions,
seen as matrices of outputs by inputs and taps, have this one. Biases have Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import overload

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
    for _ in range(_ITERATIONS):  # three calls each: on a GPU, small products cost their launch
        square = found @ found.T
        found = torch.addmm(found, torch.addmm(square, square, square, beta=b, alpha=c), found, beta=a)
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
            moved: list[Tensor] = [parameter for parameter in group["params"] if parameter.grad is not None]
            self._turn_matrices([parameter for parameter in moved if parameter.dim() >= 2], group["lr"])
            self._move_vectors([parameter for parameter in moved if parameter.dim() < 2], group["lr"])
        return loss

    def _turn_matrices(self, parameters: list[Tensor], lr: float) -> None:
        if not parameters:
            return
        gradients = [_gradient(parameter) for parameter in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(gradient)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, _MOMENTUM)  # Nesterov's
        for parameter, direction in zip(parameters, ahead, strict=True):
            matrix = direction.reshape(len(direction), -1)
            size: float = _RMS * max(matrix.shape) ** 0.5
            parameter.sub_(orthogonalised(matrix).reshape(parameter.shape), alpha=lr * size)

    def _move_vectors(self, parameters: list[Tensor], lr: float) -> None:
        if not parameters:
            return
        gradients = [_gradient(parameter) for parameter in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            state = self.state[parameter]
            if not state:
                state |= {"step": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
            state["step"] += 1
        states = [self.state[parameter] for parameter in parameters]
        means, squares = ([state[name] for state in states] for name in ("mean", "square"))
        first, second = _ADAM_BETAS
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - second)
        roots = torch._foreach_sqrt(torch._foreach_div(squares, [1 - second ** state["step"] for state in states]))
        torch._foreach_add_(roots, _ADAM_EPS)
        steps = torch._foreach_div(means, [1 - first ** state["step"] for state in states])
        torch._foreach_addcdiv_(parameters, steps, roots, value=-lr)


def _gradient(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None  # noqa: S101 step() has chosen those that have one
    return gradient.float()
