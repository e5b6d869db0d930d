"""``adain-calib sensitivity``: what each convolution costs alone in int8, as a table, JSON and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adain_calib.figures import sensitivity_figure
from adain_calib.sensitivity import Sensitivity, measure_layers, steps_of
from adain_calib.tested import (
    PAIRS,
    SEED,
    CalibrationFile,
    Checkpoint,
    Content,
    Count,
    MethodName,
    Seed,
    StyleFolder,
    Tested,
    prepare,
)
from adain_model.figures import require_matplotlib, save_figure
from adain_runtime.cli import console
from adain_runtime.results import command_line, make_folder, spell_command, write_json

if TYPE_CHECKING:
    from rich.table import Table

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder for sensitivity.json and sensitivity.png. Default: neither.", show_default=False
    ),
]


def sensitivity_command(
    calibration: CalibrationFile,
    checkpoint: Checkpoint = None,
    *,
    content: Content,
    style: StyleFolder,
    method: MethodName = None,
    pairs: Count = PAIRS,
    seed: Seed = SEED,
    output: Output = None,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Put one convolution after the other into int8, and measure what that costs on images."""
    if output is not None:
        require_matplotlib()
    tested = prepare(calibration, checkpoint, content, style, method=method, pairs=pairs, seed=seed)
    if output is not None:
        make_folder(output)
    with console.progress() as bar:
        score = tested.simulator()
        task = bar.add_task("layers", total=steps_of(tested.calibration))
        found = measure_layers(tested.network, tested.calibration, score, advance=lambda: bar.advance(task))
    result = {"command": command_line()} | tested.described() | as_plain(found)
    given = [str(path) for path in (calibration, checkpoint) if path is not None]
    options = ["--content", str(content), "--style", str(style), *(["--method", method] if method else [])]
    following = spell_command(["adain-calib", "search", *given, *options, "--target-psnr", "35"])
    if output is not None:
        write_json(output / "sensitivity.json", result)
        save_figure(sensitivity_figure(found, title=_title(tested)), output / "sensitivity.png")
    if as_json:
        console.print_json(result)
        return
    written = "" if output is None else f"wrote {output / 'sensitivity.json'} and .png; "
    console.show(_table(found, _title(tested)), f"{written}next: {following}")


def as_plain(found: Sensitivity) -> dict[str, Any]:
    """Sensitivities as JSON values."""
    layers = {
        name: {"macs": row.macs, "stays_float": row.stays_float, "error": row.error} | row.alone.to_json()
        for name, row in found.rows.items()
    }
    together = {
        name: {"layers": list(each.layers), "macs": each.macs} | each.scores.to_json()
        for name, each in found.together.items()
    }
    return {"layers": layers, "together": together}


def _title(tested: Tested) -> str:
    made = tested.calibration
    return f"{made.network}: one convolution at a time in int8 ({made.method} ranges), {tested.where()}"


def _table(found: Sensitivity, title: str) -> Table:
    columns = ("in int8", "MACs", "error", "PSNR", "worst", "SSIM")
    rows = [
        (
            f"{name} *" if row.stays_float else name,
            f"{100 * row.macs:.1f}%",
            f"{100 * row.error:.1f}%",
            f"{row.alone.mean_psnr:.1f}",
            f"{row.alone.worst_psnr:.1f}",
            f"{row.alone.mean_ssim:.3f}",
        )
        for name, row in found.rows.items()
    ]
    rows += [
        (
            name,
            f"{100 * each.macs:.1f}%",
            "",
            f"{each.scores.mean_psnr:.1f}",
            f"{each.scores.worst_psnr:.1f}",
            f"{each.scores.mean_ssim:.3f}",
        )
        for name, each in found.together.items()
    ]
    return console.table(f"{title}; * stays float", columns, rows, right=" ".join(columns[1:]))
