"""The command ``adain-train eval``: loads models and test pictures, has them measured, and writes what was found."""

from __future__ import annotations

import csv
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from adain_model import Encoder, Network
from adain_model.checkpoint import encoder_id, load_checkpoint, load_network, weights_sha256
from adain_model.figures import require_matplotlib, save_figure
from adain_model.sheets import picture_grid
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file
from adain_runtime.image import save_image
from adain_runtime.results import command_line, make_folder, write_json
from adain_runtime.style import SUFFIX, Style, check_encoder
from adain_train import plots, tables
from adain_train.data import ImageSet
from adain_train.devices import Device, chosen_device
from adain_train.evaluate import Evaluation, choose_pairs, evaluate
from adain_train.gatys import CONSTANT_STEPS, LEARNING_RATE, STYLE_WEIGHT, mean_curves
from adain_train.losses import Perceptual, require_vgg19
from adain_train.pair_statistics import style_means
from adain_train.scores import NO_STYLE, Scores
from adain_train.squares import read_squares

_MOST_DIGITS = 9  # of a number of steps


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
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the JSON, the plots and the sheet.")],
    size: Annotated[int, typer.Option(min=16, help="Pixels of the square images.")] = 256,
    pairs: Annotated[int | None, typer.Option(min=1, help="A seeded, balanced subset. Default: all pairs.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of pairs.")] = 0,
    examples: Annotated[int, typer.Option(min=0, help="Pairs that are optimised, and shown on the sheet.")] = 3,
    steps: Annotated[
        str, typer.Option(metavar="N,N,...|none", help="Steps at which the optimisation is measured.")
    ] = "50,100,200,500",
    styles: Annotated[
        Path | None, typer.Option(help="Folder of saved styles, one for each image in --style: a row for their model.")
    ] = None,
    device: Device = "cpu",
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Measure models on pairs of test images: losses, similarity, time, operations; plots and a contact sheet."""
    require_matplotlib()
    wanted, where = _steps(steps), chosen_device(device)
    encoder, networks = _load(models or [], reference, where)
    make_folder(output)
    content_set, contents = read_squares(content, size)
    style_set, paintings = read_squares(style, size)
    for images in (content_set, style_set):
        if images.skipped:
            console.say(images.report())
    saved = _saved(styles, style_set, networks, where) if styles is not None else {}
    chosen = choose_pairs(len(contents), len(paintings), pairs, seed)
    against = next((name for name, network in networks.items() if network.encoder is encoder), None)
    with console.progress() as bar:
        task = bar.add_task("evaluating", total=len(chosen) + min(examples, len(chosen)) * max(wanted, default=0))
        found = evaluate(
            networks,
            Perceptual(encoder),
            [image.to(where) for image in contents],
            [image.to(where) for image in paintings],
            chosen,
            examples=examples,
            steps=wanted,
            saved=saved,
            against=against,
            advance=lambda: bar.advance(task),
        )
    names = [(content_set.names[c], style_set.names[s]) for c, s in found.example_pairs]
    result = {
        "command": command_line(),
        "made_with": {"python": platform.python_version(), "torch": torch.__version__}
        | {"device": device, "threads": torch.get_num_threads(), "machine": platform.machine()},
        "reference": {"file": reference.name, "encoder_id": encoder_id(encoder)},
        "models": {name: {"weights_sha256": weights_sha256(network)} for name, network in networks.items()},
        "data": {"size": size, "pairs": len(chosen), "of": len(contents) * len(paintings), "seed": seed}
        | {"content": _described(content_set), "style": _described(style_set)}
        | ({"saved_styles": str(styles)} if styles is not None else {}),
        "rows": [asdict(row) for row in found.rows],
        "examples": {"pairs": names, "rows": [asdict(row) for row in found.examples]},
        "optimisation": {"method": "Adam on pixels", "learning_rate": LEARNING_RATE, "constant_steps": CONSTANT_STEPS}
        | {"style_weight": STYLE_WEIGHT}
        | mean_curves(found.optimised),
    }
    _write(output, result, found, size)
    if against is not None:
        _draw_styles(output / "styles.png", found, against, style_set.names, size)
    _write_pairs(output / "pairs.csv", found, content_set, style_set)
    if as_json:
        console.print_json(result)
        return
    everything = len(contents) * len(paintings)
    all_pairs = f"{len(chosen):,} of {everything:,} pairs" if len(chosen) < everything else f"All {everything:,} pairs"
    console.show(
        *tables.loss_tables({all_pairs: found.rows, f"The {len(names)} on the sheet": found.examples}),
        *tables.times_tables(found.rows, f"{all_pairs}: times the losses of {against}"),
        tables.cost_table((*found.rows, *found.examples), f"{size}x{size} image, torch on {device}"),
    )
    console.say(f"wrote {output}")


def _steps(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= _MOST_DIGITS and int(part) > 0 for part in parts):
        raise InputError(f"--steps {text}: expected numbers of steps such as 50,100, or none")
    return tuple(sorted({int(part) for part in parts}))


def _load(models: Sequence[str], reference: Path, device: torch.device) -> tuple[Encoder, dict[str, Network]]:
    """The encoder that measures, and the networks by the names that people read, the reference first."""
    judge = load_checkpoint(reference).module
    encoder = judge.encoder if isinstance(judge, Network) else judge
    require_vgg19(encoder, reference)
    found = {f"reference ({encoder.spec.name})": judge} if isinstance(judge, Network) else {}
    stems = [Path(model).stem if Path(model).suffix else model for model in models]
    for model, stem in zip(models, stems, strict=True):
        name = stem if stems.count(stem) == 1 else str(Path(model).with_suffix(""))
        if name in found:
            raise InputError(f"{model}: two models are called {name!r}, and a table needs names; rename one file")
        found[name] = load_network(model)
    return encoder.to(device), {name: network.to(device) for name, network in found.items()}


def _saved(
    folder: Path, images: ImageSet, networks: Mapping[str, Network], device: torch.device
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """The saved style of each image, by the name of the model whose encoder's they are."""
    files = [folder / f"{Path(name).stem}{SUFFIX}" for name in images.names]
    if twin := next((file.name for file in files if files.count(file) > 1), None):
        raise InputError(f"--styles {folder}: two images of {images.folder} would both have {twin}; rename one of them")
    if missing := [file.name for file in files if not file.is_file()]:
        raise InputError(
            f"--styles {folder}: no {missing[0]}; it must hold a saved style for each image of {images.folder}"
        )
    loaded = [Style.load(file) for file in files]
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, network in networks.items():
        if all(style.encoder_id == encoder_id(network) for style in loaded):
            for style, file in zip(loaded, files, strict=True):
                check_encoder(replace(style, source=str(file)), style.encoder_id, network.spec.channels, name)
            numbers = [(torch.from_numpy(style.mean), torch.from_numpy(style.std)) for style in loaded]
            found[name] = [
                (mean[None, :, None, None].to(device), std[None, :, None, None].to(device)) for mean, std in numbers
            ]
    if not found:
        raise InputError(f"--styles {folder}: its styles are of encoder {loaded[0].encoder_id}, of none of the models")
    return found


def _described(images: ImageSet) -> dict[str, Any]:
    return {"folder": str(images.folder), "images": len(images.names), "sha256": images.digest}


def _draw_styles(path: Path, found: Evaluation, against: str, names: Sequence[str], size: int) -> None:
    """Where the other networks' losses lie over the reference's, style by style."""
    losses = {
        row.name: style_means(
            np.array([(score.content, score.style) for score in found.scores[row.name].values()]),
            list(found.scores[row.name]),
        )
        for row in found.rows
        if row.macs_per_pixel is not None
    }
    styles, reference = losses.pop(against)
    if losses:
        title = f"Losses of each style over those of {against}, {size}x{size} pixels"
        ratios = {name: means / reference for name, (_, means) in losses.items()}
        save_figure(plots.styles_figure([names[style] for style in styles], ratios, title=title), path)


def _write_pairs(path: Path, found: Evaluation, contents: ImageSet, styles: ImageSet) -> None:
    """Every pair's scores as a table for other tools, a line for each model and pair."""
    with replacing_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        measures = [field.name for field in fields(Scores)]
        lines.writerow(["model", "content_image", "style_image", *measures])
        for name, scores in found.scores.items():
            for (content, style), score in scores.items():
                values = [f"{getattr(score, measure):.6g}" for measure in measures]
                lines.writerow([name, contents.names[content], styles.names[style], *values])


def _write(output: Path, result: Mapping[str, Any], found: Evaluation, size: int) -> None:
    write_json(output / "evaluation.json", result)
    if found.optimised:
        levels = [row for row in found.examples if row.macs_per_pixel is not None or row.name == NO_STYLE]
        count = len(found.example_pairs)
        title = f"Optimisation against feed-forward networks, mean of {count} test pairs at {size}x{size} pixels"
        curves = result["optimisation"]
        figure = plots.optimisation_figure(curves["content"], curves["style"], levels, title=title)
        save_figure(figure, output / "optimisation.png")
    networks = [row for row in found.rows if row.macs_per_pixel is not None]
    if len({row.macs_per_pixel for row in networks}) > 1:
        unstyled = next(row for row in found.rows if row.name == NO_STYLE)
        bars = "; bars: standard error" if unstyled.error else ""
        what = f"Losses of {len(networks)} networks against their operations"
        title = f"{what}, mean of {unstyled.pairs} test pairs at {size}x{size} pixels{bars}"
        save_figure(plots.sizes_figure(networks, unstyled, title=title), output / "sizes.png")
    if found.sheet:
        columns = ["content", "style", *(row.name for row in found.examples if row.name != NO_STYLE)]
        save_image(picture_grid(columns, found.sheet), output / "sheet.png")
