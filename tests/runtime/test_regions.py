"""AdaIN per region, against the formula of the paper written out in float64, and against the reference in torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adain_runtime.errors import InputError
from adain_runtime.planes import padded_indices
from adain_runtime.regions import Regions, cell_masks, cells_of_regions, region_masks
from adain_runtime.style import Style

EPS = 1e-5
unit = st.floats(0, 1, width=32)


def features(channels=5, height=6, width=7, seed=0):
    random = np.random.default_rng(seed)
    spread, centre = random.uniform(0.5, 3, (2, channels, 1, 1))
    return (random.normal(size=(channels, height, width)) * spread + centre).astype(np.float32)


def style(channels=5, seed=1):
    random = np.random.default_rng(seed)
    mean, std = random.normal(size=channels), random.uniform(0.1, 2, channels)
    return Style(mean.astype(np.float32), std.astype(np.float32), "e")


def region_maps(content, masks, styles, alpha, **variance):
    """Scale and shift of features that are there as a whole."""
    regions, everywhere = Regions(masks, styles, alpha, **variance), (slice(None), slice(None))
    regions.observe(content, *everywhere)
    return regions.maps(*everywhere)


def applied(content, maps):
    scale, shift = (each[0].astype(np.float64) for each in maps)
    return content * scale + shift


def written_out(content, masks, styles, alpha, correction):
    """Huang & Belongie 2017, 3 and 7: loop by loop, in float64."""
    x, covered = content.astype(np.float64), masks.sum(0, dtype=np.float64)
    out = x * (covered == 0)
    for mask, chosen in zip(masks.astype(np.float64), styles, strict=True):
        n = mask.sum()
        if n == 0:
            continue
        for c in range(len(x)):
            mean = (mask * x[c]).sum() / n
            std = np.sqrt((mask * (x[c] - mean) ** 2).sum() / max(n - correction, n / 2) + EPS)
            stylised = chosen.std[c] * (x[c] - mean) / std + chosen.mean[c]
            content_itself = std * (x[c] - mean) / std + mean
            share = mask / np.where(covered > 0, covered, 1)
            out[c] += share * (alpha * stylised + (1 - alpha) * content_itself)
    return out


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 3), st.floats(0, 1), st.sampled_from([0, 1]))
def test_the_maps_apply_the_formula_written_out(data, count, alpha, correction):
    masks = data.draw(arrays(np.float32, (count, 6, 7), elements=st.just(0) | st.floats(0.125, 1, width=32)))
    masks /= np.maximum(masks.sum(0), 1)
    content, styles = features(), [style(seed=seed) for seed in range(count)]
    maps = region_maps(content, masks, styles, alpha, correction=correction, eps=EPS)
    assert [each.shape for each in maps] == [(1, 5, 6, 7)] * 2
    assert {each.dtype for each in maps} == {np.dtype(np.float32)}
    np.testing.assert_allclose(
        applied(content, maps), written_out(content, masks, styles, alpha, correction), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_one_mask_of_ones_is_plain_adain(correction, alpha):
    content, chosen = features(), style()
    maps = region_maps(content, np.ones((1, 6, 7), np.float32), [chosen], alpha, correction=correction, eps=EPS)
    x = content.astype(np.float64)
    mean = x.mean((1, 2), keepdims=True)
    std = np.sqrt(x.var((1, 2), ddof=correction, keepdims=True) + EPS)
    wanted_std = alpha * chosen.std[:, None, None] + (1 - alpha) * std
    wanted_mean = alpha * chosen.mean[:, None, None] + (1 - alpha) * mean
    np.testing.assert_allclose(
        applied(content, maps), (x - mean) / std * wanted_std + wanted_mean, rtol=1e-5, atol=1e-5
    )


def test_what_no_mask_covers_passes_unchanged_exactly():
    masks = np.zeros((2, 6, 7), np.float32)
    masks[0, :, :2] = 1
    masks[1, :, 5:] = 1
    scale, shift = region_maps(features(), masks, [style(), style(seed=2)], 1.0, correction=1, eps=EPS)
    assert (scale[..., 2:5] == 1).all()
    assert (shift[..., 2:5] == 0).all()
    assert not (scale[..., :2] == 1).any()


def test_a_region_of_one_cell_is_the_styles_mean_and_one_of_none_is_nothing():
    content, styles = features(), [style(), style(seed=2)]
    masks = np.zeros((2, 6, 7), np.float32)
    masks[0, 2, 3] = 1
    maps = region_maps(content, masks, styles, 1.0, correction=1, eps=EPS)
    made = applied(content, maps)
    np.testing.assert_allclose(made[:, 2, 3], styles[0].mean, atol=1e-3)
    made[:, 2, 3] = content[:, 2, 3]
    np.testing.assert_array_equal(made, content)


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("small", [48, 5, 0])
def test_the_maps_agree_with_the_reference_in_torch(small, count, alpha, correction):
    torch = pytest.importorskip("torch", reason="the reference, adain_model.norms, needs torch")
    from adain_model.norms import spatial_adain

    soft = np.random.default_rng(count).uniform(0.1, 1, (count, 48, 56)).astype(np.float32)
    soft[:, small:] = 0
    masks = cell_masks(region_masks(list(soft), count, 48, 56), 8)
    content, styles = features(), [style(seed=seed) for seed in range(count)]

    def rows(name):
        return torch.from_numpy(np.stack([getattr(one, name) for one in styles])[:, :, None, None])

    reference = spatial_adain(
        torch.from_numpy(content)[None],
        torch.from_numpy(masks)[None],
        rows("mean"),
        rows("std"),
        alpha=alpha,
        correction=correction,
        eps=EPS,
    )[0].numpy()
    maps = region_maps(content, masks, styles, alpha, correction=correction, eps=EPS)
    np.testing.assert_allclose(applied(content, maps), reference, rtol=1e-4, atol=1e-3)


@given(st.integers(1, 4).flatmap(lambda k: arrays(np.float32, (k, 4, 5), elements=unit)))
def test_masks_never_add_up_to_more_than_one_and_keep_their_proportions(masks):
    shared = region_masks(list(masks), len(masks), 4, 5)
    assert shared.dtype == np.float32
    assert shared.sum(0).max() <= 1 + 1e-6
    total = masks.sum(0)
    np.testing.assert_array_equal(shared[:, total <= 1], masks[:, total <= 1])
    np.testing.assert_allclose(shared * np.maximum(total, 1), masks, rtol=1e-5, atol=1e-30)


@given(st.integers(1, 3).flatmap(lambda k: arrays(np.float32, (k, 4, 5), elements=unit)))
def test_with_a_mask_fewer_the_last_style_takes_what_is_left(masks):
    shared = region_masks(list(masks), len(masks) + 1, 4, 5)
    assert len(shared) == len(masks) + 1
    np.testing.assert_allclose(shared.sum(0), 1, atol=1e-6)
    assert shared.min() >= 0


@pytest.mark.parametrize(
    ("masks", "styles", "named"),
    [
        ([], 1, "styles: 1, masks: 0; give 1 "),
        ([np.ones((4, 5))] * 3, 2, "styles: 2, masks: 3; give 1 or 2 "),
        ([np.ones((4, 5))], 3, "styles: 3, masks: 1; give 2 or 3 "),
        ([np.ones((4, 5)), np.ones((5, 4))], 2, r"mask 2: wants the content's shape \(4, 5\), found \(5, 4\)"),
        ([np.full((4, 5), 1.5)], 1, "mask 1: wants values from 0 to 1"),
        ([np.full((4, 5), -0.1)], 1, "mask 1: wants values from 0 to 1"),
        ([np.full((4, 5), np.nan)], 1, "mask 1: wants values from 0 to 1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, styles, named):
    with pytest.raises(InputError, match=named):
        region_masks(masks, styles, 4, 5)


def test_cells_are_means_of_their_pixels():
    masks = np.arange(2 * 16 * 24, dtype=np.float32).reshape(2, 16, 24)
    cells = cell_masks(masks, 8)
    assert cells.shape == (2, 2, 3)
    assert cells[1, 1, 2] == masks[1, 8:16, 16:24].mean()
    assert cells[0, 0, 0] == masks[0, :8, :8].mean()


@pytest.mark.parametrize(
    ("shape", "padded", "repeated"),
    [((300, 10), (304, 16), False), ((9, 5), (512, 24), True), ((16, 24), (16, 24), False), ((1, 3), (8, 8), False)],
)
def test_masks_are_padded_as_the_picture_is_cell_for_cell(shape, padded, repeated):
    masks = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    rows, columns = (padded_indices(*pair, repeated=repeated) for pair in zip(shape, padded, strict=True))
    wide = [mask[np.ix_(rows, columns)] for mask in masks]
    found = cells_of_regions(list(masks), 3, 8, padded=padded, repeated=repeated)
    assert found == pytest.approx(cell_masks(region_masks(wide, 3, *padded), 8), abs=1e-6)


def test_a_region_has_the_same_share_of_a_picture_that_is_repeated():
    left = np.zeros((8, 16), np.float32)
    left[:, :8] = 1
    cells = cells_of_regions([left], 2, 8, padded=(8, 16 + 8 * 30), repeated=True)
    assert cells.sum((1, 2)) == pytest.approx([16, 16], abs=1.5)
