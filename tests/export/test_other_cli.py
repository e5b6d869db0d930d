"""The command of a target that another package brings: its options reach the target, and it prints what ours do."""

from __future__ import annotations

import json
from functools import partial

import pytest

from adain_export.commands import other, shared
from adain_export.target import REWRITES, Int8, Request
from adain_model.checkpoint import save_network
from adain_runtime.backend import Probe
from adain_runtime.bundle import EMBEDDED, Bundle
from adain_runtime.cli import console
from adain_runtime.results import spell_command
from calibrations import calibrated


class Mine:
    """Takes every request, and gives a bundle that was made before."""

    name = "mine"

    def __init__(self):
        self.asked = []

    def probe(self):
        return Probe(True, "here")

    def export(self, network, request, out):
        self.asked.append((network.spec.name, request, out))
        return Bundle.open(EMBEDDED / "lite-onnx-fp32")


@pytest.fixture
def target(monkeypatch):
    made = Mine()
    monkeypatch.setattr(shared, "get_target", lambda name: {made.name: made}[name])
    return made


@pytest.fixture
def command(typed):
    """``adain-export mine`` in this process: exit code, stdout, stderr."""
    app = console.new_app("Of another package.")
    app.command()(other.command_of("mine"))
    return partial(typed, partial(console.run, app, "adain-export mine"), "adain-export mine")


@pytest.fixture
def checkpoint(strided, tmp_path):
    path = tmp_path / "small.safetensors"
    save_network(strided, path)
    return path


def test_without_options_the_embedded_student_is_exported_whole_and_here(command, target, tmp_path):
    code, out, err = command()
    assert (code, err) == (0, "")
    ((network, request, folder),) = target.asked
    assert (network, request) == ("lite", Request("lite", rewrites=REWRITES))
    assert str(folder) == "."
    assert "next:" not in out  # no backend is called mine


def test_each_option_reaches_the_target(command, target, checkpoint, strided, tmp_path):
    calibration = calibrated(strided)
    calibration.save(tmp_path / "calibration.json")
    int8 = ("--int8", "--calibration", tmp_path / "calibration.json")
    assert command(checkpoint, "--fp16", "--name", "own", "-o", tmp_path / "out").code == 0
    assert command(checkpoint, "--parts", "encoder", "--rewrites", "phase").code == 0
    assert command(checkpoint, *int8, "--placement", "before-pad").code == 0
    assert command(checkpoint, *int8, "--fp16").code == 0
    assert [(network, request) for network, request, _ in target.asked] == [
        ("strided", Request("own", "fp16")),
        ("strided", Request("strided", parts=("encoder",), rewrites=("phase",))),
        ("strided", Request("strided", int8=Int8(calibration, "before-pad"))),
        ("strided", Request("strided", "fp16", int8=Int8(calibration))),
    ]
    assert target.asked[0][2] == tmp_path / "out"


def test_json_is_one_object_with_the_manifest_of_what_it_made(command, target):
    code, out, err = command("--json")
    assert (code, err) == (0, "")
    made = json.loads(out)
    assert made["bundle"] == str(EMBEDDED / "lite-onnx-fp32")
    assert made["manifest"]["name"] == "lite"


def test_where_a_backend_has_its_name_the_next_command_runs_it(command, target, monkeypatch, tmp_path):
    monkeypatch.setattr(other, "backend_names", lambda: ["mine"])
    folder = tmp_path / "my build"
    monkeypatch.setattr(target, "export", lambda *_: Bundle(folder, Bundle.open(EMBEDDED / "lite-onnx-fp32").manifest))
    following = spell_command(["adain-run", "PHOTO", "STYLE", "--model", str(folder), "--backend", "mine"])
    assert command().out.endswith(f"next: {following}\n")
