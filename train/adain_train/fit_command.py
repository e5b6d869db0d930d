"""The command ``adain-train fit``: paintings become fitted styles, files that any backend of the network takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from adain_model import encoder_id, load_network, weights_sha256
from adain_model.network import check_size
from adain_model.sheets import picture_grid
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.image import load_image, resize_shorter, save_image
from adain_runtime.results import command_line, make_folder, write_json
from adain_runtime.style import SUFFIX, Style
from adain_train.data import Pixels
from adain_train.devices import Device, chosen_device
from adain_train.fitting import FitSettings, Fitted, StyleFitter
from adain_train.losses import Perceptual
from adain_train.runs import read_encoder
from adain_train.squares import read_squares, to_pixels, to_tensor

_DEFAULT = FitSettings()


def fit_command(
    paintings: Annotated[list[Path], typer.Argument(metavar="PAINTING...", help="Images of the styles.")],
    *,
    content: Annotated[Path, typer.Option(help="Folder of contents, such as the styles will be used on.")],
    reference: Annotated[Path, typer.Option(help="VGG-19 that measures: FILE.safetensors, or vgg_normalised.pth.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for NAME.adainstyle, the JSON and the sheet.")],
    model: Annotated[
        str, typer.Option(help="The network that the styles are for: FILE.safetensors, or an embedded name.")
    ] = "lite",
    contents: Annotated[int, typer.Option(min=2, help="How many contents; the last quarter measures.")] = 24,
    size: Annotated[int, typer.Option(min=16, help="Pixels of the square contents.")] = 256,
    style_size: Annotated[int, typer.Option(min=16, help="A painting's shorter side; smaller ones stay.")] = 512,
    steps: Annotated[int, typer.Option(help="Steps of Adam a style.")] = _DEFAULT.steps,
    batch: Annotated[int, typer.Option(help="Contents a step.")] = _DEFAULT.batch,
    lr: Annotated[float, typer.Option(help="Of Adam, in standard deviations of each channel.")] = _DEFAULT.lr,
    content_weight: Annotated[
        float, typer.Option(help="What the content loss counts; more keeps more of the photo.")
    ] = _DEFAULT.content_weight,
    style_weight: Annotated[float, typer.Option(help="What the style loss counts.")] = _DEFAULT.style_weight,
    seed: Annotated[int, typer.Option(help="Of which contents are taken, and of their order.")] = _DEFAULT.seed,
    device: Device = "cpu",
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Fit styles to a network: saved styles that look more like their painting, at no cost when they are used."""
    settings = FitSettings(
        steps=steps, batch=batch, lr=lr, content_weight=content_weight, style_weight=style_weight, seed=seed
    )
    files = _files(paintings, output)
    where = chosen_device(device)
    network = load_network(model).to(where)
    check_size(network.spec, size, size, "--size: a content")
    perceptual = Perceptual(read_encoder(reference).to(where))
    images, squares = read_squares(content, size, count=contents, seed=seed)
    if images.skipped:
        console.say(images.report())
    mixed = [squares[place] for place in np.random.default_rng(seed).permutation(len(squares)).tolist()]
    fitter = StyleFitter(network, perceptual, [square.to(where) for square in mixed], settings)
    framed = {painting: _framed(painting, style_size, network.spec.stride) for painting in files}
    make_folder(output)
    lines, rows = [], []
    with console.progress() as bar:
        task = bar.add_task("fitting", total=len(files) * steps)
        for painting, file in files.items():
            pixels = framed[painting]
            began = time.perf_counter()
            fitted = fitter.fit(to_tensor(pixels).to(where), advance=lambda: bar.advance(task))
            name = f"{painting.name} fitted to {network.spec.name}"
            mean, std = (values.cpu().numpy().reshape(-1) for values in (fitted.mean, fitted.std))
            Style(mean, std, encoder_id(network), name).save(file)
            lines.append(_line(painting, file, fitted, time.perf_counter() - began))
            rows.append([to_pixels(mixed[-fitter.held]), _middle(pixels), *map(to_pixels, fitted.images)])
    result = {
        "command": command_line(),
        "model": {"name": network.spec.name, "weights_sha256": weights_sha256(network)},
        "reference": {"file": reference.name, "encoder_id": encoder_id(perceptual.encoder)},
        "content": {"folder": str(content), "images": len(mixed), "held_out": fitter.held, "sha256": images.digest},
        "settings": asdict(settings) | {"size": size, "style_size": style_size},
        "styles": lines,
    }
    write_json(output / "fit.json", result)
    save_image(picture_grid(["content", "style", "as encoded", "fitted"], rows), output / "sheet.png")
    if as_json:
        console.print_json(result)
        return
    _report(lines, fitter.held, output, embedded=not Path(model).suffix)


def _files(paintings: Iterable[Path], output: Path) -> dict[Path, Path]:
    """The file that each painting becomes."""
    files: dict[Path, Path] = {}
    for painting in paintings:
        file = output / f"{painting.stem}{SUFFIX}"
        if file in files.values():
            raise InputError(f"{painting}: two paintings would both become {file.name}; rename one")
        if file.is_dir():
            raise InputError(f"{file}: is a folder, and the style of {painting} goes there; choose another -o")
        files[painting] = file
    return files


def _framed(painting: Path, shorter: int, stride: int) -> Pixels:
    """A painting at its size, its last pixels cut where they make no whole cell of features."""
    rgb = resize_shorter(load_image(painting), shorter, enlarge=False).rgb
    height, width = (side - side % stride for side in rgb.shape[:2])
    if min(height, width) < 2 * stride:
        raise InputError(f"{painting}: {rgb.shape[1]}x{rgb.shape[0]} is too small; give {2 * stride} pixels a side")
    return np.ascontiguousarray(rgb[:height, :width])


def _middle(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _line(painting: Path, file: Path, fitted: Fitted, seconds: float) -> dict[str, Any]:
    losses = {"before": asdict(fitted.before), "after": asdict(fitted.after)}
    return {"painting": painting.name, "file": file.name, **losses, "seconds": round(seconds, 1)}


def _report(lines: Sequence[Mapping[str, Any]], held: int, output: Path, *, embedded: bool) -> None:
    table = [
        (line["file"], *(f"{line['before'][loss]:.3f} -> {line['after'][loss]:.3f}" for loss in ("content", "style")))
        for line in lines
    ]
    title = f"VGG-19's losses as encoded -> fitted, on {held} contents that nothing was fitted on"
    console.show(console.table(title, ("file", "content", "style"), table, right="content style"))
    kept = [line["file"] for line in lines if line["before"] == line["after"]]
    if kept:
        console.say(f"as encoded, since fitting gained nothing: {', '.join(kept)}")
    console.say(f"wrote {output}")
    bundle = "" if embedded else " --model BUNDLE (of adain-export)"
    console.say(f"next: adain-run PHOTO {output / lines[0]['file']} -o styled.jpg{bundle}")
