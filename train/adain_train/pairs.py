"""Content-style pairs: two folders, two streams of crops, paired by position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from adain_train.data import ImageSet, Stream, shuffled
from adain_train.samples import Samples, choose_samples

CONTENT, STYLE = 0, 1  # keys of the streams


@dataclass(frozen=True)
class PairData:
    """What a training looks at.

    Attributes:
        contents: photos.
        styles: paintings and textures.
        seed: of the training.
        sample_side: pixels a side of a picture in the sample grids.
    """

    contents: ImageSet
    styles: ImageSet
    seed: int
    sample_side: int = 256

    @property
    def digests(self) -> dict[str, str]:
        """What names the data: digests of both folders."""
        return {"content images": self.contents.digest, "style images": self.styles.digest}

    @cached_property
    def samples(self) -> Samples:
        """Pictures for the grids."""
        return choose_samples(self.contents, self.styles, side=self.sample_side)

    def load(self, positions: range) -> dict[str, Tensor]:
        """Crops: ``content`` and ``style``, [n, 3, crop, crop] uint8."""
        return {
            "content": torch.from_numpy(Stream(self.contents, self.seed, CONTENT).crops(positions)),
            "style": torch.from_numpy(Stream(self.styles, self.seed, STYLE).crops(positions)),
        }

    def describe(self, positions: range) -> str:
        """The files of a batch, pair by pair."""
        return ", ".join(f"{self.name(CONTENT, place)} + {self.name(STYLE, place)}" for place in positions)

    def name(self, key: int, position: int) -> str:
        """The file that a crop of the stream ``CONTENT`` or ``STYLE`` comes from."""
        names = (self.contents if key == CONTENT else self.styles).names
        return names[shuffled(position, len(names), seed=self.seed, key=key)]
