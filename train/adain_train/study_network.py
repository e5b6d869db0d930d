"""The small single-style network of the study of norms: the same convolutions, whatever norm follows them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from adain_model import ConditionalInstanceNorm, batch_norm, initialize
from adain_model.network import PaddedConv, Upsample

Norm: TypeAlias = Literal["batch norm", "instance norm", "conditional instance norm"]

_WIDTHS = (16, 32, 64)
_BLOCKS = 2


class BatchNorm(nn.Module):
    """`batch_norm` with a learnt pair a channel, over the batch's own statistics, as in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, style: Tensor) -> Tensor:  # noqa: ARG002 the norms are called alike
        """Normalise [N, C, H, W]; the style is not used."""
        return batch_norm(features, self.weight, self.bias)


class StudyNetwork(nn.Module):
    """A small single-style network after Johnson, Alahi & Fei-Fei 2016: two halvings, residual blocks, two doublings.

    Attributes:
        norm: what follows every convolution but the last.
    """

    def __init__(self, norm: Norm, styles: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = norm
        first, second, third = _WIDTHS
        self.down = nn.ModuleList(
            [PaddedConv(3, first, relu=False)]
            + [PaddedConv(i, o, stride=2, relu=False) for i, o in ((first, second), (second, third))]
        )
        self.blocks = nn.ModuleList([PaddedConv(third, third, relu=False) for _ in range(2 * _BLOCKS)])
        self.up = nn.ModuleList([PaddedConv(i, o, relu=False) for i, o in ((third, second), (second, first))])
        self.upsample = Upsample()
        self.last = PaddedConv(first, 3, relu=False)
        widths = (*_WIDTHS, *[third] * 2 * _BLOCKS, second, first)
        self.norms = nn.ModuleList([_norm(norm, width, styles) for width in widths])
        initialize(self, generator)
        with torch.no_grad():  # a grey image to start from
            self.last.weight.mul_(0.1)
            if self.last.bias is not None:
                self.last.bias.fill_(0.5)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Stylise [N, 3, H, W], sides multiples of 4, each image in the style of its number in ``style`` [N]."""
        norms = iter(self.norms)
        features = image
        for conv in self.down:
            features = functional.relu(next(norms)(conv(features), style))
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            inner = functional.relu(next(norms)(first(features), style))
            features = features + next(norms)(second(inner), style)
        for conv in self.up:
            features = functional.relu(next(norms)(conv(self.upsample(features)), style))
        stylised: Tensor = self.last(features)
        return stylised


def _norm(norm: Norm, channels: int, styles: int) -> nn.Module:
    if norm == "batch norm":
        return BatchNorm(channels)
    return ConditionalInstanceNorm(styles if norm == "conditional instance norm" else 1, channels)
