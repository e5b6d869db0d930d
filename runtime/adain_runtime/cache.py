"""Where a person's caches are: what was built for this machine and can be built again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

OVERRIDE = "ADAIN_CACHE"
"""Environment variable: another folder for all caches."""


def cache_folder(name: str) -> Path:
    """``~/.cache/adain-edge/NAME``, or what this system has in its place; not made yet."""
    if chosen := os.environ.get(OVERRIDE):
        return Path(chosen) / name
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "adain-edge" / name
