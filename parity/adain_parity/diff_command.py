"""``adain-parity diff``: what got better or worse between two runs; it fails where something that passed fails now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from adain_parity.diff import CHANGES, THRESHOLD, Comparison, Difference, compare_runs
from adain_parity.markdown import markdown_table
from adain_parity.overview import case_pictures, case_title, count_cases
from adain_parity.results import Run
from adain_parity.terminal import indented
from adain_runtime.cli import console
from adain_runtime.errors import InputError, QualityError

_QUIET = ("same", "new", "gone", "came to run")
"""Changes that are counted and not listed, unless all is asked for: a grown matrix would hide what matters."""
_HEADS = ("change", "what", "pictures", "how")


def diff_command(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.json", help="A parity.json, or the folder that it is in.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER.json", help="Another.")],
    *,
    threshold: Annotated[
        float,
        typer.Option(
            min=0.0, help="Change of the share of the tolerance from which a passing case is worse or better."
        ),
    ] = THRESHOLD,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where a case got worse, was lost or is gone, too.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="List new cases and those that are gone or the same, too.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a CI job's summary.")] = False,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Say what got better or worse between two runs; exit with 1 where something that passed fails now."""
    if markdown and as_json:
        raise InputError("--markdown and --json: stdout holds one of them; leave one out")
    found = compare_runs(Run.load(before), Run.load(after), threshold=threshold)
    listed = [each for each in found.differences if every or each.change not in _QUIET]
    listed.sort(key=lambda each: CHANGES.index(each.change))
    if as_json:
        console.print_json(_plain(found))
    elif markdown:
        typer.echo(_markdown(found, listed), nl=False)
    else:
        _show(found, listed)
    _verdict(found, strict=strict)


def _verdict(found: Comparison, *, strict: bool) -> None:
    """Fail where the second run is worse in what it was asked for.

    Raises:
        QualityError: it is; named are the first of what is.
    """
    broken = found.of("broke", "worse", "lost", "gone") if strict else found.of("broke")
    if broken:
        named = ", ".join(each.case.id for each in broken[:3]) + (" and others" if len(broken) > 3 else "")
        raise QualityError(
            f"{count_cases(len(broken))} {'worse off than before' if strict else 'passed before and not now'}: {named}"
        )


def _counted(found: Comparison) -> str:
    made = ((change, len(found.of(change))) for change in CHANGES)
    return ", ".join(f"{count} {change}" for change, count in made if count) or "no cases in either run"


def _row(each: Difference) -> tuple[str, ...]:
    return each.change, case_title(each.case), case_pictures(each.case), each.detail


def _show(found: Comparison, listed: Sequence[Difference]) -> None:
    from rich.text import Text

    styles = {"broke": "bold red", "failing": "red", "worse": "yellow", "lost": "yellow"}
    for each in listed:
        change, title, pictures, detail = _row(each)
        console.show(Text.assemble((change, styles.get(change, "green")), "  ", (title, "bold")))
        for line in filter(None, (pictures, detail)):
            console.show(indented(Text(line)))
    for note in found.notes:
        console.show(Text(f"note: {note}", style="dim"))
    console.show(Text(_counted(found), style="bold"))


def _markdown(found: Comparison, listed: Sequence[Difference]) -> str:
    lines = [f"## Parity: {_counted(found)}", ""]
    if listed:
        lines += [*markdown_table(_HEADS, map(_row, listed)), ""]
    if found.notes:
        lines += [*markdown_table(("note",), ((note,) for note in found.notes)), ""]
    return "\n".join(lines)


def _plain(found: Comparison) -> dict[str, object]:
    def share(each: Difference, place: int) -> float | str | None:
        used = each.used[place]
        if used is None:
            return None
        return used.share if used.share < float("inf") else "inf"

    return {
        "counts": {change: len(found.of(change)) for change in CHANGES},
        "notes": list(found.notes),
        "cases": [
            {
                "id": each.case.id,
                "change": each.change,
                "used_before": share(each, 0),
                "used_after": share(each, 1),
                "detail": each.detail,
            }
            for each in found.differences
        ],
    }
