"""AdaIN in numpy, to put between a backend's own encoder and decoder: no torch, so that a case's process is light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adain_runtime.backend import Array
from adain_runtime.spec import NetworkSpec


def affine(mean: Any, std: Any, style_mean: Any, style_std: Any, alpha: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """AdaIN as ``features * scale + shift``, of arrays or of tensors: exactly 1 and 0 at alpha 0."""
    scale = (1 - alpha) + alpha * (style_std / std)
    return scale, alpha * style_mean + (1 - alpha) * mean - scale * mean


def composed_feeds(features: Array, style: Mapping[str, Array], spec: NetworkSpec) -> dict[str, Array]:
    """What the decoder gets where the features are a backend's own and AdaIN is computed here, in float64.

    Args:
        features: [N, C, h, w], as the backend's encoder gave them.
        style: ``mean``, ``std`` and ``alpha``, as the stylizer is fed with.
        spec: gives the variance's correction and eps.
    """
    wide = features.astype(np.float64)
    mean = wide.mean((2, 3), keepdims=True)
    cells = wide.shape[2] * wide.shape[3]
    variance = np.square(wide - mean).sum((2, 3), keepdims=True) / (cells - spec.correction)
    style_mean, style_std, alpha = (style[name].astype(np.float64) for name in ("mean", "std", "alpha"))
    scale, shift = affine(mean, np.sqrt(variance + spec.eps), style_mean, style_std, alpha)
    return {"features": features, "scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
