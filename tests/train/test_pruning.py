"""Pruning: what can be put together from what is kept is lost by nobody, and the rest is chosen, not the first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adain_model import Network
from adain_runtime.errors import InputError
from adain_train.pruning import narrowed
from networks import SPECS, make_network, scaled
from networks import soft_pictures as pictures

KINDS = sorted(SPECS)


def widened(network: Network) -> Network:
    """The same function with every channel twice: each of the two copies is read by half."""
    spec = network.spec
    encoder = tuple(tuple(2 * width for width in stage) for stage in spec.encoder)
    decoder = tuple(tuple(2 * width for width in stage) for stage in spec.decoder)
    wide = Network(replace(spec, name="wide", encoder=encoder, decoder=(*decoder[:-1], (*decoder[-1][:-1], 3))))
    state, grown = wide.state_dict(), {}
    for name, value in network.state_dict().items():
        twice = value
        for axis in range(min(value.dim(), 2)):
            if value.shape[axis] != state[name].shape[axis]:
                twice = torch.cat([twice, twice], dim=axis) / (1 if axis == 0 else 2)
        grown[name] = twice
    wide.load_state_dict(grown)
    return wide.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_channels_that_repeat_others_go_without_loss(kind):
    network = make_network(SPECS[kind])
    wide = widened(network)
    content, style = pictures(0), pictures(1)
    torch.testing.assert_close(wide(content, style), network(content, style), atol=1e-5, rtol=0)
    found = narrowed(wide, network.spec, content, style)
    assert found.spec == network.spec
    torch.testing.assert_close(found(content, style), network(content, style), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_choosing_and_rebuilding_loses_less_than_taking_the_first_channels(kind):
    network = make_network(SPECS[kind], seed=5)
    content, style = pictures(0), pictures(1)
    spec = scaled(network.spec, 0.7)
    first = Network(spec)
    state = network.state_dict()
    cut = {n: state[n][tuple(slice(size) for size in v.shape)] for n, v in first.state_dict().items()}
    first.load_state_dict(cut)
    unseen = pictures(2), pictures(3)
    wanted = network(*unseen)
    lost = [(made(*unseen) - wanted).square().mean() for made in (narrowed(network, spec, content, style), first)]
    assert lost[0] < 0.5 * lost[1]


def test_a_network_of_the_same_widths_is_the_same():
    network = make_network(SPECS["strided"])
    found = narrowed(network, network.spec, pictures(0), pictures(1))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), network.parameters(), strict=True))


def test_channels_that_never_answer_are_no_trouble():
    network = make_network(SPECS["pooled"])
    with torch.no_grad():
        network.encoder.conv2_1.weight.zero_()
        network.encoder.conv2_1.bias.fill_(-1)
    found = narrowed(network, scaled(network.spec, 0.6), pictures(0), pictures(1))
    assert all(parameter.isfinite().all() for parameter in found.parameters())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"encoder": ((4,), (6, 6), (8,), (12, 10))}, "wider than"),
        ({"encoder": ((4,), (6,), (8,), (10, 10))}, "other convolutions"),
        ({"downsample": "maxpool"}, "more than their widths"),
    ],
)
def test_another_network_is_refused(changes, text):
    network = make_network(SPECS["strided"])
    with pytest.raises(InputError, match=text):
        narrowed(network, replace(network.spec, name="other", **changes), pictures(0), pictures(1))
