"""Where a person's caches are: what was made on this machine and can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SWITCH = "ADAIN_CACHE"
"""The environment variable: ``off``, or the folder for all caches."""


def cache_folder(name: str) -> Path | None:
    """``NAME`` in ``$ADAIN_CACHE``, else in the platform's cache folder; None where the variable says ``off``.

    The platform's is ``$XDG_CACHE_HOME`` where it is set, ``~/.cache`` on Linux, ``~/Library/Caches`` on macOS and
    ``%LOCALAPPDATA%`` on Windows, each with ``adain-edge`` in it. None too where nobody is at home. It isn't made yet.
    """
    chosen = os.environ.get(SWITCH, "")
    if chosen.lower() in ("off", "0", "no", "false"):
        return None
    if chosen:
        return Path(chosen) / name
    xdg, local = os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("LOCALAPPDATA", "")
    if Path(xdg).is_absolute():  # as its specification has it, a relative one is passed over
        base = Path(xdg)
    elif sys.platform == "win32" and local:
        base = Path(local)
    else:
        try:
            base = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()
        except RuntimeError:  # nobody's home, as in some containers
            return None
    return base / "adain-edge" / name
