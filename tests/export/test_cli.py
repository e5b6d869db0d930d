"""``adain-export`` as people type it: what it prints, where it writes, and how it says no."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from adain_export import calibration, cli, doctor
from adain_export.target import get_target
from adain_model.checkpoint import save_network
from adain_runtime.backend import Probe
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.results import spell_command
from calibrations import calibrated


@pytest.fixture
def command(typed):
    """``adain-export`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-export")


@pytest.fixture
def checkpoint(strided, tmp_path):
    path = tmp_path / "small.safetensors"
    save_network(strided, path)
    return path


def test_an_export_prints_files_parity_and_the_next_command_and_writes_the_bundle(command, checkpoint, tmp_path):
    code, out, err = command("onnx", checkpoint, "--output", tmp_path / "build", "--parts", "encoder,stylizer")
    folder = tmp_path / "build" / "strided-onnx-fp32"
    assert (code, err) == (0, "")
    assert "weights.bin" in out
    assert "against torch" in out
    assert f"adain-run PHOTO STYLE --model {folder}" in out
    assert set(Bundle.open(folder).manifest.parts) == {"encoder", "stylizer"}


def test_an_encoder_alone_says_that_no_image_was_compared(command, checkpoint, tmp_path):
    code, out, _ = command("onnx", checkpoint, "-o", tmp_path, "--parts", "encoder", "--fp16")
    said = (
        r"against torch \S+ fp32: features within \S+ of PyTorch's \(relative L2, worst of 3 cases\), no image compared"
    )
    assert code == 0
    assert re.search(said, " ".join(out.split()))
    assert "last bit" not in out
    _, shown, _ = command("inspect", tmp_path / "strided-onnx-fp16")
    assert "no image compared" in " ".join(shown.split())


def test_the_next_command_can_be_copied_where_the_folder_has_a_blank(command, checkpoint, tmp_path):
    folder = tmp_path / "my build" / "strided-onnx-fp32"
    code, out, _ = command("onnx", checkpoint, "-o", folder.parent, "--parts", "decoder")
    assert code == 0
    assert out.endswith(f"next: {spell_command(['adain-run', 'PHOTO', 'STYLE', '--model', str(folder)])}\n")


def test_json_is_one_object_with_the_manifest(command, checkpoint, tmp_path):
    code, out, _ = command(
        "onnx", checkpoint, "-o", tmp_path, "--parts", "encoder", "--fp16", "--name", "mine", "--json"
    )
    made = json.loads(out)
    assert code == 0
    assert made["manifest"]["precision"] == "fp16"
    assert made["bundle"] == str(tmp_path / "mine-onnx-fp16")


def test_rewrites_none_exports_the_plain_graph(command, checkpoint, tmp_path):
    code, _, _ = command("onnx", checkpoint, "-o", tmp_path, "--rewrites", "none", "--parts", "decoder")
    assert code == 0
    assert Bundle.open(tmp_path / "strided-onnx-fp32").manifest.rewrites == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{folder}/none.safetensors"], "none.safetensors: no such checkpoint"),
        (["{checkpoint}", "--parts", "encoder,head"], "unknown part head; there are encoder, decoder, stylizer"),
        (["{checkpoint}", "--int8", "--rewrites", "phase,phase-last"], "--rewrites phase-last is for float graphs"),
        (["{checkpoint}", "--rewrites", "magic"], "unknown rewrite magic; there are fold-color, phase, phase-last"),
        (["{checkpoint}", "--name", "a/b"], "a/b"),
        (["{checkpoint}", "--int4"], "No such option"),
        (["{checkpoint}", "-o", "{checkpoint}"], "is a file, and a folder is wanted"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_written(command, checkpoint, tmp_path, arguments, said):
    filled = [text.format(folder=tmp_path, checkpoint=checkpoint) for text in arguments]
    if "-o" not in filled:
        filled += ["-o", str(tmp_path / "out")]
    code, out, err = command("onnx", *filled)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


@pytest.mark.parametrize(
    ("target", "flag", "said"),
    [
        ("mnn", "--fp16", "--fp16: MNN chooses its arithmetic where it runs; .*--weights fp16.*targets onnx, trt"),
        ("mnn", "--int8", "--int8: MNN chooses .*targets onnx, trt and coreml"),
        ("coreml", "--fp16", "--fp16: Core ML packages are fp16 unless --precision fp32"),
        ("coreml", "--int8", "--int8: give --activations int8 .*--weights int8"),
    ],
)
def test_a_flag_of_other_targets_is_refused_with_what_there_is_here(command, tmp_path, target, flag, said):
    code, out, err = command(target, flag, "-o", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(said, err)
    assert flag not in command(target, "--help")[1].split()


def test_without_its_tools_a_target_exits_3_with_the_line_that_installs_them(command, monkeypatch):
    missing = Probe(False, "torch, onnx not installed", "pip install 'adain-edge[export]'")
    monkeypatch.setattr(type(get_target("onnx")), "probe", lambda _: missing)
    code, out, err = command("onnx")
    assert (code, out) == (3, "")
    assert err == "adain-export: target onnx: torch, onnx not installed; pip install 'adain-edge[export]'\n"
    code, out, _ = command("list", "--json")
    assert json.loads(out)["onnx"]["available"] is False


def test_inspect_shows_a_sound_bundle_and_refuses_a_damaged_one(command, tmp_path):
    folder = find_bundle("lite", "onnx").path
    code, out, _ = command("inspect", folder)
    assert code == 0
    for word in ("sound", "stylizer", "1|height/8", "weights.bin", "against torch", "phase"):
        assert word in out
    code, out, _ = command("inspect", folder, "--json")
    assert json.loads(out)["name"] == "lite"
    code, out, err = command("inspect", tmp_path)
    assert (code, out) == (2, "")
    assert "manifest.json" in err


def test_doctor_lists_packages_targets_and_backends(command):
    code, out, _ = command("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found["packages"]) == set(doctor.PACKAGES)
    assert found["packages"]["onnxruntime"] is not None
    assert found["targets"]["onnx"]["available"] is True
    assert set(found["backends"]) >= {"onnx", "torch", "null"}
    assert command("doctor")[0] == 0


def test_help_has_examples(command):
    code, out, _ = command("--help")
    assert code == 0
    assert "adain-export onnx vgg19.safetensors --fp16" in out


def test_int8_takes_a_calibration_and_a_placement(command, checkpoint, strided, tmp_path):
    file = tmp_path / "calibration.json"
    calibrated(strided).save(file)
    arguments = ("onnx", checkpoint, "-o", tmp_path, "--int8", "--calibration", file, "--parts", "decoder")
    code, out, err = command(*arguments, "--placement", "before-pad")
    assert (code, err) == (0, "")
    assert "strided-onnx-int8" in out
    code, out, _ = command("inspect", tmp_path / "strided-onnx-int8")
    assert "decoder.conv3_1" in out
    assert command(*arguments, "--placement", "beside")[2].endswith("there are after-pad, before-pad\n")
    code, _, err = command("onnx", checkpoint, "-o", tmp_path, "--placement", "before-pad")
    assert code == 2
    assert "give --int8 with it" in err
    code, _, err = command("onnx", checkpoint, "-o", tmp_path, "--calibration", file)
    assert code == 2
    assert "give --int8 with it" in err


def test_the_embedded_student_has_a_calibration_of_its_own(command, tmp_path):
    ran = command("onnx", "-o", tmp_path, "--int8", "--parts", "decoder")
    assert (ran.code, ran.err) == (0, "")
    own = calibration.Calibration.load(Path(calibration.__file__).parent / "calibrations" / "lite.json")
    assert Bundle.open(tmp_path / "lite-onnx-int8").manifest.calibration == own.digest


def test_int8_of_a_network_that_the_package_has_no_calibration_for_says_how_to_make_one(command, checkpoint, tmp_path):
    code, _, err = command("onnx", checkpoint, "-o", tmp_path, "--int8")
    assert code == 2
    assert "the package has none for strided" in err
    assert "adain-calib collect" in err
    code, _, err = command("onnx", "calibration.json", "-o", tmp_path, "--int8")
    assert code == 2
    assert "given with --calibration calibration.json" in err


def test_a_calibration_that_is_none_is_refused(command, checkpoint, tmp_path):
    code, _, err = command("onnx", checkpoint, "-o", tmp_path, "--int8", "--calibration", tmp_path / "none.json")
    assert code == 2
    assert "none.json" in err


_MINE = """
from adain_export.target import get_target
from adain_runtime.backend import Probe

class Mine:
    name = "mine"
    def probe(self):
        return Probe(True, "here")
    def export(self, network, request, out):
        print("mine takes", network.spec.name, request.label, ",".join(request.parts))
        return get_target("onnx").export(network, request, out)

TARGET = Mine()
"""


def test_a_target_of_another_package_has_a_command(tmp_path):
    """Installed as pip would: a module, and a folder that names its entry point."""
    site = tmp_path / "site"
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "mine.py").write_text(_MINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[adain_export.targets]\nmine = mine:TARGET\n")
    program = "from adain_export.cli import main; main()"
    asked = ["mine", "--fp16", "--parts", "encoder,stylizer", "-o", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", program, *asked], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mine takes lite fp16 encoder,stylizer" in done.stdout
    assert (tmp_path / "out" / "lite-onnx-fp16" / "manifest.json").is_file()
