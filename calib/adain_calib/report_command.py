"""``adain-calib report``: calibrations by every method on the same pairs, as a table, JSON and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from adain_calib.report import COLUMNS, Row, cases, compare_methods, sheet_rows, shown_places
from adain_calib.scoring import Judge, Simulator, held_out
from adain_calib.tested import PAIRS, SEED, Content, Count, Seed, StyleFolder
from adain_export.calibration import Calibration
from adain_model.checkpoint import embedded_checkpoint, load_network
from adain_model.sheets import picture_grid
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file
from adain_runtime.image import save_image
from adain_runtime.results import command_line, make_folder, write_json

_LEGEND = "inner: every convolution but the first and the last; plain: images as they are; improved: its weights"
HEADS = ("file", "saw", "ranges", "int8", "MACs", "PSNR", "worst", "SSIM")


def report_command(
    calibrations: Annotated[
        list[Path], typer.Argument(metavar="CALIBRATION.json...", help="Of adain-calib collect, all of one network.")
    ],
    *,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The FILE.safetensors that they are of. Default: the embedded student.", show_default=False),
    ] = None,
    content: Content,
    style: StyleFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for report.json, report.md and sheet.png.")],
    pairs: Count = PAIRS,
    seed: Seed = SEED,
    examples: Annotated[int, typer.Option(min=1, help="Pairs on the sheet, which shows the first calibration.")] = 3,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Compare calibrations of one network, each by every method, on pairs that none of them saw."""
    made = _read(calibrations)
    network = load_network(checkpoint or embedded_checkpoint())
    for path, calibration in zip(calibrations, made.values(), strict=True):
        try:
            calibration.check(network)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    first = next(iter(made.values()))
    held = held_out(
        content,
        style,
        saw=lambda digest: any(calibration.origin.saw(digest) for calibration in made.values()),
        size=first.origin.size,
        pairs=pairs,
        seed=seed,
        alpha_range=network.spec.alpha_range,
    )
    notes = held.notes()
    for note in notes:
        console.say(f"note: {note}")
    make_folder(output)
    with console.progress() as bar:
        task = bar.add_task("calibrations", total=sum(len(list(cases(each))) for each in made.values()))
        judge = Judge(network, held)
        rows = compare_methods(network, made, judge, advance=lambda: bar.advance(task))
        pictures = sheet_rows(Simulator(network, first, judge), first.int8, shown_places(judge, examples))
    result = {
        "command": command_line(),
        "network": first.network,
        "weights_sha256": first.weights_sha256,
        "calibrations": {name: each.digest for name, each in made.items()},
        "pairs": {"sha256": held.pairs.digest, "count": len(held.pairs.samples), "size": held.pairs.size, "seed": seed}
        | {"contents": len(held.pairs.contents), "styles": len(held.pairs.styles)},
        "notes": notes,
        "rows": [row.to_json() for row in rows],
    }
    write_json(output / "report.json", result)
    with replacing_file(output / "report.md") as part:
        part.write_text(_markdown(rows), encoding="utf-8", errors="backslashreplace")  # file names need not be UTF-8
    if pictures:
        save_image(picture_grid(COLUMNS, pictures), output / "sheet.png")
    if as_json:
        console.print_json(result)
        return
    title = f"{first.network}: int8 against float32, {len(judge.samples)} held-out pairs at {held.pairs.size} pixels"
    cells = [_cells(row) for row in rows]
    console.show(console.table(title, HEADS, cells, right=" ".join(HEADS[4:])), f"{_LEGEND}; wrote {output}")


def _read(paths: Sequence[Path]) -> dict[str, Calibration]:
    """The calibrations by the names of their files.

    Raises:
        InputError: one that is not sound, two of one name, or sizes that differ.
    """
    found: dict[str, Calibration] = {}
    for path in paths:
        if path.stem in found:
            raise InputError(f"{path}: two calibrations are called {path.stem!r}, and a table needs names; rename one")
        found[path.stem] = Calibration.load(path)
    sizes = {calibration.origin.size for calibration in found.values()}
    if len(sizes) > 1:
        raise InputError(
            f"the calibrations saw images of {', '.join(map(str, sorted(sizes)))} pixels, and are tested at one size; "
            "collect them alike: adain-calib collect --size"
        )
    return found


def _cells(row: Row) -> tuple[str, ...]:
    saw = ", ".join([row.seen, *(["improved"] if row.improved else []), *([] if row.shifted else ["signed"])])
    return (
        row.calibration,
        saw,
        row.method,
        row.layers,
        f"{100 * row.macs:.1f}%",
        f"{row.scores.mean_psnr:.1f}",
        f"{row.scores.worst_psnr:.1f}",
        f"{row.scores.mean_ssim:.3f}",
    )


def _markdown(rows: Sequence[Row]) -> str:
    lines = [HEADS, ("---",) * len(HEADS), *(_cells(row) for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
