"""Styles fitted to a network: what descent gains on contents that it never saw, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adain_model import adain, weights_sha256
from adain_runtime.errors import InputError, QualityError
from adain_train.fitting import FitSettings, StyleFitter
from adain_train.losses import Perceptual
from networks import SPECS, make_network, soft_pictures

SETTINGS = FitSettings(steps=25, batch=2, lr=0.05)


def images(count: int, seed: int) -> list[torch.Tensor]:
    return list(soft_pictures(seed, count).split(1))


@pytest.fixture
def network():
    return make_network(SPECS["strided"])


@pytest.fixture
def judge(teacher):
    return Perceptual(teacher.encoder)


def test_a_fitted_style_has_lower_losses_on_contents_it_was_not_fitted_on(network, judge):
    before = weights_sha256(network)
    fitter = StyleFitter(network, judge, images(8, 1), SETTINGS)
    found = fitter.fit(images(1, 2)[0])
    assert fitter.held == 2
    assert 12 * found.after.content + 10 * found.after.style < 12 * found.before.content + 10 * found.before.style
    assert (found.std > 0).all()
    assert weights_sha256(network) == before


def test_what_is_reported_is_what_the_network_does(network, judge):
    contents, painting = images(4, 1), images(1, 2)[0]
    found = StyleFitter(network, judge, contents, SETTINGS).fit(painting)
    spec = network.spec
    held = contents[-1]
    with torch.no_grad():
        features = network.encoder(held)
        for (mean, std), losses, image in (
            (network.stats(network.encoder(painting)), found.before, found.images[0]),
            ((found.mean, found.std), found.after, found.images[1]),
        ):
            target = adain(features, mean, std, correction=spec.correction, eps=spec.eps)
            output = network.decoder(target).clamp(0, 1)
            torch.testing.assert_close(image, output, rtol=1e-4, atol=1e-5)
            taps = judge.taps(painting)
            wanted = judge.taps(held)[-1]
            moments = judge.summarize(taps)[-1]
            teacher = judge.encoder.spec
            goal = adain(wanted, *moments, correction=teacher.correction, eps=teacher.eps)
            measured = judge.losses(output, goal, taps)
            assert losses.content == pytest.approx(measured["content"].item(), rel=1e-4)
            assert losses.style == pytest.approx(measured["style"].item(), rel=1e-4)


def test_the_encoders_numbers_stay_where_fitting_gains_nothing(network, judge, monkeypatch):
    downhill = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: [-gradient for gradient in downhill(*given)])
    painting = images(1, 2)[0]
    found = StyleFitter(network, judge, images(4, 1), SETTINGS).fit(painting)
    mean, std = network.stats(network.encoder(painting))
    assert found.after == found.before
    assert torch.equal(found.mean, mean)
    assert torch.equal(found.std, std)
    assert torch.equal(*found.images)


def test_the_same_settings_give_the_same_numbers_and_a_seed_other_ones(network, judge):
    contents, painting = images(8, 1), images(1, 2)[0]
    first, again, other = (
        StyleFitter(network, judge, contents, replace(SETTINGS, steps=5, seed=seed)).fit(painting).mean
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_weights_say_what_descends(network, judge, monkeypatch):
    descended, downhill = [], torch.autograd.grad

    def seen(loss, inputs):
        descended.append(loss.item())
        return downhill(loss, inputs)

    monkeypatch.setattr(torch.autograd, "grad", seen)
    for content, style in ((1.0, 0.0), (0.0, 1.0), (3.0, 5.0)):
        settings = replace(SETTINGS, steps=1, content_weight=content, style_weight=style)
        StyleFitter(network, judge, images(8, 1), settings).fit(images(1, 2)[0])
    content, style, both = descended
    assert content != pytest.approx(style)
    assert both == pytest.approx(3 * content + 5 * style)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"lr": 0.0}, "lr is 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"content_weight": -1.0}, "content_weight is -1"),
        ({"style_weight": float("inf")}, "style_weight is inf"),
        ({"style_weight": 0.0, "content_weight": 0.0}, "leave nothing to fit"),
    ],
)
def test_settings_that_fit_nothing_are_refused(fields, said):
    with pytest.raises(InputError, match=said):
        FitSettings(**fields)


def test_one_content_is_too_few(network, judge):
    with pytest.raises(InputError, match="there is 1"):
        StyleFitter(network, judge, images(1, 1), SETTINGS)


def test_a_loss_that_is_not_finite_ends_it(network, judge):
    painting = torch.full((1, 3, 32, 32), float("nan"))
    with pytest.raises(QualityError, match="at step 0"):
        StyleFitter(network, judge, images(4, 1), SETTINGS).fit(painting)
