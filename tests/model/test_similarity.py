"""Similarity of images: each measure against its formula written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from adain_model.similarity import ssim, vgg_distance
from adain_runtime.errors import InputError


def wide(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def written_out_ssim(a: np.ndarray, b: np.ndarray) -> float:
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for y, x in product(range(a.shape[0] - 10), range(a.shape[1] - 10)):
        p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
        cov = (window * (p - mp) * (q - mq)).sum()
        values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_ssim_is_wangs_formula_over_every_window():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 1, 17, 20, generator=generator)
    b = (a + 0.3 * torch.rand(2, 1, 17, 20, generator=generator)).clamp(0, 1)
    expected = [written_out_ssim(wide(a[i, 0]), wide(b[i, 0])) for i in range(2)]
    np.testing.assert_allclose(ssim(a, b).numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(ssim(a.double(), b.double()).numpy(), expected, rtol=1e-6)  # the inputs are float32


def test_ssim_of_an_image_with_itself_is_one_and_with_its_negative_below_zero():
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert ssim(image, image).item() == pytest.approx(1, abs=1e-12)
    assert ssim(image, 1 - image).item() < 0


@pytest.mark.parametrize(
    "shapes", [((1, 1, 10, 20), (1, 1, 10, 20)), ((1, 3, 20, 20),) * 2, ((1, 1, 20, 20), (20, 20))]
)
def test_ssim_refuses_what_has_no_window(shapes):
    with pytest.raises(InputError, match="SSIM compares"):
        ssim(*(torch.zeros(shape) for shape in shapes))


def test_vgg_distance_is_the_mean_over_taps_of_the_squared_distance_of_unit_vectors():
    generator = torch.Generator().manual_seed(0)
    a, b = ([torch.rand(1, c, 6, 5, generator=generator) for c in (4, 7)] for _ in range(2))
    expected = []
    for f, w in zip(map(wide, a), map(wide, b), strict=True):
        unit_f, unit_w = (x / np.sqrt((x**2).sum(axis=1, keepdims=True)) for x in (f, w))
        expected.append(((unit_f - unit_w) ** 2).sum(axis=1).mean())
    assert vgg_distance(a, b).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert vgg_distance(a, [3 * tap for tap in a]).item() == pytest.approx(0, abs=1e-12)
