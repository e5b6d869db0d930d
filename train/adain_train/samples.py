"""Grids of samples: contents down, styles across, and each pair's image where they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from adain_model import Network, adain
from adain_train.data import ImageSet, Pixels


@dataclass(frozen=True)
class Samples:
    """A few pictures that are shown again and again.

    Attributes:
        contents: [side, side, 3] uint8 each.
        styles: likewise.
    """

    contents: Sequence[Pixels]
    styles: Sequence[Pixels]

    @torch.inference_mode()
    def grid(self, network: Network, device: torch.device) -> Pixels:
        """Stylise every pair; the corner is white.

        Args:
            network: on ``device``.
            device: where to run.

        Returns:
            [(contents + 1) * side, (styles + 1) * side, 3] uint8.
        """
        rows = [np.concatenate([np.full_like(self.styles[0], 255), *self.styles], axis=1)]
        style = torch.stack([_planes(picture) for picture in self.styles]).to(device)
        mean, std = network.stats(network.encoder(style))
        for picture in self.contents:
            row = [picture]
            features, spec = network.encoder(_planes(picture)[None].to(device)), network.spec
            for one in zip(torch.split(mean, 1), torch.split(std, 1), strict=True):
                target = adain(features, *one, correction=spec.correction, eps=spec.eps)
                row.append(_pixels(network.decoder(target)[0]))
            rows.append(np.concatenate(row, axis=1))
        return np.concatenate(rows, axis=0)


def choose_samples(contents: ImageSet, styles: ImageSet, *, side: int = 256, count: int = 4) -> Samples:
    """The middles of images spread over the folders' names, in squares of ``side`` pixels."""
    return Samples(_middles(contents, side, count), _middles(styles, side, count))


def _middles(images: ImageSet, side: int, count: int) -> list[Pixels]:
    number = len(images.names)
    return [_middle(images.image(place * number // count), side) for place in range(min(count, number))]


def _middle(image: Pixels, side: int) -> Pixels:
    height, width = image.shape[:2]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = image[top : top + edge, left : left + edge]
    return np.array(Image.fromarray(square).resize((side, side), Image.Resampling.LANCZOS))


def _planes(picture: Pixels) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


def _pixels(image: torch.Tensor) -> Pixels:
    pixels: Pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels
