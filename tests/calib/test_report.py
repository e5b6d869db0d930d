"""``adain-calib report``: every method of every calibration on the same pairs, and the pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from adain_calib.report import GAIN, cases, sheet_rows, shown_places
from adain_calib.scoring import Judge, Simulator, held_out
from adain_export.calibration import Calibration, inner_layers
from adain_export.layer_range import METHODS, as_float32
from calibrations import calibrated


@pytest.fixture
def judge(strided, pictures):
    origin, drawn = calibrated(strided).origin, {"pairs": 6, "seed": 0, "alpha_range": (0.0, 1.0)}
    held = held_out(pictures / "content", pictures / "style", saw=origin.saw, size=origin.size, **drawn)
    return Judge(strided, held)


def told_apart(calibration):
    """The calibration with ranges of each method's own."""
    shares = dict(zip(METHODS, (1.0, 0.9, 0.8, 0.7), strict=True))

    def apart(layer):
        return replace(layer, ranges={name: as_float32(layer.ranges[name] * share) for name, share in shares.items()})

    return replace(calibration, layers={name: apart(layer) for name, layer in calibration.layers.items()})


@pytest.fixture
def start(strided, checkpoint, pictures, tmp_path):
    made = told_apart(calibrated(strided))
    made.save(tmp_path / "pairs.json")
    replace(made, origin=replace(made.origin, styles=0)).save(tmp_path / "plain.json")
    folders = ["--content", pictures / "content", "--style", pictures / "style"]
    return [tmp_path / "pairs.json", tmp_path / "plain.json", "--checkpoint", checkpoint, *folders, "--pairs", 3]


def test_the_table_has_every_method_of_every_calibration(command, start, tmp_path):
    code, out, err = command("report", *start, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "percentile" in out
    assert "inner: every convolution but the first and the last" in " ".join(out.split())
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    found = [(row["calibration"], row["seen"], row["method"]) for row in kept["rows"]]
    assert found == [(name, name, method) for name in ("pairs", "plain") for method in METHODS]
    assert len(set(kept["calibrations"].values())) == 2
    lines = (tmp_path / "out" / "report.md").read_text().splitlines()
    assert len(lines) == 2 + len(found)
    assert len({line.count("|") for line in lines}) == 1
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 5 * 256

    code, out, _ = command("report", *start, "-o", tmp_path / "out", "--json")
    assert (code, json.loads(out)["rows"]) == (0, kept["rows"])


def test_each_row_is_what_the_simulation_scores_with_its_methods_ranges(command, start, strided, judge, tmp_path):
    code, _, err = command("report", *start[:-1], 6, "-o", tmp_path / "out")
    assert code == 0, err
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["rows"]
    assert [row["method"] for row in rows[: len(METHODS)]] == list(METHODS)
    calibration = Calibration.load(start[0])
    for row in rows[: len(METHODS)]:
        made = calibration.with_method(row["method"])
        scores = Simulator(strided, made, judge)(inner_layers(tuple(made.layers)))
        assert row["psnr"] == pytest.approx(scores.mean_psnr)
        assert row["ssim"] == pytest.approx(scores.mean_ssim)
    assert len({row["psnr"] for row in rows[: len(METHODS)]}) == len(METHODS)


def test_a_list_of_its_own_is_a_row_of_its_own(strided):
    made = calibrated(strided)
    few = replace(made, int8=made.int8[:2])
    assert [kind for _, _, kind in cases(made)] == ["inner"] * len(METHODS)
    assert list(cases(few))[-1] == (made.method, made.int8[:2], "listed")


def test_the_sheet_shows_the_float_image_the_int8_one_and_what_is_between(strided, judge):
    made = calibrated(strided)
    places = shown_places(judge, 2)
    assert all(judge.samples[place].alpha == 1 for place in places)
    (_, _, exact, rounded, difference), *_ = sheet_rows(Simulator(strided, made, judge), made.int8, places[:1])
    assert difference.any()
    found = np.abs(exact.astype(float) - rounded) * GAIN
    clipped = np.minimum(found, 255)
    assert np.abs(difference - clipped).max() <= GAIN  # the pictures were rounded to bytes, the difference was not


def test_calibrations_of_one_name_another_size_or_another_network_are_refused(command, start, strided, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    made = calibrated(strided)
    made.save(other / "pairs.json")
    code, _, err = command("report", start[0], other / "pairs.json", *start[2:], "-o", tmp_path / "out")
    assert (code, "two calibrations are called 'pairs'" in err) == (2, True)
    replace(made, origin=replace(made.origin, size=128)).save(other / "larger.json")
    code, _, err = command("report", start[0], other / "larger.json", *start[2:], "-o", tmp_path / "out")
    assert (code, "one size" in err) == (2, True)
    code, _, err = command("report", start[0], *start[4:], "-o", tmp_path / "out")
    assert (code, "made for another" in err or "was made for" in err) == (2, True)
    assert not (tmp_path / "out").exists()
