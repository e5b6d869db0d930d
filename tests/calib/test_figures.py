"""The figure of sensitivities says what was found: a bar for each layer, in order, and the sets above."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex

from adain_calib.figures import sensitivity_figure
from adain_calib.scoring import Scores
from adain_calib.sensitivity import LayerRow, Sensitivity, Together
from adain_model.figures import COLOURS, save_figure

LAYERS = ("encoder.conv1_1", "encoder.conv2_1", "decoder.conv2_1", "decoder.conv1_1")
ROWS = {
    name: LayerRow(0.1 * place, Scores((40.0 + place,), (1.0,)), 0.2 * place, place in (1, 4))
    for place, name in enumerate(LAYERS, start=1)
}
TOGETHER = {"all but the first and the last": Together(LAYERS[1:3], 0.5, Scores((33.0,), (1.0,)))}


@pytest.fixture
def figure():
    return sensitivity_figure(Sensitivity(ROWS, TOGETHER), title="a title")


def test_there_is_a_bar_a_layer_for_error_and_work_in_the_order_they_run_from_above(figure):
    errors, macs = figure.axes
    assert [bar.get_width() for bar in errors.patches] == [100 * row.error for row in ROWS.values()]
    assert [bar.get_width() for bar in macs.patches] == [100 * row.macs for row in ROWS.values()]
    assert [label.get_text() for label in errors.get_yticklabels()] == list(LAYERS)
    tops = [errors.transData.transform((0, bar.get_y()))[1] for bar in errors.patches]
    assert tops == sorted(tops, reverse=True)
    assert errors.get_xlim() == macs.get_xlim()


def test_the_numbers_are_written_beside_the_bars_and_stay_inside(figure):
    figure.draw_without_rendering()
    errors, macs = figure.axes
    assert [text.get_text() for text in errors.texts] == ["41.0 dB", "42.0 dB", "43.0 dB", "44.0 dB"]
    assert [text.get_text() for text in macs.texts] == ["10.0%", "20.0%", "30.0%", "40.0%"]
    for axis in figure.axes:
        right = axis.get_window_extent().x1
        assert all(text.get_window_extent().x1 <= right for text in axis.texts)


def test_what_stays_float_is_faint_and_the_parts_have_their_colours(figure):
    colours = [to_hex(bar.get_facecolor()).upper() for bar in figure.axes[0].patches]
    assert colours[1:3] == list(COLOURS[:2])
    assert not {colours[0], colours[3]} & set(COLOURS)
    title = figure.axes[0].get_title(loc="left")
    assert title == (
        "all but the first and the last in int8: 33.0 dB, 50.0% of the multiply-accumulates\nfaint: stays float"
    )


def test_it_can_be_saved(figure, tmp_path):
    save_figure(figure, tmp_path / "sensitivity.png")
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
