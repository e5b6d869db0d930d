"""How much memory there is, and how much a network wants."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from adain_runtime.halo import full_size_channels
from adain_runtime.spec import NetworkSpec

WORKING = 1 << 30
"""Bytes that the network's own maps may take before a picture is cut into tiles, where so much is free twice over."""

_MAPS = 5  # largest maps alive at once, padding, layout and the arena's spare room included: docs/large-images.md
_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def bytes_per_pixel(spec: NetworkSpec) -> int:
    """Working memory for each pixel of a picture, or of a tile: five times the network's largest map, in float32.

    For VGG-19 that is 1,280 bytes and for the embedded student 320; measured with ONNX Runtime 1.32: 900 to 1,130 and
    300 to 410.
    """
    return round(_MAPS * 4 * full_size_channels(spec))


def spell_bytes(count: float) -> str:
    """Such as ``1.5 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, as the system tells; None where it doesn't.

    On Linux the smaller of what the machine and what the control groups leave; on macOS what the machine has.
    """
    if sys.platform == "win32":
        return _windows_memory()
    machine = _machine_memory()
    groups = [left for left in map(_left_in_group, _groups()) if left is not None]
    return min([*groups, *([] if machine is None else [machine])], default=None)


def _machine_memory() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _groups() -> list[Path]:
    """The control groups of this process, the innermost first; version 2, then version 1's memory controller."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _CGROUPS / controllers
            inner = root / path.lstrip("/")
            found += [inner, *(parent for parent in inner.parents if root in (parent, *parent.parents))]
    return found


def _left_in_group(group: Path) -> int | None:
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, used = int((group / limit).read_text()), int((group / usage).read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return max(0, most - used + int(stat.get(cache, 0)))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


def _windows_memory() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "c", "d", "e", "f", "g")),
        ]

    status = Status(length=ctypes.sizeof(Status))
    done = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return int(status.available) if done else None
