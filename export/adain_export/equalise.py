"""Cross-layer equalisation: move scales between two convolutions across a ReLU, so that no channel drowns in int8.

ReLU, padding, pooling and nearest upsampling commute with a positive factor a channel, so what one convolution gives
may be scaled and the next one's weights for it scaled back (Nagel et al. 2019, "Data-free quantization through weight
equalization and bias correction", section 4.1). AdaIN does not commute, so nothing moves between encoder and decoder.
Factors are powers of two: floating-point numbers take them exactly, and the network gives the same bits as before.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from adain_model.network import MaxPool, Network, PaddedConv, Upsample

LARGEST = 16
"""Factors are 2 to the power of -16..16: far from where float32 ends, whatever the weights."""

_ROUNDS = 20
Exponents = Mapping[str, tuple[int, ...]]


def couples(network: Network) -> Iterator[tuple[str, PaddedConv, PaddedConv]]:
    """Every two convolutions between which scales may move, with the first one's name, such as ``encoder.conv1_1``."""
    for part, chain in (("encoder", network.encoder), ("decoder", network.decoder)):
        before: tuple[str, PaddedConv] | None = None
        for name, step in chain.named_steps():
            if isinstance(step, PaddedConv):
                if before is not None and before[1].relu:
                    yield (*before, step)
                before = f"{part}.{name}", step
            elif not isinstance(step, MaxPool | Upsample):
                before = None


def equalising(network: Network) -> dict[str, tuple[int, ...]]:
    """Exponents that make the largest weights of each channel, on both sides of its ReLU, alike.

    Found in real numbers, couple after couple and round after round, and rounded at the end.

    Args:
        network: as its checkpoint has it.

    Returns:
        the first convolution's name to an exponent for each of its output channels.
    """
    wide = copy.deepcopy(network).double()
    found: dict[str, Tensor] = {}
    for _ in range(_ROUNDS):
        for name, first, second in couples(wide):
            out, into = first.weight.abs().amax((1, 2, 3)), second.weight.abs().amax((0, 2, 3))
            alive = (out > 0) & (into > 0)  # a channel that says nothing has nothing to be scaled
            moved = torch.where(alive, (into / out).sqrt(), torch.ones_like(out))
            _scale(first, second, moved)
            found[name] = found.get(name, torch.zeros_like(moved)) + moved.log2()
    return {
        name: tuple(int(exponent) for exponent in exponents.round().clamp(-LARGEST, LARGEST))
        for name, exponents in found.items()
    }


def equalised(network: Network, exponents: Exponents) -> Network:
    """A copy that computes the same, to the last bit, with other weights.

    Args:
        network: as its checkpoint has it.
        exponents: of the channels that some convolutions give, times 2 to the power of which they become.
    """
    made = copy.deepcopy(network)
    for name, first, second in couples(made):
        if name in exponents:
            _scale(first, second, torch.exp2(torch.tensor(exponents[name], dtype=first.weight.dtype)))
    return made


@torch.no_grad()
def _scale(first: PaddedConv, second: PaddedConv, factors: Tensor) -> None:
    first.weight.mul_(factors[:, None, None, None])
    if first.bias is not None:
        first.bias.mul_(factors)
    second.weight.div_(factors[None, :, None, None])
