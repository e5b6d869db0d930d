"""``parity.html``: a run on one page that needs nothing else, neither network nor files beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from adain_parity.case_section import anchor, case_section, used_style, verdict_class
from adain_parity.embedded_pictures import EmbeddedPictures, Shown, embed_pictures
from adain_parity.overview import (
    VERDICTS,
    case_pictures,
    case_title,
    count_cases,
    counts,
    duration_text,
    headline,
    matrix_rows,
    worst_first,
)
from adain_parity.results import DIFFERENCE_GAIN, Case, Run, Verdict
from adain_parity.tolerance_used import case_used
from adain_runtime.backends.onnx import short_name

_PARTS = Path(__file__).with_name("page")
_OPEN = 8
"""This many of the worst bad cases are unfolded at first."""
_LETTER, _SQUARE = 7.5, 29  # CSS pixels: of the matrix's type, and of a square with its gap
SIGNS: Mapping[Verdict, str] = {
    "passed": "",
    "failed": "\u00d7",
    "skipped": "\u2013",
    "crashed": "!",
    "timed out": "\u2026",
    "built": "\u25ab",
}
_WORDS: Mapping[Verdict, str] = {"passed": "passed, with 45% of its tolerance used", "built": "built, not run"}


def parity_page(run: Run, folder: Path) -> str:
    """The page of a run.

    Args:
        run: what was found.
        folder: what the paths of its pictures are relative to; a picture that isn't there is named on the page.
    """
    ordered = worst_first(run)
    pictures = embed_pictures(ordered, folder)
    fields = {
        "title": escape(f"Parity: {headline(run)}"),
        "headline": escape(headline(run)),
        "sentence": escape(_sentence(run)),
        "tally": _tally(run),
        "matrix": _matrix(run.cases),
        "legend": _legend(),
        "filters": _filters(run.cases),
        "notes": _notes(pictures),
        "cases": _cases(run, ordered, pictures),
        "command": escape(run.command),
        "versions": _versions(run),
        "gain": str(DIFFERENCE_GAIN),
        "pictures": json.dumps(pictures.uris).replace("<", "\\u003c"),
        "css": _asset("page.css"),
        "js": _asset("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: fields[mark[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _sentence(run: Run) -> str:
    reference = run.reference
    made = run.when.replace("T", " ").replace("Z", " UTC")
    models = len({case.model for case in run.cases})
    return (
        f"Matrix {run.matrix}: {count_cases(len(run.cases))} of {models} {'network' if models == 1 else 'networks'} in "
        f"{duration_text(run.seconds)}, {made}. "
        f"Reference: {reference.backend} {reference.version} in {reference.dtype} on {reference.device}."
    )


def _tally(run: Run) -> str:
    found = counts(run.cases)
    return "\n".join(
        f'<button type="button" class="{verdict_class(verdict)}{"" if found[verdict] else " none"}" value="{verdict}" '
        f'aria-pressed="false"><span class="sign" aria-hidden="true">{_sign(verdict)}</span>'
        f"<b>{found[verdict]}</b> {'built, not run' if verdict == 'built' else verdict}</button>"
        for verdict in VERDICTS
        if found[verdict] or verdict in ("passed", "failed")
    )


def _sign(verdict: Verdict) -> str:
    return SIGNS[verdict] or "\u2713"


def _matrix(cases: Sequence[Case]) -> str:
    models = dict.fromkeys(case.model for case in cases)
    return "\n".join(_model(model, [case for case in cases if case.model == model]) for model in models)


def _model(model: str, cases: Sequence[Case]) -> str:
    """A model's table: what ran it down, what it painted across, with a level of heads for all that varies."""
    columns = list(dict.fromkeys(_painted(case) for case in cases if not case.only_built)) or [("",) * 4]
    levels = [i for i in range(4) if len({column[i] for column in columns}) > 1] or [0]
    lines = ['<div class="matrix">', f"<table><caption>{escape(model)}</caption><thead>"]
    for last in range(1, len(levels) + 1):
        cells = _heads([tuple(column[level] for level in levels[:last]) for column in columns])
        lines.append(f"<tr><td></td>{cells}</tr>")
    lines.append("</thead><tbody>")
    for row in matrix_rows(cases):
        asked = f" <small>{escape(short_name(row.provider))}</small>" if row.provider else ""
        lines.append(f'<tr><th scope="row">{escape(row.backend)}{asked} {escape(row.kind)}</th>')
        if row.only_built:
            here = f'<span class="built">{"".join(map(_cell, row.cases))} {escape(_builds(row.cases))}</span>'
            lines.append(f'<td colspan="{len(columns)}">{here}</td></tr>')
            continue
        for column in columns:
            here = "".join(_cell(case) for case in row.cases if _painted(case) == column)
            lines.append(f"<td>{here}</td>")
        lines.append("</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def _builds(cases: Sequence[Case]) -> str:
    """What stands beside the squares of cases that are not run: narrow, as a matrix may have one column."""
    verdicts = list(dict.fromkeys(case.verdict for case in cases))
    return "not run" if verdicts == ["built"] else ", ".join(verdicts)


def _painted(case: Case) -> tuple[str, str, str, str]:
    return f"{case.height}x{case.width}", case.content, case.style, f"alpha {case.alpha:g}"


def _heads(columns: Sequence[tuple[str, ...]]) -> str:
    """One row of column heads: equal neighbours share one, and where a name has no room all stand upright."""
    groups = [(key, len(list(alike))) for key, alike in groupby(columns)]
    upright = any(_LETTER * len(key[-1]) > _SQUARE * span for key, span in groups)
    kind = ' class="upright"' if upright else ""
    return "".join(
        f'<th scope="colgroup" colspan="{span}"{kind}><span>{escape(key[-1])}</span></th>' for key, span in groups
    )


def _cell(case: Case) -> str:
    what = escape(
        f"{case.verdict}: {case_title(case)}, {case_pictures(case)}" + (f". {case.reason}" if case.reason else "")
    )
    return (
        f'<a class="cell {verdict_class(case.verdict)}" href="#{anchor(case)}" title="{what}" aria-label="{what}"'
        f"{used_style(case_used(case)) if case.verdict == 'passed' else ''}>{SIGNS[case.verdict]}</a>"
    )


def _legend() -> str:
    shown = [(verdict, "" if verdict != "passed" else ' style="--used:45%"') for verdict in VERDICTS]
    return "\n".join(
        f'<li><span class="cell {verdict_class(verdict)}"{style} aria-hidden="true">{SIGNS[verdict]}</span>'
        f"{_WORDS.get(verdict, verdict)}</li>"
        for verdict, style in shown
    )


def _filters(cases: Sequence[Case]) -> str:
    def select(name: str, every: str, values: Iterable[str]) -> str:
        options = "".join(
            f'<option value="{escape(value)}">{escape(value)}</option>' for value in dict.fromkeys(values)
        )
        return f'<select name="{name}" aria-label="{name}"><option value="">{every}</option>{options}</select>'

    return "\n".join(
        (
            select("backend", "every backend", (case.backend for case in cases)),
            select("precision", "every precision", (case.precision for case in cases)),
            select("model", "every model", (case.model for case in cases)),
        )
    )


def _notes(pictures: EmbeddedPictures) -> str:
    notes = []
    if pictures.missing:
        named = ", ".join(pictures.missing[:3]) + (" and others" if len(pictures.missing) > 3 else "")
        notes.append(f"{len(pictures.missing)} pictures are not where the run says they are: {named}")
    if pictures.reduced:
        notes.append(
            f"{pictures.reduced} pictures of the cases that come last are reduced, so that the page stays light"
        )
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>' if notes else ""


def _cases(run: Run, ordered: Sequence[Case], pictures: EmbeddedPictures) -> str:
    in_matrix = {case.id: i for i, case in enumerate(run.cases)}
    return "\n".join(
        case_section(
            case,
            pictures.shown.get(case.id, Shown()),
            sign=_sign(case.verdict),
            unfolded=case.bad and place < _OPEN,
            places=(place, in_matrix[case.id]),
        )
        for place, case in enumerate(ordered)
    )


def _versions(run: Run) -> str:
    machine = run.machine
    memory = {} if machine.memory_bytes is None else {"memory": f"{machine.memory_bytes / 2**30:.0f} GiB"}
    facts = {
        **run.tools,
        "system": machine.system,
        "processor": machine.processor,
        "cores": str(machine.cores),
        **memory,
    }
    if run.required:
        facts["required"] = ", ".join(run.required)
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
