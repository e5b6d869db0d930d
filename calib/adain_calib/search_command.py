"""``adain-calib search``: the largest set of int8 convolutions that keeps a target, as a new calibration."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from adain_calib.scoring import Scores
from adain_calib.search import Found, check_target, search
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
    check_json_path,
    prepare,
)
from adain_export.calibration import Calibration, inner_layers, int8_macs
from adain_export.searched import Searched
from adain_model.cost import mac_shares
from adain_runtime.cli import console
from adain_runtime.results import command_line, spell_command

Target = Annotated[
    float, typer.Option("--target-psnr", help="dB to keep: mean over the pairs of int8's image against the float one.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The calibration to write. Default: CALIBRATION-searched.json, here.", show_default=False
    ),
]


def search_command(
    calibration: CalibrationFile,
    checkpoint: Checkpoint = None,
    *,
    content: Content,
    style: StyleFolder,
    target_psnr: Target = 35.0,
    method: MethodName = None,
    pairs: Count = PAIRS,
    seed: Seed = SEED,
    output: Output = None,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Find the convolutions that can be int8 at a PSNR; the first and the last stay float."""
    check_target(target_psnr)
    output = Path(f"{calibration.stem}-searched.json") if output is None else output
    check_json_path("-o", output)
    tested = prepare(calibration, checkpoint, content, style, method=method, pairs=pairs, seed=seed)
    shares = mac_shares(tested.network)
    inner = inner_layers(tuple(tested.calibration.layers))
    with console.progress() as bar:
        run = tested.simulator()
        task = bar.add_task("layers", total=len(inner))
        alone = {}
        for layer in inner:
            alone[layer] = run([layer])
            bar.advance(task)
        task = bar.add_task("sets", total=None)

        def score(layers: Collection[str]) -> Scores:
            bar.advance(task)
            return run(layers)

        found = search(alone, {layer: shares[layer] for layer in inner}, score, target_psnr)
    record = _record(tested, found, target_psnr)
    made = replace(tested.calibration, int8=found.layers, search=record)
    made.save(output)
    given = [] if checkpoint is None else [str(checkpoint)]
    following = spell_command(["adain-export", "onnx", *given, "--int8", "--calibration", str(output)])
    if as_json:
        result = {"command": command_line()} | tested.described()
        result |= {"searched": str(output), "sha256": made.digest, "sets_run": run.runs, "next": following}
        console.print_json(result | {"int8": list(made.int8), "float": _floats(made), "search": record.to_json()})
        return
    rows = [
        ("in int8", f"{len(made.int8)} of {len(made.layers)} convolutions"),
        ("multiply-accumulates in int8", f"{100 * record.int8_macs:.1f}%"),
        ("PSNR, mean", f"{record.psnr:.2f} dB (target {target_psnr:g})"),
        ("PSNR, worst pair", f"{record.worst_psnr:.2f} dB"),
        ("SSIM, mean", f"{record.ssim:.4f}"),
        ("stay float", "\n".join(_floats(made))),
    ]
    title = f"{made.network}: the largest set found, {tested.where()}, {run.runs} sets run"
    console.show(console.table(title, ("", "found"), rows), f"wrote {output}; next: {following}")


def _record(tested: Tested, found: Found, target: float) -> Searched:
    return Searched(
        target_psnr=target,
        psnr=found.scores.mean_psnr,
        worst_psnr=found.scores.worst_psnr,
        ssim=found.scores.mean_ssim,
        int8_macs=int8_macs(tested.network, found.layers),
        pairs=tested.pairs.digest,
        samples=len(tested.pairs.samples),
    )


def _floats(made: Calibration) -> list[str]:
    return [layer for layer in made.layers if layer not in made.int8]
