"""The parts in torch: the affine form of AdaIN, alpha, and half precision with float32 statistics."""

from __future__ import annotations

import pytest
import torch

from adain_export.graphs import part_module, with_precision
from adain_model.norms import adain
from adain_runtime.errors import InputError


def picture(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_stylizer_is_encoder_adain_decoder_with_alpha_for_each_image(network):
    image, style = picture(2, 3, 48, 40), picture(2, 3, 32, 32, seed=1)
    alpha = torch.tensor([0.3, 1.0]).reshape(2, 1, 1, 1)
    _, mean, std = part_module("encoder", network)(style)
    target = adain(
        network.encoder(image), mean, std, alpha=alpha, correction=network.spec.correction, eps=network.spec.eps
    )
    wanted = network.decoder(target).clamp(0, 1)
    found = part_module("stylizer", network)(image, mean, std, alpha)
    assert wanted.std() > 0.01
    assert (found - wanted).abs().max() < 1e-5


def test_alpha_0_is_the_plain_reconstruction_exactly(network):
    image, channels = picture(1, 3, 48, 40), network.spec.channels
    mean, std = picture(1, channels, 1, 1), picture(1, channels, 1, 1, seed=1)
    found = part_module("stylizer", network)(image, mean, std, torch.zeros(1, 1, 1, 1))
    assert torch.equal(found, network.decoder(network.encoder(image)).clamp(0, 1))


def test_the_decoder_part_applies_one_affine_map_that_may_vary_over_the_picture(network):
    features = network.encoder(picture(1, 3, 48, 40))
    scale, shift = picture(*features.shape), picture(1, network.spec.channels, 1, 1)
    wanted = network.decoder(features * scale + shift).clamp(0, 1)
    assert torch.equal(part_module("decoder", network)(features, scale, shift), wanted)


def test_an_fp16_encoder_gives_half_features_and_float32_statistics(network):
    features, mean, std = part_module("encoder", with_precision(network, "fp16"))(picture(1, 3, 48, 40))
    assert (features.dtype, mean.dtype, std.dtype) == (torch.float16, torch.float32, torch.float32)


def test_fp16_statistics_survive_features_that_overflow_the_naive_formula(strided):
    """An activation of 1000 squared is infinite in float16; the parts measure in float32."""
    half = with_precision(strided, "fp16")
    with torch.no_grad():
        half.encoder.conv4_2.weight.mul_(1000)
        strided_features = half.encoder(picture(1, 3, 48, 40).half())
    assert strided_features.abs().max() > 300
    naive = ((strided_features - strided_features.mean((2, 3), keepdim=True)) ** 2).mean((2, 3))
    assert not torch.isfinite(naive).all()
    _, mean, std = part_module("encoder", half)(picture(1, 3, 48, 40))
    wide = strided_features.float()
    assert torch.allclose(mean, wide.mean((2, 3), keepdim=True), rtol=1e-5)
    wanted = (wide.var((2, 3), keepdim=True, unbiased=False) + strided.spec.eps).sqrt()
    assert torch.allclose(std, wanted, rtol=1e-5)


def test_precision_works_on_a_copy(network):
    with_precision(network, "fp16")
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


def test_weights_beyond_float16_are_refused_by_name(pooled):
    with pytest.MonkeyPatch.context() as patch:
        weight = pooled.decoder.conv2_1.weight
        patch.setattr(weight, "data", weight.data * 1e7)
        with pytest.raises(InputError, match=r"decoder\.conv2_1\.weight.*65504"):
            with_precision(pooled, "fp16")
