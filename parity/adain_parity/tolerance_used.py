"""How much of its tolerance a measurement uses: the one number by which unlike metrics and cases can be put in order.

0 is equal to the reference, 1 is at the limit, 2 is twice the error that is allowed. Decibels are compared as the
errors that they stand for, and numbers that are good at 1 (SSIM, cosine) by what they lack to it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf

from adain_parity.results import NOT_FINITE, Case, Metrics, Part, PartName

METRICS = tuple(field.name for field in fields(Metrics))
_GOOD_AT_ONE = ("ssim", "cosine")


@dataclass(frozen=True)
class Used:
    """The measurement that comes nearest to its limit, or is furthest beyond it.

    Attributes:
        share: of the tolerance; infinite where a value is not finite or where none is allowed.
        part: which part was measured.
        metric: a field of `Metrics`, ``finite`` where a value was not, or ``result`` where none came out.
    """

    share: float
    part: PartName
    metric: str


_MOST_DIGITS = 300  # of what a float holds


def share(metric: str, found: float | None, limit: float | None) -> float | None:
    """The share of a tolerance that one number uses; None where there is no number or no limit.

    Args:
        metric: a field of `Metrics`.
        found: the measurement.
        limit: what it may be.
    """
    if found is None or limit is None:
        return None
    if metric == "psnr":
        return float(10 ** min((limit - found) / 20, _MOST_DIGITS))
    error, allowed = (1 - found, 1 - limit) if metric in _GOOD_AT_ONE else (abs(found), limit)
    if allowed > 0:
        return max(0.0, error / allowed)
    return inf if error > 0 else 0.0


def part_used(part: Part, limits: Metrics | None = None) -> Used | None:
    """The tightest of a part's numbers; None where nothing was measured that has a limit.

    Args:
        part: what was measured.
        limits: others than the part's own, to see two runs by one measure.
    """
    if not part.finite:
        return Used(inf, part.part, "finite" if NOT_FINITE in part.failures else "result")
    held = limits or part.limits
    shares = ((metric, share(metric, getattr(part.found, metric), getattr(held, metric))) for metric in METRICS)
    found = [Used(value, part.part, metric) for metric, value in shares if value is not None]
    return max(found, key=lambda used: used.share, default=None)


def case_used(case: Case) -> Used | None:
    """The tightest number of all of a case's parts; None where nothing was measured."""
    found = [used for used in map(part_used, case.parts) if used is not None]
    return max(found, key=lambda used: used.share, default=None)
