"""A run in Markdown, for the summary of a CI job or a comment on a change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from adain_parity.overview import (
    Group,
    builds_text,
    case_pictures,
    case_title,
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
from adain_parity.results import Case, Run
from adain_parity.tolerance_used import case_used

_SHOWN = 20
"""Cases that are named; a job's summary may have a mebibyte, and a person reads a screen."""
_LONGEST = 300


def markdown_summary(run: Run) -> str:
    """The verdict, the groups, what didn't pass and why, and what was skipped and why."""
    lines = [f"## {_text(headline(run))}", ""]
    made = groups(run)
    if made:
        head = ("backend", "precision", "model", "passed", "of its tolerance", "PSNR", "max abs")
        lines += markdown_table(head, map(_group_cells, made), right=3)
    bad = not_passed(run)
    if bad:
        lines += ["", "### Not passed", ""]
        rows = (
            (case.verdict, case_title(case), case_pictures(case), share_text(case_used(case)), _why(case))
            for case in bad[:_SHOWN]
        )
        lines += markdown_table(("verdict", "what", "pictures", "of its tolerance", "why"), rows)
        if len(bad) > _SHOWN:
            lines += ["", f"and {len(bad) - _SHOWN} more, in parity.html"]
    if built := [case for case in run.cases if case.verdict == "built"]:
        lines += ["", f"Built, not run: {_text(builds_text(built))}"]
    if skipped := skips(run.cases):
        lines += ["", f"<details><summary>{sum(len(cases) for _, cases in skipped)} skipped</summary>", ""]
        why = ((", ".join(dict.fromkeys(c.backend for c in of)), str(len(of)), reason) for reason, of in skipped)
        lines += [*markdown_table(("backend", "cases", "why"), why), "", "</details>"]
    lines += [
        "",
        f"<sub>`{_code(run.command)}`, {duration_text(run.seconds)}; reference {_text(run.reference.backend)} "
        f"{_text(run.reference.version)} in {run.reference.dtype}, {_text(run.machine.processor)}</sub>",
    ]
    return "\n".join(lines) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: int | None = None) -> list[str]:
    """The lines of a table; all text in it is taken as it is.

    Args:
        head: of the columns.
        rows: as many cells each.
        right: the columns from this one on are set flush right.
    """
    rule = ["---" if right is None or i < right else "--:" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *([_text(cell) for cell in row] for row in rows))]


def _group_cells(group: Group) -> tuple[str, ...]:
    return (
        group.runner,
        group.kind,
        group.model,
        f"{group.passed} of {len(group.cases)}",
        "not run" if group.built else share_text(group.used),
        psnr_text(group.psnr, group.max_abs),
        small_text(group.max_abs),
    )


def _why(case: Case) -> str:
    blame = f" Blamed: {case.blame.sentence}" if case.blame else ""
    text = f"{case.reason}{'.' if blame else ''}{blame}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1].rstrip()}\u2026"


def _text(value: str) -> str:
    """Text that means nothing in Markdown and HTML, on one line."""
    plain = " ".join(printable(value).split())
    return re.sub(r"([\\`*_\[\]|~#<>&@])", lambda mark: f"&#{ord(mark[1])};", plain)


def _code(value: str) -> str:
    return " ".join(printable(value).split()).replace("`", "'")
