"""The figure of the sensitivities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adain_calib.sensitivity import Sensitivity
from adain_model.figures import COLOURS, GREY, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PART_COLOURS = {"encoder": COLOURS[0], "decoder": COLOURS[1]}
_FAINT_COLOURS = {"encoder": "#a6cbe2", "decoder": "#f2c6a6"}  # of what stays float anyway


def sensitivity_figure(found: Sensitivity, *, title: str) -> Figure:
    """A bar a convolution, in the order they run: its share of int8's error beside its share of the work.

    Both in percent on the same scale: where the left bar is the longer one, the layer costs more than it gives.

    Args:
        found: of a network.
        title: what was measured, on what.
    """
    from matplotlib.figure import Figure

    rows = found.rows
    figure = Figure(figsize=(11, 1.8 + 0.3 * len(rows)), layout="constrained")
    errors, macs = figure.subplots(1, 2, sharey=True, sharex=True)
    for axis, label, values, notes in (
        (
            errors,
            "share of the squared error, % (and PSNR with this one alone in int8)",
            [100 * row.error for row in rows.values()],
            [f"{row.alone.mean_psnr:.1f} dB" for row in rows.values()],
        ),
        (
            macs,
            "share of the multiply-accumulates, %",
            [100 * row.macs for row in rows.values()],
            [f"{100 * row.macs:.1f}%" for row in rows.values()],
        ),
    ):
        bars = axis.barh(list(rows), values, height=0.72)
        for bar, (name, row) in zip(bars, rows.items(), strict=True):
            bar.set_color((_FAINT_COLOURS if row.stays_float else _PART_COLOURS)[name.partition(".")[0]])
        axis.bar_label(bars, notes, padding=4, color=INK, fontsize=9)
        axis.set_xlabel(label)
        _plain(axis)
    errors.margins(x=0.22, y=0.01)  # room for the numbers behind the bars
    errors.invert_yaxis()
    sets = [
        f"{name} in int8: {together.scores.mean_psnr:.1f} dB, {100 * together.macs:.1f}% of the multiply-accumulates"
        for name, together in found.together.items()
    ]
    faint = "faint: stays float" if any(row.stays_float for row in rows.values()) else ""
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    errors.set_title("\n".join(filter(None, [*sets, faint])), loc="left", fontsize=9.5, color=GREY)
    return figure


def _plain(axis: Axes) -> None:
    axis.grid(True, axis="x", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(axis="x", colors=GREY)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
