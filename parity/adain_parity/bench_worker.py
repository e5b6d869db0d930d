"""One contender of a benchmark in a process of its own: it runs once for every line that it is sent.

Started by ``adain_parity.bench``; imports what a user's program would, so that its memory and load time are a user's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import numpy as np

PART = "stylizer"
SGEMM_SIDE = 1536


def main() -> None:
    """Obey standard input: ``run``, ``save FILE`` (a run, its image kept) and ``peak``; a JSON line back for each."""
    spec = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints does it elsewhere
    start = perf_counter()
    run, device = _sgemm() if spec["backend"] == "sgemm" else _stylizer(spec)
    image = run()
    _answer(answers, seconds=perf_counter() - start, device=device)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "peak":
            _answer(answers, bytes=peak_rss())
            continue
        start = perf_counter()
        image = run()
        seconds = perf_counter() - start
        if command == "save":
            np.save(path, image)
        _answer(answers, seconds=seconds)


def peak_rss() -> int:
    """The most memory that this process has held, in bytes."""
    if sys.platform == "win32":
        return _windows_peak()
    try:  # not getrusage: on Linux that starts from what the parent held
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _windows_peak() -> int:
    import ctypes

    class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS
        _fields_ = (
            ("size", ctypes.c_ulong),
            ("faults", ctypes.c_ulong),
            ("peak", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 7),
        )

    system = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
    system.GetCurrentProcess.restype = ctypes.c_void_p
    system.K32GetProcessMemoryInfo.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong)
    found = Counters(size=ctypes.sizeof(Counters))
    system.K32GetProcessMemoryInfo(system.GetCurrentProcess(), ctypes.byref(found), found.size)
    return int(found.peak)


def _stylizer(spec: dict[str, Any]) -> tuple[Callable[[], Any], str]:
    from adain_runtime import open_bundle

    with np.load(spec["feeds"]) as arrays:
        feeds = {name: arrays[name] for name in arrays.files}
    session = open_bundle(spec["model"], backend=spec["backend"], threads=spec["threads"], exact=spec["exact"])
    return (lambda: session.run(PART, feeds)["image"]), session.device


def _sgemm() -> tuple[Callable[[], Any], str]:
    left, right = np.random.default_rng(0).random((2, SGEMM_SIDE, SGEMM_SIDE), np.float32)
    return (lambda: left @ right), "numpy's BLAS"


def _answer(stream: IO[str], **values: object) -> None:
    print(json.dumps(values), file=stream, flush=True)


if __name__ == "__main__":
    main()
