"""Figures: the points are where the rows say, names cover nothing, and a smoothed curve is its running median."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from adain_model.figures import COLOURS, save_figure
from adain_train.plots import sizes_figure, smoothed, styles_figure
from adain_train.scores import NO_STYLE, Row, Scores

UNSTYLED = Row(NO_STYLE, 30, Scores(1.9, 11.1, 0, 1, 0), None)


def row(name: str, macs: float | None, content: float, style: float, error: float | None = None) -> Row:
    scatter = None if error is None else Scores(error * content, 2 * error * style, 0, 0, 0)
    return Row(name, 30, Scores(content, style, 1, 0.4, 0.4), scatter, macs_per_pixel=macs)


def networks(error: float | None = None) -> list[Row]:
    return [
        row("reference (vgg19)", 482_688, 1.4, 0.8, error),
        row("lite", 48_000, 2.5, 1.7, error),
        row("lite-half", 21_000, 3.0, 2.5, error),
        row("lite-quarter", 12_000, 3.6, 4, error),
        row("another", 30_000, 2.9, 2.0, error),
    ]


def test_networks_are_points_at_their_operations_and_losses_and_no_style_is_a_dashed_line():
    rows = networks()
    figure = sizes_figure([*rows, row("optimisation, 50 steps", None, 1, 1)], UNSTYLED, title="what was measured")
    assert figure.get_suptitle() == "what was measured"
    for axis, loss in zip(figure.axes, ("content", "style"), strict=True):
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("MACs per pixel", f"{loss} loss")
        assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
        level, *points = axis.lines
        assert level.get_linestyle() == "--"
        assert set(level.get_ydata()) == {getattr(UNSTYLED.mean, loss)}
        found = [(*point.get_xdata(), *point.get_ydata()) for point in points]
        assert found == [(network.macs_per_pixel, getattr(network.mean, loss)) for network in rows]
        assert [point.get_color() for point in points] == list(COLOURS[1:])
        assert not axis.collections


def test_bars_are_a_standard_error_up_and_down_where_a_row_has_one():
    known, unknown = row("a", 100, 2, 3, error=0.1), row("b", 900, 1, 2)
    for axis, loss in zip(sizes_figure([known, unknown], UNSTYLED, title="").axes, ("content", "style"), strict=True):
        (bars,) = axis.collections
        (bar,) = bars.get_segments()
        mean, error = getattr(known.mean, loss), getattr(known.error, loss)
        np.testing.assert_allclose(bar, [[100, mean - error], [100, mean + error]])


@pytest.mark.parametrize("count", [3, 4, 5])
def test_names_stay_inside_and_cover_no_name_point_or_bar(count, tmp_path):
    figure = sizes_figure(networks(error=0.08)[:count], UNSTYLED, title="")
    save_figure(figure, tmp_path / "sizes.png")
    for axis in figure.axes:
        frame = axis.get_window_extent()
        names = {text.get_text(): text.get_window_extent() for text in axis.texts}
        assert list(names) == [*(network.name for network in networks()[:count]), NO_STYLE]
        assert not any(a.overlaps(b) for a, b in combinations(names.values(), 2))
        assert all(frame.containsx(x) and frame.containsy(y) for box in names.values() for x, y in box.corners())
        bars = [Bbox(axis.transData.transform(bar)) for lines in axis.collections for bar in lines.get_segments()]
        assert len(bars) == count
        drawn = [*bars, *(line.get_window_extent() for line in axis.lines)]
        assert not any(name.overlaps(box) for name in names.values() for box in drawn)


def test_a_dollar_in_a_name_is_no_formula():
    figure = sizes_figure([row(r"$\nothing$", 100, 2, 3), row("b", 900, 1, 2)], UNSTYLED, title="")
    figure.draw_without_rendering()
    assert figure.axes[0].texts[0].get_text() == r"$\nothing$"


def test_styles_stand_in_the_order_of_the_first_networks_losses_and_its_points_are_at_them():
    names, ratios = ["a.jpg", "$b$.jpg", "c" * 60], np.array([[1.1, 2.0], [1.3, 1.2], [0.9, 1.5]])
    figure = styles_figure(names, {"lite": ratios, "other": ratios + 1}, title="what was measured")
    figure.draw_without_rendering()
    assert [text.get_text()[:5] for text in figure.axes[0].get_yticklabels()] == ["$b$.j", "ccccc", "a.jpg"]
    for column, axis in enumerate(figure.axes):
        level, first, second = axis.lines
        assert set(level.get_xdata()) == {1}
        np.testing.assert_array_equal(first.get_xdata(), ratios[[1, 2, 0], column])
        np.testing.assert_array_equal(second.get_xdata(), ratios[[1, 2, 0], column] + 1)


def test_of_many_styles_those_are_shown_that_are_furthest_off():
    ratios = np.stack([np.ones(100), np.arange(1.0, 101)], axis=1)
    figure = styles_figure([f"{i}.jpg" for i in range(100)], {"lite": ratios}, title="t")
    assert figure.get_suptitle() == "t, the 40 of 100 that are furthest off"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [f"{i}.jpg" for i in range(60, 100)]
    assert not figure.legends


def test_smoothing_is_a_running_median_in_the_middle_of_its_window():
    steps, values = smoothed(range(1, 49), [float(k) for k in range(1, 49)])  # a window of 4
    np.testing.assert_array_equal(steps, np.arange(3, 48))
    np.testing.assert_array_equal(values, np.arange(2.5, 47))
    assert smoothed([7], [3.0])[1].tolist() == [3.0]
