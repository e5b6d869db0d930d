"""Standard output is silent while a library talks, and only then."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from adain_runtime.silence import silent_stdout


def test_what_a_library_writes_is_dropped_and_what_comes_after_is_not(capfd):
    with silent_stdout():
        os.write(1, b"a library's remark")
    os.write(1, b"a result")
    assert capfd.readouterr().out == "a result"


def test_threads_that_silence_it_at_once_leave_it_as_it_was(capfd):
    def talk(_):
        for _ in range(50):
            with silent_stdout():
                os.write(1, b"a library's remark")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(talk, range(4)))
    os.write(1, b"a result")
    assert capfd.readouterr().out == "a result"
