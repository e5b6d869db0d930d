"""The machine and the tools that numbers were made with."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from adain_export.doctor import PACKAGES, installed
from adain_parity.results import Machine


def this_machine() -> Machine:
    """Where this process runs."""
    return Machine(f"{platform.system()} {platform.machine()}", processor(), os.cpu_count() or 1, _memory())


def tools() -> dict[str, str]:
    """Name to version of what is installed of the libraries that numbers depend on, and of Python."""
    found = {name: installed(name) for name in PACKAGES}
    return {name: version for name, version in found.items() if version} | {"python": platform.python_version()}


def processor() -> str:
    """The machine's processor, as its system names it."""
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = ()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows, or a system that doesn't tell
        return None
