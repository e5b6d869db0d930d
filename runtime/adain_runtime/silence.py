"""Keeping a C library's own remarks from standard output, where a command prints its result and nothing else."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_ONE_AT_A_TIME = RLock()  # two that swap the descriptor at once would leave it swapped


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Drop what is written to file descriptor 1 meanwhile, by any library and thread of this process.

    Python's own ``sys.stdout`` is redirected with it, so nothing of ours may be printed inside, and nothing may be done
    inside that could be left out: what other threads print is lost.
    """
    with _ONE_AT_A_TIME:
        _flush()
        kept = os.dup(1)
        try:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 a device, not a path of ours
                os.dup2(nowhere.fileno(), 1)
            yield
        finally:
            _flush()  # what C still holds would else be written after the descriptor is back
            os.dup2(kept, 1)
            os.close(kept)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
    ctypes.CDLL("ucrtbase" if os.name == "nt" else None).fflush(None)
