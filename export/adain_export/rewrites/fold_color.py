"""Fold the learnt colour conversion into the first convolution."""

from __future__ import annotations

import torch
from torch import nn

from adain_model.network import Network, PaddedConv


@torch.no_grad()
def rewrite(network: Network) -> bool:
    """Fold ``conv0`` (1x1, 3 to 3 channels) into ``conv1_1``, in place.

    With ``y0 = A x + a`` and a border that repeats pixels of the image, padding and the 1x1 convolution commute, so
    ``conv(pad(A x + a)) = conv'(pad(x))`` with ``W'[o,i] = sum_j W[o,j] A[j,i]`` and
    ``b'[o] = b[o] + sum_jkl W[o,j,k,l] a[j]``. Zero padding does not commute (the border would be ``a``), so such a
    network is left alone. Computed in float64 and rounded once.

    Returns:
        whether the network had a colour convolution that could be folded.
    """
    encoder = network.encoder
    if encoder.steps[:1] != ["conv0"]:
        return False
    color, first = encoder.get_submodule("conv0"), encoder.get_submodule("conv1_1")
    if not isinstance(color, nn.Conv2d) or not isinstance(first, PaddedConv) or first.border == "zeros":
        return False
    assert color.bias is not None  # noqa: S101 for the type checker: every convolution of the spec has a bias
    assert first.bias is not None  # noqa: S101
    weight = first.weight.double()
    offset = torch.einsum("ojkl,j->o", weight, color.bias.double())
    first.weight.copy_(torch.einsum("ojkl,ji->oikl", weight, color.weight.double()[:, :, 0, 0]))
    first.bias.copy_(first.bias.double() + offset)
    encoder.splice(["conv0", "conv1_1"], "conv1_1", first)
    return True
