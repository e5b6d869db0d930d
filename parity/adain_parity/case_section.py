"""One case on the page of a run: a line that says what became of it, and all that is known of it beneath."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from math import isinf

from adain_parity.curve_plot import curve_svg
from adain_parity.embedded_pictures import Shown
from adain_parity.overview import case_pictures, case_title, duration_text, printable, psnr_text, share_text, small_text
from adain_parity.results import DIFFERENCE_GAIN, NOT_FINITE, Case, Part, Verdict
from adain_parity.tolerance_used import METRICS, Used, case_used, share


def case_section(case: Case, shown: Shown, *, sign: str, unfolded: bool, places: tuple[int, int]) -> str:
    """A case as a ``details`` element.

    Args:
        case: what became of it.
        shown: where its pictures are among the page's.
        sign: of its verdict.
        unfolded: whether all of it is seen at first.
        places: in the order of the worst and in the order of the matrix.
    """
    used = case_used(case)
    beyond = " beyond" if used and used.share > 1 else ""
    data = {
        "backend": case.backend,
        "precision": case.precision,
        "model": case.model,
        "verdict": case.verdict,
        "reason": case.reason,
        "worst": str(places[0]),
        "matrix": str(places[1]),
        "seconds": f"{case.seconds:.3f}",
        "text": _searched(case),
    }
    attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    lines = [
        f'<details class="case {verdict_class(case.verdict)}{beyond}" id="{anchor(case)}" {attributes}'
        f"{' open' if unfolded else ''}>",
        f'<summary><span class="sign" aria-hidden="true">{sign}</span><span class="out">{case.verdict}: </span>',
        f'<span class="what"><b>{escape(case_title(case))}</b> <span>{escape(case_pictures(case))}</span>',
        f'<span class="why">{escape(case.reason)}</span>' if case.reason else "",
        f"</span>{_gauge(case, used)}{_strip(shown)}</summary>",
        f'<div class="body">{_pictures(case, shown)}{_blame(case)}{_numbers(case)}{_words(case)}',
        f"{_below(case, shown)}</div></details>",
    ]
    return "\n".join(filter(None, lines))


def anchor(case: Case) -> str:
    """The name that a case has on the page."""
    return escape(f"case-{case.id}")


def verdict_class(verdict: Verdict) -> str:
    """The class that colours a verdict."""
    return f"is-{verdict.replace(' ', '-')}"


def used_style(used: Used | None) -> str:
    """The attribute that fills a square or a gauge by the share of the tolerance that is used."""
    if used is None:
        return ""
    percent = 100 if isinf(used.share) else min(100.0, 100 * used.share)
    return f' style="--used:{percent:.0f}%"'


def _searched(case: Case) -> str:
    blamed = (case.blame.sentence, case.blame.layer or "") if case.blame else ()
    return " ".join((case.id, case_title(case), case_pictures(case), case.verdict, case.reason, *blamed)).lower()


def _gauge(case: Case, used: Used | None) -> str:
    if used is None:
        return '<span class="gauge"></span>'
    part = case.part("stylizer") or case.part("decoder")
    decibels = psnr_text(part.found.psnr, part.found.max_abs) if part else "-"
    unit = "" if decibels in ("-", "exact") else " dB"
    text = share_text(used)
    of = " of its tolerance" if text.endswith(("%", "x")) else ""
    return (
        f'<span class="gauge"{used_style(used)}><span>{text}{of}</span><i></i>'
        f"<span>{'' if decibels == '-' else decibels + unit}</span></span>"
    )


def _strip(shown: Shown) -> str:
    places = (shown.reference, shown.backend, shown.difference)
    if all(place is None for place in places):
        return '<span class="strip"></span>'
    return f'<span class="strip" aria-hidden="true">{"".join(map(_thumb, places))}</span>'


def _thumb(place: int | None, alt: str = "") -> str:
    return "<span></span>" if place is None else f'<img data-picture="{place}" alt="{escape(alt)}">'


def _pictures(case: Case, shown: Shown) -> str:
    if case.pictures is None:
        return ""
    named = (
        ("reference", "PyTorch", shown.reference, case.pictures.reference),
        ("backend", case.backend, shown.backend, case.pictures.backend),
        ("difference", f"difference \u00d7{DIFFERENCE_GAIN}", shown.difference, case.pictures.difference),
    )
    figures = []
    for kind, caption, place, path in named:
        if place is None:
            why = "no picture came out" if path is None else f"{path} is not there"
            picture = f'<div class="nothing" style="aspect-ratio: {case.width}/{case.height}">{escape(why)}</div>'
        else:
            alt = escape(f"{caption}: {case_pictures(case)}")
            picture = (
                f'<button type="button" data-kind="{kind}" aria-label="Enlarge: {escape(caption)}">'
                f'<img data-picture="{place}" alt="{alt}"></button>'
            )
        figures.append(f'<figure data-kind="{kind}">{picture}<figcaption>{escape(caption)}</figcaption></figure>')
    return f'<div class="pictures">{"".join(figures)}</div>'


def _blame(case: Case) -> str:
    blame = case.blame
    if blame is None:
        return ""
    head = "Where it leaves its tolerance" if case.bad else "Error by depth"
    lines = [f'<div><h3>{head}</h3><p class="blame">{escape(blame.sentence)}</p>']
    if blame.stages:
        items = (
            f"<li{'' if stage else ' class=beyond'}>{stage.stage} alone {_error(stage.error)}, "
            f"allowed {stage.tolerance:.2g}</li>"
            for stage in blame.stages
        )
        lines.append(f'<ul class="stages">{"".join(items)}</ul>')
    if blame.curve:
        label = f"Relative error by depth over {len(blame.curve)} layers. {blame.sentence}"
        lines.append(f'<div class="plot">{curve_svg(blame.curve, blamed=blame.layer, label=label)}</div>')
    return "".join([*lines, "</div>"])


def _error(error: float | None) -> str:
    return "not finite" if error is None else f"{error:.2g}"


def _numbers(case: Case) -> str:
    return f'<div class="numbers">{"".join(map(_part, case.parts))}</div>' if case.parts else ""


def _part(part: Part) -> str:
    timed = "" if part.seconds is None else f", {1000 * part.seconds:.1f} ms in one run, loading included"
    lines = [
        f"<table><caption>{part.part}{timed}</caption><thead><tr><th>number</th><th class=number>found</th>"
        "<th class=number>limit</th><th class=number>used</th></tr></thead><tbody>"
    ]
    if not part.finite:
        what, said = ("finite", "not every value is") if NOT_FINITE in part.failures else ("result", "none came out")
        lines.append(f'<tr class="beyond"><th>{what}</th><td class="number" colspan="3">{said}</td></tr>')
    for metric in METRICS:
        found, limit = getattr(part.found, metric), getattr(part.limits, metric)
        if found is None and (limit is None or not part.finite):
            continue
        part_share = share(metric, found, limit)
        beyond = ' class="beyond"' if part_share is not None and part_share > 1 else ""
        used = "" if part_share is None else share_text(Used(part_share, part.part, metric))
        cells = (_value(metric, found), _value(metric, limit), used)
        row = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        lines.append(f'<tr{beyond}><th scope="row">{metric.replace("_", " ")}</th>{row}</tr>')
    return "".join([*lines, "</tbody></table>"])


def _value(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    if metric == "psnr":
        return f"{value:.1f} dB"
    if metric in ("ssim", "cosine"):
        return f"{value:.5f}"
    return small_text(value)


def _words(case: Case) -> str:
    if not case.last_words:
        return ""
    return f'<div><h3>Its last words</h3><pre class="words">{escape(printable(case.last_words))}</pre></div>'


def _below(case: Case, shown: Shown) -> str:
    memory = "" if case.peak_bytes is None else f"{case.peak_bytes / 2**20:.0f} MiB"
    took = duration_text(case.seconds) if case.verdict != "skipped" else ""
    facts = {"case": case.id, "bundle": case.bundle, "ran on": case.device, "took": took, "memory": memory}
    rows = _rows((name, value) for name, value in facts.items() if value)
    named = (("content", case.content, shown.content), ("style", case.style, shown.style))
    inputs = "".join(
        f"<figure>{_thumb(place, f'{kind}: {name}')}<figcaption>{kind}: {escape(name)}</figcaption></figure>"
        for kind, name, place in named
        if place is not None
    )
    pictures = f'<div class="inputs">{inputs}</div>' if inputs else ""
    return f'<div class="numbers">{pictures}<dl class="facts">{rows}</dl></div>'


def _rows(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
