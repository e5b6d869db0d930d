"""The networks of the study of norms differ in the norm alone."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from adain_train.study_network import Norm, StudyNetwork

NORMS = get_args(Norm)


def made(norm: Norm, seed: int = 0) -> StudyNetwork:
    return StudyNetwork(norm, 3, torch.Generator().manual_seed(seed))


def test_networks_start_from_the_same_convolutions_whatever_their_norm():
    states = [made(norm).state_dict() for norm in NORMS]
    convolutions = [name for name in states[0] if not name.startswith("norms.")]
    assert len(convolutions) == 2 * 10
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in convolutions)
    assert not torch.equal(made("batch norm", seed=1).last.weight, states[0]["last.weight"])


@pytest.mark.parametrize(("norm", "sees_neighbours"), [(norm, norm == "batch norm") for norm in NORMS])
def test_only_batch_norm_lets_the_other_images_of_a_batch_matter(norm, sees_neighbours):
    images, style = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(3).long()
    with torch.no_grad():
        network = made(norm)
        together, alone = network(images, style)[:1], network(images[:1], style[:1])
    assert torch.allclose(together, alone, atol=1e-5) is not sees_neighbours
