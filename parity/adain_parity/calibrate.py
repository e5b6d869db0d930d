"""Limits from measurements: the worst of every number over the cases of some runs, and a margin."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from adain_export.target import BYTES
from adain_export.tolerances import AT_LEAST, PARTS
from adain_parity.overview import count_cases
from adain_parity.results import Case, Run
from adain_runtime.errors import InputError

MARGIN = 4.0
_FLOORS = {"statistics": 1e-6, "composition": 1e-6}  # below is rounding of one float32, whatever the runtime
_LAYER = "layer"
_EXACT_COSINE = 1e-9  # of 1: below is rounding of the cosine itself


@dataclass(frozen=True)
class Worst:
    """The worst of a metric: its value and the case that had it."""

    value: float
    case: str


Group = tuple[str, str]
"""Backend, and the label that its limits are looked up by."""
Found = Mapping[Group, Mapping[str, Mapping[str, Worst]]]
"""By group, part (or ``layer``) and metric."""


def worst_of(runs: Sequence[Run]) -> Found:
    """The worst numbers of every backend's label, by part and metric.

    Cases that crashed, ran out of time or gave values that are not finite have no numbers and don't count; that a case
    failed doesn't keep it out, since a calibration may be made to find out what its limits should be. Nor do those that
    `left_out` tells of.

    Raises:
        InputError: no case has any number that counts.
    """
    found: dict[Group, dict[str, dict[str, Worst]]] = {}
    for case in (case for run in runs for case in run.cases if not _is_derived(case)):
        for part, metric, value in _numbers(case):
            metrics = found.setdefault((case.backend, _label(case)), {}).setdefault(part, {})
            if metric not in metrics or _is_worse(metric, value, metrics[metric].value):
                metrics[metric] = Worst(value, case.id)
    if not found:
        why = "; ".join(left_out(runs)) or "look at their reasons first"
        raise InputError(f"no case of these runs has numbers to calibrate tolerances on; {why}")
    return found


def left_out(runs: Sequence[Run]) -> tuple[str, ...]:
    """Why cases with numbers give no limits, a line each: a table for images of bytes would never be looked up."""
    many = Counter(
        (case.backend, case.precision) for run in runs for case in run.cases if _is_derived(case) and case.parts
    )
    return tuple(
        f"{backend} {label} left out ({count_cases(cases)}): its limits are those of {label.removesuffix(BYTES)}, "
        "loosened for images of bytes"
        for (backend, label), cases in many.items()
    )


def proposal(found: Found, margin: float = MARGIN) -> str:
    """Tables for ``tolerances.toml``: every limit with the measurement that it comes from.

    A difference may be ``margin`` times the worst seen; a PSNR ``20 log10(margin)`` dB lower, which is the same; a
    similarity ``margin`` times as far from 1.
    """
    lines = [f"# Worst seen, and {margin:g} times that; written by adain-parity calibrate-tolerances."]
    for (backend, label), parts in found.items():
        lines += ["", f"[{backend}.{label}]"]
        for worst in parts.get(_LAYER, {}).values():
            lines.append(_line(_LAYER, worst, margin))
        for part in PARTS:
            lines += ["", f"[{backend}.{label}.{part}]"]
            lines += [_line(metric, worst, margin) for metric, worst in parts.get(part, {}).items()]
    return "\n".join(lines) + "\n"


def limit_of(metric: str, worst: float, margin: float = MARGIN) -> float:
    """A metric's limit from the worst that was seen, rounded to two digits away from it."""
    if metric == "psnr":
        return float(math.floor(worst - 20 * math.log10(margin)))
    if metric in AT_LEAST:
        gap = max(1 - worst, _EXACT_COSINE) * margin
        return 1 - _rounded_up(gap)
    return _rounded_up(max(abs(worst) * margin, _FLOORS.get(metric, 1e-7)))


def _line(metric: str, worst: Worst, margin: float) -> str:
    return f"{metric} = {limit_of(metric, worst.value, margin):.10g}  # {worst.value:.3g} in {worst.case}"


def _rounded_up(value: float) -> float:
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.2g}")


def _is_worse(metric: str, value: float, than: float) -> bool:
    return value < than if metric in AT_LEAST else abs(value) > abs(than)


def _label(case: Case) -> str:
    """What the limits of a case are looked up by."""
    return case.accuracy or case.precision


def _is_derived(case: Case) -> bool:
    """Whether no table holds its limits, since `limits_of` makes them of another label's."""
    return _label(case).endswith(BYTES)


def _numbers(case: Case) -> Iterator[tuple[str, str, float]]:
    for part in case.parts:
        for metric, value in _measured(asdict(part.found)):
            yield part.part, metric, value
    if case.blame is not None:
        errors = [layer.error for layer in case.blame.curve if layer.error is not None]
        if errors:
            yield _LAYER, _LAYER, max(errors)


def _measured(values: Mapping[str, float | None]) -> Iterable[tuple[str, float]]:
    return ((name, value) for name, value in values.items() if value is not None)
