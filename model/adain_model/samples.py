"""The sample pictures that the package carries: photos and paintings that may be shared, to try things with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_INSTALLED = Path(__file__).with_name("samples")
_CLONE = Path(__file__).resolve().parents[2] / "examples" / "images"


def sample_folder(kind: Literal["content", "style"]) -> Path:
    """The folder of photos or of paintings: of the wheel, which has a copy of ``examples/images``, or of the clone.

    Their sources and licences are in the ``SOURCES.md`` above it.
    """
    return (_INSTALLED if _INSTALLED.is_dir() else _CLONE) / kind
