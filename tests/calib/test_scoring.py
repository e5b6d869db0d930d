"""Scores are those of images that the calibration never saw, and no set is run twice."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from adain_calib.scoring import CEILING, Judge, Scores, Simulator, compare, held_out
from adain_calib.simulate import SimulatedNetwork
from adain_export.check import in_torch
from adain_runtime.errors import InputError, QualityError
from pictures import save_picture


@pytest.fixture
def others(tmp_path):
    for kind, seed in (("content", 40), ("style", 50)):
        (tmp_path / kind).mkdir()
        save_picture(tmp_path / kind / "fresh.png", 64, 80, seed)
    return tmp_path / "content", tmp_path / "style"


def drawn(calibration, others, pairs=6):
    origin = calibration.origin
    return held_out(*others, saw=origin.saw, size=origin.size, pairs=pairs, seed=0, alpha_range=(0.0, 1.0))


def test_an_image_that_was_calibrated_on_is_left_out_and_said_in_either_role(calibration, others, pictures):
    contents, styles = others
    shutil.copy(pictures / "content" / "content0.png", contents / "a.png")
    shutil.copy(pictures / "content" / "content1.png", styles / "b.png")
    held = drawn(calibration, others)
    assert [file.name for file in held.pairs.contents + held.pairs.styles] == ["fresh.png", "fresh.png"]
    notes = held.notes()
    assert f"{contents}: 1 left out that the calibration saw (a.png)" in notes
    assert f"{styles}: 1 left out that the calibration saw (b.png)" in notes


def test_a_folder_that_the_calibration_knows_wholly_is_refused(calibration, others, pictures):
    with pytest.raises(InputError, match=r"content: all 3 images of it were calibrated on"):
        drawn(calibration, (pictures / "content", others[1]))


def test_one_image_of_each_is_tested_on_once_an_alpha_and_said(calibration, others):
    held = drawn(calibration, others)
    assert len(held.pairs.samples) == len(set(held.pairs.samples)) == 4  # three of six have alpha 1
    assert [note for note in held.notes() if "one content image, fresh.png" in note]
    assert [note for note in held.notes() if "one style image, fresh.png" in note]


def test_scores_are_means_and_the_worst():
    scores = Scores((30.0, 40.0), (0.9, 1.0))
    assert (scores.mean_psnr, scores.worst_psnr, scores.mean_ssim) == (35.0, 30.0, 0.95)
    np.testing.assert_allclose(scores.squared_errors, [1e-3, 1e-4])
    assert scores.to_json() == {"psnr": 35.0, "worst_psnr": 30.0, "ssim": 0.95}


def test_equal_images_count_as_the_ceiling_so_that_a_mean_is_finite():
    image = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    assert compare(image, image) == (CEILING, pytest.approx(1))
    other = np.clip(image + np.float32(0.1), 0, 1)
    found, alike = compare(other, image)
    assert 20 <= found < 21
    assert alike < 1


def test_the_float_network_has_the_ceiling(network, held):
    scores = Judge(network, held).score(lambda part, feeds: in_torch(part, network, feeds))
    assert set(scores.psnr) == {CEILING}
    assert len(scores.psnr) == len(held.pairs.samples)


def test_an_image_that_is_not_finite_stops(network, held):
    def broken(part, feeds):
        return {name: values * np.float32(np.nan) if name == "image" else values for name, values in run(part, feeds)}

    def run(part, feeds):
        return in_torch(part, network, feeds).items()

    with pytest.raises(QualityError, match="not finite"):
        Judge(network, held).score(broken)


def test_what_is_kept_of_earlier_sets_changes_no_score(network, calibration, held):
    judge = Judge(network, held)
    score = Simulator(network, calibration, judge)
    encoder, decoder = calibration.int8[0], calibration.int8[-1]
    for layers in [(decoder,), (encoder,), (encoder, decoder), (), (decoder,), calibration.int8]:
        fresh = SimulatedNetwork(network, calibration)
        fresh.switch(layers)
        assert score(layers) == judge.score(fresh.run)
    assert score.runs == 5


def test_an_all_black_image_is_scored(network, calibration, tmp_path):
    for kind in ("content", "style"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (64, 64)).save(tmp_path / kind / "black.png")
    held = drawn(calibration, (tmp_path / "content", tmp_path / "style"))
    scores = Simulator(network, calibration, Judge(network, held))(calibration.int8)
    assert 0 < scores.worst_psnr <= CEILING
    assert np.isfinite(scores.mean_ssim)
