"""Several styles on one picture: AdaIN per region, as scale and shift maps over the content features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adain_runtime.errors import InputError
from adain_runtime.style import Style

Floats = NDArray[np.float32]
_NO_REGION = 1e-12  # cells; far below any mask that changes a pixel


def region_masks(masks: Sequence[Floats], styles: int, height: int, width: int) -> Floats:
    """One mask for each style, overlaps shared out.

    Args:
        masks: [H,W] each, in [0, 1]; one for each style, or one fewer, and the last style takes what is left.
        styles: how many styles there are.
        height: H in pixels.
        width: W in pixels.

    Returns:
        [K,H,W] float32; the sum over K is at most 1, and what is missing to 1 stays the photo.

    Raises:
        InputError: as many masks as fit neither rule, or a mask of another shape or range.
    """
    check_mask_count(len(masks), styles)
    for number, mask in enumerate(masks, 1):
        if mask.shape != (height, width):
            raise InputError(f"mask {number}: wants the content's shape {(height, width)}, found {mask.shape}")
        if not (np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1):
            raise InputError(f"mask {number}: wants values from 0 to 1")
    stack = np.stack(masks).astype(np.float32, copy=False)
    total = stack.sum(0)
    stack = stack / np.maximum(total, 1)
    if len(masks) < styles:
        stack = np.concatenate([stack, np.maximum(1 - total, 0)[None]])
    return stack


def check_mask_count(masks: int, styles: int) -> None:
    """Refuse as many masks as fit neither rule.

    Raises:
        InputError: neither one for each style nor one fewer.
    """
    if not 0 < masks <= styles or masks < styles - 1:
        few = f"{styles - 1} or {styles}" if styles > 1 else "1"
        raise InputError(f"styles: {styles}, masks: {masks}; give {few} (the last style takes what is left)")


def cell_masks(masks: Floats, stride: int) -> Floats:
    """[K,H,W] masks averaged over feature cells: [K,H/stride,W/stride]; H and W are multiples of ``stride``."""
    count, height, width = masks.shape
    blocks = masks.reshape(count, height // stride, stride, width // stride, stride)
    cells: Floats = blocks.mean((2, 4), dtype=np.float32)
    return cells


def region_maps(
    features: Floats, masks: Floats, styles: Sequence[Style], alpha: float, *, correction: int, eps: float
) -> tuple[Floats, Floats]:
    """Scale and shift of the affine map that AdaIN is, varying over the picture.

    In region k, with content statistics mu_k, sigma_k weighted by the mask (Huang & Belongie 2017, section 7.3; the
    variance divides by ``max(n_k - correction, n_k / 2)`` for ``n_k`` cells, so that the smallest region has one):
    ``scale_k = (alpha * sigma_style + (1 - alpha) * sigma_k) / sigma_k`` and
    ``shift_k = alpha * mu_style + (1 - alpha) * mu_k - scale_k * mu_k``; where masks are soft the maps are blended,
    and what no mask covers has scale 1 and shift 0.

    Args:
        features: [C,h,w] float32.
        masks: [K,h,w] float32, summing to at most 1 over K.
        styles: K styles of C channels.
        alpha: content-style trade-off.
        correction: 1 for the unbiased variance, 0 for the biased one.
        eps: added to the variance.

    Returns:
        scale and shift, [1,C,h,w] float32 each.
    """
    rest = 1 - masks.sum(0)
    scale = np.broadcast_to(rest, features.shape).copy()
    shift = np.zeros_like(features)
    for mask, style in zip(masks, styles, strict=True):
        mean, std = _statistics(features, mask, correction, eps)
        region_scale = 1 - alpha + alpha * style.std / std
        region_shift = alpha * style.mean + (1 - alpha) * mean - region_scale * mean
        scale += mask * region_scale[:, None, None].astype(np.float32)
        shift += mask * region_shift[:, None, None].astype(np.float32)
    return scale[None], shift[None]


def _statistics(
    features: Floats, mask: Floats, correction: int, eps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weights = mask.astype(np.float64)
    count = max(float(weights.sum()), _NO_REGION)
    mean = np.einsum("chw,hw->c", features, weights) / count
    centred = features - mean[:, None, None]
    squares = np.einsum("chw,chw,hw->c", centred, centred, weights, optimize=True)
    return mean, np.sqrt(squares / max(count - correction, count / 2) + eps)
