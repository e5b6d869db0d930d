"""A run on a terminal of 80 columns: the groups with the worst first, then every case that didn't pass and why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from adain_parity.overview import (
    Group,
    builds_text,
    case_pictures,
    case_title,
    count_cases,
    duration_text,
    groups,
    headline,
    not_passed,
    printable,
    psnr_text,
    share_text,
    skips,
    small_text,
)
from adain_parity.results import Case, Run, Verdict
from adain_runtime.cli import console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_STYLES: dict[Verdict, str] = {
    "passed": "green",
    "failed": "bold red",
    "crashed": "bold red",
    "timed out": "bold yellow",
    "skipped": "yellow",
    "built": "cyan",
}
_SHOWN = 30


def renderables(run: Run) -> list[RenderableType]:
    """What is printed of a run, for `rich` to wrap at the terminal's width."""
    from rich.text import Text

    parts: list[RenderableType] = []
    made = groups(run)
    if made:
        heads = ("backend", "precision", "model", "passed", "tolerance", "PSNR", "max abs")
        title = f"{run.matrix}: {count_cases(len(run.cases))} in {duration_text(run.seconds)}"
        parts.append(console.table(title, heads, map(_cells, made), right="passed tolerance PSNR max abs"))
    bad = not_passed(run)
    for case in bad[:_SHOWN]:
        parts += _block(case)
    if len(bad) > _SHOWN:
        parts.append(Text(f"and {len(bad) - _SHOWN} more: see parity.html\n"))
    if built := [case for case in run.cases if case.verdict == "built"]:
        parts.append(Text.assemble(("built, not run", "cyan"), f": {builds_text(built)}"))
    required = {case.id for case in run.missing}
    for reason, cases in skips([case for case in run.cases if case.id not in required]):
        backends = ", ".join(dict.fromkeys(case.backend for case in cases))
        parts.append(Text.assemble(("skipped ", "yellow"), f"{len(cases)} of {backends}: {reason}"))
    good = run.exit_code == 0 and any(run.cases)
    parts.append(Text(f"\n{headline(run)}", style="bold green" if good else "bold red"))
    return parts


def show_run(run: Run) -> None:
    """Print a run on stdout."""
    console.show(*renderables(run))


def _cells(group: Group) -> tuple[str, ...]:
    return (
        group.runner,
        group.kind,
        group.model,
        f"{group.passed}/{len(group.cases)}",
        "not run" if group.built else share_text(group.used),
        psnr_text(group.psnr, group.max_abs),
        small_text(group.max_abs),
    )


def _block(case: Case) -> list[RenderableType]:
    from rich.text import Text

    lines: list[RenderableType] = [
        Text.assemble((case.verdict, _STYLES[case.verdict]), "  ", (case_title(case), "bold"))
    ]
    details = [case_pictures(case), case.reason, case.blame.sentence if case.blame else ""]
    words = printable(case.last_words).splitlines()[-3:]
    lines += [indented(Text(line)) for line in (*filter(None, details), *words)]
    return [*lines, Text()]


def indented(text: Text) -> RenderableType:
    """A paragraph under a heading: wrapped on a terminal, one line elsewhere, so that a log can be searched."""
    from rich.padding import Padding

    return Padding(text, (0, 0, 0, 2)) if sys.stdout.isatty() else text.__class__.assemble("  ", text)
