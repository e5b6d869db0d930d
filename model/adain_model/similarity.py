"""How alike two images are: structural similarity of their luminance, and a distance of their VGG-19 features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adain_runtime.errors import InputError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_WINDOW, _SIGMA = 11, 1.5  # Wang et al. 2004, section III.C


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang, Bovik, Sheikh & Simoncelli 2004), mean over the map.

    Gaussian window of 11x11 with sigma 1.5, population statistics, ``K1 = 0.01``, ``K2 = 0.03``, range 1, and only
    where the whole window lies inside the image, as in the authors' code.

    Args:
        a: [N, 1, H, W] in [0, 1], sides of 11 pixels or more.
        b: the same shape.

    Returns:
        [N], at most 1.

    Raises:
        InputError: other shapes, or an image smaller than the window.
    """
    if a.shape != b.shape or a.dim() != 4 or a.shape[1] != 1 or min(a.shape[-2:]) < _WINDOW:
        wanted = f"[N, 1, H, W] twice, sides of {_WINDOW} or more"
        raise InputError(f"SSIM compares {wanted}, found {list(a.shape)} and {list(b.shape)}")
    places = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    line = torch.exp(-(places**2) / (2 * _SIGMA**2))
    line = line / line.sum()

    def blurred(image: Tensor) -> Tensor:
        return functional.conv2d(functional.conv2d(image, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (similar / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(dim=(1, 2, 3))


def luminance(image: Tensor) -> Tensor:
    """[N, 3, H, W] to [N, 1, H, W], the luma of ITU-R BT.601."""
    return (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def vgg_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """How different two images look to VGG-19: mean over taps of the squared distance of unit feature vectors.

    The vector of all channels at each position is scaled to length 1, so the distance lies in [0, 4] and is at most
    2 for features behind a ReLU. It has the form of LPIPS (Zhang et al. 2018) without its learnt weights, on the
    taps of the style loss: it is not LPIPS, and its numbers don't compare with published ones.

    Args:
        found: maps [N, C, H, W], one a tap.
        wanted: the same shapes.

    Returns:
        [N].
    """
    distances = [
        (functional.normalize(f, dim=1) - functional.normalize(w, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
        for f, w in zip(found, wanted, strict=True)
    ]
    return torch.stack(distances).mean(dim=0)
