"""``adain-style``: make, mix and look at styles, the 2 x C numbers that a painting is to the network."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import numpy as np
import typer

from adain_runtime.cli import console
from adain_runtime.cli.run import check_style_size, parse_weights
from adain_runtime.errors import InputError
from adain_runtime.files import identity
from adain_runtime.jobs import find_contents, spell_kinds
from adain_runtime.results import make_folder
from adain_runtime.style import SUFFIX, Style, check_encoder, check_suffix, mix
from adain_runtime.stylizer import EMBEDDED_MODEL, MAX_PIXELS, STYLE_SIZE, Stylizer

EXAMPLES = console.examples(
    ("adain-style make wave.jpg", "writes wave.adainstyle"),
    ("adain-style make monet/*.jpg -o monet.adainstyle", "several in one"),
    ("adain-style mix a.adainstyle b.adainstyle -o c.adainstyle", "half and half"),
    ("adain-style info wave.adainstyle", "what it was made of"),
)

app = console.new_app("Make, mix and look at styles.", epilog=EXAMPLES)

Output = Annotated[str, typer.Option("--output", "-o", help=f"The file to write, NAME{SUFFIX}.")]
Weights = Annotated[
    Optional[str],  # noqa: UP045 Typer reads this at run time on Python 3.10
    typer.Option(metavar="W,W,...", help="How much of each. Default: all alike.", show_default=False),
]


def main() -> NoReturn:
    """Entry point."""
    console.run(app, "adain-style")


@app.callback()
def options(_version: console.Version = False) -> None:
    """Make, mix and look at styles."""


@app.command()
def make(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Paintings, or quoted globs.", show_default=False)
    ],
    output: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--output", "-o", help="The file to write. Default: IMAGE.adainstyle beside you."),
    ] = None,
    model: Annotated[str, typer.Option(help="Bundle whose styles they are.")] = EMBEDDED_MODEL,
    backend: Annotated[str, typer.Option(help="What runs the encoder.")] = "onnx",
    weights: Weights = None,
    style_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help=f"Larger images are resized to this. Default: {STYLE_SIZE}.", show_default=False),
    ] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse larger images.")] = MAX_PIXELS,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Encode paintings once: one style, or one mix of several."""
    images = [os.fspath(path) for image in images for path in _paintings(image)]
    if output == "":
        raise InputError(f"--output is empty; name the style's file with -o NAME{SUFFIX}")
    if output is None and len(images) > 1:
        raise InputError(f"{len(images)} images make one mixed style: name it with -o NAME{SUFFIX}")
    target = Path(output or Path(images[0]).stem + SUFFIX)
    check_suffix(target)
    _refuse_replacing(target, images)
    check_style_size(style_size, images)
    if backend == "null":
        raise InputError("backend null computes shapes only: a style made by it would hold no numbers of the image")
    make_folder(target.parent)
    with Stylizer.open(model, backend=backend, tell=lambda line: console.say(f"adain-style: {line}")) as stylizer:
        styles = [stylizer.style(image, size=style_size or STYLE_SIZE, max_pixels=max_pixels) for image in images]
    style = mix(styles, parse_weights(weights))
    _save(style, target, as_json)


@app.command(name="mix")
def mix_files(
    files: Annotated[list[str], typer.Argument(metavar="STYLE...", help="Saved styles.", show_default=False)],
    output: Output,
    weights: Weights = None,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Mix saved styles into a new one."""
    _refuse_replacing(Path(output), files)
    styles = [_load(file) for file in files]
    for style, file in zip(styles[1:], files[1:], strict=True):  # here, where the files have names
        check_encoder(replace(style, source=file), styles[0].encoder_id, styles[0].channels, files[0])
    mixed = mix(styles, parse_weights(weights))
    make_folder(Path(output).parent)
    _save(mixed, Path(output), as_json)


@app.command()
def info(
    file: Annotated[str, typer.Argument(metavar="STYLE", help="A saved style.", show_default=False)],
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Show what a saved style is."""
    style = Style.load(file)
    facts = {
        "file": file,
        "bytes": Path(file).stat().st_size,
        "source": style.source,
        "encoder_id": style.encoder_id,
        "channels": style.channels,
        "mean": _range(style.mean),
        "std": _range(style.std),
    }
    if as_json:
        console.print_json(facts)
        return
    spell = {name: " to ".join(f"{v:.4g}" for v in facts[name]) for name in ("mean", "std")}  # type: ignore[attr-defined]
    console.show(console.table(file, ["field", "value"], list((facts | spell).items())[1:]))


def _paintings(image: str) -> list[Path]:
    """The files that an argument means: itself, or what matches it."""
    try:
        if Path(image).is_dir():
            return [Path(image)]  # it is refused as an image
    except OSError as error:  # such as a name that is too long
        raise InputError(f"{image}: can't be read ({error.strerror}); check the path") from error
    found = find_contents(image)
    if found.passed_over:
        others = spell_kinds(found.passed_over)
        console.say(f"adain-style: {others} can't be read here and are passed over: convert them first")
    return found.files


def _refuse_replacing(output: Path, inputs: list[str]) -> None:
    try:
        there = output.exists()
    except OSError as error:
        raise InputError(f"{output}: can't be written ({error.strerror or error}); choose another -o") from error
    if there and identity(output) in {identity(name) for name in inputs}:
        raise InputError(f"{output}: would replace an input; choose another -o")


def _load(file: str) -> Style:
    style = Style.load(file)
    return style if style.source else Style(style.mean, style.std, style.encoder_id, Path(file).name)


def _range(values: np.ndarray) -> list[float]:
    return [float(values.min()), float(values.max())]


def _save(style: Style, path: Path, as_json: bool) -> None:
    style.save(path)
    if as_json:
        console.print_json({"output": str(path), "encoder_id": style.encoder_id, "channels": style.channels})
    else:
        facts = f"{2 * style.channels} numbers, encoder {style.encoder_id}, from {style.source}"
        print(console.plain(f"wrote {path} ({facts})"))
