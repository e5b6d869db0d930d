"""Figures, tables and sheets of pictures that evaluation and the study of norms give to people.

Figures are drawn by matplotlib without its global state (no pyplot), sheets by Pillow.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adain_runtime.cli import console
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.files import replacing_file
from adain_train.data import Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

    from adain_train.evaluate import Row

# Okabe & Ito 2008: told apart by colour-blind readers; black is kept for what is compared with.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_GREY = "#6b6b6b"
_PAPER, _INK = (255, 255, 255), (32, 31, 29)
_DPI = 150


def require_matplotlib() -> None:
    """Refuse before the work, not after it, where figures can't be drawn.

    Raises:
        UnavailableError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise UnavailableError("matplotlib is not installed, and figures are drawn with it: pip install matplotlib")


def make_folder(path: Path) -> None:
    """Make the folder that results go to, before the work.

    Raises:
        InputError: it can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {path}: can't be made ({error.strerror or error}); choose another folder") from error


def optimisation_figure(
    content: Sequence[float], style: Sequence[float], levels: Sequence[Row], *, title: str
) -> Figure:
    """Loss over optimisation steps, with the networks as horizontal lines: figure 4 of the paper's kind.

    Args:
        content: content losses; place k is after k steps.
        style: style losses, as many.
        levels: the networks, on the same pairs; each is a horizontal line.
        title: what was measured, on what.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes = figure.subplots(1, 2)
    steps = np.arange(1, len(content))  # a logarithmic axis has no place for the start: it is "no style", a level
    for axis, name, values in ((axes[0], "content", content), (axes[1], "style", style)):
        axis.plot(steps, values[1:], color="black", linewidth=2, label="optimisation")
        for i, level in enumerate(levels):
            dashes, colour = _DASHES[i % len(_DASHES)], COLOURS[i % len(COLOURS)]
            height = getattr(level.mean, name)
            axis.axhline(height, color=colour, linestyle=dashes, linewidth=1.8, label=level.name)
        axis.set_xlim(1, max(len(content) - 1, 2))
        axis.set_xlabel("optimisation steps (Adam on pixels)")
        axis.set_ylabel(f"{name} loss")
        _logarithmic(axis, "x", "y")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    return figure


Curve = tuple[Sequence[int], Sequence[float]]
"""Iterations, and the loss at each."""


def norms_figure(panels: Mapping[str, Mapping[str, Mapping[str, Curve]]], *, title: str) -> Figure:
    """Losses over iterations, one column for each kind of images: figure 1 of the paper's kind.

    Args:
        panels: ``panels[images][norm][loss]``; every kind of images has the same norms and losses.
        title: what was trained.
    """
    from matplotlib.figure import Figure

    losses = list(next(iter(next(iter(panels.values())).values())))
    figure = Figure(figsize=(4.1 * len(panels) + 0.6, 3.1 * len(losses) + 1.1), layout="constrained")
    grid = figure.subplots(len(losses), len(panels), sharex=True, sharey="row", squeeze=False)
    for row, loss in zip(grid, losses, strict=True):
        for axis, (images, norms) in zip(row, panels.items(), strict=True):
            for colour, (norm, curves) in zip(COLOURS, norms.items(), strict=False):
                steps, values = curves[loss]
                axis.plot(steps, values, color=colour, linewidth=0.6, alpha=0.25)
                axis.plot(*smoothed(steps, values), color=colour, linewidth=2, label=norm)
            _logarithmic(axis, "y")
            if axis in grid[0]:
                axis.set_title(images, loc="left", fontsize=11)
            if axis in grid[-1]:
                axis.set_xlabel("iterations")
        row[0].set_ylabel(f"{loss} loss")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    return figure


def smoothed(steps: Sequence[int], values: Sequence[float]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Running median over a twelfth of a curve: the steps it stands for, and the medians."""
    window = min(len(values), max(3, len(values) // 12))
    medians = np.median(np.lib.stride_tricks.sliding_window_view(np.asarray(values, float), window), axis=1)
    return np.asarray(steps)[window // 2 : window // 2 + len(medians)], medians


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        InputError: the file can't be written.
    """
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=_DPI, metadata={"Software": None})
    with replacing_file(path) as part:
        part.write_bytes(encoded.getbuffer())


def loss_tables(groups: Mapping[str, Sequence[Row]]) -> list[Table]:
    """Losses and similarity of models: a table for each group of pairs that has rows.

    Args:
        groups: rows by the name of the pairs that they were measured on.
    """
    columns = ("model", "content", "style", "to-photo", "SSIM", "VGG-dist")

    def with_error(row: Row, loss: str) -> str:
        mean = f"{getattr(row.mean, loss):.2f}"
        return mean if row.error is None else f"{mean} ± {getattr(row.error, loss):.2f}"

    tables = []
    for name, rows in groups.items():
        lines = [
            (
                row.name,
                with_error(row, "content"),
                with_error(row, "style"),
                f"{row.mean.to_content:.2f}",
                f"{row.mean.ssim:.3f}",
                f"{row.mean.vgg_distance:.3f}",
            )
            for row in rows
        ]
        if rows:
            title = f"{name} ({rows[0].pairs}), mean ± standard error"
            tables.append(console.table(title, columns, lines, right=" ".join(columns[1:])))
    return tables


def cost_table(rows: Sequence[Row], where: str) -> Table:
    """Time, operations and parameters of whatever was timed, each name once.

    Args:
        rows: of any pairs.
        where: size and device.
    """
    columns = ("model", "ms", "MACs/pixel", "parameters")
    lines = [
        (
            row.name,
            f"{row.milliseconds:,.0f}",
            "-" if row.macs_per_pixel is None else f"{row.macs_per_pixel:,.0f}",
            "-" if row.parameters is None else f"{row.parameters:,}",
        )
        for row in {row.name: row for row in rows}.values()
        if row.milliseconds is not None
    ]
    return console.table(f"Cost of this run: {where}", columns, lines, right=" ".join(columns[1:]))


def picture_grid(columns: Sequence[str], rows: Sequence[Sequence[Pixels]], *, cell: int = 256) -> Image.Image:
    """Pictures in rows under named columns, white around.

    Args:
        columns: a name for each; it is set smaller, in more lines, or cut where it has no room.
        rows: as many square pictures [S, S, 3] uint8 each; a picture of ``cell`` pixels is not resampled.
        cell: pixels of a picture's side on the sheet.

    Raises:
        InputError: no rows, or a row of another length than ``columns``.
    """
    if not rows or any(len(row) != len(columns) for row in rows):
        found = [len(row) for row in rows]
        raise InputError(f"a sheet of {len(columns)} columns wants as many pictures in each row, found {found}")
    gutter, size = max(4, cell // 32), max(11, cell // 16)
    font = ImageFont.load_default(size)
    titles = [_wrapped(name, font, cell) for name in columns]
    head = gutter + (size + 4) * max(title.count("\n") + 1 for title in titles)
    width = gutter + len(columns) * (cell + gutter)
    sheet = Image.new("RGB", (width, head + gutter + len(rows) * (cell + gutter)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = gutter + column * (cell + gutter)
        draw.multiline_text(
            (left + cell / 2, head + gutter / 2), title, _INK, font, anchor="md", align="center", spacing=4
        )
        for row, pictures in enumerate(rows):
            image = Image.fromarray(pictures[column])
            if image.size != (cell, cell):
                image = image.resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(image, (left, head + gutter + row * (cell + gutter)))
    return sheet


def _wrapped(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    lines = [""]
    for word in name.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    cut = []
    for line in lines:
        shown = line
        while len(shown) > 1 and font.getlength(shown if shown == line else f"{shown}...") > room:
            shown = shown[:-1]
        cut.append(shown if shown == line else f"{shown}...")
    return "\n".join(cut)


def _logarithmic(axis: Axes, *which: str) -> None:
    """Logarithmic axes with plain numbers (0.5, 20) and a light grid, without a frame."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name in which:
        getattr(axis, f"set_{name}scale")("log")
        ruler = getattr(axis, f"{name}axis")
        low, high = ruler.get_view_interval()
        narrow = high / max(low, 1e-12) < 30
        ruler.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if narrow else (1, 2, 5)))
        ruler.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ruler.set_minor_formatter(NullFormatter())
    axis.grid(True, which="major", color="#e4e4e4", linewidth=0.7)
    axis.tick_params(colors=_GREY, which="both")
    axis.spines[["top", "right"]].set_visible(False)
