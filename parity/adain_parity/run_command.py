"""``adain-parity run``: a matrix, or bundles, to a report and an exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from adain_parity import matrix as matrices
from adain_parity.artefacts import open_models
from adain_parity.machine import this_machine, tools
from adain_parity.plan import Planned, planned, planned_bundles
from adain_parity.report import write_report
from adain_parity.results import FILE, Case, Reference, Run, timestamp
from adain_parity.run import Settings, probe, run_cases
from adain_parity.sandbox import process_pool
from adain_parity.terminal import show_run
from adain_runtime.bundle import Bundle
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.results import command_line, make_folder

Bundles = Annotated[
    list[Path] | None,
    typer.Argument(help="Bundle folders. Default: the matrix's, exported here.", show_default=False),
]
MatrixFile = Annotated[
    Path | None,
    typer.Option("--matrix", metavar="FILE.toml", help="What to run. Default: the package's.", show_default=False),
]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint", help="FILE.safetensors of a network, beside or for the bundles; repeatable.", show_default=False
    ),
]
QuickRun = Annotated[bool, typer.Option("--quick", help="What the matrix's table `quick` says: about a minute.")]
Jobs = Annotated[int, typer.Option("-j", "--jobs", min=1, help="Cases at once.")]
Required = Annotated[
    list[str] | None,
    typer.Option("--require", metavar="BACKEND", help="Exit 3 if a case of it can't run here; repeatable."),
]
Stages = Annotated[bool, typer.Option("--stages", help="Error by depth for good cases too, not only for failed ones.")]
Exact = Annotated[bool, typer.Option("--exact", help="Compare with torch in float64, not in float32.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the report; bundles are kept there too.")]


def run_command(
    *,
    bundles: Bundles = None,
    matrix: MatrixFile = None,
    checkpoint: Checkpoints = None,
    quick: QuickRun = False,
    jobs: Jobs = 1,
    require: Required = None,
    stages: Stages = False,
    exact: Exact = False,
    output: Output = Path("parity-report"),
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Run every case of the matrix in a process of its own and compare it with PyTorch."""
    start = perf_counter()
    file = matrix or matrices.DEFAULT
    chosen = matrices.load(file)
    if quick:
        chosen = chosen.reduced()
    known = list(dict.fromkeys(row.name for row in chosen.backends))
    required = tuple(dict.fromkeys(require or ()))
    if strangers := [name for name in required if name not in known]:
        raise InputError(f"--require {', '.join(strangers)}: this matrix has {', '.join(known)}")
    if jobs > 4 * (os.cpu_count() or 1):
        raise InputError(f"-j {jobs}: at most {4 * (os.cpu_count() or 1)} on this machine")
    when, root = timestamp(), file.resolve().parent
    given = [Bundle.open(path) for path in bundles or ()]
    models = open_models([*chosen.models, *(str(path.resolve()) for path in checkpoint or ())], root)
    make_folder(output)
    with console.progress(enabled=not as_json) as bar:
        task = bar.add_task("asking the backends", total=None)
        with process_pool(jobs) as pool:
            problems = dict(zip(known, pool.map(lambda name: probe(name, chosen.limits), known), strict=True))
        if given:
            plans = planned_bundles(chosen, given, models, problems.__getitem__)
        else:
            plans = planned(
                chosen,
                models,
                root,
                output / "bundles",
                problems.__getitem__,
                jobs=jobs,
                step=lambda words: bar.update(task, description=words),
            )

        def report(done: int, total: int, what: str) -> None:
            bar.update(task, description=what, completed=done, total=total)

        settings = Settings(output, chosen.limits, jobs, stages, exact, root)
        cases = run_cases(plans, settings, report)
    made = Run(
        when=when,
        command=command_line(),
        matrix=(file.name if matrix else "default") + (" --quick" if quick else ""),
        machine=this_machine(),
        tools=tools(),
        reference=Reference("torch", tools()["torch"], "float64" if exact else "float32", "cpu"),
        cases=tuple(cases),
        required=tuple(dict.fromkeys((*required, *_unseen(plans, cases)))),
        seconds=round(perf_counter() - start, 3),
    )
    made.save(output / FILE)
    _show(made, output, as_json=as_json)
    raise typer.Exit(made.exit_code)


def _unseen(plans: Sequence[Planned], cases: Sequence[Case]) -> list[str]:
    """The backends of bundles that were given and of which no case ran: nothing was proved, and that is no success."""
    skipped: dict[Path, list[Case]] = {}
    for plan, case in zip(plans, cases, strict=True):
        if plan.given is not None:
            skipped.setdefault(plan.given, []).append(case)
    return [case.backend for of in skipped.values() if all(one.verdict == "skipped" for one in of) for case in of]


def _show(run: Run, output: Path, *, as_json: bool) -> None:
    written = (output / FILE, *write_report(run, output))
    if as_json:
        console.print_json(json.loads(run.to_json()))
        return
    show_run(run)
    console.say(f"wrote {', '.join(map(str, written))}")
