"""Figures that evaluation and the study of norms give to people, by matplotlib without its global state (no pyplot)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adain_model.figures import COLOURS, GREY, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from adain_train.scores import Row

_MOST_STYLES = 40  # as many names as a person reads
_DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


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


def sizes_figure(rows: Sequence[Row], unstyled: Row, *, title: str) -> Figure:
    """Losses of networks against what they cost, one point a network: how much quality a smaller one gives up.

    Args:
        rows: those with operations are the points, with a bar of a standard error where they have one; others, such
            as the optimisation, are left out.
        unstyled: the content as it is, on the same pairs: a horizontal line.
        title: what was measured, on what.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes = dict(zip(("content", "style"), figure.subplots(1, 2), strict=True))
    points = [(row.macs_per_pixel, row) for row in rows if row.macs_per_pixel is not None]
    for loss, axis in axes.items():
        axis.axhline(getattr(unstyled.mean, loss), color=COLOURS[0], linestyle=_DASHES[0], linewidth=1.8)
        for i, (cost, row) in enumerate(points, start=1):  # 0 is "no style", as in the figure of the optimisation
            error = None if row.error is None else getattr(row.error, loss)
            look = {"color": COLOURS[i % len(COLOURS)], "markersize": 9, "markeredgecolor": "white"}
            axis.errorbar(cost, getattr(row.mean, loss), error, fmt="o", label=row.name, **look)
        axis.margins(0.1)
        axis.set_xlabel("MACs per pixel")
        axis.set_ylabel(f"{loss} loss")
        _logarithmic(axis, "x", "y")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    figure.draw_without_rendering()  # now that all is laid out, what covers what is known
    for loss, axis in axes.items():
        places = {row.name: (cost, getattr(row.mean, loss)) for cost, row in points}
        _name_points(axis, places, unstyled.name, getattr(unstyled.mean, loss))
    return figure


def styles_figure(names: Sequence[str], ratios: Mapping[str, NDArray[Any]], *, title: str) -> Figure:
    """Losses of networks over a reference's, style by style: which paintings a network does badly.

    Args:
        names: of the styles.
        ratios: [S, 2] by the name of each network, content and style loss of each style over the reference's; the
            styles are shown in the order of the first network's style losses, at most the 40 that are furthest off.
        title: what was measured, on what.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    first = next(iter(ratios.values()))
    order = np.argsort(first[:, 1])[-_MOST_STYLES:]
    figure = Figure(figsize=(11, 1.8 + 0.22 * len(order)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for column, (axis, loss) in enumerate(zip(axes, ("content", "style"), strict=True)):
        axis.axvline(1, color="black", linewidth=1.2)
        for i, (network, values) in enumerate(ratios.items()):
            look = {"color": COLOURS[i % len(COLOURS)], "marker": "o", "markeredgecolor": "white", "markersize": 8}
            axis.plot(values[order, column], range(len(order)), linestyle="none", label=network, **look)
        axis.set_xlabel(f"{loss} loss, times the reference's")
        _logarithmic(axis, "x")
        low, high = axis.get_xlim()
        first_digits = (1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8) if high / low < 2 else (1, 1.2, 1.5)
        axis.xaxis.set_major_locator(LogLocator(subs=(*first_digits, 2, 3, 4, 5, 6, 8), numticks=30))
    axes[0].set_yticks(range(len(order)), [_shortened(names[place]) for place in order], parse_math=False)
    if len(ratios) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    more = f", the {len(order)} of {len(first)} that are furthest off" if len(order) < len(first) else ""
    figure.suptitle(f"{title}{more}", fontsize=12, x=0.01, ha="left")
    return figure


def _shortened(name: str, most: int = 32) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"


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
    axis.grid(True, which="major", color=GRID, linewidth=0.7)
    axis.tick_params(colors=GREY, which="both")
    axis.spines[["top", "right"]].set_visible(False)


class _Spot(NamedTuple):
    """Where a name may be written: on a side of a point."""

    point: tuple[float, float]
    side: tuple[int, int]
    """1 for right or above, -1 for left or below, 0 for neither."""


_SIDES = ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1))


def _name_points(axis: Axes, points: Mapping[str, tuple[float, float]], level: str, height: float) -> None:
    """Write every point's name beside it, and a horizontal line's at one of its ends, where they cover nothing drawn.

    Args:
        axis: is laid out; its lines, markers and error bars are not to be covered.
        points: where each name's point is.
        level: the line's name.
        height: where the line is.
    """
    from matplotlib.transforms import Bbox

    bars = [bar for container in axis.containers for lines in container[2] for bar in lines.get_segments()]
    drawn = [line.get_window_extent() for line in axis.lines]
    drawn += [Bbox(axis.transData.transform(bar)) for bar in bars]
    taken = [box.padded(4) for box in drawn]
    for name, point in points.items():
        taken.append(_write(name, axis, "data", [_Spot(point, side) for side in _SIDES], taken))
    ends = [_Spot((end, height), (1 - 2 * end, side)) for end in (0, 1) for side in (1, -1)]
    _write(level, axis, ("axes fraction", "data"), ends, taken)


def _write(name: str, axis: Axes, units: str | tuple[str, str], spots: Sequence[_Spot], taken: Sequence[Bbox]) -> Bbox:
    """Write a name on the first spot where it covers nothing and stays in the axes, or else where it covers least.

    Args:
        name: is written.
        axis: is laid out.
        units: of the spots' points, matplotlib's ``xycoords``.
        spots: where it may stand.
        taken: what it should not cover.

    Returns:
        what it covers.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    note = axis.annotate(name, (0, 0), xycoords=units, xytext=(0, 0), textcoords="offset points", color=INK)
    note.set_in_layout(False)
    note.set_parse_math(False)  # a dollar in a file's name is no formula
    note.set_path_effects([withStroke(linewidth=3, foreground="white")])
    frame = axis.get_window_extent()

    def put(spot: _Spot) -> Bbox:
        (right, up), gap = spot.side, 5 if all(spot.side) else 9
        note.xy = spot.point
        note.set_position((gap * right, gap * up))
        note.set_horizontalalignment(("center", "left", "right")[right])
        note.set_verticalalignment(("center", "bottom", "top")[up])
        return note.get_window_extent()

    def hidden(spot: _Spot) -> float:
        box = put(spot)
        return _area(box) - _area(Bbox.intersection(box, frame)) + sum(_area(Bbox.intersection(box, b)) for b in taken)

    return put(min(spots, key=hidden))


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else float(box.width * box.height)
