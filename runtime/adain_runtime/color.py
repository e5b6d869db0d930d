"""Keep the content's colours (Gatys et al., 2016): luminance-only transfer, and linear matching of the style.

Source of both: Gatys, Bethge, Hertzmann, Shechtman, "Preserving Color in Neural Artistic Style Transfer",
arXiv:1606.05897. Images are [H, W, 3] uint8 in sRGB, in and out, gamma-encoded throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adain_runtime.errors import InputError
from adain_runtime.image import require_rgb

# Y of YIQ (ITU-R BT.601, full range) in thousandths, so that luminance is an exact integer.
_LUMINANCE = (299, 587, 114)

# Rounding to 8 bits alone gives a variance of 1/12: a direction of colour with less holds nothing but noise.
_ROUNDING_VARIANCE = 1 / 12

_BLOCK = 1 << 16  # pixels worked on at once: float64 for 1.5 MB, never for the whole image


def transfer_luminance(stylized: NDArray[np.uint8], content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The stylised image's luminance with the content's chroma ("luminance-only transfer").

    Y is taken from ``stylized``, I and Q from ``content``. Going back from YIQ to RGB, Y has the weight 1 in
    each of R, G and B, so the whole is ``content + (Y(stylized) - Y(content))``, Y = 0.299 R + 0.587 G +
    0.114 B: computed in integers, rounded to the nearest, halves up. What falls outside [0, 255] is clipped.

    Args:
        stylized: [H, W, 3] uint8.
        content: [H, W, 3] uint8, of the same size.

    Raises:
        InputError: sizes differ, or an array isn't [H, W, 3] uint8.
    """
    require_rgb("stylized", stylized)
    require_rgb("content", content)
    if stylized.shape != content.shape:
        raise InputError(
            f"stylized is {stylized.shape[1]}x{stylized.shape[0]} and content "
            f"{content.shape[1]}x{content.shape[0]}; resize one to the other's size"
        )
    out = np.empty_like(content, order="C")
    rows = max(1, _BLOCK // content.shape[1])
    for top in range(0, len(content), rows):
        block = slice(top, top + rows)
        _transfer(stylized[block], content[block], out[block])
    return out


def _transfer(stylized: NDArray[np.uint8], content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    step = np.full(content.shape[:2], 500, dtype=np.int32)  # the half that makes // round
    for channel, weight in enumerate(_LUMINANCE):
        step += np.subtract(stylized[..., channel], content[..., channel], dtype=np.int32) * np.int32(weight)
    step //= np.int32(1000)
    for channel in range(3):
        out[..., channel] = np.clip(step + content[..., channel], 0, 255)


@dataclass(frozen=True, eq=False)
class ColorTransform:
    """An affine map of colours: ``x -> matrix @ x + offset``.

    Attributes:
        matrix: [3, 3], float64.
        offset: [3], float64, in 8-bit steps.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map an image [H, W, 3] uint8; rounded, and clipped to [0, 255]."""
        require_rgb("image", image)
        out = np.empty(image.shape, dtype=np.uint8)
        flat = out.reshape(-1, 3)
        for start, block in _blocks(image):
            moved = block @ self.matrix.T
            moved += self.offset
            flat[start : start + len(block)] = np.clip(np.rint(moved, out=moved), 0, 255, out=moved)
        return out


def color_transform(
    style: NDArray[np.uint8],
    content: NDArray[np.uint8],
    *,
    style_alpha: NDArray[np.uint8] | None = None,
    content_alpha: NDArray[np.uint8] | None = None,
) -> ColorTransform:
    """The linear map that gives the style's colours the content's mean and covariance.

    With mean m and covariance S of each image's RGB values over all pixels (the paper's "color histogram
    matching", with the symmetric square roots of Hertzmann et al., "Image Analogies", 2001)::

        A = Sc^(1/2) Ss^(-1/2),   b = mc - A ms,   so that   A Ss A^T = Sc   and   A ms + b = mc

    Directions of colour in which the style doesn't vary beyond the rounding to 8 bits (variance under 1/12: a
    grey image has two, a one-colour image three) can't be given a spread; they take the content's mean and
    add nothing, in place of noise blown up to the size of a signal (Ss^(-1/2) is then the pseudo-inverse).

    Args:
        style: [H, W, 3] uint8.
        content: [H, W, 3] uint8, of any size.
        style_alpha: opacity [H, W] by which the style's pixels count; None counts all alike, and so does one without
            any.
        content_alpha: the content's.

    Raises:
        InputError: an array isn't [H, W, 3] uint8.
    """
    require_rgb("style", style)
    require_rgb("content", content)
    style_mean, style_covariance = _mean_and_covariance(style, style_alpha)
    content_mean, content_covariance = _mean_and_covariance(content, content_alpha)
    variances, axes = np.linalg.eigh(style_covariance)
    varies = variances > _ROUNDING_VARIANCE
    whiten = (axes[:, varies] / np.sqrt(variances[varies])) @ axes[:, varies].T
    variances, axes = np.linalg.eigh(content_covariance)
    colour = (axes * np.sqrt(np.maximum(variances, 0))) @ axes.T
    matrix = colour @ whiten
    return ColorTransform(matrix, content_mean - matrix @ style_mean)


def match_color(
    style: NDArray[np.uint8],
    content: NDArray[np.uint8],
    *,
    style_alpha: NDArray[np.uint8] | None = None,
    content_alpha: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The style image in the content's colours, so that stylising with it keeps them.

    Its mean and covariance are the content's (see `color_transform`), but for what rounding and clipping to
    [0, 255] take away.

    Args:
        style: [H, W, 3] uint8.
        content: [H, W, 3] uint8, of any size.
        style_alpha: see `color_transform`.
        content_alpha: see `color_transform`.

    Raises:
        InputError: an array isn't [H, W, 3] uint8.
    """
    return color_transform(style, content, style_alpha=style_alpha, content_alpha=content_alpha)(style)


def _blocks(image: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    flat = image.reshape(-1, 3)
    for start in range(0, len(flat), _BLOCK):
        yield start, flat[start : start + _BLOCK].astype(np.float64)


def _mean_and_covariance(
    image: NDArray[np.uint8], alpha: NDArray[np.uint8] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [3] and covariance [3, 3] (over N) of the colours, without rounding until the last division."""
    counts = None if alpha is None or not alpha.any() else alpha.reshape(-1)
    total, products, count = np.zeros(3), np.zeros((3, 3)), 0
    for start, block in _blocks(image):  # sums of whole numbers, below 2^53 for 500 megapixels: exact
        weighted = block
        if counts is not None:
            weights = counts[start : start + len(block)]
            weighted = block * weights[:, None]
            count += int(weights.sum(dtype=np.int64))
        total += weighted.sum(axis=0)
        products += weighted.T @ block
    if counts is None:
        count = image.shape[0] * image.shape[1]
    sums = [int(value) for value in total]
    covariance = [
        [(count * int(products[i, j]) - sums[i] * sums[j]) / (count * count) for j in range(3)] for i in range(3)
    ]
    return total / count, np.array(covariance)
