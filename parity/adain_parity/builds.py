"""Cases that are built and not run: engines for a GPU that isn't here (`adain_parity.engines`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Literal

from adain_parity.engines import CAPABILITY
from adain_parity.matrix import Limits
from adain_parity.plan import Planned
from adain_parity.processes import outcome_of, start
from adain_parity.results import Case
from adain_parity.worker import Job, Outcome


def built_case(plan: Planned, work: Path, limits: Limits) -> Case:
    """Build what a case plans, in a process of its own.

    Args:
        plan: of a builder; it has a bundle.
        work: folder of the case.
        limits: of its process.
    """
    begun = perf_counter()
    job = Job(
        "build",
        plan.row.name,
        str(work / "build.json"),
        model=str(plan.artefact),
        provider=plan.case.provider,
        sizes=plan.sizes,
    )
    ended = start(job, work, limits)
    case = replace(plan.case, last_words=ended.last_words, peak_bytes=ended.peak_bytes)
    if ended:
        case = _judged(case, outcome_of(job))
    else:
        how: Literal["timed out", "crashed"] = "timed out" if ended.how == "timed out" else "crashed"
        case = replace(case, verdict=how, reason=ended.reason)
    return replace(case, seconds=round(perf_counter() - begun, 3))


def _judged(case: Case, outcome: Outcome) -> Case:
    if outcome.unavailable:
        return replace(case, verdict="skipped", reason=outcome.unavailable, last_words="")
    if outcome.errors:
        reason = "; ".join(f"{part}: {error}" for part, error in outcome.errors.items())
        return replace(case, verdict="failed", reason=reason, device=outcome.device)
    parts = ", ".join(outcome.seconds)
    return replace(
        case,
        verdict="built",
        reason=f"{parts} parsed and built for compute capability {case.provider or CAPABILITY} "
        f"({outcome.built_bytes / 1e6:.1f} MB), not run",
        device=outcome.device,
        last_words="",
    )
