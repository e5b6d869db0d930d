"""What a run says in a few lines: its headline, its groups of cases, and the order in which people want to see them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from typing import get_args

from adain_parity.results import Case, Part, Run, Verdict
from adain_parity.tolerance_used import Used, case_used
from adain_runtime.backends.onnx import short_name

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_SEVERITY: Mapping[Verdict, int] = {"crashed": 0, "timed out": 1, "failed": 2, "passed": 4, "built": 5, "skipped": 6}
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
# What XML 1.0 takes, less the control characters of the second half:
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REQUIRED_SKIP = 3  # not passed, though nothing is known to be wrong


@dataclass(frozen=True)
class Group:
    """The cases of one model on one backend in one precision.

    Attributes:
        backend: the backend's name.
        provider: what was asked for; empty for the backend's own choice.
        model: the network's name.
        precision: the bundle's.
        cases: at least one, in the order of the matrix.
        bundle: the bundle's name where there are several of one precision; else empty.
    """

    backend: str
    provider: str
    model: str
    precision: str
    cases: tuple[Case, ...]
    bundle: str = ""

    @property
    def runner(self) -> str:
        """The backend with its provider, such as ``onnx (cuda)``."""
        return runner_name(self.backend, self.provider)

    @property
    def kind(self) -> str:
        """The precision, with the bundle's name where that is needed to tell two of one precision apart."""
        return f"{self.precision} ({self.bundle})" if self.bundle else self.precision

    @property
    def passed(self) -> int:
        """How many passed, or were built where that is all they are for."""
        return sum(map(bool, self.cases))

    @property
    def only_built(self) -> bool:
        """Whether these are to be built, and not run."""
        return all(case.only_built for case in self.cases)

    @property
    def built(self) -> bool:
        """Whether all of them were built, and none was run."""
        return all(case.verdict == "built" for case in self.cases)

    @property
    def used(self) -> Used | None:
        """The tightest number of all cases; None where nothing was measured."""
        found = [used for used in map(case_used, self.cases) if used is not None]
        return max(found, key=lambda used: used.share, default=None)

    @property
    def psnr(self) -> float | None:
        """The lowest of all images, in dB; None where none was measured or all are equal to the last bit."""
        return min((part.found.psnr for part in _parts(self.cases) if part.found.psnr is not None), default=None)

    @property
    def max_abs(self) -> float | None:
        """The largest difference of all images; None where none was measured."""
        return max((part.found.max_abs for part in _parts(self.cases) if part.found.max_abs is not None), default=None)


def groups(run: Run) -> tuple[Group, ...]:
    """Every model on every backend in every precision, the worst first."""
    made = matrix_rows(run.cases)
    return tuple(sorted(made, key=lambda group: min(_place(case, run.required) for case in group.cases)))


def matrix_rows(cases: Sequence[Case]) -> tuple[Group, ...]:
    """The groups of cases, in the order of the matrix."""
    found: dict[tuple[str, str, str, str], dict[str, list[Case]]] = {}
    for case in cases:
        bundles = found.setdefault((case.backend, case.provider, case.model, case.precision), {})
        bundles.setdefault(case.bundle, []).append(case)
    return tuple(
        Group(*key, tuple(of), bundle=bundle if len(bundles) > 1 else "")
        for key, bundles in found.items()
        for bundle, of in bundles.items()
    )


def worst_first(run: Run) -> tuple[Case, ...]:
    """The cases as one wants to see them: crashed, timed out, failed, required and skipped, passed, built, skipped.

    Among alike cases, those that use more of their tolerance come first.
    """
    return tuple(sorted(run.cases, key=lambda case: _place(case, run.required)))


def not_passed(run: Run) -> tuple[Case, ...]:
    """The cases that keep a run from passing, the worst first."""
    kept = {case.id for case in (*run.bad, *run.missing)}
    return tuple(case for case in worst_first(run) if case.id in kept)


def counts(cases: Iterable[Case]) -> dict[Verdict, int]:
    """How many cases have each verdict, every verdict named."""
    found = Counter(case.verdict for case in cases)
    return {verdict: found[verdict] for verdict in VERDICTS}


def headline(run: Run) -> str:
    """The verdict on a run as one sentence."""
    found = counts(run.cases)
    ran = len(run.cases) - found["skipped"] - found["built"]
    aside = [f"{found['built']} built, not run"] if found["built"] else []
    aside += [f"{found['skipped']} skipped"] if found["skipped"] else []
    if run.bad:
        return f"{len(run.bad)} of {count_cases(ran)} {_agree(len(run.bad), 'does', 'do')} not hold against PyTorch"
    if run.absent:
        verb = _agree(len(run.absent), "was", "were")
        return f"Required and not here: {', '.join(run.absent)} {verb} not compared with PyTorch"
    if run.missing:
        return (
            f"{count_cases(len(run.missing))} of a required backend {_agree(len(run.missing), 'was', 'were')} skipped"
        )
    if not ran:
        every = ["every case was skipped"] if found["skipped"] == len(run.cases) > 0 else aside
        return f"Nothing was compared: {', '.join(every) or 'no cases'}"
    first = f"All {count_cases(ran)} hold" if ran > 1 else "The one case holds"
    return "; ".join((f"{first} against PyTorch", *aside))


def skips(cases: Sequence[Case]) -> tuple[tuple[str, tuple[Case, ...]], ...]:
    """The skipped cases by their reason, the most frequent first."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        if case.verdict == "skipped":
            found.setdefault(case.reason, []).append(case)
    return tuple((reason, tuple(of)) for reason, of in sorted(found.items(), key=lambda item: -len(item[1])))


def builds_text(cases: Sequence[Case]) -> str:
    """What was built, and by what: ``3 of trt-rtx, by TensorRT for RTX 1.7.1``."""
    of = ", ".join(dict.fromkeys(case.backend for case in cases))
    return f"{len(cases)} of {of}, by {', '.join(dict.fromkeys(case.device for case in cases))}"


def runner_name(backend: str, provider: str) -> str:
    """``onnx``, or ``onnx (cuda)`` where a provider was asked for."""
    return f"{backend} ({short_name(provider)})" if provider else backend


def case_title(case: Case) -> str:
    """What ran: ``lite on onnx, int8``."""
    return f"{case.model} on {runner_name(case.backend, case.provider)}, {case.precision}"


def case_pictures(case: Case) -> str:
    """What it painted: ``192x256, chelsea after wave, alpha 0.5``; height comes first, as in a matrix file.

    Of a case that is only built: ``engines for up to 256x256``.
    """
    if case.only_built:
        return f"engines for up to {case.height}x{case.width}"
    return f"{case.height}x{case.width}, {case.content} after {case.style}, alpha {case.alpha:g}"


def share_text(used: Used | None) -> str:
    """``43%``, ``12x`` ``not finite``, ``no result``, or ``beyond`` where nothing is allowed."""
    if used is None:
        return "-"
    if isinf(used.share):
        return {"finite": "not finite", "result": "no result"}.get(used.metric, "beyond")
    return f"{100 * used.share:.0f}%" if used.share < 9.995 else f"{used.share:.0f}x"


def psnr_text(psnr: float | None, max_abs: float | None) -> str:
    """``48.3``, ``exact`` where the images are equal to the last bit, or ``-``."""
    if psnr is not None:
        return f"{psnr:.1f}"
    return "exact" if max_abs == 0 else "-"


def small_text(value: float | None) -> str:
    """``1.4e-05``, ``0`` or ``-``."""
    if value is None:
        return "-"
    return f"{value:.1e}" if value else "0"


def printable(text: str) -> str:
    """Text of a process as it may stand in a document: no colours of a terminal, no control characters."""
    return _UNPRINTABLE.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))).strip("\n")


def duration_text(seconds: float) -> str:
    """``0.8 s``, ``42 s``, ``4 min 12 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count_cases(count: int) -> str:
    """``1 case``, ``2 cases``."""
    return f"{count} case" if count == 1 else f"{count} cases"


def _place(case: Case, required: Sequence[str]) -> tuple[int, float]:
    used = case_used(case)
    severity = _SEVERITY[case.verdict]
    if case.verdict == "skipped" and case.backend in required:
        severity = _REQUIRED_SKIP
    return severity, -(used.share if used else 0.0)


def _parts(cases: Iterable[Case]) -> Iterable[Part]:
    return (part for case in cases for part in case.parts)


def _agree(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
