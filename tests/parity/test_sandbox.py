"""A process with limits: how it ended is told, and nothing that it started stays."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path
from time import perf_counter

import pytest

from adain_parity import sandbox
from adain_parity.matrix import Limits
from adain_parity.sandbox import describe_exit, process_pool, run_module, tail_of

PLENTY = Limits(seconds=60, memory_mb=2000)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Runs a module with this body."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(body, limits=PLENTY, *arguments):
        (tmp_path / "victim.py").write_text(textwrap.dedent(body), encoding="utf-8")
        return run_module("victim", arguments, limits, tmp_path / "stderr.txt")

    return run


def test_a_process_that_ends_well(start):
    ended = start("import sys\nprint('hello', sys.argv[1], file=sys.stderr)", PLENTY, "you")
    assert ended
    assert (ended.how, ended.reason, ended.last_words) == ("done", "", "hello you")
    assert 0 < ended.seconds < 60


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is watched in /proc here")
def test_the_peak_of_memory_is_seen(start):
    ended = start("import time\nkept = bytearray(b'1' * 200_000_000)\ntime.sleep(0.3)")
    assert 200e6 < ended.peak_bytes < 500e6


def test_an_exit_code_and_the_last_line_are_told(start):
    ended = start("raise ValueError('out of paint')")
    assert (ended.how, ended.reason) == ("crashed", "its process ended with exit code 1: ValueError: out of paint")
    assert "Traceback" in ended.last_words


def test_a_signal_is_told_by_name(start):
    ended = start("import os, signal\nos.kill(os.getpid(), signal.SIGABRT)")
    assert ended.how == "crashed"
    assert ended.reason.startswith("its process was killed by SIGABRT (abort")
    assert "Fatal Python error: Aborted" in ended.last_words


def test_what_takes_too_long_is_stopped_with_all_it_started(start, tmp_path, monkeypatch):
    told = tmp_path / "child"
    late = lambda: perf_counter() + (1e6 if told.exists() and told.read_text() else 0)  # noqa: E731 once it is known
    monkeypatch.setattr(sandbox, "perf_counter", late)
    ended = start(
        """
        import pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path("CHILD").write_text(str(child.pid))
        time.sleep(600)
        """.replace("CHILD", str(told)),
    )
    assert (ended.how, ended.reason) == ("timed out", "did not end within 60 seconds and was stopped")
    child = int(told.read_text())
    for _ in range(200):  # the system takes its time to end what was killed
        if not _runs(child):
            return
        time.sleep(0.05)
    pytest.fail("what it started still runs")


def test_an_interrupt_ends_what_a_pool_runs_and_begins_no_more(start, tmp_path):
    body = """
        import os, pathlib, time
        pathlib.Path("CHILD").write_text(str(os.getpid()))
        time.sleep(600)
        """.replace("CHILD", str(tmp_path / "child"))
    waiting = []
    with pytest.raises(KeyboardInterrupt), process_pool(1) as pool:  # noqa: PT012 the block is what is interrupted
        waiting += [pool.submit(start, body, Limits(seconds=300, memory_mb=2000)) for _ in range(2)]
        for _ in range(6000):
            if (tmp_path / "child").is_file() and (tmp_path / "child").read_text():
                break
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert waiting[0].result().reason == "was stopped with the others"
    assert waiting[1].cancelled()
    assert not _runs(int((tmp_path / "child").read_text()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is watched in /proc here")
def test_what_takes_too_much_memory_is_stopped(start):
    ended = start("kept = []\nwhile True: kept.append(bytearray(b'1' * 1_000_000))", Limits(60, 300))
    assert (ended.how, ended.reason) == ("crashed", "took more than 300 MB of memory and was stopped")


def test_an_unknown_signal_has_its_number():
    assert describe_exit(-250) == "its process was killed by signal 250"
    assert describe_exit(3, "") == "its process ended with exit code 3"


def test_the_tail_of_a_long_file_starts_with_a_line(tmp_path):
    path = tmp_path / "words"
    path.write_text("".join(f"line {i:05}\n" for i in range(10_000)), encoding="utf-8")
    lines = tail_of(path).splitlines()
    assert lines[-1] == "line 09999"
    assert all(len(line) == 10 for line in lines)
    assert sum(map(len, lines)) < 2000


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.is_file() or "zombie" not in status.read_text(encoding="utf-8")
