"""Several styles on one picture: AdaIN per region, as scale and shift maps over the content features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adain_runtime.errors import InputError
from adain_runtime.moments import Moments
from adain_runtime.planes import padded_indices
from adain_runtime.style import Style

Floats = NDArray[np.float32]
_T = TypeVar("_T", bound=np.generic)
FADES = 1e-3
"""Of a mask: under this share features fade to the content's own."""

_STRIP = 32  # rows of cells worked on at once
_LEAST = np.float32(1e-6)  # of a cell's weight: what is hidden all over still has statistics


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
    check_masks(masks, styles, height, width)
    stack = np.stack(masks).astype(np.float32, copy=False)
    total = stack.sum(0)
    stack = stack / np.maximum(total, 1)
    if len(masks) < styles:
        stack = np.concatenate([stack, np.maximum(1 - total, 0)[None]])
    return stack


def check_masks(masks: Sequence[Floats], styles: int, height: int, width: int) -> None:
    """Refuse masks that don't fit a picture.

    Raises:
        InputError: as many masks as fit neither rule, or a mask of another shape or range.
    """
    check_mask_count(len(masks), styles)
    for number, mask in enumerate(masks, 1):
        if mask.shape != (height, width):
            raise InputError(f"mask {number}: wants the content's shape {(height, width)}, found {mask.shape}")
        if not (np.isfinite(mask.min()) and mask.min() >= 0 and mask.max() <= 1):  # a NaN is the smallest
            raise InputError(f"mask {number}: wants values from 0 to 1")


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


def cells_of_regions(
    masks: Sequence[Floats], styles: int, stride: int, *, padded: tuple[int, int], repeated: bool
) -> Floats:
    """``region_masks`` over feature cells, without the masks of all regions in memory at once.

    Args:
        masks: see ``region_masks``.
        styles: how many styles there are.
        stride: pixels of a cell.
        padded: height and width of the padded picture; the masks are padded as it is, cell for cell.
        repeated: see ``padded_indices``.

    Returns:
        [K,h,w] float32.
    """
    cells = np.empty((styles, padded[0] // stride, padded[1] // stride), np.float32)
    for rows, strips in _strips(masks, stride, padded, repeated=repeated):
        strip = region_masks(strips, styles, *strips[0].shape)
        cells[:, rows] = cell_masks(strip, stride)
    return cells


def cells_of_alpha(
    alpha: NDArray[np.uint8] | None, stride: int, *, padded: tuple[int, int], repeated: bool
) -> Floats | None:
    """How much each feature cell counts in statistics: its opacity, and next to nothing where it is hidden.

    Args:
        alpha: opacity [H,W], 255 is opaque; None where all is.
        stride: pixels of a cell.
        padded: see ``cells_of_regions``.
        repeated: see ``padded_indices``.

    Returns:
        [h,w] float32 in (0, 1]; None where all counts alike.
    """
    if alpha is None:
        return None
    cells = np.empty((padded[0] // stride, padded[1] // stride), np.float32)
    for rows, (strip,) in _strips([alpha], stride, padded, repeated=repeated):
        cells[rows] = cell_masks(strip[None] / np.float32(255), stride)[0]
    counts: Floats = np.maximum(cells, _LEAST)
    return counts


def _strips(
    maps: Sequence[NDArray[_T]], stride: int, padded: tuple[int, int], *, repeated: bool
) -> Iterator[tuple[slice, list[NDArray[_T]]]]:
    """Maps [H,W] padded as the picture is, some rows of cells at a time: which rows, and their pixels of each map."""
    height, width = maps[0].shape
    rows = padded_indices(height, padded[0], repeated=repeated)
    columns = slice(None) if width == padded[1] else padded_indices(width, padded[1], repeated=repeated)
    for top in range(0, padded[0], _STRIP * stride):
        bottom = min(padded[0], top + _STRIP * stride)
        yield slice(top // stride, bottom // stride), [values[rows[top:bottom]][:, columns] for values in maps]


class Regions:
    """AdaIN over a picture in pieces, each style in its region.

    In region k, with content statistics mu_k, sigma_k weighted by the mask (Huang & Belongie 2017, section 7.3; the
    variance divides by ``max(n_k - correction, n_k / 2)`` for ``n_k`` cells, so that the smallest region has one):
    ``scale_k = (alpha * sigma_style + (1 - alpha) * sigma_k) / sigma_k`` and
    ``shift_k = alpha * mu_style + (1 - alpha) * mu_k - scale_k * mu_k``. Where regions meet softly the maps are blended
    by their shares; what no mask covers has scale 1 and shift 0. How much of the photo stays under a soft mask is for
    the pixels: features that faded too would fade it twice.
    """

    def __init__(
        self,
        masks: Floats,
        styles: Sequence[Style],
        alpha: float,
        *,
        correction: int,
        eps: float,
        counts: Floats | None = None,
    ) -> None:
        """Begin.

        Args:
            masks: [K,h,w] float32, summing to at most 1 over K.
            styles: K styles of C channels.
            alpha: content-style trade-off.
            correction: 1 for the unbiased variance, 0 for the biased one.
            eps: added to the variance.
            counts: [h,w] how much each cell counts in the statistics, see ``cells_of_alpha``; None counts all alike.
        """
        self._weights = masks if counts is None else masks * counts
        self._masks, self._styles, self._alpha = masks, styles, alpha
        self._correction, self._eps = correction, eps
        self._moments = [Moments.nothing(style.channels) for style in styles]

    def observe(self, features: NDArray[np.floating], rows: slice, columns: slice) -> None:
        """Take in a piece of the features, [C,h,w], and where it lies in the map."""
        for number, weights in enumerate(self._weights[:, rows, columns]):
            self._moments[number] = self._moments[number].merged(Moments.of(features, weights))

    def maps(self, rows: slice, columns: slice) -> tuple[Floats, Floats]:
        """Scale and shift for a window, [1,C,h,w] float32 each."""
        masks = self._masks[:, rows, columns]
        covered = masks.sum(0)
        shares = masks / np.maximum(covered, np.float32(FADES))
        shape = (self._styles[0].channels, *masks.shape[1:])
        scale = np.broadcast_to(1 - shares.sum(0), shape).copy()
        shift = np.zeros(shape, np.float32)
        for mask, style, moments in zip(shares, self._styles, self._moments, strict=True):
            region_scale, region_shift = affine(moments, style, self._alpha, correction=self._correction, eps=self._eps)
            scale += mask * region_scale[:, None, None]
            shift += mask * region_shift[:, None, None]
        return scale[None], shift[None]


class OneStyle:
    """AdaIN over a picture in pieces, one style everywhere; ``counts`` as for ``Regions``."""

    def __init__(
        self, style: Style, alpha: float, *, correction: int, eps: float, counts: Floats | None = None
    ) -> None:
        self._counts = counts
        self._style, self._alpha, self._correction, self._eps = style, alpha, correction, eps
        self._moments = Moments.nothing(style.channels)

    def observe(self, features: NDArray[np.floating], rows: slice, columns: slice) -> None:
        """Take in a piece of the features, [C,h,w], and where it lies in the map."""
        counts = None if self._counts is None else self._counts[rows, columns]
        self._moments = self._moments.merged(Moments.of(features, counts))

    def maps(self, rows: slice, columns: slice) -> tuple[Floats, Floats]:  # noqa: ARG002
        """Scale and shift, [1,C,1,1] float32 each, for any window."""
        maps = affine(self._moments, self._style, self._alpha, correction=self._correction, eps=self._eps)
        scale, shift = (values[None, :, None, None] for values in maps)
        return scale, shift


def affine(moments: Moments, style: Style, alpha: float, *, correction: int, eps: float) -> tuple[Floats, Floats]:
    """The affine map that AdaIN is, scale and shift [C], from the content's moments; 1 and 0 exactly at alpha 0."""
    mean, std = moments.mean, moments.std(correction=correction, eps=eps)
    scale = 1 - alpha + alpha * style.std / std
    shift = alpha * style.mean + (1 - alpha) * mean - scale * mean
    return scale.astype(np.float32), shift.astype(np.float32)
