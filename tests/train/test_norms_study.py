"""The study of norms: training lowers the losses, and the three kinds of images are what they say."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from adain_runtime.errors import InputError, QualityError
from adain_train.losses import Perceptual
from adain_train.norms_study import Kind, Settings, equalised, study, stylised, train
from adain_train.study_network import Norm

NORMS = get_args(Norm)


@pytest.fixture
def task(teacher):
    """Images, their features, the summaries of three styles, and the network that measures."""
    perceptual = Perceptual(teacher.encoder)
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(6, 3, 16, 16, generator=generator)
    styles = [torch.rand(1, 3, 16, 16, generator=generator) for _ in range(3)]
    summaries = [perceptual.summarize(perceptual.taps(style)) for style in styles]
    return images, perceptual.taps(images)[-1], summaries, perceptual


def test_a_network_with_conditional_instance_norm_gives_another_image_for_another_style(task):
    network, _ = train("conditional instance norm", *task, Settings(iterations=4, batch=2))
    images = task[0][:2]
    with torch.no_grad():
        first, second = (network(images, torch.full((2,), style)) for style in (0, 1))
    assert first.shape == second.shape == images.shape
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("norm", NORMS)
def test_training_lowers_the_losses_and_is_the_same_twice(task, norm):
    settings = Settings(iterations=16, batch=2)
    _, curves = train(norm, *task, settings)
    assert curves.iterations == tuple(range(1, 17, 3 if norm == "conditional instance norm" else 1))
    assert len(curves.content) == len(curves.style) == len(curves.iterations)
    assert curves.last("style") < 0.5 * curves.style[0]
    assert train(norm, *task, settings)[1] == curves


def test_a_loss_that_is_not_finite_stops_the_study(task):
    images, features, summaries, perceptual = task
    with pytest.raises(QualityError, match="instance norm: the loss is nan at iteration 0"):
        train("instance norm", images, features * float("nan"), summaries, perceptual, Settings(iterations=2))


def test_images_that_differ_in_contrast_alone_are_equal_after_equalisation():
    ramp = np.random.default_rng(0).permutation(np.repeat(np.arange(0, 128, dtype=np.uint8), 2)).reshape(16, 16)
    strong, weak = (np.repeat(values[..., None], 3, axis=2) for values in (2 * ramp, ramp + 60))
    np.testing.assert_allclose(equalised(strong), equalised(weak).astype(int), atol=2)  # Pillow's YCbCr is off by 1
    assert equalised(weak).min() == 0
    assert equalised(weak).max() == 255


def test_equalisation_leaves_the_chroma():
    rng = np.random.default_rng(0)
    pixels = (rng.integers(100, 130, (16, 16, 1)) + np.array([12, 0, -9])).astype(np.uint8)
    before, after = (np.asarray(Image.fromarray(p).convert("YCbCr"), int) for p in (pixels, equalised(pixels)))
    inside = (after[..., 0] > 40) & (after[..., 0] < 215)  # where no channel is clipped
    assert inside.any()
    assert np.abs(before - after)[inside][:, 1:].max() <= 2
    assert after[..., 0].std() > 2 * before[..., 0].std()


def test_stylised_images_are_the_networks_own_results(teacher):
    generator = torch.Generator().manual_seed(0)
    first, second, style = (torch.rand(1, 3, 24, 24, generator=generator) for _ in range(3))
    found = stylised(teacher, [first, second], style)
    for image, result in zip((first, second), found, strict=True):
        torch.testing.assert_close(result, teacher(image, style).clamp(0, 1))


def test_the_study_trains_every_norm_on_every_kind_of_images(teacher):
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(1, 3, 32, 32, generator=generator) for _ in range(5)]
    curves, rows = study(teacher, images[:2], images[2:], Settings(size=16, iterations=2, batch=2, styles=2))
    assert list(curves) == list(get_args(Kind))
    assert all(list(norms) == list(NORMS) for norms in curves.values())
    assert [[picture.shape for picture in row] for row in rows] == [[(16, 16, 3)] * 4] * 3
    with pytest.raises(InputError, match="3 styles to learn and one more"):
        study(teacher, images[:2], images[2:], Settings(styles=3))


def test_settings_that_train_nothing_are_refused():
    with pytest.raises(InputError, match="must be positive"):
        Settings(iterations=0)
    with pytest.raises(InputError, match="multiple of 8"):
        Settings(size=20)
