"""Equalisation: move scales between two convolutions across a ReLU, so that no channel drowns in int8.

ReLU, padding, pooling and nearest upsampling commute with a positive factor a channel, so what one convolution gives
may be scaled and the next one's weights for it scaled back (Nagel et al. 2019, "Data-free quantization through weight
equalization and bias correction", section 4.1). AdaIN does not commute, so nothing moves between encoder and decoder.
Factors are powers of two: floating-point numbers take them exactly, and the network gives the same bits as before.

Weights have a step for each channel that they give, so the first convolution loses nothing by any factor. What enters
the second has one step for all channels, and its weights share one too: there the factors are chosen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adain_model.network import MaxPool, Network, PaddedConv, Upsample

LARGEST = 16
"""Factors are 2 to the power of -16..16: far from where float32 ends, whatever the weights."""

SHARE = 0.4
"""Of the unevenness between channels, what is taken from the activations; the rest stays for the weights."""

Exponents = Mapping[str, tuple[int, ...]]


class Couple(NamedTuple):
    """Two convolutions between which scales may move, with their names, such as ``encoder.conv1_1``."""

    name: str
    first: PaddedConv
    next_name: str
    second: PaddedConv


def couples(network: Network) -> Iterator[Couple]:
    """Every two convolutions between which scales may move, in the order they run."""
    for part, chain in (("encoder", network.encoder), ("decoder", network.decoder)):
        before: tuple[str, PaddedConv] | None = None
        for name, step in chain.named_steps():
            if isinstance(step, PaddedConv):
                if before is not None and before[1].relu:
                    yield Couple(*before, f"{part}.{name}", step)
                before = f"{part}.{name}", step
            elif not isinstance(step, MaxPool | Upsample):
                before = None


def equalising(network: Network, loudness: Mapping[str, Sequence[float]]) -> dict[str, tuple[int, ...]]:
    """Exponents that bring the channels that enter each convolution nearer to one another.

    A channel's factor is w ** (1 - SHARE) / a ** SHARE, with a its loudness and w the largest of the weights that take
    it, relative to the layer's median (Xiao et al. 2023, "SmoothQuant", equation 4, with the root of the mean square in
    the place of the largest value: what a few large values lose shows less than what all others do).

    Args:
        network: as its checkpoint has it.
        loudness: convolution's name to the root mean square of each channel that enters it.

    Returns:
        the first convolution's name to an exponent for each of its output channels.
    """
    found = {}
    for name, first, next_name, second in couples(network):
        heard = np.asarray(loudness[next_name], np.float64)
        taken = second.weight.detach().double().abs().amax((0, 2, 3)).numpy()
        alive = (heard > 0) & (taken > 0)  # a channel that says nothing has nothing to be scaled
        moved = np.zeros(first.out_channels)
        if alive.any():
            wanted = (1 - SHARE) * np.log2(taken[alive]) - SHARE * np.log2(heard[alive])
            moved[alive] = np.clip(np.round(wanted - np.median(wanted)), -LARGEST, LARGEST)
        found[name] = tuple(int(exponent) for exponent in moved)
    return found


def equalised(network: Network, exponents: Exponents) -> Network:
    """A copy that computes the same, to the last bit, with other weights.

    Args:
        network: as its checkpoint has it.
        exponents: of the channels that some convolutions give, times 2 to the power of which they become.
    """
    made = copy.deepcopy(network)
    for name, first, _, second in couples(made):
        if name in exponents:
            _scale(first, second, torch.exp2(torch.tensor(exponents[name], dtype=first.weight.dtype)))
    return made


@torch.no_grad()
def _scale(first: PaddedConv, second: PaddedConv, factors: Tensor) -> None:
    first.weight.mul_(factors[:, None, None, None])
    if first.bias is not None:
        first.bias.mul_(factors)
    second.weight.div_(factors[None, :, None, None])
