"""Silent channels are found, and the documentation's table is what was measured of the embedded network."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="torch, whose networks were measured, is not installed")

import torch

import silent_channels
from adain_model import embedded_checkpoint, load_network, weights_sha256
from networks import SPECS, make_network


@pytest.mark.parametrize("kind", SPECS)
def test_a_channel_that_nothing_wakes_is_silent_and_no_other(kind):
    network = make_network(SPECS[kind])
    pictures = [torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    before = silent_channels.largest_responses(network, pictures, pictures)
    name = next(name for name in before if name.startswith("decoder."))
    channel = int(before[name].argmax())
    with torch.no_grad():
        network.get_submodule(name).weight[channel] = 0
        network.get_submodule(name).bias[channel] = -1
    after = silent_channels.largest_responses(network, pictures, pictures)
    assert after[name][channel] == 0 < before[name][channel]
    kept = [other for other in range(len(after[name])) if other != channel]
    assert torch.equal(after[name][kept], before[name][kept])


def test_the_documentation_has_the_table_of_the_embedded_network(repository):
    result = json.loads((silent_channels.RESULTS / "silent_channels_lite.json").read_text())
    assert result["weights_sha256"] == weights_sha256(load_network(embedded_checkpoint()))
    assert silent_channels.table(result["rows"]) in (repository / "docs" / "training.md").read_text()
