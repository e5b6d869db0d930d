"""The values that the weights of one convolution may take: palettes, or int8 codes by output channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adain_export.coreml.palette import palette
from adain_export.coreml.request import SYSTEMS, CoremlRequest, Plan

PALETTE_BITS = {"pal8": 8, "pal6": 6, "pal4": 4}
OUTPUTS_A_PALETTE = 16
"""Output channels that share a palette, from iOS18 on."""


class Codes(Protocol):
    """What the weights of one convolution may become."""

    def rounded(self, column: Tensor, at: int) -> Tensor:
        """The ``at``-th weight of every output [O], float64, to what it will be."""
        ...


@dataclass(frozen=True)
class Palettes:
    """Every output has a palette.

    Attributes:
        values: [O, entries], ascending, float64.
    """

    values: Tensor

    def rounded(self, column: Tensor, at: int) -> Tensor:  # noqa: ARG002 the same for all inputs
        """To the nearest of the palette."""
        middles = (self.values[:, 1:] + self.values[:, :-1]) / 2
        return self.values.gather(1, torch.searchsorted(middles, column[:, None])).squeeze(1)


@dataclass(frozen=True)
class Steps:
    """Every output has a step and codes from -127 to 127; the weight that sets the step keeps its code.

    Attributes:
        steps: [O], float64.
        largest: [O], where the weight of the largest magnitude is.
        ends: [O], that weight as it is stored.
    """

    steps: Tensor
    largest: Tensor
    ends: Tensor

    def rounded(self, column: Tensor, at: int) -> Tensor:
        """To the nearest code, none beyond the largest weight: so the step is found again from the weights."""
        most = self.ends.abs()
        codes = torch.clamp(torch.round(column / self.steps), -127, 127) * self.steps
        return torch.where(self.largest == at, self.ends, torch.clamp(codes, -most, most))


def codes_for(weights: NDArray[np.float32], request: CoremlRequest, plan: Plan) -> Codes:
    """The values that a request lets a convolution's weights [O, K] take, in the type that they are stored in."""
    stored = weights.astype(np.float16 if request.precision == "fp16" else np.float32)
    if request.weights in PALETTE_BITS:
        rows = palette_rows(len(stored), plan)
        values = [
            palette(stored[at : at + rows], PALETTE_BITS[request.weights])[0] for at in range(0, len(stored), rows)
        ]
        return Palettes(torch.from_numpy(np.repeat(np.stack(values), rows, 0).astype(np.float64)))
    largest = np.abs(stored).argmax(1)
    ends = np.take_along_axis(stored, largest[:, None], 1)[:, 0]
    least = np.finfo(stored.dtype).tiny  # of an output without weights: a step of zero divides nothing
    steps = np.maximum(2 * np.abs(ends) / stored.dtype.type(254), least)  # as coremltools computes it
    return Steps(*(torch.from_numpy(np.asarray(found)) for found in (steps.astype(float), largest, ends.astype(float))))


def palette_rows(outputs: int, plan: Plan) -> int:
    """How many of a weight's outputs share a palette: all of them before iOS18, and where groups don't divide them."""
    grouped = SYSTEMS.index(plan.system) >= SYSTEMS.index("iOS18") and outputs % OUTPUTS_A_PALETTE == 0
    return OUTPUTS_A_PALETTE if grouped else outputs
