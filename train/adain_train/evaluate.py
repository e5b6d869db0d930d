"""How good a model is, in numbers and pictures: losses by VGG-19, similarity to the content, time and operations.

Losses are those of the paper's section 5, measured by the network that the method was trained on: ``content``
compares the output's relu4_1 with the AdaIN target ``t`` made by VGG-19, ``style`` the means and standard deviations
of relu1_1 to relu4_1 with the style's. Every model is measured on the same pairs, in whole images of one size.
"""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional

from adain_model import VGG19, Encoder, Network, adain
from adain_model.checkpoint import embedded_checkpoint, encoder_id, load_checkpoint, load_network, weights_sha256
from adain_model.cost import layer_costs, macs
from adain_model.network import check_size
from adain_runtime.cli import console
from adain_runtime.errors import InputError, QualityError, UnavailableError
from adain_runtime.files import replacing_file
from adain_runtime.image import Photo, resize_shorter, save_image
from adain_train import plots
from adain_train.data import Framing, ImageSet, Pixels, check_folder
from adain_train.gatys import CONSTANT_STEPS, LEARNING_RATE, STYLE_WEIGHT, Optimised, mean_curves, optimise
from adain_train.losses import Perceptual, Summary, content_loss, summary_loss

Pair: TypeAlias = tuple[int, int]
"""Indices of a content and a style."""

NO_STYLE = "no style"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_WINDOW, _SIGMA = 11, 1.5  # Wang et al. 2004, section III.C
_TIMED_RUNS = 7


@dataclass(frozen=True)
class Scores:
    """What is measured of one output, or the mean of it over pairs.

    Attributes:
        content: MSE between relu4_1 of the output and the AdaIN target t; the paper trains on it.
        style: sum over relu1_1 to relu4_1 of the MSE between means and between standard deviations.
        to_content: MSE between relu4_1 of the output and the content's own: Gatys' content loss, which the
            paper's figure shows; 0 for the content itself.
        ssim: structural similarity of the luminance to the content's; 1 is equal.
        vgg_distance: `vgg_distance` to the content; 0 is equal.
    """

    content: float
    style: float
    to_content: float
    ssim: float
    vgg_distance: float


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of the model.
        pairs: how many outputs were measured.
        mean: over the pairs.
        error: standard error of that mean, from the spread over the pairs; None with a single pair.
        milliseconds: for one image, of this run on this machine: a network's stylizer with the style given
            (median), or an optimisation up to its step (mean). None where nothing is computed.
        macs_per_pixel: multiply-accumulates of encoder and decoder for a pixel of content.
        parameters: weights and biases.
    """

    name: str
    pairs: int
    mean: Scores
    error: Scores | None
    milliseconds: float | None = None
    macs_per_pixel: float | None = None
    parameters: int | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found.

    Attributes:
        rows: every model over all pairs.
        examples: every model, and the optimisation after each number of steps, over the example pairs.
        example_pairs: those pairs.
        optimised: what the optimisation went through, for each of them.
        sheet: for each of them: content, style, and the image of each line of ``examples`` but "no style".
    """

    rows: tuple[Row, ...]
    examples: tuple[Row, ...]
    example_pairs: tuple[Pair, ...]
    optimised: tuple[Optimised, ...]
    sheet: tuple[tuple[Pixels, ...], ...]


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang, Bovik, Sheikh & Simoncelli 2004), mean over the map.

    Gaussian window of 11x11 with sigma 1.5, population statistics, ``K1 = 0.01``, ``K2 = 0.03``, range 1, and only
    where the whole window lies inside the image, as in the authors' code.

    Args:
        a: [N, 1, H, W] in [0, 1], sides of 11 pixels or more.
        b: the same shape.

    Returns:
        [N], at most 1.

    Raises:
        InputError: other shapes, or an image smaller than the window.
    """
    if a.shape != b.shape or a.dim() != 4 or a.shape[1] != 1 or min(a.shape[-2:]) < _WINDOW:
        wanted = f"[N, 1, H, W] twice, sides of {_WINDOW} or more"
        raise InputError(f"SSIM compares {wanted}, found {list(a.shape)} and {list(b.shape)}")
    places = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    line = torch.exp(-(places**2) / (2 * _SIGMA**2))
    line = line / line.sum()

    def blurred(image: Tensor) -> Tensor:
        return functional.conv2d(functional.conv2d(image, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (similar / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(dim=(1, 2, 3))


def luminance(image: Tensor) -> Tensor:
    """[N, 3, H, W] to [N, 1, H, W], the luma of ITU-R BT.601."""
    return (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def vgg_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """How different two images look to VGG-19: mean over taps of the squared distance of unit feature vectors.

    The vector of all channels at each position is scaled to length 1, so the distance lies in [0, 4] and is at most
    2 for features behind a ReLU. It has the form of LPIPS (Zhang et al. 2018) without its learnt weights, on the
    taps of the style loss: it is not LPIPS, and its numbers don't compare with published ones.

    Args:
        found: maps [N, C, H, W], one a tap.
        wanted: the same shapes.

    Returns:
        [N].
    """
    distances = [
        (functional.normalize(f, dim=1) - functional.normalize(w, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
        for f, w in zip(found, wanted, strict=True)
    ]
    return torch.stack(distances).mean(dim=0)


def choose_pairs(contents: int, styles: int, count: int | None, seed: int) -> list[Pair]:
    """Pairs in a seeded order in which contents and styles take turns, so that any first part is balanced.

    Args:
        contents: how many there are.
        styles: how many there are.
        count: how many pairs; None for all.
        seed: of the order.

    Raises:
        InputError: fewer pairs than one, or more than there are.
    """
    every = contents * styles
    if count is not None and not 1 <= count <= every:
        raise InputError(f"{count} pairs of {contents} contents and {styles} styles: give 1 to {every}")
    rng = np.random.default_rng(seed)
    first, second = rng.permutation(contents), rng.permutation(styles)
    order = [(int(first[k % contents]), int(second[(k % contents + k // contents) % styles])) for k in range(every)]
    return order[:count]


def to_tensor(pixels: Pixels) -> Tensor:
    """[H, W, 3] uint8 to [1, 3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255


def to_pixels(image: Tensor) -> Pixels:
    """[1, 3, H, W] in [0, 1] to [H, W, 3] uint8."""
    pixels: Pixels = (image[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return pixels


def read_squares(folder: Path, size: int) -> tuple[ImageSet, list[Tensor]]:
    """Every image of a folder: its shorter side made ``size`` pixels, the middle square cut, [1, 3, size, size].

    Raises:
        InputError: there is no such folder, no image in it, or none that can be used.
    """
    images = check_folder(folder, Framing(crop=size, shorter_min=size, shorter_max=size, flip=False))
    squares = []
    for place in range(len(images.names)):
        photo = resize_shorter(Photo(images.image(place)), size, enlarge=True)
        top, left = (photo.height - size) // 2, (photo.width - size) // 2
        squares.append(to_tensor(photo.rgb[top : top + size, left : left + size]))
    return images, squares


class _Content:
    """A content, and what is compared with it, measured once."""

    def __init__(self, perceptual: Perceptual, image: Tensor) -> None:
        self.image = image
        self.taps = perceptual.taps(image)
        self.luminance = luminance(image)
        self.spec = perceptual.encoder.spec

    def target(self, style: Sequence[Summary]) -> Tensor:
        mean, std = style[-1]
        return adain(self.taps[-1], mean, std, correction=self.spec.correction, eps=self.spec.eps)


class _Judge:
    """VGG-19 and the summaries of every style, measured once."""

    def __init__(self, perceptual: Perceptual, styles: Sequence[Tensor]) -> None:
        self.perceptual = perceptual
        self.styles = [perceptual.summarize(perceptual.taps(style)) for style in styles]

    def score(self, name: str, output: Tensor, content: _Content, style: int) -> Scores:
        found = content.taps if output is content.image else self.perceptual.taps(output)
        wanted = self.styles[style]
        measured = torch.stack(
            [
                content_loss(found[-1], content.target(wanted)),
                summary_loss(self.perceptual.summarize(found), wanted),
                content_loss(found[-1], content.taps[-1]),
                ssim(luminance(output), content.luminance)[0],
                vgg_distance(found, content.taps)[0],
            ]
        )
        if not measured.isfinite().all():
            raise QualityError(f"{name}: its output for style {style} is not finite; train it again, or export float32")
        return Scores(*measured.tolist())


def evaluate(
    models: Mapping[str, Network],
    perceptual: Perceptual,
    contents: Sequence[Tensor],
    styles: Sequence[Tensor],
    pairs: Sequence[Pair],
    *,
    examples: int = 3,
    steps: Sequence[int] = (),
    advance: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Measure models on pairs, all on the device that they are on.

    Args:
        models: the networks by their names.
        perceptual: VGG-19, which measures.
        contents: [1, 3, H, W] each, RGB in [0, 1].
        styles: likewise.
        pairs: what is stylised.
        examples: how many of the first pairs are shown, and optimised.
        steps: after how many steps the optimisation is measured; none leaves it out.
        advance: called after each pair and each step of the optimisation, for a progress bar.

    Raises:
        InputError: a size that a model does not take.
        QualityError: an output is not finite.
    """
    for name, network in models.items():
        check_size(network.spec, contents[0].shape[-2], contents[0].shape[-1], f"{name}: the image")
    scores: dict[str, dict[Pair, Scores]] = {name: {} for name in (NO_STYLE, *models)}
    shown = list(pairs[:examples])
    pictures: dict[Pair, list[Pixels]] = {}
    runs: dict[Pair, Optimised] = {}
    with torch.no_grad():
        judge = _Judge(perceptual, styles)
        measured = {name: [network.stats(network.encoder(s)) for s in styles] for name, network in models.items()}
    for place in dict.fromkeys(content for content, _ in pairs):
        with torch.no_grad():
            content = _Content(perceptual, contents[place])
            features = {name: network.encoder(content.image) for name, network in models.items()}
        for pair in (pair for pair in pairs if pair[0] == place):
            style = pair[1]
            outputs = {NO_STYLE: content.image}
            with torch.no_grad():
                for name, network in models.items():
                    outputs[name] = _restyled(network, features[name], measured[name][style])
            if pair in shown and steps:
                runs[pair] = optimise(
                    perceptual,
                    content.image,
                    content.target(judge.styles[style]),
                    judge.styles[style],
                    steps=max(steps),
                    keep=steps,
                    on_step=advance,
                )
                outputs |= {_optimised_name(step): runs[pair].images[step] for step in steps}
            with torch.no_grad():
                for name, output in outputs.items():
                    scores.setdefault(name, {})[pair] = judge.score(name, output, content, style)
            if pair in shown:
                stylised = [to_pixels(output) for name, output in outputs.items() if name != NO_STYLE]
                pictures[pair] = [to_pixels(content.image), to_pixels(styles[style]), *stylised]
            advance()
    facts = {name: _facts(network, contents[0], measured[name][0]) for name, network in models.items()}
    for step in steps if shown else ():
        name = _optimised_name(step)
        facts[name] = {"milliseconds": 1000 * statistics.fmean(run.seconds[step] for run in runs.values())}
    return Evaluation(
        rows=tuple(_row(name, found.values(), facts) for name, found in scores.items() if len(found) == len(pairs)),
        examples=tuple(_row(name, (found[pair] for pair in shown), facts) for name, found in scores.items() if shown),
        example_pairs=tuple(shown),
        optimised=tuple(runs[pair] for pair in shown if steps),
        sheet=tuple(tuple(pictures[pair]) for pair in shown),
    )


def _optimised_name(step: int) -> str:
    return f"optimisation, {step} steps"


def _restyled(network: Network, features: Tensor, style: tuple[Tensor, Tensor]) -> Tensor:
    target = adain(features, *style, correction=network.spec.correction, eps=network.spec.eps)
    image: Tensor = network.decoder(target)
    return image.clamp(0, 1)


def _row(name: str, scores: Iterable[Scores], facts: Mapping[str, Mapping[str, Any]]) -> Row:
    values = np.array([astuple(score) for score in scores])
    error = Scores(*(values.std(axis=0, ddof=1) / len(values) ** 0.5).tolist()) if len(values) > 1 else None
    return Row(name, len(values), Scores(*values.mean(axis=0).tolist()), error, **facts.get(name, {}))


def _facts(network: Network, image: Tensor, style: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """What a network costs at this size: time on this machine, operations, parameters."""
    height, width = image.shape[-2:]
    layers = layer_costs(network, height, width)
    seconds = []
    with torch.no_grad():
        for _ in range(_TIMED_RUNS + 1):
            began = time.perf_counter()
            _restyled(network, network.encoder(image), style)[0, 0, 0, 0].item()  # a value that is read: a GPU is done
            seconds.append(time.perf_counter() - began)
    return {
        "milliseconds": 1000 * statistics.median(seconds[1:]),  # the first one warms up
        "macs_per_pixel": (macs(layers, "encoder") + macs(layers, "decoder")) / (height * width),
        "parameters": sum(layer.parameters for layer in layers),
    }


def eval_command(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help="Checkpoints FILE.safetensors, or embedded names.")
    ] = None,
    *,
    content: Annotated[Path, typer.Option(help="Folder of contents.")],
    style: Annotated[Path, typer.Option(help="Folder of styles.")],
    reference: Annotated[
        Path, typer.Option(help="VGG-19 FILE.safetensors that measures; where it has a decoder, that is a row.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the JSON, the plot and the sheet.")],
    size: Annotated[int, typer.Option(min=16, help="Pixels of the square images.")] = 256,
    pairs: Annotated[int | None, typer.Option(min=1, help="A seeded, balanced subset. Default: all pairs.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order of pairs.")] = 0,
    examples: Annotated[int, typer.Option(min=0, help="Pairs that are optimised, and shown on the sheet.")] = 3,
    steps: Annotated[
        str, typer.Option(metavar="N,N,...|none", help="Steps at which the optimisation is measured.")
    ] = "50,100,200,500",
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Measure models on pairs of test images: losses, similarity, time, operations; a plot and a contact sheet."""
    plots.require_matplotlib()
    wanted, where = _steps(steps), _device(device)
    encoder, networks = _load(models or [], reference, where)
    plots.make_folder(output)
    content_set, contents = read_squares(content, size)
    style_set, styles = read_squares(style, size)
    for images in (content_set, style_set):
        if images.skipped:
            console.say(images.report())
    chosen = choose_pairs(len(contents), len(styles), pairs, seed)
    with console.progress() as bar:
        task = bar.add_task("evaluating", total=len(chosen) + min(examples, len(chosen)) * max(wanted, default=0))
        found = evaluate(
            networks,
            Perceptual(encoder),
            [image.to(where) for image in contents],
            [image.to(where) for image in styles],
            chosen,
            examples=examples,
            steps=wanted,
            advance=lambda: bar.advance(task),
        )
    names = [(content_set.names[c], style_set.names[s]) for c, s in found.example_pairs]
    result = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "made_with": {"python": platform.python_version(), "torch": torch.__version__}
        | {"device": device, "threads": torch.get_num_threads(), "machine": platform.machine()},
        "reference": {"file": reference.name, "encoder_id": encoder_id(encoder)},
        "models": {name: {"weights_sha256": weights_sha256(network)} for name, network in networks.items()},
        "data": {"size": size, "pairs": len(chosen), "of": len(contents) * len(styles), "seed": seed}
        | {"content": _described(content_set), "style": _described(style_set)},
        "rows": [asdict(row) for row in found.rows],
        "examples": {"pairs": names, "rows": [asdict(row) for row in found.examples]},
        "optimisation": {"method": "Adam on pixels", "learning_rate": LEARNING_RATE, "constant_steps": CONSTANT_STEPS}
        | {"style_weight": STYLE_WEIGHT}
        | mean_curves(found.optimised),
    }
    _write(output, result, found, size)
    if as_json:
        console.print_json(result)
        return
    console.show(
        *plots.loss_tables({f"All {len(chosen)} pairs": found.rows, "The pairs on the sheet": found.examples}),
        plots.cost_table((*found.rows, *found.examples), f"{size}x{size} image, torch on {device}"),
    )
    console.say(f"wrote {output}")


def require_vgg19(encoder: Encoder, path: Path) -> None:
    """Refuse an encoder that losses are not measured by.

    Raises:
        InputError: it isn't VGG-19 to relu4_1.
    """
    if encoder.spec.encoder != VGG19.encoder:
        raise InputError(
            f"{path}: the encoder of {encoder.spec.name!r} is no VGG-19 to relu4_1, and losses are measured by "
            "one; `adain-model import --encoder vgg_normalised.pth -o FILE` makes it"
        )


def _steps(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--steps {text}: expected numbers of steps such as 50,100, or none")
    return tuple(sorted({int(part) for part in parts}))


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: there is cpu and cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("--device cuda: no CUDA device is here, or torch was installed without CUDA; use cpu")
    return torch.device(name)


def _load(models: Sequence[str], reference: Path, device: torch.device) -> tuple[Encoder, dict[str, Network]]:
    """The encoder that measures, and the networks by the names that people read, the reference first."""
    judge = load_checkpoint(reference).module
    encoder = judge.encoder if isinstance(judge, Network) else judge
    require_vgg19(encoder, reference)
    found = {f"reference ({encoder.spec.name})": judge} if isinstance(judge, Network) else {}
    for model in models:
        path = Path(model)
        name = path.stem if path.suffix else model
        if name in found:
            raise InputError(f"{model}: two models are called {name!r}, and a table needs names; rename one file")
        found[name] = load_network(path if path.suffix else embedded_checkpoint(model))
    return encoder.to(device), {name: network.to(device) for name, network in found.items()}


def _described(images: ImageSet) -> dict[str, Any]:
    return {"folder": str(images.folder), "images": len(images.names), "sha256": images.digest}


def _write(output: Path, result: Mapping[str, Any], found: Evaluation, size: int) -> None:
    with replacing_file(output / "evaluation.json") as part:
        part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if found.optimised:
        levels = [row for row in found.examples if row.macs_per_pixel is not None or row.name == NO_STYLE]
        count = len(found.example_pairs)
        title = f"Optimisation against feed-forward networks, mean of {count} test pairs at {size}x{size} pixels"
        curves = result["optimisation"]
        figure = plots.optimisation_figure(curves["content"], curves["style"], levels, title=title)
        plots.save_figure(figure, output / "optimisation.png")
    if found.sheet:
        columns = ["content", "style", *(row.name for row in found.examples if row.name != NO_STYLE)]
        save_image(plots.picture_grid(columns, found.sheet), output / "sheet.png")
