"""What else a machine did while something was measured: a number taken beside others' work says little."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

QUIET = 0.03  # of the machine's CPU time; above it the ratios still hold and the milliseconds don't
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Load:
    """Shares of the machine's CPU time over a stretch of time, from 0 to 1.

    Attributes:
        others: taken by processes that are not ours; None where the system doesn't tell.
        stolen: taken by the machine that this one runs on.
        average: the system's load average at the end, over a minute; ours is in it.
    """

    others: float | None
    stolen: float | None
    average: float | None

    @property
    def quiet(self) -> bool | None:
        """Whether nothing much else ran; None where that isn't known."""
        if self.others is None or self.stolen is None:
            return None
        return self.others + self.stolen <= QUIET

    def __str__(self) -> str:
        if self.others is None or self.stolen is None:
            return "what else ran meanwhile is not known on this system"
        say = "quiet" if self.quiet else "NOT QUIET: trust the ratios, not the milliseconds"
        return f"others took {self.others:.0%} of the CPUs and {self.stolen:.0%} was stolen: {say}"


class LoadWatch:
    """Counts from when it is made. Children count as ours once they have ended and been waited for."""

    def __init__(self) -> None:
        self._start = (_machine(), _ours())

    def look(self) -> Load:
        """The load since the start."""
        average = None if sys.platform == "win32" else os.getloadavg()[0]
        before, now = self._start[0], _machine()
        if before is None or now is None:
            return Load(None, None, average)
        total, busy, stolen = (later - earlier for earlier, later in zip(before, now, strict=True))
        ours = (_ours() - self._start[1]) * _ticks()
        return Load(max(0.0, busy - ours) / max(total, 1), stolen / max(total, 1), average)


def _machine() -> tuple[float, float, float] | None:
    """Clock ticks of all CPUs since the machine started: all, busy for processes, stolen."""
    try:
        fields = [float(field) for field in _STAT.read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, idle, iowait, irq, softirq, stolen = fields
    busy = user + nice + system + irq + softirq
    return busy + idle + iowait + stolen, busy, stolen


def _ours() -> float:
    """CPU seconds of this process and of its children that have ended; 0 on Windows, where nobody asks further."""
    if sys.platform == "win32":
        return 0.0
    import resource

    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _ticks() -> int:
    return 1 if sys.platform == "win32" else os.sysconf("SC_CLK_TCK")
