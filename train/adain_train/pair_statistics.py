"""Means over content-style pairs, and how far they may be from those of other contents and styles.

Pairs share contents and styles, so they are not independent: 460 pairs of 20 photos and 23 paintings tell what 20
photos and 23 paintings can tell. The variance of their mean is the sum over contents of the squared sums of what
strays, and likewise over styles, less what both count twice (two-way clustering: Cameron, Gelbach & Miller 2011,
"Robust Inference With Multiway Clustering").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pair: TypeAlias = tuple[int, int]
"""Indices of a content and a style."""


def standard_error(values: NDArray[Any], pairs: Sequence[Pair]) -> NDArray[Any]:
    """The standard error of the mean of values of pairs.

    Args:
        values: [N, ...], one for each pair; N is 2 or more.
        pairs: N of them, each once.

    Returns:
        [...], what the last axes hold; with no content or style in common it is the usual one.
    """
    stray = values - values.mean(axis=0)
    contents, styles, each = (_variance(stray, keys) for keys in (*zip(*pairs, strict=True), range(len(pairs))))
    # with few of one side the sum may be under one of its parts, or even negative
    error: NDArray[Any] = np.sqrt(np.maximum.reduce([contents + styles - each, contents, styles]))
    return error


def times(values: NDArray[Any], others: NDArray[Any], pairs: Sequence[Pair]) -> tuple[NDArray[Any], NDArray[Any]]:
    """One mean over another of the same pairs, and the standard error of that ratio to first order.

    What makes a pair hard for both drops out, so it is far smaller than those of the two means tell.

    Args:
        values: [N, ...], one for each pair; N is 2 or more.
        others: likewise; their mean isn't 0.
        pairs: N of them, each once.

    Returns:
        both [...].
    """
    mean = others.mean(axis=0)
    ratio = values.mean(axis=0) / mean
    return ratio, standard_error(values - ratio * others, pairs) / mean


def style_means(values: NDArray[Any], pairs: Sequence[Pair]) -> tuple[list[int], NDArray[Any]]:
    """Means over the pairs of each style.

    Args:
        values: [N, ...], one for each pair.
        pairs: N of them.

    Returns:
        the styles that occur, in rising order, and their means, [S, ...].
    """
    styles, sums, counts = _sums(values, [style for _, style in pairs])
    return styles.tolist(), sums / counts.reshape(-1, *[1] * (values.ndim - 1))


def _variance(stray: NDArray[Any], keys: Sequence[int]) -> NDArray[Any]:
    """The variance of the mean, as if values of one key were one observation; 0 where there is but one key."""
    _, sums, counts = _sums(stray, keys)
    variance: NDArray[Any] = np.square(sums).sum(axis=0) / len(stray) ** 2
    return variance * len(counts) / max(len(counts) - 1, 1)


def _sums(values: NDArray[Any], keys: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The keys that occur, the sums of the values of each, and how many these are."""
    found, places, counts = np.unique(np.asarray(keys), return_inverse=True, return_counts=True)
    sums = np.zeros((len(found), *values.shape[1:]))
    np.add.at(sums, places, values)
    return found, sums, counts
