"""Compute nearest upsampling and the 3x3 convolution after it on the small map, with 4/9 of the multiplications."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from adain_model.network import Network, PaddedConv, Upsample

# TAPS[phase, tap of the 2-tap kernel, tap of the 3-tap kernel]. Row 2i of the large map sees the small rows i-1, i, i
# and row 2i+1 sees i, i, i+1: each phase is a convolution with two taps, some of the three summed.
_TAPS = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float64)


class PhaseConv(nn.Module):
    """Upsample by 2 (nearest), pad by 1 (reflect or replicate), convolve 3x3, perhaps ReLU: on the small map.

    Reflecting the large map by one repeats the edge of the small one, so one 2x2 convolution over the small map,
    replicate-padded by 1, gives all four phases of every output cell as channels. Its windows start at -1..h-1; phase 0
    of row 2i uses the window at i-1 and phase 1 the one at i. With the two phases swapped, a pixel shuffle lays the
    rows out in order, one row too far down, and cutting one row off each edge gives the result.
    """

    def __init__(self, conv: PaddedConv) -> None:
        super().__init__()
        with torch.no_grad():
            swapped = _TAPS.flip(0)
            kernels = torch.einsum("rtk,cul,oikl->orcitu", swapped, swapped, conv.weight.double())
            bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
            self.weight = nn.Parameter(kernels.flatten(0, 2).to(conv.weight.dtype).contiguous())
            self.bias = nn.Parameter(bias.repeat_interleave(4))
        self.relu = conv.relu

    def forward(self, features: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, outputs, 2h, 2w]."""
        padded = functional.pad(features, (1, 1, 1, 1), mode="replicate")
        phases = functional.conv2d(padded, self.weight, self.bias)
        if self.relu:
            phases = functional.relu(phases)
        return functional.pixel_shuffle(phases, 2)[:, :, 1:-1, 1:-1]


def rewrite(network: Network) -> bool:
    """Put a ``PhaseConv`` in the place of every upsampling and the convolution after it, in place.

    Zero padding is left alone: there the border of the large map is not the edge of the small one.

    Returns:
        whether there was one.
    """
    decoder, found = network.decoder, False
    for first, second in zip(tuple(decoder.steps), tuple(decoder.steps[1:]), strict=False):
        upsample, conv = decoder.get_submodule(first), decoder.get_submodule(second)
        if isinstance(upsample, Upsample) and isinstance(conv, PaddedConv) and conv.border != "zeros":
            decoder.splice([first, second], second, PhaseConv(conv))
            found = True
    return found
