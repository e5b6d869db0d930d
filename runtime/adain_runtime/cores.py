"""How many cores there are, and how several runs at once share them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


def physical_cores() -> int | None:
    """Cores that this process may use, each counted once however many threads it has; None where Linux doesn't tell."""
    if sys.platform != "linux":
        return None
    try:
        siblings = {
            (_CPUS / f"cpu{number}" / "topology" / "thread_siblings_list").read_text()
            for number in os.sched_getaffinity(0)
        }
    except OSError:
        return None
    return len(siblings)


def threads_each(threads: int | None, callers: int) -> int | None:
    """CPU threads for each of several runs at once.

    Args:
        threads: for all of them together; None takes the physical cores.
        callers: how many runs.

    Returns:
        None where there are too few, or nobody knows how many.
    """
    whole = physical_cores() if threads is None else threads
    return None if whole is None or whole < callers else whole // callers
