"""Small networks of the two shapes that matter, so that an export takes seconds."""

from __future__ import annotations

from dataclasses import replace

import torch

from adain_model.network import Network, initialize
from adain_runtime.spec import NetworkSpec

# The two shapes that matter: VGG-19's (colour convolution, max-pooling, ReLU, unbiased) and the student's.
SPECS = {
    "pooled": NetworkSpec(
        "pooled", ((4, 4), (6,), (8,), (10,)), ((8,), (8, 6), (6, 4), (4, 3)), color_conv=True, correction=1
    ),
    "strided": NetworkSpec(
        "strided",
        ((4,), (6, 6), (8,), (10, 10)),
        ((8,), (8, 6), (6, 4), (4, 3)),
        downsample="stride",
        encoder_relu=False,
        correction=0,
    ),
}

# Weights of over 2,048 numbers, which are the ones that Core ML packages compress; 24 is no multiple of 16.
WIDE = replace(
    SPECS["pooled"], name="wide", encoder=((16,), (32,), (24,), (64,)), decoder=((24,), (32,), (16,), (16, 3))
)


def make_network(spec: NetworkSpec, seed: int = 0) -> Network:
    """A network with random weights; the decoder's last layer is scaled so that images mostly stay in [0, 1]."""
    network = Network(spec)
    initialize(network, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        network.decoder.conv1_2.weight.mul_(0.1)
        network.decoder.conv1_2.bias.fill_(0.5)
        if spec.color_conv:
            network.encoder.conv0.bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
    return network.eval().requires_grad_(False)


def scaled(spec: NetworkSpec, share: float) -> NetworkSpec:
    """The same network with so many times the channels in each layer; its image stays RGB."""

    def stages(widths: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(max(1, round(share * width)) for width in stage) for stage in widths)

    decoder = stages(spec.decoder)
    return replace(spec, name="scaled", encoder=stages(spec.encoder), decoder=(*decoder[:-1], (*decoder[-1][:-1], 3)))


def soft_pictures(seed: int, count: int = 6, side: int = 32) -> torch.Tensor:
    """[count, 3, side, side]: random, and neighbouring pixels are alike, as they are in photos."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, side, mode="bilinear")
