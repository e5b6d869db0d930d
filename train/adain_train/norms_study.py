"""Why normalising each instance works: one small network, three norms, three kinds of images.

Huang & Belongie 2017, section 3.1 and figure 1: a single-style network learns faster with instance norm than with
batch norm on plain photographs, still does on photographs of equal contrast (so what instance norm removes isn't
contrast), and hardly does on photographs that have one style already (so it is style). Conditional instance norm
(Dumoulin et al. 2017) learns several styles at once and is shown on the style that the others learn.

Everything but the norm is the same between runs: the first weights, the crops, their order, the learning rate.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from adain_model import Network, adain
from adain_runtime.errors import InputError, QualityError
from adain_train.data import Pixels
from adain_train.losses import Perceptual, Summary
from adain_train.squares import to_pixels, to_tensor
from adain_train.study_network import Norm, StudyNetwork

Kind: TypeAlias = Literal["plain", "contrast-normalised", "already stylised"]


@dataclass(frozen=True)
class Settings:
    """How each network is trained.

    Attributes:
        size: pixels of the square images that are trained on.
        iterations: steps of Adam.
        batch: images a step.
        learning_rate: of Adam.
        style_weight: what the style loss counts; the content loss counts 1.
        styles: how many styles conditional instance norm learns; the other norms learn the first.
        seed: of weights and of the order of images.
    """

    size: int = 64
    iterations: int = 150
    batch: int = 4
    learning_rate: float = 3e-3
    style_weight: float = 10.0
    styles: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.iterations, self.batch, self.styles) < 1 or self.learning_rate <= 0:
            raise InputError(f"iterations, batch, styles and learning rate must be positive, found {self}")
        if self.size < 16 or self.size % 8:
            raise InputError(f"images of {self.size} pixels have no whole features; give a multiple of 8 from 16 on")


@dataclass(frozen=True)
class Curves:
    """What one training went through, on the first style.

    Attributes:
        iterations: those whose batch had the first style.
        content: MSE between relu4_1 of the output and of the image that went in.
        style: the paper's style loss.
    """

    iterations: tuple[int, ...]
    content: tuple[float, ...]
    style: tuple[float, ...]

    def last(self, loss: str) -> float:
        """Median of the last tenth of a loss."""
        values: tuple[float, ...] = getattr(self, loss)
        return statistics.median(values[-max(1, len(values) // 10) :])


def equalised(pixels: Pixels) -> Pixels:
    """Equalise the histogram of the luminance, and leave the chroma: every image gets the same contrast.

    A luminance becomes its rank: 255 times the share of pixels below or at it, those at the least not counted.

    Args:
        pixels: [H, W, 3] uint8, sRGB.
    """
    planes = np.array(Image.fromarray(pixels).convert("YCbCr"))
    counts = np.bincount(planes[..., 0].ravel(), minlength=256).cumsum()
    first, last = counts[counts > 0][0], counts[-1]
    if last > first:  # an image of one luminance has nothing to spread
        ranks = (counts - first).clip(0) / (last - first)
        planes[..., 0] = np.rint(255 * ranks).astype(np.uint8)[planes[..., 0]]
    return np.array(Image.fromarray(planes, "YCbCr").convert("RGB"))


@torch.no_grad()
def stylised(network: Network, images: Sequence[Tensor], style: Tensor) -> list[Tensor]:
    """Every image in one style, so that what differs between them is no longer style.

    Args:
        network: stylises.
        images: [1, 3, H, W] each, RGB in [0, 1].
        style: likewise.
    """
    spec = network.spec
    mean, std = network.stats(network.encoder(style))
    targets = (adain(network.encoder(image), mean, std, correction=spec.correction, eps=spec.eps) for image in images)
    return [network.decoder(target).clamp(0, 1) for target in targets]


def train(
    norm: Norm,
    images: Tensor,
    features: Tensor,
    styles: Sequence[Sequence[Summary]],
    perceptual: Perceptual,
    settings: Settings,
    *,
    advance: Callable[[], object] = lambda: None,
) -> tuple[StudyNetwork, Curves]:
    """Train one network.

    Iteration i is about style ``i % settings.styles`` with conditional instance norm, and the first with others.

    Args:
        norm: what it normalises with.
        images: [M, 3, H, W], RGB in [0, 1].
        features: relu4_1 of the images, [M, 512, H/8, W/8].
        styles: summaries of each style.
        perceptual: VGG-19.
        settings: how.
        advance: called after each iteration, for a progress bar.

    Raises:
        QualityError: the loss is not finite.
    """
    network = StudyNetwork(norm, settings.styles, torch.Generator().manual_seed(settings.seed)).to(images.device)
    adam = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    order = torch.Generator().manual_seed(settings.seed + 1)
    turns = settings.styles if norm == "conditional instance norm" else 1
    iterations, content, style = [], [], []
    for iteration in range(settings.iterations):
        turn = iteration % turns
        chosen = torch.randint(len(images), (settings.batch,), generator=order).to(images.device)
        output = network(images[chosen], torch.full_like(chosen, turn))
        wanted = [tuple(value.expand(settings.batch, -1, -1, -1) for value in tap) for tap in styles[turn]]
        losses = perceptual.losses(output, features[chosen], wanted)
        loss = losses["content"] + settings.style_weight * losses["style"]
        if not loss.isfinite():
            raise QualityError(f"{norm}: the loss is {loss.item()} at iteration {iteration}; lower the learning rate")
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if turn == 0:
            iterations.append(iteration + 1)
            content.append(losses["content"].item())
            style.append(losses["style"].item())
        advance()
    return network, Curves(tuple(iterations), tuple(content), tuple(style))


def study(
    reference: Network,
    contents: Sequence[Tensor],
    styles: Sequence[Tensor],
    settings: Settings,
    *,
    advance: Callable[[], object] = lambda: None,
) -> tuple[dict[Kind, dict[Norm, Curves]], list[list[Pixels]]]:
    """Train every norm on every kind of images.

    Args:
        reference: VGG-19 with its decoder: its encoder measures, the whole makes the stylised images.
        contents: [1, 3, S, S] each, S a multiple of 8, ``settings.size`` or more; stylised at this size and then
            reduced.
        styles: likewise; ``settings.styles`` to learn, and one more, which the stylised images are made in.
        settings: how each is trained.
        advance: called after each iteration.

    Returns:
        the curves, and for each kind of images a row of pictures: an image, then every network's output.

    Raises:
        InputError: too few styles.
    """
    if len(styles) <= settings.styles:
        raise InputError(f"{settings.styles} styles to learn and one more are wanted, found {len(styles)}")
    perceptual = Perceptual(reference.encoder)
    with torch.no_grad():
        learnt = (functional.interpolate(style, settings.size, mode="area") for style in styles[: settings.styles])
        summaries = [perceptual.summarize(perceptual.taps(style)) for style in learnt]
    kinds: dict[Kind, Sequence[Tensor]] = {
        "plain": contents,
        "contrast-normalised": [to_tensor(equalised(to_pixels(image))).to(image.device) for image in contents],
        "already stylised": stylised(reference, contents, styles[settings.styles]),
    }
    curves: dict[Kind, dict[Norm, Curves]] = {}
    rows = []
    for kind, images in kinds.items():
        stacked = functional.interpolate(torch.cat(list(images)), settings.size, mode="area")
        with torch.no_grad():
            features = torch.cat([perceptual.taps(part)[-1] for part in torch.split(stacked, 8)])
        curves[kind], row = {}, [to_pixels(stacked[:1])]
        for norm in get_args(Norm):
            network, curves[kind][norm] = train(
                norm, stacked, features, summaries, perceptual, settings, advance=advance
            )
            with torch.no_grad():  # in a batch, as it was trained: batch norm has no other statistics here
                few = stacked[: settings.batch]
                shown = network(few, torch.zeros(len(few), dtype=torch.long, device=few.device))
            row.append(to_pixels(shown[:1].clamp(0, 1)))
        rows.append(row)
    return curves, rows
