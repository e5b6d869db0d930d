"""The command ``adain-train norms``: runs the study of norms on folders of pictures, and writes what was found."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer

from adain_model import encoder_id, load_network
from adain_model.figures import require_matplotlib, save_figure
from adain_model.sheets import picture_grid
from adain_runtime.cli import console
from adain_runtime.image import save_image
from adain_runtime.results import command_line, make_folder, write_json
from adain_train import plots
from adain_train.data import Pixels
from adain_train.devices import Device, chosen_device
from adain_train.losses import require_vgg19
from adain_train.norms_study import Curves, Kind, Settings, study
from adain_train.squares import read_squares
from adain_train.study_network import Norm

_LARGER = 4  # images are stylised at so many times the size: in small ones it leaves little but texture


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
    device: Device = "cpu",
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Train one small network with batch, instance and conditional instance norm, and plot why AdaIN works."""
    require_matplotlib()
    settings = Settings(size=size, iterations=iterations, batch=batch, styles=styles, seed=seed)
    where = chosen_device(device)
    network = load_network(reference).to(where)
    require_vgg19(network.encoder, reference)
    make_folder(output)
    content_set, contents = read_squares(content, _LARGER * size)
    style_set, targets = read_squares(style, _LARGER * size)
    for images in (content_set, style_set):
        console.say(images.report())
    runs = len(get_args(Kind)) * len(get_args(Norm))
    with console.progress() as bar:
        task = bar.add_task("training", total=runs * iterations)
        inputs, painted = ([image.to(where) for image in images] for images in (contents, targets))
        curves, rows = study(network, inputs, painted, settings, advance=lambda: bar.advance(task))
    last = {
        kind: {norm: {loss: found.last(loss) for loss in ("style", "content")} for norm, found in norms.items()}
        for kind, norms in curves.items()
    }
    result = {
        "command": command_line(),
        "made_with": {"python": platform.python_version(), "torch": torch.__version__, "device": device},
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
    write_json(output / "norms.json", result)
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
    save_figure(plots.norms_figure(panels, title=title), output / "norms.png")
    save_image(picture_grid(["image", *get_args(Norm)], rows), output / "norms_sheet.png")
