"""A network begun as another: the function stays, and what was silent or is new can learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adain_model import channel_stats
from adain_runtime.errors import InputError
from adain_train.beginning import begun_as
from adain_train.losses import summary_loss
from adain_train.pruning import convolutions, loudness
from networks import SPECS, make_network, scaled
from networks import soft_pictures as pictures

KINDS = sorted(SPECS)


def silenced(network, name: str, channels: list[int]):
    """The same with some channels that no picture wakes, whatever reads them."""
    conv = network.get_submodule(name)
    with torch.no_grad():
        conv.weight[channels] *= 1e-3
        conv.bias[channels] = -1.0
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_a_wider_network_does_what_the_narrow_one_did(kind):
    network = make_network(SPECS[kind])
    spec = scaled(network.spec, 1.5)
    found = begun_as(network, spec, pictures(0), pictures(1))
    assert found.spec == spec
    torch.testing.assert_close(found(pictures(2), pictures(3)), network(pictures(2), pictures(3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_channels_learn_from_the_first_steps(kind):
    network = make_network(SPECS[kind])
    found = begun_as(network, scaled(network.spec, 1.5), pictures(0), pictures(1)).requires_grad_(True)
    wanted = channel_stats(pictures(1), correction=0, eps=1e-5)
    optimizer = torch.optim.SGD(found.parameters(), lr=1e-3)
    for _ in range(2):  # zeros out have their gradient in the first step, and then random weights in have theirs
        optimizer.step()
        optimizer.zero_grad()
        summary_loss([channel_stats(found(pictures(0), pictures(1)), correction=0, eps=1e-5)], [wanted]).backward()
    old = dict(convolutions(network))
    for name, conv in convolutions(found):
        fresh = conv.weight.grad[old[name].out_channels :]
        assert len(fresh) == 0 or fresh.abs().max() > 0, name


def test_narrower_here_and_wider_there_at_once():
    network = make_network(SPECS["strided"])
    spec = replace(network.spec, encoder=((4,), (5, 9), (8,), (9, 14)), decoder=((6,), (8, 9), (6, 4), (4, 3)))
    found = begun_as(network, spec, pictures(0), pictures(1))
    assert found.spec == spec
    assert found(pictures(2), pictures(3)).isfinite().all()


@pytest.mark.parametrize("layer", ["encoder.conv2_1", "decoder.conv3_1"])
def test_silent_channels_begin_anew_and_the_function_stays(layer):
    network = silenced(make_network(SPECS["strided"]), layer, [1, 3])
    quiet = loudness(network, pictures(0), pictures(1))
    assert sorted((quiet[layer] < 1e-3 * quiet[layer].max()).nonzero().flatten().tolist()) == [1, 3]
    found = begun_as(network, network.spec, pictures(0), pictures(1), revive=1e-3)
    assert found.spec == network.spec
    torch.testing.assert_close(found(pictures(0), pictures(1)), network(pictures(0), pictures(1)), atol=1e-4, rtol=0)
    name = [name for name, _ in convolutions(found)]
    reader = found.get_submodule(name[name.index(layer) + 1])
    assert (reader.weight[:, -2:] == 0).all()
    lengths = found.get_submodule(layer).weight.flatten(1).norm(dim=1)
    assert lengths[-2:].min() > 0.3 * lengths.median()
    with torch.no_grad():
        reader.weight.fill_(0.1)  # once they are read...
    loud = loudness(found, pictures(0), pictures(1))[layer]
    assert (loud[-2:] > 1e-3 * loud.max()).any()  # ...they are heard


def test_without_reviving_a_network_of_the_same_widths_is_the_same():
    network = silenced(make_network(SPECS["pooled"]), "encoder.conv2_1", [0])
    found = begun_as(network, network.spec, pictures(0), pictures(1))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), network.parameters(), strict=True))


def test_a_seed_gives_the_same_network_again_and_another_seed_another():
    network = make_network(SPECS["strided"])
    one, again, other = (
        begun_as(network, scaled(network.spec, 1.5), pictures(0), pictures(1), seed=seed) for seed in (3, 3, 4)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(one.encoder.conv1_1.weight, other.encoder.conv1_1.weight)


def test_a_layer_of_which_nothing_is_heard_keeps_one_channel():
    network = silenced(make_network(SPECS["strided"]), "encoder.conv3_1", list(range(8)))
    found = begun_as(network, network.spec, pictures(0), pictures(1), revive=0.01)
    assert found.spec == network.spec
    assert all(parameter.isfinite().all() for parameter in found.parameters())


def test_a_network_with_a_colour_convolution_is_revived_too():
    network = silenced(make_network(SPECS["pooled"]), "encoder.conv2_1", [0])
    found = begun_as(network, network.spec, pictures(0), pictures(1), revive=0.01)
    assert found.spec == network.spec
    assert not torch.equal(found.encoder.conv2_1.weight, network.encoder.conv2_1.weight)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"encoder": ((4,), (6,), (8,), (10, 10))}, "other convolutions"), ({"downsample": "maxpool"}, "more than their")],
)
def test_another_kind_of_network_is_refused(changes, text):
    network = make_network(SPECS["strided"])
    with pytest.raises(InputError, match=text):
        begun_as(network, replace(network.spec, name="other", **changes), pictures(0), pictures(1))
