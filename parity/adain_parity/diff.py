"""Two runs held against each other: what broke, what was mended, what moved, what came and what went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from adain_parity.overview import count_cases, share_text
from adain_parity.results import Case, Run
from adain_parity.tolerance_used import Used, part_used

Change = Literal["broke", "mended", "worse", "better", "lost", "came to run", "gone", "new", "failing", "same"]
CHANGES: tuple[Change, ...] = get_args(Change)
THRESHOLD = 0.1


@dataclass(frozen=True)
class Difference:
    """A case in two runs.

    Attributes:
        change: ``broke`` passed and does no more; ``mended`` the other way; ``lost`` ran and is skipped; ``came to
            run`` the other way; ``gone`` and ``new`` are in one of the runs only; ``failing`` fails and didn't pass
            before; ``worse`` and ``better`` pass in both, with another share of their tolerance; ``same`` is all else.
        before: the case in the first run.
        after: the case in the second.
        used: the share of the tolerance that was and is used, both by the limits of the second run.
    """

    change: Change
    before: Case | None
    after: Case | None
    used: tuple[Used | None, Used | None] = (None, None)

    @property
    def case(self) -> Case:
        """The case as it is, or as it was where it is gone."""
        found = self.before if self.after is None else self.after
        if found is None:
            raise ValueError("a difference is of a case that is in one of two runs at least")
        return found

    @property
    def detail(self) -> str:
        """What can be said of it in a few words: the reason, or the shares of the tolerance."""
        if self.case.reason and self.change != "gone":
            return self.case.reason
        times = zip(self.used, ("before", "now"), strict=True)
        known = [f"{share_text(used)} {when}" for used, when in times if used is not None]
        return f"of its tolerance {', '.join(known)}" if known else ""


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        differences: one for each case of either run: those of the second in its order, then those that are gone.
        notes: what one should know before one believes them: other machines, versions or limits.
    """

    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    def of(self, *changes: Change) -> tuple[Difference, ...]:
        """Those with one of these changes."""
        return tuple(difference for difference in self.differences if difference.change in changes)


def compare_runs(before: Run, after: Run, *, threshold: float = THRESHOLD) -> Comparison:
    """Hold every case against the case of the same id, pictures, size and alpha in another run.

    Args:
        before: the first run.
        after: the second; its limits measure both.
        threshold: how much the share of the tolerance that a passing case uses may change before it is called worse or
            better: 0.1 is a tenth of the tolerance.
    """
    old, new = ({(case.id, *_what(case)): case for case in run.cases} for run in (before, after))
    made = [_difference(old.get(name), case, threshold) for name, case in new.items()]
    made += [Difference("gone", case, None) for name, case in old.items() if name not in new]
    return Comparison(tuple(made), tuple(_notes(before, after, made)))


def _what(case: Case) -> tuple[object, ...]:
    """What a case is of, whatever its id: ids are of letters and digits, and two pictures may share one."""
    return case.content, case.style, case.alpha, case.height, case.width


def _difference(before: Case | None, after: Case, threshold: float) -> Difference:
    if before is None:
        return Difference("new", None, after, (None, _used(after, after)))
    used = _used(before, after), _used(after, after)
    return Difference(_change(before, after, used, threshold), before, after, used)


def _change(before: Case, after: Case, used: tuple[Used | None, Used | None], threshold: float) -> Change:
    ran, runs = before.verdict != "skipped", after.verdict != "skipped"
    if ran and not runs:
        return "lost"
    if not ran and runs:
        return "failing" if after.bad else "came to run"
    if before.bad or after.bad:
        return "failing" if before.bad and after.bad else "broke" if after.bad else "mended"
    if used[0] is None or used[1] is None:
        return "same"
    moved = used[1].share - used[0].share
    return "worse" if moved > threshold else "better" if moved < -threshold else "same"


def _used(case: Case, held_to: Case) -> Used | None:
    """The tightest number of a case by the limits of another."""
    found = []
    for part in case.parts:
        other = held_to.part(part.part)
        used = part_used(part, other.limits if other is not None else None)
        if used is not None:
            found.append(used)
    return max(found, key=lambda used: used.share, default=None)


def _notes(before: Run, after: Run, differences: Sequence[Difference]) -> list[str]:
    notes = []
    if before.machine != after.machine:
        notes.append(f"other machines: {before.machine.processor} before, {after.machine.processor} now")
    old, new = ({**run.tools, "reference": f"{run.reference.version} {run.reference.dtype}"} for run in (before, after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    notes += [f"{name}: {old.get(name, 'not there')} before, {new.get(name, 'not there')} now" for name in names]
    limits = sum(_other_limits(each.before, each.after) for each in differences)
    if limits:
        notes.append(f"other limits than before in {count_cases(limits)}; the shares are by those of now")
    return notes


def _other_limits(before: Case | None, after: Case | None) -> bool:
    if before is None or after is None:
        return False
    pairs = ((part, after.part(part.part)) for part in before.parts)
    return any(other is not None and other.limits != part.limits for part, other in pairs)
