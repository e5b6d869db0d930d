"""``adain-calib sensitivity`` and ``adain-calib search`` as people type them: what they write, and how they say no."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

from adain_calib import scoring
from adain_export.calibration import Calibration
from adain_export.target import Int8, Request, get_target
from adain_model.checkpoint import save_network
from adain_runtime.backend import Options, get_backend
from calibrations import calibrated
from networks import SPECS, make_network
from pictures import save_picture

COMMANDS = ("sensitivity", "search")


@pytest.fixture
def calibration_file(strided, tmp_path):
    calibrated(strided).save(tmp_path / "small.json")
    return tmp_path / "small.json"


@pytest.fixture
def start(calibration_file, checkpoint, pictures):
    """The command line from its arguments on, up to what a test adds."""
    folders = ["--content", pictures / "content", "--style", pictures / "style"]
    return [calibration_file, checkpoint, *folders, "--pairs", 3]


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_sensitivity_shows_every_layer_and_writes_numbers_and_a_figure(command, start, strided, tmp_path):
    code, out, err = command("sensitivity", *start, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    for layer in calibrated(strided).layers:
        assert layer in out
    assert "all but the first and the last" in out
    assert "next: adain-calib search" in out
    assert written(tmp_path / "out") == ["sensitivity.json", "sensitivity.png"]
    kept = json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    assert list(kept["layers"]) == list(calibrated(strided).layers)
    assert kept["calibration"]["sha256"] == calibrated(strided).digest
    assert kept["pairs"]["count"] == 3

    code, out, _ = command("sensitivity", *start, "--json")
    again = json.loads(out)
    assert code == 0
    assert (again["layers"], again["together"]) == (kept["layers"], kept["together"])


def test_search_writes_a_calibration_whose_export_keeps_the_target(command, start, strided, held_scores, tmp_path):
    everything = held_scores(calibrated(strided))
    target = round(everything.mean_psnr + 3, 2)
    output = tmp_path / "found.json"
    code, out, err = command("search", *start, "--target-psnr", target, "-o", output)
    assert (code, err) == (0, "")
    made = Calibration.load(output)
    made.check(strided)
    assert 0 < len(made.int8) < len(calibrated(strided).int8)
    assert made.search.target_psnr == target
    assert made.search.psnr >= target
    assert f"{100 * made.search.int8_macs:.1f}%" in out
    assert f"adain-export onnx {start[1]} --int8 --calibration {output}" in " ".join(out.split())
    assert replace(made, int8=calibrated(strided).int8, search=None) == calibrated(strided)

    bundle = get_target("onnx").export(strided, Request("found", int8=Int8(made)), tmp_path / "bundles")
    assert bundle.manifest.int8 == made.int8
    with get_backend("onnx").open(bundle, Options()) as session:
        scores = held_scores.judge.score(session.run)
    assert scores.mean_psnr == pytest.approx(made.search.psnr, abs=0.1)


@pytest.fixture
def held_scores(strided, pictures):
    """Scores by simulation on the pairs that the commands draw."""

    class Held:
        def __init__(self):
            folders = (pictures / "content", pictures / "style")
            origin, drawn = calibrated(strided).origin, {"pairs": 3, "seed": 0, "alpha_range": (0.0, 1.0)}
            held = scoring.held_out(*folders, saw=origin.saw, size=origin.size, **drawn)
            self.judge = scoring.Judge(strided, held)

        def __call__(self, made):
            return scoring.Simulator(strided, made, self.judge)(made.int8)

    return Held()


def test_search_prints_json_and_names_its_output_after_the_calibration(command, start, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("search", *start, "--target-psnr", 5, "--json")
    result = json.loads(out)
    made = Calibration.load(tmp_path / "small-searched.json")
    assert code == 0
    assert result["searched"] == "small-searched.json"
    assert result["sha256"] == made.digest
    first, *inner, last = made.layers
    assert result["int8"] == list(made.int8) == inner
    assert result["float"] == [first, last]


def test_another_methods_ranges_can_be_tested_and_searched_with(command, start, strided, tmp_path):
    code, out, _ = command("sensitivity", *start, "--method", "entropy")
    assert code == 0
    assert "(entropy ranges)" in out
    assert "--method entropy" in " ".join(out.split())
    output = tmp_path / "found.json"
    assert command("search", *start, "--target-psnr", 5, "--method", "percentile", "-o", output)[0] == 0
    assert Calibration.load(output).method == "percentile"


def test_a_target_that_no_layer_keeps_exits_1_and_writes_nothing(command, start, tmp_path):
    before = written(tmp_path)
    code, out, err = command("search", *start, "--target-psnr", 99, "-o", tmp_path / "out.json")
    assert (code, out) == (1, "")
    assert "no convolution can be int8 at 99 dB" in err
    assert "ask for" in err
    assert err.count("\n") == 1
    assert written(tmp_path) == before


def test_images_of_the_calibration_are_left_out_or_refused(command, checkpoint, calibration_file, pictures, tmp_path):
    plain = json.loads(calibration_file.read_text())
    digests = [scoring.open_folder(pictures / kind, most=9, seed=0).files for kind in ("content", "style")]
    plain["origin"]["images"] = sorted(file.sha256[:16] for file in (*digests[0], *digests[1]))
    calibration_file.write_text(json.dumps(plain))
    arguments = [calibration_file, checkpoint, "--pairs", 2, "--style", pictures / "style"]
    code, out, err = command("sensitivity", *arguments, "--content", pictures / "content")
    assert (code, out) == (2, "")
    assert "all 3 images of it were calibrated on" in err

    plain["origin"]["images"] = sorted(file.sha256[:16] for file in digests[0][:1])
    calibration_file.write_text(json.dumps(plain))
    code, _, err = command("sensitivity", *arguments, "--content", pictures / "content")
    assert code == 0
    assert "1 left out that the calibration saw (content0.png)" in err


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--content", "{folder}/nowhere"], "nowhere: no such folder"),
        (["--content", "{folder}/empty"], "empty: no images in this folder"),
        (["--style", "{folder}/tiny"], "small.png: 60x90, too small"),
        (["--pairs", "0"], "0 pairs"),
        (["--seed", "-1"], "--seed"),
        (["--method", "best"], "no method 'best'; there are minmax"),
    ],
)
def test_bad_pairs_are_one_line_and_exit_2(command, start, tmp_path, name, arguments, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny").mkdir()
    save_picture(tmp_path / "tiny" / "small.png", 60, 90)
    refused(command, tmp_path, [name, *start, *(text.format(folder=tmp_path) for text in arguments)], said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--target-psnr", "good"], "Invalid value for '--target-psnr'"),
        (["search", "--target-psnr", "-35"], "a target of -35 dB is out of range"),
        (["search", "--target-psnr", "nan"], "a target of nan dB is out of range"),
        (["search", "-o", "{folder}/out.txt"], "name it out.json"),
        (["search", "-o", "{folder}/no/where.json"], "no folder"),
        (["sensitivity", "-o", "{folder}/small.json"], "small.json: can't be made"),
        (["sensitivity", "-o", "{folder}/small.json/out"], "can't be made"),
    ],
)
def test_a_bad_target_or_output_is_one_line_and_exit_2(command, start, tmp_path, arguments, said):
    name, *rest = (text.format(folder=tmp_path) for text in arguments)
    refused(command, tmp_path, [name, *start, *rest], said)


@pytest.mark.parametrize("name", COMMANDS)
def test_another_checkpoints_calibration_is_refused(command, start, tmp_path, name):
    other = tmp_path / "other.safetensors"
    save_network(make_network(SPECS["strided"], seed=1), other)
    refused(command, tmp_path, [name, start[0], other, *start[2:]], "made for strided with the weights")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_list_edited_to_a_layer_that_is_none_is_refused(command, start, calibration_file, tmp_path, name):
    plain = json.loads(calibration_file.read_text())
    plain["int8"].append("decoder.conv9_9")
    calibration_file.write_text(json.dumps(plain))
    refused(command, tmp_path, [name, *start], "small.json: int8: expected some of the layers")


def refused(command, folder, arguments, said):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", COMMANDS)
def test_one_black_image_of_each_is_tested_on_and_said(command, calibration_file, checkpoint, tmp_path, name):
    for kind in ("content", "style"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (64, 64)).save(tmp_path / kind / "black.png")
    folders = ["--content", tmp_path / "content", "--style", tmp_path / "style"]
    settings = ["-o", tmp_path / "out.json"] if name == "search" else []
    target = ["--target-psnr", 5] if name == "search" else []
    code, _, err = command(name, calibration_file, checkpoint, *folders, *settings, *target)
    assert code == 0
    assert "one content image, black.png" in err
    assert "one style image, black.png" in err


def test_without_matplotlib_a_figure_is_refused_before_the_work_and_a_table_is_not(
    command, start, monkeypatch, tmp_path
):
    monkeypatch.setattr("adain_model.figures.find_spec", lambda name: None)
    code, _, err = command("sensitivity", *start, "-o", tmp_path / "out")
    assert code == 3
    assert "pip install matplotlib" in err
    assert not (tmp_path / "out").exists()
    assert command("sensitivity", *start)[0] == 0
