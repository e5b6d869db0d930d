"""What every figure of the house shares: colours, and PNG files by matplotlib without its global state (no pyplot)."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from adain_runtime.errors import UnavailableError
from adain_runtime.files import replacing_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008: told apart by colour-blind readers; black is kept for what is compared with.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
INK, GREY, GRID = "#201f1d", "#6b6b6b", "#e4e4e4"
_DPI = 150


def require_matplotlib() -> None:
    """Refuse before the work, not after it, where figures can't be drawn.

    Raises:
        UnavailableError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise UnavailableError("matplotlib is not installed, and figures are drawn with it: pip install matplotlib")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        InputError: the file can't be written.
    """
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=_DPI, metadata={"Software": None})
    with replacing_file(path) as part:
        part.write_bytes(encoded.getbuffer())
