"""Muon: orthogonal steps for matrices, Adam's for vectors, and a state that survives a checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from adain_train.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_singular_values_come_near_one_and_the_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalised(matrix) @ right.T
    assert values.max() / values.min() > 1.5
    assert ((found.diagonal() > 0.5) & (found.diagonal() < 1.3)).all()
    torch.testing.assert_close(found, torch.diag(found.diagonal()), atol=1e-4, rtol=0)


def test_no_gradient_is_no_step():
    assert torch.equal(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_vectors_take_adams_steps():
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    optimizers = Muon([ours], lr=0.1), torch.optim.Adam([theirs], lr=0.1)
    for step in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = torch.sin(torch.arange(7.0) + step)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_a_filter_moves_like_its_matrix_and_as_far_as_adam_would():
    conv, matrix = nn.Parameter(torch.zeros(4, 3, 3, 3)), nn.Parameter(torch.zeros(4, 27))
    gradient = torch.randn(4, 27, generator=torch.Generator().manual_seed(2))
    for parameter in (conv, matrix):
        parameter.grad = gradient.reshape(parameter.shape).clone()
        Muon([parameter], lr=0.01).step()
    assert torch.equal(conv.reshape(4, 27), matrix)
    assert (matrix.square().mean().sqrt() / 0.01).item() == pytest.approx(0.2, rel=0.2)  # Adam's root mean square


def test_a_chain_of_filters_is_learnt():
    x = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    teacher, student = (nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)]) for _ in range(2))
    wanted = teacher(x).detach()
    optimizer = Muon(student.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = (student(x) - wanted).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]


def test_its_state_goes_on_where_it_stopped():
    def made():
        torch.manual_seed(5)
        module = nn.Conv2d(2, 3, 3)
        return module, Muon(module.parameters(), lr=0.01)

    def train(module, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            module(torch.full((1, 2, 4, 4), float(step))).square().sum().backward()
            optimizer.step()

    whole, optimizer = made()
    train(whole, optimizer, range(6))
    first, before = made()
    train(first, before, range(3))
    again, after = made()
    again.load_state_dict(first.state_dict())
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    train(again, after, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_closure_is_called_with_gradients():
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([parameter], lr=0.1)

    def loss():
        optimizer.zero_grad()
        value = parameter.square().sum()
        value.backward()
        return value.item()

    assert optimizer.step(loss) == 4.0
    assert (parameter < 1).any()
