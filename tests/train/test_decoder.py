"""The decoder's losses are the paper's, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adain_model import adain
from adain_train.decoder import DecoderTask
from adain_train.losses import Weights, total_variation
from adain_train.task import Share


@pytest.fixture
def batch(decoder_config, teacher, data):
    crops = DecoderTask(decoder_config, teacher.encoder, data).load(0, Share())
    return {name: tensor.float() / 255 for name, tensor in crops.items()}


@pytest.mark.parametrize("kind", ["mean_std", "gram"])
def test_a_step_measures_the_decoded_adain_target_against_it_and_against_the_style(
    decoder_config, teacher, data, batch, kind
):
    """Equations 11 to 14: the target is AdaIN of content by style, the style loss is of the style's maps."""
    config = replace(decoder_config, weights=Weights(content=2, style=3, style_kind=kind))
    task = DecoderTask(config, teacher.encoder, data)
    with torch.no_grad():
        losses = task.losses(task.model, batch, 0)
        spec, encoder = teacher.spec, teacher.encoder
        features, style = encoder(batch["content"]), encoder(batch["style"])
        target = adain(features, *teacher.stats(style), correction=spec.correction, eps=spec.eps)
        image = task.model(target)
        wanted = task.measure.losses(image, target, encoder.taps(batch["style"]), style_kind=kind)
    assert losses.keys() == {"content", "style", "total"}
    assert losses["content"].item() == pytest.approx((encoder(image) - target).square().mean().item(), rel=1e-4)
    assert losses["style"].item() == pytest.approx(wanted["style"].item(), rel=1e-4)
    assert losses["total"].item() == pytest.approx(2 * losses["content"].item() + 3 * losses["style"].item(), rel=1e-5)


def test_an_image_that_must_come_back_is_decoded_from_its_own_features(decoder_config, teacher, data, batch):
    weights = Weights(content=2, style=3, tv=0.1, identity_pixels=0.5, identity_features=0.25)
    task = DecoderTask(replace(decoder_config, weights=weights), teacher.encoder, data)
    with torch.no_grad():
        losses = task.losses(task.model, batch, 0)
        originals = torch.cat([batch["content"], batch["style"]])
        restored = task.model(teacher.encoder(originals))
        maps = zip(teacher.encoder.taps(restored), teacher.encoder.taps(originals), strict=True)
        features = teacher.encoder(batch["content"])
        style = teacher.stats(teacher.encoder(batch["style"]))
        target = adain(features, *style, correction=teacher.spec.correction, eps=teacher.spec.eps)
        noise = total_variation(task.model(target))
    assert losses["identity_pixels"].item() == pytest.approx((restored - originals).square().mean().item(), rel=1e-4)
    apart = sum((found - wanted).square().mean().item() for found, wanted in maps)
    assert losses["identity_features"].item() == pytest.approx(apart, rel=1e-4)
    assert losses["tv"].item() == pytest.approx(noise.item(), rel=1e-4)
    parts = {name: value.item() for name, value in losses.items() if name != "total"}
    terms = {name: weights.terms()[name] * value for name, value in parts.items()}
    assert losses["total"].item() == pytest.approx(sum(terms.values()), rel=1e-5)
