"""Equalisation changes weights and no result: not by a bit."""

from __future__ import annotations

import copy

import pytest
import torch

from adain_export.equalise import LARGEST, SHARE, couples, equalised, equalising


def image(seed=3):
    return torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(seed))


def uneven(network):
    """The same network with channels that are anything but alike, so that there is something to do."""
    made = copy.deepcopy(network)
    for place, (_, first, _, second) in enumerate(couples(made)):
        factors = 2.0 ** ((torch.arange(first.out_channels) + place) % 9 - 4)
        first.weight.mul_(factors[:, None, None, None])
        first.bias.mul_(factors)
        second.weight.div_(factors[None, :, None, None])
    return made


def loudness_of(network):
    """The root mean square of each channel that enters each convolution, on two images."""
    found = {}

    def watch(name):
        return lambda _, inputs: found.__setitem__(name, inputs[0].square().mean((0, 2, 3)).sqrt().tolist())

    hooks = [step.register_forward_pre_hook(watch(name)) for _, _, name, step in couples(network)]
    network(image(), image(4))
    for hook in hooks:
        hook.remove()
    return found


def test_the_network_gives_the_same_bits(network):
    before = uneven(network)
    exponents = equalising(before, loudness_of(before))
    after = equalised(before, exponents)
    assert all(any(values) for values in exponents.values())
    for name in exponents:
        assert not torch.equal(after.get_submodule(name).weight, before.get_submodule(name).weight)
    for content, style in ((image(), image(4)), (image(5), image())):
        assert torch.equal(after(content, style), before(content, style))
        assert torch.equal(after.encoder(content), before.encoder(content))  # so that styles stay what they are


def test_scales_move_until_loudness_and_weights_of_a_channel_balance(network):
    other = uneven(network)
    made = equalised(other, equalising(other, loudness_of(other)))

    def balances(some):
        """What is to become alike: log2 of loudness by its share, less that of the weights by theirs."""
        loudness = loudness_of(some)
        for _, _, name, second in couples(some):
            heard, taken = torch.tensor(loudness[name]), second.weight.abs().amax((0, 2, 3))
            balance = (SHARE * heard.log2() - (1 - SHARE) * taken.log2())[heard > 0]
            yield (balance - balance.median()).abs().max().item()

    assert max(balances(other)) > 1.5
    assert max(balances(made)) < 1.01  # half a rounded exponent, of the channel and of the median


def test_nothing_moves_across_adain_or_from_a_layer_without_relu(network, strided):
    names = [couple.name for couple in couples(network)]
    assert names
    assert not any(
        name.startswith("encoder.conv4") and name == f"encoder.{network.encoder.steps[-1]}" for name in names
    )
    assert f"decoder.{network.decoder.steps[-1]}" not in names
    assert "encoder.conv4_2" not in [couple.name for couple in couples(strided)]


def test_a_channel_that_says_nothing_is_left_alone(strided):
    quiet = copy.deepcopy(strided)
    quiet.decoder.conv3_1.weight[1] = 0
    quiet.decoder.conv3_2.weight[:, 2] = 0
    found = equalising(quiet, loudness_of(quiet))
    assert (found["decoder.conv3_1"][1], found["decoder.conv3_1"][2]) == (0, 0)
    assert torch.isfinite(equalised(quiet, found)(image(), image(4))).all()


def test_exponents_are_bounded(strided):
    extreme = copy.deepcopy(strided)
    extreme.decoder.conv3_1.weight[0] *= 1e-20
    extreme.decoder.conv3_1.bias[0] = 1e-20
    found = equalising(extreme, loudness_of(extreme))["decoder.conv3_1"]
    assert min(found) >= -LARGEST
    assert max(found) == LARGEST


@pytest.mark.parametrize("name", ["decoder.conv3_1", "encoder.conv1_1"])
def test_given_exponents_scale_what_a_layer_gives(strided, name):
    exponents = {name: tuple(range(strided.get_submodule(name).out_channels))}
    other = equalised(strided, exponents)
    features = torch.rand(1, strided.get_submodule(name).in_channels, 9, 9)
    factors = 2.0 ** torch.arange(len(exponents[name]))
    wanted = strided.get_submodule(name)(features) * factors.view(1, -1, 1, 1)
    assert torch.equal(other.get_submodule(name)(features), wanted)
