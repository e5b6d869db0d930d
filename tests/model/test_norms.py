"""Every norm against its formula written out in float64 numpy, and against torch where torch has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from adain_model import (
    ConditionalInstanceNorm,
    adain,
    batch_norm,
    channel_stats,
    instance_norm,
    spatial_adain,
)
from adain_runtime.errors import InputError
from adain_runtime.regions import FADES

EPS = 1e-5
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def written_out_stats(x: np.ndarray, correction: int) -> tuple[np.ndarray, np.ndarray]:
    mean, std = np.zeros(x.shape[:2]), np.zeros(x.shape[:2])
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            cells = [float(value) for value in x[n, c].ravel()]
            mean[n, c] = sum(cells) / len(cells)
            variance = sum((cell - mean[n, c]) ** 2 for cell in cells) / (len(cells) - correction)
            std[n, c] = (variance + EPS) ** 0.5
    return mean[..., None, None], std[..., None, None]


def a_style(count: int, channels: int, seed: int, dtype: torch.dtype = torch.float64):
    shape = (count, channels, 1, 1)
    return random(*shape, seed=seed, dtype=dtype), random(*shape, seed=seed + 1, dtype=dtype).abs() + 0.1


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(2, 6),
    correction=st.sampled_from([0, 1]),
    offset=st.sampled_from([0.0, 100.0]),
)
def test_statistics_are_the_written_out_ones_at_any_size(*, batch, channels, height, width, correction, offset):
    x = random(batch, channels, height, width, seed=height * 7 + width) + offset
    mean, std = channel_stats(x, correction=correction, eps=EPS)
    wanted_mean, wanted_std = written_out_stats(x.double().numpy(), correction)
    assert mean.shape == std.shape == (batch, channels, 1, 1)
    np.testing.assert_allclose(mean.numpy(), wanted_mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(std.numpy(), wanted_std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("correction", [0, 1])
def test_statistics_agree_with_torch_var(correction):
    x = random(2, 3, 5, 7, dtype=torch.float64)
    mean, std = channel_stats(x, correction=correction, eps=EPS)
    torch.testing.assert_close(mean, x.mean((2, 3), keepdim=True), **EXACT)
    torch.testing.assert_close(std, (x.var((2, 3), correction=correction, keepdim=True) + EPS).sqrt(), **EXACT)


def test_half_features_are_measured_in_float32_and_come_back_half():
    x = (random(1, 2, 64, 64) * 100 + 300).half()
    mean, std = channel_stats(x, correction=1, eps=EPS)
    assert mean.dtype == std.dtype == torch.float32
    _, wanted_std = written_out_stats(x.double().numpy(), 1)
    np.testing.assert_allclose(std.numpy(), wanted_std, rtol=1e-5)
    styled = adain(x, mean, std, correction=1, eps=EPS)
    assert styled.dtype == torch.float16
    torch.testing.assert_close(styled, x, rtol=2e-3, atol=0)


def test_one_cell_has_no_unbiased_variance_and_that_is_an_error():
    with pytest.raises(InputError, match="1x1 cells have no variance with correction 1"):
        channel_stats(torch.zeros(1, 2, 1, 1), correction=1, eps=EPS)
    _, std = channel_stats(torch.zeros(1, 2, 1, 1), correction=0, eps=EPS)
    torch.testing.assert_close(std, torch.full((1, 2, 1, 1), EPS**0.5))


@pytest.mark.parametrize("bad", [torch.zeros(2, 3, 4), torch.zeros(1, 2, 3, 4, dtype=torch.int64)])
def test_statistics_want_float_maps(bad):
    with pytest.raises(InputError, match=r"must be \[N, C, H, W\] floats"):
        channel_stats(bad, correction=0, eps=EPS)


def test_batch_norm_in_training_is_the_formula_and_torchs():
    x, weight, bias = random(3, 4, 5, 6), random(4, seed=1), random(4, seed=2)
    found = batch_norm(x, weight, bias, eps=EPS)
    wide = x.double().numpy()
    for c in range(4):
        mean = wide[:, c].mean()
        variance = ((wide[:, c] - mean) ** 2).sum() / wide[:, c].size
        wanted = weight[c].item() * (wide[:, c] - mean) / np.sqrt(variance + EPS) + bias[c].item()
        np.testing.assert_allclose(found[:, c].numpy(), wanted, rtol=1e-5, atol=1e-5)
    theirs = functional.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)
    torch.testing.assert_close(found, theirs, **CLOSE)


def test_batch_norm_at_inference_uses_the_populations_statistics():
    x, weight, bias = random(3, 4, 5, 6), random(4, seed=1), random(4, seed=2)
    mean, variance = random(4, seed=3), random(4, seed=4).square() + 0.1
    found = batch_norm(x, weight, bias, mean=mean, variance=variance, eps=EPS)
    at = [value.double().numpy()[:, None, None] for value in (mean, variance, weight, bias)]
    wanted = at[2] * (x.double().numpy() - at[0]) / np.sqrt(at[1] + EPS) + at[3]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-5)
    theirs = functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=EPS)
    torch.testing.assert_close(found, theirs, **CLOSE)


def test_batch_norm_refuses_half_a_population():
    with pytest.raises(InputError, match="mean and variance together"):
        batch_norm(random(1, 2, 3, 3), torch.ones(2), torch.zeros(2), mean=torch.zeros(2))


@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm_is_the_formula_and_torchs(affine):
    x = random(3, 4, 5, 6) * 3 + 2
    weight, bias = (random(4, seed=1), random(4, seed=2)) if affine else (None, None)
    found = instance_norm(x, weight, bias, eps=EPS)
    mean, std = written_out_stats(x.double().numpy(), 0)
    wanted = (x.double().numpy() - mean) / std
    if weight is not None and bias is not None:
        wanted = weight.double().numpy()[:, None, None] * wanted + bias.double().numpy()[:, None, None]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, functional.instance_norm(x, weight=weight, bias=bias, eps=EPS), **CLOSE)


def conditional(styles: int, channels: int) -> ConditionalInstanceNorm:
    norm = ConditionalInstanceNorm(styles, channels, eps=EPS)
    with torch.no_grad():
        norm.weight.copy_(random(styles, channels, seed=5))
        norm.bias.copy_(random(styles, channels, seed=6))
    return norm.requires_grad_(False)


def test_conditional_instance_norm_has_two_parameters_a_style_and_channel_and_starts_as_instance_norm():
    norm = ConditionalInstanceNorm(styles=5, channels=4)
    assert sum(parameter.numel() for parameter in norm.parameters()) == 2 * 4 * 5
    x = random(2, 4, 3, 3)
    torch.testing.assert_close(norm(x, torch.tensor([0, 4])), instance_norm(x))


def test_conditional_instance_norm_gives_each_image_its_own_styles_affine():
    norm, x = conditional(3, 4), random(2, 4, 5, 6)
    found = norm(x, torch.tensor([2, 0]))
    mean, std = written_out_stats(x.double().numpy(), 0)
    for n, style in enumerate([2, 0]):
        weight, bias = (value[style].double().numpy()[:, None, None] for value in (norm.weight, norm.bias))
        wanted = weight * (x[n].double().numpy() - mean[n]) / std[n] + bias
        np.testing.assert_allclose(found[n].numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_conditional_instance_norm_mixes_styles_by_their_weights():
    norm, x = conditional(3, 4), random(2, 4, 5, 6)
    one_hot = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(norm(x, one_hot), norm(x, torch.tensor([2, 0])))
    half = norm(x, torch.tensor([[0.5, 0.5, 0.0]] * 2))
    both = (norm(x, torch.tensor([0, 0])) + norm(x, torch.tensor([1, 1]))) / 2
    torch.testing.assert_close(half, both, **CLOSE)


@pytest.mark.parametrize("style", [torch.tensor([1]), torch.zeros(2, 2), torch.zeros(2)])
def test_conditional_instance_norm_refuses_a_style_of_another_shape(style):
    with pytest.raises(InputError, match=r"\[2\] whole numbers or \[2, 3\] mixing weights"):
        conditional(3, 4)(random(2, 4, 3, 3), style)


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_adain_is_equation_8_with_the_trade_off_of_equation_14(alpha, correction):
    x, (style_mean, style_std) = random(2, 4, 5, 6) * 2 + 1, a_style(2, 4, 7, torch.float32)
    found = adain(x, style_mean, style_std, alpha=alpha, correction=correction, eps=EPS)
    mean, std = written_out_stats(x.double().numpy(), correction)
    t = style_std.double().numpy() * (x.double().numpy() - mean) / std + style_mean.double().numpy()
    np.testing.assert_allclose(found.numpy(), alpha * t + (1 - alpha) * x.double().numpy(), rtol=1e-5, atol=1e-5)


def test_adain_with_a_styles_affine_is_torchs_instance_norm():
    x, (style_mean, style_std) = random(1, 4, 5, 6), a_style(1, 4, 7, torch.float32)
    found = adain(x, style_mean, style_std, correction=0, eps=EPS)
    theirs = functional.instance_norm(x, weight=style_std.flatten(), bias=style_mean.flatten(), eps=EPS)
    torch.testing.assert_close(found, theirs, **CLOSE)


@pytest.mark.parametrize("correction", [0, 1])
def test_adain_gives_the_content_the_styles_mean_and_standard_deviation(correction):
    x = random(2, 4, 9, 9, dtype=torch.float64) * 5
    style_mean, style_std = a_style(1, 4, 7)
    styled = adain(x, style_mean, style_std, correction=correction, eps=1e-12)
    mean, std = channel_stats(styled, correction=correction, eps=1e-12)
    torch.testing.assert_close(mean, style_mean.expand_as(mean), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(std, style_std.expand_as(std), rtol=1e-9, atol=1e-9)


def test_alpha_may_differ_for_each_image_of_a_batch():
    x, (style_mean, style_std) = random(2, 4, 5, 6), a_style(1, 4, 7, torch.float32)
    alpha = torch.tensor([0.25, 1.0])[:, None, None, None]
    both = adain(x, style_mean, style_std, alpha=alpha, correction=1, eps=EPS)
    for n, one in enumerate([0.25, 1.0]):
        alone = adain(x[n : n + 1], style_mean, style_std, alpha=one, correction=1, eps=EPS)
        torch.testing.assert_close(both[n : n + 1], alone)


def written_out_spatial(x, masks, means, stds, *, alpha, correction):
    """Float64, a cell at a time; masks that add up to more than 0 and at most 1, regions of two cells or more."""
    result = np.zeros_like(x)
    for n, c in np.ndindex(x.shape[:2]):
        for k in range(masks.shape[1]):
            w = masks[n, k]
            mean = (w * x[n, c]).sum() / w.sum()
            std = np.sqrt((w * (x[n, c] - mean) ** 2).sum() / (w.sum() - correction) + EPS)
            new_std, new_mean = (alpha * s[k, c, 0, 0] + (1 - alpha) * o for s, o in ((stds, std), (means, mean)))
            result[n, c] += w / masks[n].sum(0) * ((x[n, c] - mean) / std * new_std + new_mean)
    return result


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_spatial_adain_is_the_written_out_one_with_soft_masks(alpha, correction):
    x = random(2, 3, 6, 5, dtype=torch.float64)
    masks = random(2, 3, 6, 5, seed=1, dtype=torch.float64).softmax(1) * 0.8
    means, stds = a_style(3, 3, 9)
    found = spatial_adain(x, masks, means, stds, alpha=alpha, correction=correction, eps=EPS)
    wanted = written_out_spatial(*(v.numpy() for v in (x, masks, means, stds)), alpha=alpha, correction=correction)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("correction", [0, 1])
def test_each_region_of_binary_masks_is_plain_adain_of_its_own_cells(correction):
    x = random(1, 3, 4, 6, dtype=torch.float64)
    left = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    left[..., :2] = 1
    means, stds = a_style(2, 3, 9)
    found = spatial_adain(x, torch.cat([left, 1 - left], 1), means, stds, correction=correction, eps=EPS)
    for region, k in ((slice(0, 2), 0), (slice(2, 6), 1)):
        alone = adain(x[..., region], means[k : k + 1], stds[k : k + 1], correction=correction, eps=EPS)
        torch.testing.assert_close(found[..., region], alone, **EXACT)


@pytest.mark.parametrize("correction", [0, 1])
def test_one_mask_of_ones_is_plain_adain(correction):
    x, (means, stds) = random(2, 3, 4, 6, dtype=torch.float64), a_style(1, 3, 9)
    ones = torch.ones(1, 1, 4, 6, dtype=torch.float64)
    found = spatial_adain(x, ones, means, stds, alpha=0.7, correction=correction, eps=EPS)
    torch.testing.assert_close(found, adain(x, means, stds, alpha=0.7, correction=correction, eps=EPS), **EXACT)


def test_what_no_mask_covers_passes_unchanged():
    x, (means, stds) = random(1, 3, 4, 6), a_style(1, 3, 9, torch.float32)
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., :3] = 1
    found = spatial_adain(x, mask, means, stds, correction=1, eps=EPS)
    assert torch.equal(found[..., 3:], x[..., 3:])
    assert not torch.equal(found[..., :3], x[..., :3])


def test_masks_that_overlap_are_divided_by_their_sum():
    x, (means, stds) = random(1, 3, 4, 6), a_style(2, 3, 9, torch.float32)
    twice = spatial_adain(x, torch.ones(1, 2, 4, 6), means, stds, correction=1, eps=EPS)
    shared = spatial_adain(x, torch.full((1, 2, 4, 6), 0.5), means, stds, correction=1, eps=EPS)
    torch.testing.assert_close(twice, shared)


def test_styles_may_differ_for_each_image_of_a_batch():
    x, masks = random(2, 3, 4, 6), random(2, 2, 4, 6, seed=1).softmax(1)
    means, stds = a_style(4, 3, 9, torch.float32)
    own = (value.reshape(2, 2, 3, 1, 1) for value in (means, stds))
    both = spatial_adain(x, masks, *own, correction=1, eps=EPS)
    for n in range(2):
        styles = slice(2 * n, 2 * n + 2)
        alone = spatial_adain(x[n : n + 1], masks[n : n + 1], means[styles], stds[styles], correction=1, eps=EPS)
        torch.testing.assert_close(both[n : n + 1], alone)


@settings(max_examples=40, deadline=None)
@given(weights=st.lists(st.sampled_from([0.0, 1e-30, 1e-6, 0.3, 0.5, 1.0]), min_size=6, max_size=6))
@pytest.mark.parametrize("correction", [0, 1])
def test_a_region_of_hardly_any_cells_stays_finite_and_no_further_than_the_style_reaches(correction, weights):
    x, (means, stds) = random(1, 3, 2, 3), a_style(1, 3, 9, torch.float32)
    mask = torch.tensor(weights).reshape(1, 1, 2, 3)
    found = spatial_adain(x, mask, means, stds, correction=correction, eps=EPS)
    assert found.isfinite().all()
    # A weighted deviation is at most sqrt(n / w) standard deviations, and 6 cells share the weight n.
    share = (mask / FADES).clamp_max(1)
    reach = share * (means.abs() + stds * (mask.sum() / mask.clamp_min(1e-12)).sqrt()) + x.abs() * (1 - share)
    assert (found.abs() <= reach + 1e-3).all()


def test_a_region_of_one_cell_takes_the_styles_mean():
    x, (means, stds) = random(1, 3, 4, 6), a_style(1, 3, 9, torch.float32)
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., 2, 2] = 1
    found = spatial_adain(x, mask, means, stds, correction=1, eps=EPS)
    torch.testing.assert_close(found[..., 2, 2], means[..., 0, 0])


@pytest.mark.parametrize(
    ("masks", "styles", "named"),
    [
        (torch.ones(1, 2, 8, 8), 2, "masks must be"),
        (torch.ones(3, 2, 4, 6), 2, "masks must be"),
        (torch.ones(2, 4, 6), 2, "masks must be"),
        (torch.ones(1, 0, 4, 6), 0, "masks must be"),
        (torch.ones(1, 2, 4, 6), 3, "style_means must be"),
    ],
)
def test_spatial_adain_names_the_shape_that_does_not_fit(masks, styles, named):
    means, stds = a_style(styles, 3, 9, torch.float32)
    with pytest.raises(InputError, match=named):
        spatial_adain(random(2, 3, 4, 6), masks, means, stds, correction=1, eps=EPS)
