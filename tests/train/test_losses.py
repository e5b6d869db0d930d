"""The losses against their formulas, written out in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adain_model import VGG19, Encoder, channel_stats
from adain_runtime.errors import InputError
from adain_train.losses import (
    Perceptual,
    Weights,
    clipped,
    content_loss,
    gram_loss,
    mean_std_loss,
    require_vgg19,
    similarity_loss,
    summarize,
    summary_loss,
    total,
    total_variation,
)

SHAPES = [(2, 3, 6, 5), (2, 4, 3, 4)]
OTHER_SIZES = [(2, 3, 4, 7), (2, 4, 5, 2)]


def maps(shapes, seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(0.5, 2.0, shape).astype(np.float32) for shape in shapes]


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


def written_stats(array, correction, eps):
    n, c, h, w = array.shape
    flat = array.astype(np.float64).reshape(n, c, h * w)
    mean = flat.sum(axis=2) / (h * w)
    variance = ((flat - mean[..., None]) ** 2).sum(axis=2) / (h * w - correction)
    return mean, np.sqrt(variance + eps)


def written_gram(array):
    n, c, h, w = array.shape
    flat = array.astype(np.float64).reshape(n, c, h * w)
    return np.einsum("nip,njp->nij", flat, flat) / (h * w)


def mse(a, b):
    return float(((a - b) ** 2).sum() / a.size)


def test_the_content_loss_is_the_mean_squared_difference():
    (found,), (target,) = maps(SHAPES[:1], 0), maps(SHAPES[:1], 1)
    wanted = mse(found.astype(np.float64), target.astype(np.float64))
    assert content_loss(*tensors([found, target])).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("correction", "eps"), [(0, 1e-5), (1, 1e-5), (0, 0.1)])
def test_the_style_loss_sums_errors_of_means_and_stds_over_taps(correction, eps):
    found, wanted = maps(SHAPES, 2), maps(OTHER_SIZES, 3)
    written = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        stats = zip(written_stats(ours, correction, eps), written_stats(theirs, correction, eps), strict=True)
        written += sum(mse(a, b) for a, b in stats)
    loss = mean_std_loss(tensors(found), tensors(wanted), correction=correction, eps=eps)
    assert loss.item() == pytest.approx(written, rel=1e-5)


def test_a_clipped_image_has_a_gradient_inside_and_back_into_its_range():
    image = torch.tensor([-0.5, -0.5, 0.0, 0.5, 1.0, 1.5, 1.5], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, -2.0, -1.0, 1.0, -1.0])  # a step goes against it
    shown = clipped(image)
    torch.testing.assert_close(shown, image.clamp(0, 1))
    shown.backward(gradient)
    assert image.grad.tolist() == [0.0, -1.0, 1.0, -2.0, -1.0, 1.0, 0.0]


def test_a_pixel_that_left_the_range_finds_back_through_clipped_and_not_through_clamp():
    found = {}
    for name, show in (("clipped", clipped), ("clamp", lambda values: values.clamp(0, 1))):
        pixel = torch.tensor(1.4, requires_grad=True)
        descent = torch.optim.SGD([pixel], lr=0.2)
        for _ in range(40):
            descent.zero_grad()
            (show(pixel) - 0.25).square().backward()
            descent.step()
        found[name] = pixel.item()
    assert found["clipped"] == pytest.approx(0.25, abs=1e-3)
    assert found["clamp"] == pytest.approx(1.4)


def written_similarities(array):
    n, c, h, w = array.shape
    flat = array.astype(np.float64).reshape(n, c, h * w)
    flat = (flat - flat.mean(axis=2, keepdims=True)) / np.sqrt(flat.var(axis=2, keepdims=True) + 1e-5)
    cells = flat / np.sqrt((flat**2).sum(axis=1, keepdims=True))
    return np.einsum("nci,ncj->nij", cells, cells)


def test_the_similarity_loss_compares_cosines_of_cells_whatever_the_channels():
    found, wanted = maps([(2, 5, 4, 3)], 8)[0], maps([(2, 9, 4, 3)], 9)[0]
    written = mse(written_similarities(found), written_similarities(wanted))
    assert similarity_loss(*tensors([found, wanted])).item() == pytest.approx(written, rel=1e-5)


def test_the_similarity_loss_does_not_see_what_adain_replaces():
    (found,) = tensors(maps([(2, 5, 4, 3)], 10))
    scale, shift = torch.rand(1, 5, 1, 1) + 0.5, torch.randn(1, 5, 1, 1)
    assert similarity_loss(found * scale + shift, found).item() < 1e-9
    assert similarity_loss(found.flip(3), found).item() > 1e-2


def test_the_similarity_loss_of_constant_features_has_a_gradient():
    flat = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    similarity_loss(flat, torch.rand(1, 4, 2, 2)).backward()
    assert flat.grad.isfinite().all()


def test_the_similarity_loss_of_half_precision_is_computed_in_float32():
    found, wanted = tensors(maps([(1, 64, 4, 4), (1, 32, 4, 4)], 11))
    full = similarity_loss(100 * found.half().float(), wanted)
    assert similarity_loss(100 * found.half(), wanted).item() == pytest.approx(full.item(), rel=1e-3)


def test_the_gram_loss_compares_inner_products_of_channels_per_cell():
    found, wanted = maps(SHAPES, 4), maps(OTHER_SIZES, 5)
    written = sum(mse(written_gram(a), written_gram(b)) for a, b in zip(found, wanted, strict=True))
    assert gram_loss(tensors(found), tensors(wanted)).item() == pytest.approx(written, rel=1e-5)


def test_total_variation_is_the_mean_step_across_and_down():
    (image,) = maps([(2, 3, 5, 7)], 6)
    wide = image.astype(np.float64)
    written = np.abs(np.diff(wide, axis=3)).mean() + np.abs(np.diff(wide, axis=2)).mean()
    assert total_variation(torch.from_numpy(image)).item() == pytest.approx(written, rel=1e-6)


def test_a_flat_image_has_no_variation_and_equal_maps_have_no_loss():
    taps = tensors(maps(SHAPES, 7))
    assert total_variation(torch.full((1, 3, 4, 4), 0.3)).item() == 0
    assert (
        content_loss(taps[0], taps[0]).item() == mean_std_loss(taps, taps).item() == gram_loss(taps, taps).item() == 0
    )


def test_float64_maps_are_measured_in_float64():
    found, wanted = ([torch.from_numpy(array).double() for array in maps(SHAPES, seed)] for seed in (8, 9))
    for loss in (content_loss(found[0], wanted[0]), mean_std_loss(found, wanted), gram_loss(found, wanted)):
        assert loss.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_far_apart_have_a_finite_loss(dtype):
    taps, zeros = [torch.full((1, 2, 4, 4), 300.0, dtype=dtype)], [torch.zeros(1, 2, 4, 4, dtype=dtype)]
    assert content_loss(taps[0], zeros[0]).item() == pytest.approx(90_000, rel=0.01)
    assert mean_std_loss(taps, zeros).item() == pytest.approx(90_000, rel=0.01)
    assert gram_loss(taps, zeros).isfinite()


def test_the_gram_loss_is_float32_under_autocast():
    taps = tensors(maps(SHAPES, 10))
    plain = gram_loss(taps, [tap * 2 for tap in taps])
    with torch.autocast("cpu", torch.bfloat16):
        cast = gram_loss(taps, [tap * 2 for tap in taps])
    assert torch.equal(plain, cast)


@pytest.mark.parametrize("correction", [0, 1])
def test_the_gradient_of_the_statistics_is_their_derivative(correction):
    tap = torch.from_numpy(maps(SHAPES[:1], 14)[0]).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: summarize([x], correction=correction)[0], [tap])
    fast = torch.autograd.grad(sum(value.square().sum() for value in summarize([tap], correction=correction)[0]), tap)[
        0
    ]
    plain = channel_stats(tap, correction=correction, eps=1e-5)
    torch.testing.assert_close(fast, torch.autograd.grad(sum(value.square().sum() for value in plain), tap)[0])


def test_statistics_are_the_same_with_a_gradient_and_without():
    tap = torch.from_numpy(maps(SHAPES[:1], 15)[0])
    with_gradient = summarize([tap.clone().requires_grad_()])[0]
    assert all(torch.equal(a, b) for a, b in zip(with_gradient, summarize([tap])[0], strict=True))


@pytest.mark.parametrize("kind", ["mean_std", "gram"])
def test_kept_summaries_give_the_loss_of_the_maps(kind):
    found, wanted = tensors(maps(SHAPES, 11)), tensors(maps(OTHER_SIZES, 12))
    direct = {"mean_std": mean_std_loss, "gram": gram_loss}[kind](found, wanted)
    assert torch.equal(summary_loss(summarize(found, kind), summarize(wanted, kind)), direct)


def test_maps_that_do_not_fit_one_another_are_refused():
    taps = tensors(maps(SHAPES, 13))
    with pytest.raises(InputError, match=r"\[2, 3, 6, 5\] with \[2, 4, 3, 4\]"):
        content_loss(*taps)
    with pytest.raises(InputError, match="2 taps with 1"):
        mean_std_loss(taps, taps[:1])


def test_the_total_weighs_each_loss_by_its_name():
    losses = {"content": torch.tensor(2.0), "style": torch.tensor(3.0), "tv": torch.tensor(5.0)}
    assert total(losses, Weights(content=1, style=10, tv=0.5)).item() == pytest.approx(34.5)


@pytest.mark.parametrize(("values", "text"), [({"style": -1}, "style"), ({"style_kind": "wct"}, "'wct'")])
def test_weights_that_make_no_sense_are_refused(values, text):
    with pytest.raises(InputError, match=text):
        Weights(**values)


def test_the_loss_network_is_frozen_and_lets_gradients_through(teacher):
    measure = Perceptual(teacher.encoder).train()
    image = torch.rand(2, 3, 16, 16, requires_grad=True)
    losses = measure.losses(image, torch.zeros(2, 10, 2, 2), measure.taps(torch.rand(2, 3, 24, 16)))
    total(losses, Weights()).backward()
    assert not measure.training
    assert all(parameter.grad is None for parameter in measure.parameters())
    assert image.grad is not None
    assert image.grad.abs().max() > 0


def test_style_taps_or_their_summaries_give_the_same_losses(teacher):
    measure = Perceptual(teacher.encoder)
    image, target, taps = torch.rand(1, 3, 16, 16), torch.zeros(1, 10, 2, 2), measure.taps(torch.rand(1, 3, 16, 16))
    for kind in ("mean_std", "gram"):
        direct = measure.losses(image, target, taps, style_kind=kind)
        kept = measure.losses(image, target, measure.summarize(taps, kind), style_kind=kind)
        assert direct == kept


def test_the_statistics_have_the_variance_of_the_encoders_spec(teacher):
    measure = Perceptual(teacher.encoder)
    image = torch.rand(1, 3, 16, 16)
    wanted = [written_stats(tap.numpy(), correction=1, eps=1e-5) for tap in measure.taps(image)]
    for (mean, std), (written_mean, written_std) in zip(measure.summarize(measure.taps(image)), wanted, strict=True):
        np.testing.assert_allclose(mean.flatten(1), written_mean, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(std.flatten(1), written_std, rtol=1e-5)


def test_an_image_that_came_back_has_no_identity_loss_and_another_has(teacher):
    measure = Perceptual(teacher.encoder)
    image, other = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    assert [loss.item() for loss in measure.identity_losses(image, image).values()] == [0, 0]
    found = measure.identity_losses(other, image)
    assert found["identity_pixels"].item() == pytest.approx(
        mse(other.double().numpy(), image.double().numpy()), rel=1e-5
    )
    pairs = zip(measure.taps(other), measure.taps(image), strict=True)
    written = sum(mse(a.double().numpy(), b.double().numpy()) for a, b in pairs)
    assert found["identity_features"].item() == pytest.approx(written, rel=1e-5)


def test_losses_are_measured_by_vgg19_whatever_its_name_and_by_no_other_network(teacher):
    require_vgg19(Encoder(replace(VGG19, name="mine")), Path("mine.safetensors"))
    with pytest.raises(InputError, match=r"other\.safetensors: the encoder of 'pooled' is no VGG-19 to relu4_1"):
        require_vgg19(teacher.encoder, Path("other.safetensors"))
