"""A network small enough to write out, with everything VGG-19 has: conv0, max-pooling, several stages."""

from __future__ import annotations

import pytest
import torch

from adain_model import Network, initialize
from adain_runtime.spec import NetworkSpec


@pytest.fixture
def spec() -> NetworkSpec:
    return NetworkSpec(
        name="tiny",
        encoder=((4, 5), (6, 7), (8, 9), (10,)),
        decoder=((9,), (8, 7), (6, 5), (4, 3)),
        color_conv=True,
    )


@pytest.fixture
def strided_spec() -> NetworkSpec:
    return NetworkSpec(
        name="tiny-strided",
        encoder=((4,), (6, 7), (8, 9), (10, 11)),
        decoder=((9,), (8, 7), (6, 5), (4, 3)),
        downsample="stride",
        encoder_relu=False,
        correction=0,
    )


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20170320)


@pytest.fixture
def network(spec: NetworkSpec, generator: torch.Generator) -> Network:
    made = Network(spec)
    initialize(made, generator)
    return made.eval().requires_grad_(False)
