"""Why normalising each instance works: one small network, three norms, three kinds of images.

Huang & Belongie 2017, section 3.1 and figure 1: a single-style network learns faster with instance norm than with
batch norm on plain photographs, still does on photographs of equal contrast (so what instance norm removes isn't
contrast), and hardly does on photographs that have one style already (so it is style). Conditional instance norm
(Dumoulin et al. 2017) learns several styles at once and is shown on the style that the others learn.

Everything but the norm is the same between runs: the first weights, the crops, their order, the learning rate.
"""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from adain_model import ConditionalInstanceNorm, Network, adain, batch_norm, encoder_id, initialize, load_network
from adain_model.network import PaddedConv, Upsample
from adain_runtime.cli import console
from adain_runtime.errors import InputError, QualityError
from adain_runtime.files import replacing_file
from adain_runtime.image import save_image
from adain_train import plots
from adain_train.data import Pixels
from adain_train.evaluate import read_squares, require_vgg19, to_pixels, to_tensor
from adain_train.losses import Perceptual, Summary

Norm: TypeAlias = Literal["batch norm", "instance norm", "conditional instance norm"]
Kind: TypeAlias = Literal["plain", "contrast-normalised", "already stylised"]

_WIDTHS = (16, 32, 64)
_BLOCKS = 2
_LARGER = 4  # images are stylised at so many times the size: in small ones it leaves little but texture


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


class BatchNorm(nn.Module):
    """`batch_norm` with a learnt pair a channel, over the batch's own statistics, as in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, style: Tensor) -> Tensor:  # noqa: ARG002 the norms are called alike
        """Normalise [N, C, H, W]; the style is not used."""
        return batch_norm(features, self.weight, self.bias)


class StudyNetwork(nn.Module):
    """A small single-style network after Johnson, Alahi & Fei-Fei 2016: two halvings, residual blocks, two doublings.

    Attributes:
        norm: what follows every convolution but the last.
    """

    def __init__(self, norm: Norm, styles: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = norm
        first, second, third = _WIDTHS
        self.down = nn.ModuleList(
            [PaddedConv(3, first, relu=False)]
            + [PaddedConv(i, o, stride=2, relu=False) for i, o in ((first, second), (second, third))]
        )
        self.blocks = nn.ModuleList([PaddedConv(third, third, relu=False) for _ in range(2 * _BLOCKS)])
        self.up = nn.ModuleList([PaddedConv(i, o, relu=False) for i, o in ((third, second), (second, first))])
        self.upsample = Upsample()
        self.last = PaddedConv(first, 3, relu=False)
        widths = (*_WIDTHS, *[third] * 2 * _BLOCKS, second, first)
        self.norms = nn.ModuleList([_norm(norm, width, styles) for width in widths])
        initialize(self, generator)
        with torch.no_grad():  # a grey image to start from
            self.last.weight.mul_(0.1)
            if self.last.bias is not None:
                self.last.bias.fill_(0.5)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Stylise [N, 3, H, W], sides multiples of 4, each image in the style of its number in ``style`` [N]."""
        norms = iter(self.norms)
        features = image
        for conv in self.down:
            features = functional.relu(next(norms)(conv(features), style))
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            inner = functional.relu(next(norms)(first(features), style))
            features = features + next(norms)(second(inner), style)
        for conv in self.up:
            features = functional.relu(next(norms)(conv(self.upsample(features)), style))
        stylised: Tensor = self.last(features)
        return stylised


def _norm(norm: Norm, channels: int, styles: int) -> nn.Module:
    if norm == "batch norm":
        return BatchNorm(channels)
    return ConditionalInstanceNorm(styles if norm == "conditional instance norm" else 1, channels)


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
        "contrast-normalised": [to_tensor(equalised(to_pixels(image))) for image in contents],
        "already stylised": stylised(reference, contents, styles[settings.styles]),
    }
    curves: dict[Kind, dict[Norm, Curves]] = {}
    rows = []
    for kind, images in kinds.items():
        stacked = functional.interpolate(torch.cat(list(images)), settings.size, mode="area")
        with torch.no_grad():
            features = torch.cat([perceptual.taps(few)[-1] for few in torch.split(stacked, 8)])
        curves[kind], row = {}, [to_pixels(stacked[:1])]
        for norm in get_args(Norm):
            network, curves[kind][norm] = train(
                norm, stacked, features, summaries, perceptual, settings, advance=advance
            )
            with torch.no_grad():  # in a batch, as it was trained: batch norm has no other statistics here
                shown = network(stacked[: settings.batch], torch.zeros(len(stacked[: settings.batch])).long())
            row.append(to_pixels(shown[:1].clamp(0, 1)))
        rows.append(row)
    return curves, rows


def norms_command(
    *,
    content: Annotated[Path, typer.Option(help="Folder of contents to train on.")],
    style: Annotated[Path, typer.Option(help="Folder of styles: the first are learnt, the next makes 'stylised'.")],
    reference: Annotated[Path, typer.Option(help="VGG-19 with its decoder, FILE.safetensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the JSON, the plot and the sheet.")],
    size: Annotated[int, typer.Option(min=16, help="Pixels of the square images that are trained on.")] = 64,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of each of the nine trainings.")] = 150,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 4,
    styles: Annotated[int, typer.Option(min=1, help="Styles of conditional instance norm.")] = 3,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Train one small network with batch, instance and conditional instance norm, and plot why AdaIN works."""
    plots.require_matplotlib()
    settings = Settings(size=size, iterations=iterations, batch=batch, styles=styles, seed=seed)
    network = load_network(reference)
    require_vgg19(network.encoder, reference)
    plots.make_folder(output)
    content_set, contents = read_squares(content, _LARGER * size)
    style_set, targets = read_squares(style, _LARGER * size)
    runs = len(get_args(Kind)) * len(get_args(Norm))
    with console.progress() as bar:
        task = bar.add_task("training", total=runs * iterations)
        curves, rows = study(network, contents, targets, settings, advance=lambda: bar.advance(task))
    last = {
        kind: {norm: {loss: found.last(loss) for loss in ("style", "content")} for norm, found in norms.items()}
        for kind, norms in curves.items()
    }
    result = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "made_with": {"python": platform.python_version(), "torch": torch.__version__},
        "reference": {"file": reference.name, "encoder_id": encoder_id(network)},
        "data": {
            "content": {"folder": str(content), "images": len(contents), "sha256": content_set.digest},
            "style": {"folder": str(style), "learnt": style_set.names[:styles], "stylised": style_set.names[styles]}
            | {"sha256": style_set.digest},
        },
        "settings": asdict(settings),
        "last_tenth": last,
        "curves": {kind: {norm: asdict(found) for norm, found in norms.items()} for kind, norms in curves.items()},
    }
    _write(output, result, curves, rows, settings)
    if as_json:
        console.print_json(result)
        return
    columns = ("images", "norm", "style", "content")
    lines = [
        (kind, norm, f"{losses['style']:.3f}", f"{losses['content']:.3f}")
        for kind, norms in last.items()
        for norm, losses in norms.items()
    ]
    console.show(console.table("Losses, median of the last tenth", columns, lines, right="style content"))
    console.say(f"wrote {output}")


def _write(
    output: Path,
    result: Mapping[str, Any],
    curves: Mapping[Kind, Mapping[Norm, Curves]],
    rows: Sequence[Sequence[Pixels]],
    settings: Settings,
) -> None:
    with replacing_file(output / "norms.json") as part:
        part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    panels = {
        f"{kind} images": {
            str(norm): {loss: (found.iterations, getattr(found, loss)) for loss in ("style", "content")}
            for norm, found in norms.items()
        }
        for kind, norms in curves.items()
    }
    title = (
        f"One small network, three norms; {settings.iterations} iterations, batch {settings.batch}, {settings.size} px "
        f"(conditional: {settings.styles} styles in turn, the first is shown); line: running median"
    )
    plots.save_figure(plots.norms_figure(panels, title=title), output / "norms.png")
    save_image(plots.picture_grid(["image", *get_args(Norm)], rows), output / "norms_sheet.png")
