"""``adain-export coreml`` as people type it."""

from __future__ import annotations

import json
from functools import partial

import pytest

pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

from adain_export import cli
from adain_export.targets import coreml
from adain_model.checkpoint import save_network
from adain_runtime.bundle import Bundle
from calibrations import calibrated


@pytest.fixture
def command(typed):
    """``adain-export coreml`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-export", "coreml")


@pytest.fixture
def checkpoint(strided, tmp_path):
    path = tmp_path / "small.safetensors"
    save_network(strided, path)
    return path


def test_an_export_says_what_raised_the_target_and_the_next_command(command, checkpoint, tmp_path):
    code, out, err = command(checkpoint, "-o", tmp_path, "--size", "16", "--size", "16x24", "--parts", "stylizer")
    folder = tmp_path / "strided-coreml-fp16"
    assert code == 0
    assert err == (
        "note: the target is iOS18 (macOS 15), which a package with a function for each size needs; "
        "without it iOS16 would do\n"
    )
    assert "reference" in out
    assert f"adain-run PHOTO STYLE --model {folder} --backend coreml-reference" in out
    assert Bundle.open(folder).manifest.sizes.exact == ((16, 16), (16, 24))


def test_json_is_one_object_and_w8a8_takes_a_calibration(command, checkpoint, strided, tmp_path):
    calibrated(strided).save(tmp_path / "calibration.json")
    code, out, _ = command(
        *(checkpoint, "-o", tmp_path, "--size", "32", "--parts", "encoder", "--activations", "int8"),
        *("--calibration", tmp_path / "calibration.json", "--name", "mine", "--json"),
    )
    made = json.loads(out)
    assert code == 0
    assert made["bundle"] == str(tmp_path / "mine-coreml-fp16-w8a8")
    assert made["manifest"]["options"]["activations"] == "int8"
    assert made["manifest"]["options"]["target"] == "iOS17"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "130x130"), "the nearest: 128x128 and 136x136"),
        (("--size", "large"), "--size large: wants HEIGHTxWIDTH"),
        (("--shapes", "range"), "no upper bound"),
        (("--activations", "int8"), "int8 needs the range of what enters each convolution"),
        (("--calibration", "x.json"), "give --activations int8 with it"),
        (("--activations", "int4"), "there are none, int8"),
        (("--precision", "bf16"), "there are fp16, fp32"),
        (("--target", "iOS15"), "there are iOS16, iOS17, iOS18, iOS26"),
    ],
)
def test_what_can_not_be_made_is_one_line_and_2(command, checkpoint, tmp_path, arguments, said):
    code, out, err = command(checkpoint, "-o", tmp_path / "build", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "build").exists()


def test_without_coremltools_it_ends_with_3_and_the_line_that_installs_it(command, monkeypatch):
    monkeypatch.setattr(coreml, "find_spec", lambda name: None if name == "coremltools" else object())
    code, _, err = command()
    assert code == 3
    assert 'pip install torch "coremltools>=9.0,<10"' in err
