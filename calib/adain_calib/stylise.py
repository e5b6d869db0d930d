"""A sample of the pairs, stylised by whatever runs the parts: torch, a simulation, or the session of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adain_calib.pairs import Sample
from adain_runtime.style import Style, mix

Floats = NDArray[np.float32]


def style_of(encoded: Mapping[str, Floats], encoder_id: str) -> Style:
    """The style of an image.

    Args:
        encoded: what the encoder part gives for it.
        encoder_id: names that encoder.
    """
    return Style(encoded["mean"].reshape(-1), encoded["std"].reshape(-1), encoder_id)


def decoder_feeds(
    content: Mapping[str, Floats], sample: Sample, styles: Mapping[int, Style] | Sequence[Style]
) -> dict[str, Floats]:
    """What the decoder part takes for a sample: the features, with scale and shift as the stylizer graph has them.

    Args:
        content: what the encoder part gives for the sample's content.
        sample: of pairs.
        styles: those of the pairs, which the sample names by place.
    """
    mean, std, features = content["mean"], content["std"], content["features"]
    if not sample.styles:
        return {"features": features, "scale": np.ones_like(std), "shift": np.zeros_like(mean)}
    style = mix([styles[i] for i in sample.styles], sample.weights)
    alpha = np.float32(sample.alpha)
    scale = (1 - alpha) + alpha * (style.std.reshape(std.shape) / std)
    shift = alpha * style.mean.reshape(mean.shape) + (1 - alpha) * mean - scale * mean
    return {"features": features, "scale": scale, "shift": shift}
