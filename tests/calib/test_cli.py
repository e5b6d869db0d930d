"""``adain-calib`` as people type it: what it prints, what it writes, and how it says no."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from adain_calib import ranges
from adain_export.calibration import Calibration
from adain_export.target import get_target
from adain_model.samples import sample_folder
from adain_runtime.backend import Probe
from pictures import save_picture


@pytest.fixture(autouse=True)
def quick_entropy(monkeypatch):
    monkeypatch.setattr(ranges, "_ENTROPY_BINS", 256)  # a tenth of a second a layer


@pytest.fixture
def start(checkpoint, pictures):
    """The command line up to what a test adds."""
    folders = ["--content", pictures / "content", "--style", pictures / "style"]
    return ["collect", checkpoint, *folders, "--threads", 1]


def test_collect_prints_every_layer_and_the_next_command_and_its_pairs_can_be_repeated(
    command, start, checkpoint, strided, tmp_path
):
    output, kept, again = (tmp_path / name for name in ("a.json", "pairs.json", "b.json"))
    code, out, err = command(*start, "--pairs", 6, "--size", 64, "--save-pairs", kept, "-o", output)
    assert code == 0
    for word in ("encoder.conv1_1", "decoder.conv1_2", "entropy", "p99.99", "clip%"):
        assert word in out
    assert f"adain-export onnx {checkpoint} --int8 --calibration {output}" in " ".join(out.split())
    assert err == "note: 6 pairs are few: 64 or more are recommended (--pairs)\n"
    made = Calibration.load(output)
    made.check(strided)
    assert (made.method, made.origin.samples, made.origin.size) == ("mse", 6, 64)

    code, out, _ = command(*start, "--repeat", kept, "--json", "-o", again)
    result = json.loads(out)
    assert code == 0
    assert again.read_bytes() == output.read_bytes()
    assert result["sha256"] == made.digest
    assert set(result["layers"]["encoder.conv2_1"]["clipped"]) == {"minmax", "entropy", "percentile", "mse"}
    assert result["layers"]["encoder.conv2_1"]["clipped"]["minmax"] == 0


def test_improvements_are_tried_on_the_folders_other_images_and_said(command, start, strided, tmp_path):
    output = tmp_path / "improved.json"
    settings = ["--pairs", 1, "--size", 64, "--equalise", "--correct-bias", "-o", output]
    code, out, err = command(*start, *settings, "--json")
    assert code == 0
    made, tried = Calibration.load(output), json.loads(out)["improvements"]
    made.check(strided)
    assert list(tried) == ["equalisation", "bias correction"]
    for attempt in tried.values():
        assert attempt["kept"] == (attempt["after"]["psnr"] > attempt["before"]["psnr"])
    assert bool(made.improvements.equalisation) == tried["equalisation"]["kept"]
    assert bool(made.improvements.bias) == tried["bias correction"]["kept"]
    for name, attempt in tried.items():
        assert f"note: {name}: {attempt['before']['psnr']:.2f} to {attempt['after']['psnr']:.2f} dB" in err


def test_plain_takes_contents_alone_and_a_method_and_percentile_are_kept(command, checkpoint, pictures, tmp_path):
    output = tmp_path / "plain.json"
    settings = ["--pairs", 4, "--size", 64, "--plain", "--method", "percentile", "--percentile", 99, "-o", output]
    code, _, _ = command("collect", checkpoint, "--content", pictures / "content", "--threads", 1, *settings)
    made = Calibration.load(output)
    assert code == 0
    assert (made.origin.styles, made.origin.samples) == (0, 4)
    assert (made.method, made.origin.percentile) == ("percentile", 99.0)


def test_without_folders_it_takes_the_samples_of_the_package_and_says_so(command, checkpoint, tmp_path):
    code, _, err = command("collect", checkpoint, "--pairs", 1, "--size", 64, "-o", tmp_path / "c.json")
    assert code == 0
    assert f"taking the package's few samples in {sample_folder('content')}" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "best"], "no method 'best'; there are minmax, entropy, percentile, mse"),
        (["--percentile", "101"], "percentile of 101.0 is out of range"),
        (["--pairs", "0"], "0 pairs are none; give 1 or more"),
        (["--size", "32"], "size of 32 pixels"),
        (["--seed", "-1"], "--seed"),
        (["--plain", "--equalise"], "judged on stylised images, and --plain has none"),
        (["--correct-bias", "--size", "64"], "all 3 images of it were calibrated on"),
        (["--plain"], "--plain decodes contents as themselves"),
        (["--repeat", "{folder}/none.json"], "none.json: no such file"),
        (["--repeat", "{checkpoint}"], "small.safetensors: not JSON"),
        (["--repeat", "x.json", "--pairs", "9", "--plain"], "leave --pairs, --plain out"),
        (["-o", "{checkpoint}"], "name it small.json"),
        (["-o", "{folder}/no/where.json"], "no folder"),
        (["--save-pairs", "{folder}/out.json"], "that is where the calibration goes"),
        (["--repeat", "{folder}/out.json"], "that is where the calibration goes"),
        (["-o", "/proc/out.json"], "can't be written" if sys.platform == "linux" else "no folder /proc"),
        (["--content", "{folder}/nowhere"], "nowhere: no such folder"),
        (["--content", "{folder}/empty"], "empty: no images in this folder"),
        (["--content", "{folder}/tiny"], "small.png: 60x90, too small"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_written(command, start, checkpoint, tmp_path, arguments, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny").mkdir()
    save_picture(tmp_path / "tiny" / "small.png", 60, 90)
    filled = [text.format(folder=tmp_path, checkpoint=checkpoint) for text in arguments]
    if "-o" not in filled:
        filled += ["-o", str(tmp_path / "out.json")]
    before = checkpoint.read_bytes()
    code, out, err = command(*start, *filled)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "small.safetensors", "tiny"]
    assert checkpoint.read_bytes() == before


def test_one_folder_alone_asks_for_the_other(command, checkpoint, tmp_path, pictures):
    code, _, err = command("collect", checkpoint, "--content", pictures / "content", "-o", tmp_path / "c.json")
    assert code == 2
    assert "no --style folder" in err


def test_images_that_are_there_twice_or_alone_are_said(command, checkpoint, pictures, tmp_path):
    (tmp_path / "twins").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(pictures / "content" / "content0.png", tmp_path / "twins" / name)
    folders = ["--content", tmp_path / "twins", "--style", pictures / "style"]
    code, _, err = command("collect", checkpoint, *folders, "--pairs", 2, "--size", 64, "-o", tmp_path / "c.json")
    assert code == 0
    assert "1 left out that are there twice (b.png)" in err
    assert "one content image, a.png" in err


def test_without_its_tools_it_exits_3_with_the_line_that_installs_them(command, monkeypatch):
    missing = Probe(False, "torch, onnx not installed", "pip install torch onnx onnxscript")
    monkeypatch.setattr(type(get_target("onnx")), "probe", lambda _: missing)
    code, out, err = command("collect", "any.safetensors", "--method", "mse")
    assert (code, out) == (3, "")
    assert err == "adain-calib: calibration: torch, onnx not installed; pip install torch onnx onnxscript\n"


def test_help_has_examples(command):
    code, out, _ = command("--help")
    assert code == 0
    assert "adain-calib collect --content photos" in out
