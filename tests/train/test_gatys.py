"""The optimisation of pixels: each step is Adam's, in range, and what it reports is what it did."""

from __future__ import annotations

import pytest
import torch

from adain_runtime.errors import InputError, QualityError
from adain_train.gatys import Optimised, mean_curves, optimise
from adain_train.losses import Perceptual


@pytest.fixture
def task(teacher):
    """A network, a start, and a target and a style that are another image's."""
    perceptual = Perceptual(teacher.encoder)
    generator = torch.Generator().manual_seed(1)
    start, other = (torch.rand(1, 3, 24, 24, generator=generator) for _ in range(2))
    taps = perceptual.taps(other)
    return perceptual, start, taps[-1], perceptual.summarize(taps)


def test_losses_fall_and_the_image_stays_an_image(task):
    found = optimise(*task, steps=30, keep=(30,))
    assert found.content[-1] < 0.7 * found.content[0]
    assert found.style[-1] < 0.3 * found.style[0]
    assert found.images[30].min() >= 0
    assert found.images[30].max() <= 1


def test_the_first_step_moves_each_pixel_by_the_learning_rate_against_its_gradient(task):
    perceptual, start, target, style = task
    image = start.clone().requires_grad_(True)
    losses = perceptual.losses(image, target, style)
    (gradient,) = torch.autograd.grad(losses["content"] + 2.5 * losses["style"], image)
    found = optimise(*task, steps=1, keep=(1,), style_weight=2.5, learning_rate=0.03)
    expected = (start - 0.03 * gradient / (gradient.abs() + 1e-8)).clamp(0, 1)
    torch.testing.assert_close(found.images[1], expected, rtol=0, atol=1e-5)


def test_a_kept_image_has_the_losses_that_its_step_reports(task):
    perceptual, start, target, style = task
    found = optimise(*task, steps=5, keep=(0, 3, 5))
    assert list(found.images) == [0, 3, 5]
    assert len(found.content) == len(found.style) == len(found.seconds) == 6
    for step, image in found.images.items():
        losses = perceptual.losses(image, target, style)
        assert losses["content"].item() == pytest.approx(found.content[step], rel=1e-6)
        assert losses["style"].item() == pytest.approx(found.style[step], rel=1e-6)
    assert torch.equal(found.images[0], start)


def test_the_start_stays_as_it_is_and_every_step_is_announced(task):
    before, steps = task[1].clone(), []
    optimise(*task, steps=4, on_step=lambda: steps.append(1))
    assert torch.equal(task[1], before)
    assert len(steps) == 4


@pytest.mark.parametrize(("steps", "keep"), [(0, ()), (3, (4,)), (3, (-1,))])
def test_steps_that_are_not_taken_are_refused(task, steps, keep):
    with pytest.raises(InputError, match="give steps from 0 to the last"):
        optimise(*task, steps=steps, keep=keep)


def test_a_loss_that_is_not_finite_stops_it_and_names_the_step(task):
    perceptual, start, target, style = task
    with pytest.raises(QualityError, match="nan at step 0"):
        optimise(perceptual, torch.full_like(start, float("nan")), target, style, steps=2)


def test_mean_curves_are_means_over_runs_step_by_step():
    runs = [Optimised((3.0, 1.0), (8.0, 2.0), (0, 1), {}), Optimised((4.0, 2.0), (4.0, 1.0), (0, 1), {})]
    assert mean_curves(runs) == {"content": [3.5, 1.5], "style": [6.0, 1.5]}
    assert mean_curves([]) == {"content": [], "style": []}
