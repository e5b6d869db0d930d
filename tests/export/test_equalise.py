"""Equalisation changes weights and no result: not by a bit."""

from __future__ import annotations

import copy

import pytest
import torch

from adain_export.equalise import LARGEST, couples, equalised, equalising


def image(seed=3):
    return torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(seed))


def uneven(network):
    """The same network with channels that are anything but alike, so that there is something to do."""
    made = copy.deepcopy(network)
    for place, (_, first, second) in enumerate(couples(made)):
        factors = 2.0 ** ((torch.arange(first.out_channels) + place) % 9 - 4)
        first.weight.mul_(factors[:, None, None, None])
        first.bias.mul_(factors)
        second.weight.div_(factors[None, :, None, None])
    return made


def test_the_network_gives_the_same_bits(network):
    before = uneven(network)
    exponents = equalising(before)
    after = equalised(before, exponents)
    assert all(any(values) for values in exponents.values())
    for name in exponents:
        assert not torch.equal(after.get_submodule(name).weight, before.get_submodule(name).weight)
    for content, style in ((image(), image(4)), (image(5), image())):
        assert torch.equal(after(content, style), before(content, style))
        assert torch.equal(after.encoder(content), before.encoder(content))  # so that styles stay what they are


def test_the_largest_weights_of_a_channel_become_alike_within_a_power_of_two(network):
    other = uneven(network)
    made = equalised(other, equalising(other))

    def spread(some):
        ratios = [
            (first.weight.abs().amax((1, 2, 3)) / second.weight.abs().amax((0, 2, 3))).log2().abs()
            for _, first, second in couples(some)
        ]
        return max(ratio.max().item() for ratio in ratios)

    assert spread(other) > 4
    assert spread(made) < 2.5  # a rounded exponent on each side of each of the two maxima


def test_nothing_moves_across_adain_or_from_a_layer_without_relu(network, strided):
    names = [name for name, _, _ in couples(network)]
    assert names
    assert not any(
        name.startswith("encoder.conv4") and name == f"encoder.{network.encoder.steps[-1]}" for name in names
    )
    assert f"decoder.{network.decoder.steps[-1]}" not in names
    assert "encoder.conv4_2" not in [name for name, _, _ in couples(strided)]


def test_a_channel_that_says_nothing_is_left_alone(strided):
    quiet = copy.deepcopy(strided)
    quiet.decoder.conv3_1.weight[1] = 0
    quiet.decoder.conv3_2.weight[:, 2] = 0
    found = equalising(quiet)
    assert (found["decoder.conv3_1"][1], found["decoder.conv3_1"][2]) == (0, 0)
    assert torch.isfinite(equalised(quiet, found)(image(), image(4))).all()


def test_exponents_are_bounded(strided):
    extreme = copy.deepcopy(strided)
    extreme.decoder.conv3_1.weight[0] *= 1e-20
    assert min(equalising(extreme)["decoder.conv3_1"]) >= -LARGEST
    assert max(equalising(extreme)["decoder.conv3_1"]) == LARGEST


@pytest.mark.parametrize("name", ["decoder.conv3_1", "encoder.conv1_1"])
def test_given_exponents_scale_what_a_layer_gives(strided, name):
    exponents = {name: tuple(range(strided.get_submodule(name).out_channels))}
    other = equalised(strided, exponents)
    features = torch.rand(1, strided.get_submodule(name).in_channels, 9, 9)
    factors = 2.0 ** torch.arange(len(exponents[name]))
    wanted = strided.get_submodule(name)(features) * factors.view(1, -1, 1, 1)
    assert torch.equal(other.get_submodule(name)(features), wanted)
