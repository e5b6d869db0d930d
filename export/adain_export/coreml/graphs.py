"""The three parts as Core ML wants them: AdaIN as instance normalisation, statistics in a scope of their own."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from adain_model.network import Network
from adain_runtime.spec import NetworkSpec

FLOAT32_SCOPE = "float32_scope"
"""The name of the modules whose operations stay float32 in a float16 package."""


class Statistics(nn.Module):
    """Mean and standard deviation of each channel, with the spec's correction; from centred squares."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[1,C,h,w] to mean and std [1,C,1,1]."""
        mean = features.mean((2, 3), keepdim=True)
        variance = ((features - mean) ** 2).mean((2, 3), keepdim=True)
        if self.spec.correction:
            cells = features.shape[2] * features.shape[3]
            variance = variance * (cells / (cells - self.spec.correction))
        return mean, torch.sqrt(variance + self.spec.eps)


class Affine(nn.Module):
    """Features under one affine map, for the decoder part."""

    def forward(self, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """All of them [1,C,h,w]."""
        return features * scale + shift


class Unbiasing(nn.Module):
    """From the biased standard deviation to the unbiased one, for a map of any size."""

    def forward(self, features: Tensor) -> float | Tensor:
        """[1,C,h,w] to a factor; in float32, since half precision ends at 65,504 cells."""
        cells = features.shape[2] * features.shape[3]
        factor: float | Tensor = ((cells - 1) / cells) ** 0.5
        return factor


class Norm(nn.Module):
    """Instance normalisation with the spec's correction.

    With n cells, ``(x - m) / sqrt(v n/(n-1) + e) = sqrt((n-1)/n) (x - m) / sqrt(v + e (n-1)/n)``: an instance
    normalisation and a constant. Core ML has the first as one operation, safe in float16.

    Args:
        spec: the network.
        cells: of the features' map; None where the size is free: then it is read off the map and eps is the spec's.
    """

    def __init__(self, spec: NetworkSpec, cells: int | None) -> None:
        super().__init__()
        self.correction, self.cells = spec.correction, cells
        self.eps = spec.eps if cells is None or not spec.correction else spec.eps * (cells - 1) / cells
        self.add_module(FLOAT32_SCOPE, Unbiasing())

    def forward(self, features: Tensor) -> Tensor:
        """[1,C,h,w] to the same, each channel of mean 0 and variance 1."""
        made: Tensor = functional.instance_norm(features, eps=self.eps)
        if not self.correction:
            return made
        if self.cells is not None:
            return made * sqrt((self.cells - 1) / self.cells)
        scaled: Tensor = made * self.get_submodule(FLOAT32_SCOPE)(features)
        return scaled


class EncoderGraph(nn.Module):
    """Image to features and their statistics."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.add_module(FLOAT32_SCOPE, Statistics(network.spec))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[1,3,H,W] in [0,1] to features [1,C,h,w], mean and std [1,C,1,1]."""
        features = self.encoder(image)
        return (features, *self.get_submodule(FLOAT32_SCOPE)(features))


class DecoderGraph(nn.Module):
    """Features under one affine map to an image."""

    def __init__(self, network: Network, peak: float) -> None:
        super().__init__()
        self.decoder, self.peak = network.decoder, peak
        self.add_module(FLOAT32_SCOPE, Affine())

    def forward(self, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """All of them [1,C,h,w], to [1,3,H,W] from 0 to ``peak``."""
        return _finish(self.decoder(self.get_submodule(FLOAT32_SCOPE)(features, scale, shift)), self.peak)


class StylizerGraph(nn.Module):
    """Encoder, AdaIN with alpha, and decoder."""

    def __init__(self, network: Network, cells: int | None, peak: float) -> None:
        super().__init__()
        self.encoder, self.decoder, self.peak = network.encoder, network.decoder, peak
        self.norm = Norm(network.spec, cells)

    def forward(self, image: Tensor, mean: Tensor, std: Tensor, alpha: Tensor) -> Tensor:
        """Image [1,3,H,W] in [0,1], mean and std [1,C,1,1], alpha [1,1,1,1], to [1,3,H,W] from 0 to ``peak``."""
        features = self.encoder(image)
        target = (self.norm(features) * std + mean) * alpha + features * (1 - alpha)
        return _finish(self.decoder(target), self.peak)


def graph(part: str, network: Network, size: tuple[int, int] | None, peak: float) -> tuple[nn.Module, list[Tensor]]:
    """A part's module, and inputs to trace it with.

    Args:
        part: ``encoder``, ``decoder`` or ``stylizer``.
        network: rewritten as it is to be exported.
        size: height and width that it takes; None where they are free.
        peak: white in the images that it gives: 255 for an image buffer, 1 for an array.
    """
    spec = network.spec
    height, width = size or (8 * spec.stride, 8 * spec.stride)
    cells = (height // spec.stride, width // spec.stride)
    image = torch.rand(1, 3, height, width)
    maps, numbers = torch.rand(1, spec.channels, *cells), torch.rand(1, spec.channels, 1, 1)
    if part == "encoder":
        return EncoderGraph(network).eval(), [image]
    if part == "decoder":
        return DecoderGraph(network, peak).eval(), [maps, maps + 0.1, maps - 0.1]
    known = cells[0] * cells[1] if size else None
    return StylizerGraph(network, known, peak).eval(), [image, numbers, numbers + 0.1, torch.ones(1, 1, 1, 1)]


def _finish(image: Tensor, peak: float) -> Tensor:
    clipped = image.clamp(0, 1)
    return clipped if peak == 1 else clipped * peak
