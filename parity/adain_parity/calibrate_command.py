"""``adain-parity calibrate-tolerances``: limits proposed from runs, printed and never written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adain_parity.calibrate import MARGIN, left_out, limit_of, proposal, worst_of
from adain_parity.results import Run
from adain_runtime.cli import console
from adain_runtime.errors import InputError

Runs = Annotated[list[Path], typer.Argument(metavar="RUN.json...", help="parity.json files, or their folders.")]
Margin = Annotated[float, typer.Option(help="How many times the worst difference seen is still good.")]


def calibrate_command(
    runs: Runs, *, margin: Margin = MARGIN, as_json: console.AsJson = False, _verbose: console.Verbose = False
) -> None:
    """Propose tolerances from the worst numbers of some runs. Nothing is written: edit tolerances.toml by them.

    Make the runs with --stages, so that the limits of layers are among them.
    """
    if not 1 <= margin <= 1000:
        raise InputError(f"--margin {margin:g}: expected a number from 1 to 1000")
    loaded = [Run.load(path) for path in runs]
    found = worst_of(loaded)
    for line in left_out(loaded):
        console.say(line)
    if not as_json:
        print(proposal(found, margin), end="")
        return
    plain: dict[str, dict[str, object]] = {}
    for (backend, label), parts in found.items():
        plain.setdefault(backend, {})[label] = {
            part: {m: asdict(worst) | {"limit": limit_of(m, worst.value, margin)} for m, worst in metrics.items()}
            for part, metrics in parts.items()
        }
    console.print_json(plain)
