"""A process with limits: started fresh, watched, stopped where it takes too long or too much, its last words kept."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import IO

from adain_parity.matrix import Limits

_TAIL = 2000  # characters of stderr that are kept
_INTERVALS = (0.005, 0.02, 0.05)  # seconds between two looks: short at first, so that a short case ends when it ends
_MACOS_INTERVAL = 0.25  # there a look starts a process
Ending = str
_here = threading.local()  # ``stop``: an event, in the threads of a pool


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        how: ``done``, ``crashed`` or ``timed out``.
        reason: one line where it isn't done.
        last_words: the tail of what it wrote to stderr.
        seconds: from its start to its end.
        peak_bytes: largest resident memory that was seen; None where the system doesn't tell.
    """

    how: Ending
    reason: str
    last_words: str
    seconds: float
    peak_bytes: int | None

    def __bool__(self) -> bool:
        return self.how == "done"


def run_module(module: str, arguments: Sequence[str], limits: Limits, stderr: Path) -> Ended:
    """Run ``python -m MODULE ARGUMENTS`` in this interpreter's executable until it ends or is ended.

    Memory is watched as resident size, not limited as address space: the libraries here reserve many gigabytes that
    they never touch. Everything that the process started goes with it.

    Args:
        module: to run.
        arguments: of it.
        limits: of its time and memory.
        stderr: file that takes what it writes there.
    """
    start = perf_counter()
    command = [sys.executable, "-X", "faulthandler", "-m", module, *arguments]
    with stderr.open("wb") as words:
        process = subprocess.Popen(  # noqa: S603 our own interpreter on our own module
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
        )
        try:
            why, peak = _watch(process, limits, start)
        finally:
            _end(process)
    seconds = perf_counter() - start
    tail = tail_of(stderr)
    if why:
        how = "timed out" if "seconds" in why else "crashed"
        return Ended(how, why, tail, seconds, peak)
    if process.returncode:
        return Ended("crashed", describe_exit(process.returncode, tail), tail, seconds, peak)
    return Ended("done", "", tail, seconds, peak)


@contextmanager
def process_pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each run a process; where the block ends early, as by Ctrl-C, what runs is ended and no more begins.

    Args:
        jobs: processes at once.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(jobs, initializer=_here.__setattr__, initargs=("stop", stop)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set()
            raise


def describe_exit(code: int, tail: str = "") -> str:
    """How a process died: the signal by name, or the exit code and the last line that it wrote."""
    if code < 0:
        try:
            name, words = signal.Signals(-code).name, signal.strsignal(-code)
        except ValueError:
            name, words = f"signal {-code}", None
        return f"its process was killed by {name}" + (f" ({words.lower()})" if words else "")
    line = next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "")
    return f"its process ended with exit code {code}" + (f": {line}" if line else "")


def tail_of(path: Path) -> str:
    """The end of a file of text, at most 2,000 characters, from the start of a line."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4 * _TAIL))
        text = file.read().decode("utf-8", errors="replace").strip()
    if len(text) <= _TAIL:
        return text
    cut = text[-_TAIL:]
    return cut.partition("\n")[2] or cut


def _watch(process: subprocess.Popen[bytes], limits: Limits, start: float) -> tuple[str, int | None]:
    """Wait for the end; why it must be ended, or nothing; and the peak of its memory."""
    peak: int | None = None
    intervals = iter(_INTERVALS)
    interval = next(intervals)
    stop: threading.Event | None = getattr(_here, "stop", None)
    while process.poll() is None:
        if stop is not None and stop.is_set():
            return "was stopped with the others", peak
        size = resident_bytes(process.pid)
        if size is not None:
            peak = max(size, peak or 0)
            if size > limits.memory_mb * 1e6:
                return f"took more than {limits.memory_mb:g} MB of memory and was stopped", peak
        if perf_counter() - start > limits.seconds:
            return f"did not end within {limits.seconds:g} seconds and was stopped", peak
        sleep(interval if platform.system() != "Darwin" else _MACOS_INTERVAL)
        interval = next(intervals, interval)
    return "", peak


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # it has ended, and left nobody
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def resident_bytes(pid: int) -> int | None:
    """Largest resident memory of a process so far (now, on macOS); None where the system doesn't tell."""
    system = platform.system()
    if system == "Linux":
        with suppress(OSError), Path(f"/proc/{pid}/status").open("rb") as file:
            return _kilobytes(file)
    if system == "Darwin":
        told = subprocess.run(  # noqa: S603
            ["/bin/ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=False
        ).stdout.strip()
        return 1024 * int(told) if told.isdigit() else None
    return None


def _kilobytes(status: IO[bytes]) -> int | None:
    for line in status:
        if line.startswith(b"VmHWM:"):
            return 1024 * int(line.split()[1])
    return None
