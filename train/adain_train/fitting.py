"""A style fitted to its network: the 2 x C numbers of a painting, made better once and for all by descent.

An encoder reads the numbers off a painting in one pass, and a small encoder reads them roughly: with a student's own
decoder and content features, other numbers for the same painting give far lower losses on contents that they were
not fitted on. Where the paintings are known beforehand, as an app's are, they are worth a minute each. Network,
speed and file formats stay what they are: a fitted style is a style.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from adain_model import Network, adain
from adain_runtime.errors import InputError, QualityError
from adain_train.losses import Perceptual, Summary

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How styles are fitted.

    Attributes:
        steps: of Adam.
        batch: contents a step.
        lr: of Adam, in units of each channel's standard deviation; it falls along a cosine.
        content_weight: what the content loss counts.
        style_weight: what the style loss counts, lambda of the paper.
        seed: of the order in which contents are taken.
    """

    steps: int = 60
    batch: int = 3
    lr: float = 0.03
    content_weight: float = 12.0
    style_weight: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("seed", 0), ("content_weight", 0), ("style_weight", 0)):
            if not least <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; give {least} or more")
        if not 0 < self.lr <= 1:
            raise InputError(f"lr is {self.lr}; give more than 0, and at most 1")
        if not self.content_weight + self.style_weight:
            raise InputError("a content weight of 0 and a style weight of 0 leave nothing to fit; give one of them")

    def weighed(self, content: T, style: T) -> T:
        """What both losses count together."""
        return self.content_weight * content + self.style_weight * style


@dataclass(frozen=True)
class Losses:
    """VGG-19's losses, means over contents that nothing was fitted on.

    Attributes:
        content: as `content_loss`.
        style: as `summary_loss`.
    """

    content: float
    style: float


@dataclass(frozen=True, eq=False)
class Fitted:
    """A style's numbers.

    Attributes:
        mean: [1, C, 1, 1].
        std: [1, C, 1, 1], positive.
        before: losses with the numbers that the encoder reads off the painting.
        after: losses with these.
        images: a held-out content with the encoder's numbers, and with these; [1, 3, H, W] in [0, 1].
    """

    mean: Tensor
    std: Tensor
    before: Losses
    after: Losses
    images: tuple[Tensor, Tensor]


class StyleFitter:
    """Fits styles to a network on contents that are measured once.

    Args:
        network: whose styles; it stays as it is.
        perceptual: VGG-19, which measures.
        contents: [1, 3, H, W] each, RGB in [0, 1], all of one size; the last quarter is held out, and measures.
        settings: how to fit.

    Raises:
        InputError: fewer contents than two.
    """

    def __init__(
        self, network: Network, perceptual: Perceptual, contents: Sequence[Tensor], settings: FitSettings
    ) -> None:
        if len(contents) < 2:
            raise InputError(f"a style is fitted on some contents and measured on others, and there is {len(contents)}")
        self._network, self._perceptual, self._settings = network, perceptual, settings
        spec = network.spec
        with torch.no_grad():
            features = [network.encoder(image) for image in contents]
            none, one = torch.zeros_like(features[0][:, :, :1, :1]), torch.ones_like(features[0][:, :, :1, :1])
            self._plain = [adain(each, none, one, correction=spec.correction, eps=spec.eps) for each in features]
            self._seen = [perceptual.taps(image)[-1] for image in contents]
        held = max(1, len(contents) // 4)
        self._fitted_on, self._held = range(len(contents) - held), range(len(contents) - held, len(contents))

    @property
    def held(self) -> int:
        """How many contents are held out."""
        return len(self._held)

    def fit(self, painting: Tensor, advance: Callable[[], object] = lambda: None) -> Fitted:
        """Fit one style; where the held-out contents don't gain by it, the encoder's numbers are kept.

        Args:
            painting: [1, 3, H, W], RGB in [0, 1], a size that the network takes.
            advance: called after each step, for a progress bar.

        Raises:
            QualityError: a loss is not finite.
        """
        settings = self._settings
        with torch.no_grad():
            wanted = self._perceptual.summarize(self._perceptual.taps(painting))
            mean, std = self._network.stats(self._network.encoder(painting))
            before, plain = self._measured(mean, std, wanted)
        shift, growth = (torch.zeros_like(mean, requires_grad=True) for _ in range(2))
        adam = torch.optim.Adam([shift, growth], lr=settings.lr)
        rng = np.random.default_rng(settings.seed)
        for step in range(settings.steps):
            places = rng.permutation(len(self._fitted_on))[: settings.batch].tolist()
            losses = self._losses(mean + std * shift, std * growth.exp(), wanted, places)
            loss = settings.weighed(losses["content"], losses["style"])
            if not loss.isfinite():
                raise QualityError(f"the style's loss is {loss.item()} at step {step}; give a smaller lr")
            shift.grad, growth.grad = torch.autograd.grad(loss, (shift, growth))
            adam.param_groups[0]["lr"] = settings.lr * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            adam.step()
            advance()
        with torch.no_grad():
            found = mean + std * shift, std * growth.exp()
            after, image = self._measured(*found, wanted)
        if settings.weighed(after.content, after.style) >= settings.weighed(before.content, before.style):
            return Fitted(mean, std, before, before, (plain, plain))
        return Fitted(*found, before, after, (plain, image))

    def _losses(self, mean: Tensor, std: Tensor, wanted: Sequence[Summary], places: Sequence[int]) -> dict[str, Tensor]:
        count, spec = len(places), self._perceptual.encoder.spec
        styles = [(m.expand(count, -1, -1, -1), s.expand(count, -1, -1, -1)) for m, s in wanted]
        image = self._image(mean, std, places)
        seen = torch.cat([self._seen[place] for place in places])
        target = adain(seen, *styles[-1], correction=spec.correction, eps=spec.eps)
        return self._perceptual.losses(image, target, styles)

    def _image(self, mean: Tensor, std: Tensor, places: Sequence[int]) -> Tensor:
        image: Tensor = self._network.decoder(torch.cat([self._plain[place] for place in places]) * std + mean)
        return image.clamp(0, 1)

    def _measured(self, mean: Tensor, std: Tensor, wanted: Sequence[Summary]) -> tuple[Losses, Tensor]:
        found = [self._losses(mean, std, wanted, [place]) for place in self._held]
        content, style = (float(np.mean([losses[name].item() for losses in found])) for name in ("content", "style"))
        return Losses(content, style), self._image(mean, std, [self._held[0]])
