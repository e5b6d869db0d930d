"""``adain-calib collect``: from a checkpoint and two folders of images to calibration.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adain_calib.histogram import Histogram
from adain_calib.images import ImageFolder, find_again, open_folder
from adain_calib.improve import Attempt, Work
from adain_calib.pairs import RECOMMENDED, Pairs, draw_pairs, plain_pairs, style_uses
from adain_calib.ranges import PERCENTILE, check_percentile, clipped_share
from adain_calib.scoring import Judge
from adain_calib.tested import check_json_path
from adain_export.calibration import Calibration
from adain_export.layer_range import METHODS, method_named
from adain_model.checkpoint import embedded_checkpoint, load_network
from adain_model.samples import sample_folder
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.results import spell_command

if TYPE_CHECKING:
    from rich.table import Table

    from adain_runtime.spec import NetworkSpec

PAIRS, SIZE, SEED = 128, 256, 0

Checkpoint = Annotated[
    Path | None, typer.Argument(help="FILE.safetensors or an embedded name. Default: lite.", show_default=False)
]
Content = Annotated[
    Path | None,
    typer.Option("--content", help="Folder of photos. Default: the package's few samples.", show_default=False),
]
StyleFolder = Annotated[
    Path | None,
    typer.Option("--style", help="Folder of paintings and textures. Default: likewise.", show_default=False),
]
Count = Annotated[
    int | None,
    typer.Option("--pairs", help=f"How many pairs; {RECOMMENDED} or more. Default: {PAIRS}.", show_default=False),
]
Size = Annotated[
    int | None, typer.Option(help=f"Pixels of an image's shorter side, at most. Default: {SIZE}.", show_default=False)
]
Seed = Annotated[int | None, typer.Option(min=0, help=f"Of the pairs. Default: {SEED}.", show_default=False)]
MethodName = Annotated[
    str,
    typer.Option("--method", help=f"Whose ranges exports take: {', '.join(METHODS)}; adain-calib search tries others."),
]
Percentile = Annotated[float, typer.Option(help="Of the method percentile, in percent.")]
Plain = Annotated[bool, typer.Option("--plain", help="Contents decoded as themselves, no styles: to compare with.")]
Signed = Annotated[
    bool, typer.Option("--signed", help="Codes symmetric about zero after a ReLU too, which leaves half unused.")
]
SavePairs = Annotated[Path | None, typer.Option(help="Also write the list of pairs, for --repeat.", show_default=False)]
Repeat = Annotated[
    Path | None, typer.Option(help="Take the pairs of such a list; the images must be the same.", show_default=False)
]
Equalise = Annotated[
    bool, typer.Option("--equalise", help="Move scales between layers, if that raises the PSNR on other images.")
]
CorrectBias = Annotated[
    bool, typer.Option("--correct-bias", help="Add to biases what rounding takes, if that raises it too.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Of ONNX Runtime. Default: its choice.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="The calibration to write.")]


def collect_command(
    *,
    checkpoint: Checkpoint = None,
    content: Content = None,
    style: StyleFolder = None,
    pairs: Count = None,
    size: Size = None,
    seed: Seed = None,
    method: MethodName = "mse",
    percentile: Percentile = PERCENTILE,
    plain: Plain = False,
    signed: Signed = False,
    save_pairs: SavePairs = None,
    repeat: Repeat = None,
    equalise: Equalise = False,
    correct_bias: CorrectBias = False,
    threads: Threads = None,
    output: Output = Path("calibration.json"),
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Find the range of what enters every convolution, over pairs of content and style."""
    chosen_method = method_named("--method", method)
    check_percentile(percentile)
    _check_outputs(output, save_pairs, repeat)
    if plain and (equalise or correct_bias):
        raise InputError("--equalise and --correct-bias are judged on stylised images, and --plain has none")
    network = load_network(checkpoint or embedded_checkpoint())
    if repeat is None:
        chosen, contents, styles = _drawn(network.spec, content, style, pairs, size, seed, plain=plain)
    else:
        _refuse_with_repeat(pairs=pairs, size=size, seed=seed, plain=plain or None, save_pairs=save_pairs)
        chosen, contents, styles = _repeated(repeat, content, style)
    notes = [*contents.notes(), *(styles.notes() if styles else []), *chosen.warnings()]
    for note in notes:
        console.say(f"note: {note}")
    work = Work(network, chosen, contents, styles, chosen_method, percentile, threads, signed)
    held = work.held_out() if equalise or correct_bias else None
    if save_pairs is not None:
        chosen.save(save_pairs)
    with console.progress() as bar:
        made, found = work.collected(bar)
        attempts = []
        if held is not None:
            judge = Judge(network, held)
            if equalise:
                made, found, attempt = work.equalised(made, found, judge, bar)
                attempts.append(attempt)
            if correct_bias:
                made, attempt = work.bias_corrected(made, judge, bar)
                attempts.append(attempt)
    for attempt in attempts:
        console.say(f"note: {attempt}")
    made.save(output)
    given = [] if checkpoint is None else [str(checkpoint)]
    following = spell_command(["adain-export", "onnx", *given, "--int8", "--calibration", str(output)])
    if as_json:
        console.print_json(_result(made, found, output, notes, attempts, following))
    else:
        console.show(_layer_table(made, found), f"wrote {output}; next: {following}")


def _drawn(
    spec: NetworkSpec,
    content: Path | None,
    style: Path | None,
    pairs: int | None,
    size: int | None,
    seed: int | None,
    *,
    plain: bool,
) -> tuple[Pairs, ImageFolder, ImageFolder | None]:
    if plain and style is not None:
        raise InputError("--plain decodes contents as themselves and takes no --style; leave one of them out")
    count, size, seed = (
        given if given is not None else other for given, other in ((pairs, PAIRS), (size, SIZE), (seed, SEED))
    )
    content_folder = _folder("content", content, style)
    contents = open_folder(content_folder, most=max(1, count), seed=seed)
    if plain:
        return plain_pairs(contents.files, count, seed=seed, size=size), contents, None
    styles = open_folder(_folder("style", style, content), most=max(1, style_uses(count)), seed=seed)
    drawn = draw_pairs(contents.files, styles.files, count, seed=seed, size=size, alpha_range=spec.alpha_range)
    return drawn, contents, styles


def _repeated(repeat: Path, content: Path | None, style: Path | None) -> tuple[Pairs, ImageFolder, ImageFolder | None]:
    chosen = Pairs.load(repeat)
    contents = find_again(_folder("content", content, style), chosen.contents)
    if chosen.styles:
        return chosen, contents, find_again(_folder("style", style, content), chosen.styles)
    if style is not None:
        raise InputError(f"{repeat}: its contents are decoded as themselves, without styles; leave --style out")
    return chosen, contents, None


def _refuse_with_repeat(**given: object) -> None:
    if named := [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]:
        raise InputError(f"--repeat takes the pairs as they are: leave {', '.join(named)} out")


def _folder(kind: Literal["content", "style"], given: Path | None, other: Path | None) -> Path:
    """The folder that was given; where none was at all, the package's samples."""
    if given is not None:
        return given
    if other is not None:
        raise InputError(
            f"no --{kind} folder; calibration wants images like those that the network will meet: give one"
        )
    samples = sample_folder(kind)
    console.say(f"note: no --{kind}: taking the package's few samples in {samples}; give a folder like your own images")
    return samples


def _check_outputs(output: Path, save_pairs: Path | None, repeat: Path | None) -> None:
    """Refuse what can't be written, or is surely not meant, before the work is done."""
    check_json_path("-o", output)
    if save_pairs is not None:
        check_json_path("--save-pairs", save_pairs)
    for option, other in (("--save-pairs", save_pairs), ("--repeat", repeat)):
        if other is not None and other.resolve() == output.resolve():
            raise InputError(f"{option} {other}: that is where the calibration goes; choose another with -o")


def _layer_table(made: Calibration, found: Mapping[str, Histogram]) -> Table:
    names = [f"p{made.origin.percentile:g}" if method == "percentile" else method for method in METHODS]
    columns = ("layer", "min", "max", *names, "clip%")
    rows = [
        (
            name,
            *(f"{value:.3g}" for value in (layer.minimum, layer.maximum)),
            *(f"{layer.ranges[method]:.3g}" for method in METHODS),
            f"{100 * clipped_share(found[name], layer.ranges[made.method]):.1g}",
        )
        for name, layer in made.layers.items()
    ]
    title = f"{made.network}: what enters each convolution, and each method's range ({made.method} chosen)"
    return console.table(title, columns, rows, right=" ".join(columns[1:]))


def _result(
    made: Calibration,
    found: Mapping[str, Histogram],
    output: Path,
    notes: list[str],
    attempts: list[Attempt],
    following: str,
) -> dict[str, object]:
    layers = {
        name: {
            "min": layer.minimum,
            "max": layer.maximum,
            "ranges": dict(layer.ranges),
            "clipped": {method: clipped_share(found[name], layer.ranges[method]) for method in METHODS},
        }
        for name, layer in made.layers.items()
    }
    return {
        "calibration": str(output),
        "sha256": made.digest,
        "pairs": made.origin.pairs,
        "method": made.method,
        "notes": notes,
        "improvements": {attempt.name: attempt.to_json() for attempt in attempts},
        "layers": layers,
        "next": following,
    }
