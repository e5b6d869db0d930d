"""``adain-parity run`` as people type it: what it writes, how it ends, and how it says no."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from adain_export.target import GraphRequest, get_target
from adain_export.tolerances import limits_of
from adain_model import embedded_checkpoint, load_network
from adain_parity import artefacts, cli, plan, sandbox
from adain_parity.artefacts import bundle_for, open_models
from adain_parity.matrix import DEFAULT, load
from adain_parity.results import SCHEMA, Case, Run
from adain_parity.run import _file_name, _short, probe
from adain_runtime.bundle import Bundle, embedded_bundles
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from runs import a_case

MATRIX = """
schema_version = 1
models = ["lite"]
sizes = ["16x24"]
contents = ["cat"]
styles = ["flat"]
alphas = [0.6]

[[backends]]
name = "onnx"
precisions = ["fp32"]
threads = 1

[[backends]]
name = "unheard-of"
target = "onnx"
precisions = ["fp32"]
"""


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs ``adain-parity`` in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["adain-parity", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            console.run(cli.make_app(), "adain-parity")
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "parity.toml"
    path.write_text(MATRIX, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def lite():
    return embedded_bundles()["lite-onnx-fp32"]


def test_a_bundle_passes_and_the_report_has_every_number(command, matrix, lite, tmp_path):
    out = tmp_path / "report"
    code, table, err = command("run", lite, "--matrix", matrix, "-o", out)
    assert code == 0, err
    run = Run.load(out)
    case = run.cases[0]
    assert (case.verdict, case.device, case.bundle) == ("passed", "CPUExecutionProvider", "lite-onnx-fp32")
    assert [part.part for part in case.parts] == ["encoder", "decoder", "stylizer"]
    assert case.part("stylizer").found.composition < 1e-5
    assert case.seconds > 0
    for picture in (case.pictures.reference, case.pictures.backend, case.pictures.difference):
        assert (out / picture).is_file()
    assert {"onnx", "lite", "fp32"} <= set(re.findall(r"[a-z0-9]+", table))
    assert str(out / "parity.json") in err
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(run.to_json()), json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_stages_show_the_curve_of_a_good_case_and_exact_takes_float64(command, matrix, lite, tmp_path):
    code, out, err = command("run", lite, "--matrix", matrix, "-o", tmp_path, "--stages", "--exact", "--json")
    assert code == 0, err
    run = Run.from_json(out)
    blame = run.cases[0].blame
    assert run.reference.dtype == "float64"
    assert (blame.stage, blame.layer) == (None, None)
    assert [stage.stage for stage in blame.stages] == ["encoder", "adain", "decoder"]
    assert [layer.layer for layer in blame.curve][:2] == ["encoder.conv1_1", "encoder.conv2_1"]
    assert all(blame.curve)


def test_a_backend_that_is_not_here_is_listed_and_fails_only_where_it_is_required(command, matrix, lite, tmp_path):
    code, out, _ = command("run", lite, "--matrix", matrix, "-o", tmp_path / "out", "--json")
    run = Run.from_json(out)
    assert code == 0
    assert [(case.backend, case.verdict) for case in run.cases] == [("onnx", "passed"), ("unheard-of", "skipped")]
    assert "no backend 'unheard-of'" in run.cases[1].reason
    code, table, _ = command("run", lite, "--matrix", matrix, "-o", tmp_path / "out", "--require", "unheard-of")
    assert code == 3
    assert "unheard-of" in table
    assert "no backend 'unheard-of'" in " ".join(table.split())


def test_a_given_bundle_of_which_nothing_ran_is_no_success(command, matrix, lite, tmp_path):
    matrix.write_text(MATRIX.replace('name = "onnx"', 'name = "unknown-too"\ntarget = "onnx"'), encoding="utf-8")
    code, out, _ = command("run", lite, "--matrix", matrix, "-o", tmp_path / "out", "--json")
    run = Run.from_json(out)
    assert (code, {case.verdict for case in run.cases}) == (3, {"skipped"})
    assert run.required == ("unknown-too", "unheard-of")
    assert '<failure message="backend unknown-too is required' in (tmp_path / "out" / "parity.junit.xml").read_text()


def test_a_bundle_of_bytes_is_compared_as_any_other(command, matrix, tmp_path):
    matrix.write_text(MATRIX.replace("16x24", "88x136").replace("flat", "summertime"), encoding="utf-8")
    bundle = get_target("onnx").export(load_network(embedded_checkpoint()), GraphRequest("lite", io="uint8"), tmp_path)
    code, out, err = command("run", bundle.path, "--matrix", matrix, "-o", tmp_path / "out", "--stages", "--json")
    run = Run.from_json(out)
    assert code == 0, (err, [case.reason for case in run.cases])
    case = run.cases[0]
    assert (case.verdict, case.precision) == ("passed", "fp32-uint8")
    found = case.part("stylizer").found
    assert found.psnr is None or found.psnr > 55
    assert case.blame.curve
    assert all(case.blame.curve)
    assert (case.blame.stage, case.blame.layer) == (None, None)
    assert all(case.blame.stages)
    assert case.part("decoder").found.relative_l2 > limits_of("onnx", "fp32").layer  # by rounding, and that is no fault
    code, out, err = command("run", bundle.path, "--matrix", matrix, "-o", tmp_path / "again", "--json")
    assert code == 0, err
    assert Run.from_json(out).cases[0].blame is None


def test_a_bundle_for_fixed_sizes_runs_at_its_own(command, matrix, tmp_path):
    """And a float32 package whose images are buffers of bytes has the limits of these."""
    pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")
    from adain_export.coreml.request import CoremlRequest

    request = CoremlRequest("lite", precision="fp32", sizes=((32, 40),))
    bundle = get_target("coreml").export(load_network(embedded_checkpoint()), request, tmp_path)
    matrix.write_text(
        MATRIX.replace('name = "onnx"', 'name = "coreml-reference"\ntarget = "coreml"').replace("threads = 1", "")
    )
    code, out, err = command("run", bundle.path, "--matrix", matrix, "-o", tmp_path / "out", "--json")
    run = Run.from_json(out)
    assert code == 0, (err, [case.reason for case in run.cases])
    assert [(case.height, case.width, case.verdict) for case in run.cases] == [(32, 40, "passed")]
    assert [(case.precision, case.accuracy) for case in run.cases] == [("fp32", "fp32-8bits")]


def test_a_backend_that_dies_when_it_is_asked_is_a_failed_case(monkeypatch, lite):
    ended = sandbox.Ended("crashed", "its process was killed by SIGILL", "", 0.1, None)
    monkeypatch.setattr("adain_parity.run.start", lambda *_: ended)
    matrix, models = load(DEFAULT), open_models(["lite"], Path())
    asked = probe("onnx", matrix.limits)
    died = "backend onnx: asking whether it works here, its process was killed by SIGILL"
    assert asked == plan.Asked(died, died=True)

    def verdicts(answer):
        plans = plan.planned_bundles(matrix, [Bundle.open(lite)], models, lambda _: answer)
        return {one.case.verdict for one in plans}

    assert verdicts(asked) == {"failed"}
    assert verdicts(plan.Asked("not installed")) == {"skipped"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--require", "mnn"), "--require mnn: this matrix has onnx, unheard-of"),
        (("-j", "4000"), "-j 4000: at most"),
        (("--quick",), "no [quick] table"),
        (("nowhere",), "nowhere: no such bundle folder"),
        (("--checkpoint", "nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(command, matrix, tmp_path, arguments, message):
    code, out, err = command("run", "--matrix", matrix, "-o", tmp_path / "out", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_another_network_is_refused_with_the_option_that_names_it(
    command, matrix, exported_small, tmp_path
):
    code, _, err = command("run", exported_small[1].path, "--matrix", matrix, "-o", tmp_path / "out")
    assert code == 2
    assert "made of other weights than lite" in err
    assert "--checkpoint FILE.safetensors" in err


@pytest.mark.slow
def test_a_bundle_is_exported_once_and_again_where_it_was_damaged(tmp_path):
    (model,) = open_models(["lite"], tmp_path)
    first = bundle_for(model, "onnx", "fp32", None, tmp_path)
    written = _stamp(first.path)
    assert bundle_for(model, "onnx", "fp32", None, tmp_path) == first
    assert _stamp(first.path) == written
    with (Path(first.path) / "weights.bin").open("r+b") as file:
        file.write(b"damage")
    assert bundle_for(model, "onnx", "fp32", None, tmp_path) == first
    assert _stamp(first.path) != written


def test_an_export_that_cannot_be_made_says_why(tmp_path):
    (model,) = open_models(["lite"], tmp_path)
    assert "no target 'clay'" in bundle_for(model, "clay", "fp32", None, tmp_path).error
    assert "target onnx has no precision int4" in bundle_for(model, "onnx", "int4", None, tmp_path).error


def test_proposed_tolerances_are_printed_and_nothing_is_written(command, matrix, lite, tmp_path):
    command("run", lite, "--matrix", matrix, "-o", tmp_path / "out", "--stages")
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = command("calibrate-tolerances", tmp_path / "out")
    assert code == 0
    assert "[onnx.fp32.stylizer]" in out
    assert sorted(tmp_path.rglob("*")) == before
    assert command("calibrate-tolerances", tmp_path / "out", "--margin", "0.5")[0] == 2


def test_runs_whose_limits_are_made_of_others_are_named_and_give_no_table(command, matrix, lite, tmp_path):
    command("run", lite, "--matrix", matrix, "-o", tmp_path)
    run = Run.load(tmp_path)
    onnx, absent = run.cases
    of_bytes = replace(onnx, id="bytes", precision="fp32-uint8")
    replace(run, cases=(onnx, of_bytes, absent)).save(tmp_path / "parity.json")
    code, out, err = command("calibrate-tolerances", tmp_path)
    assert code == 0
    assert "uint8" not in out
    assert "onnx fp32-uint8 left out (1 case): its limits are those of fp32" in err


@pytest.mark.slow
def test_the_quick_run_of_the_matrix_that_ships_passes(command, tmp_path):
    """What ``make test`` holds every backend of this machine to."""
    code, out, _ = command("run", "--quick", "-j", "2", "-o", tmp_path, "--json")
    run = Run.from_json(out)
    assert code == 0, [(case.id, case.reason) for case in run.bad]
    assert any(case.verdict == "passed" and case.backend == "onnx" for case in run.cases)
    for reason in sorted({f"{case.backend}: {case.reason}" for case in run.cases if case.verdict == "skipped"}):
        print(f"skipped: {reason}")


def _stamp(folder):
    return (Path(folder) / "manifest.json").stat().st_ino


def test_an_interrupt_leaves_the_exports_that_have_not_begun(tmp_path, monkeypatch):
    """With six to make and the first interrupted, one more may have begun; it waits until the rest are cancelled."""
    begun, ended = [], threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            ended.set()
            super().shutdown(wait=wait)

    def exported(*_):
        begun.append(1)
        if len(begun) == 1:
            raise KeyboardInterrupt
        assert ended.wait(60)
        return plan._Artefact(None, "not asked for")

    monkeypatch.setattr(plan, "_exported", exported)
    monkeypatch.setattr(sandbox, "ThreadPoolExecutor", Pool)
    text = MATRIX[: MATRIX.index("[[backends]]")]
    row = '[[backends]]\nname = "{0}"\ntarget = "{0}"\nprecisions = ["fp32", "fp16", "int8"]\n'.format
    (tmp_path / "parity.toml").write_text(text + row("onnx") + row("mnn"), encoding="utf-8")
    matrix = load(tmp_path / "parity.toml")
    models = open_models(matrix.models, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        plan.planned(matrix, models, tmp_path, tmp_path, lambda _: plan.Asked(), step=lambda _: None)
    assert len(begun) <= 2


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('sizes = ["16x24"]', 'sizes = ["8x24"]', "sizes: one is 8x24, and lite takes multiples of 8, at least 16"),
        ('sizes = ["16x24"]', 'sizes = ["16x25"]', "sizes: one is 16x25"),
        ('contents = ["cat"]', 'contents = ["nowhere.jpg"]', "nowhere.jpg"),
        ('styles = ["flat"]', 'styles = ["gone"]', "gone"),
        ("alphas = [0.6]", 'alphas = [0.6]\ncalibrations = { lite = "gone.json" }', "calibrations: lite: "),
    ],
)
def test_a_mistake_in_a_matrix_is_said_before_the_first_export(
    command, matrix, tmp_path, monkeypatch, before, after, message
):
    monkeypatch.setattr(plan, "_exported", lambda *_: pytest.fail("it exported"))
    matrix.write_text(MATRIX.replace(before, after))
    code, _, err = command("run", "--matrix", matrix, "-o", tmp_path / "out")
    assert code == 2
    assert message in err


def test_pictures_of_one_stem_have_files_of_their_own():
    names = [_file_name(name) for name in ("cat", "cat.jpg", "cat.png", "day/cat.jpg", "night/cat.jpg")]
    assert names[0] == "cat"
    assert len(set(names)) == 5
    assert all(name.startswith("cat") for name in names)


def test_the_longest_names_of_pictures_are_files_of_their_own():
    names = [_short(f"{'museum' * 40}{number}") for number in range(3)]
    assert len(set(names)) == 3
    assert all(len(name) < 240 for name in names)
    assert len(os.fsencode(_short("\N{HIRAGANA LETTER A}" * 120))) < 240
    assert _short("case") == "case"


def test_exports_that_share_a_folder_or_a_calibration_are_made_one_after_the_other(tmp_path, monkeypatch):
    (model,) = open_models(["lite"], tmp_path)
    going, most = [], []

    def made(order, _):
        going.append(order.folder)
        most.append(len(going))
        time.sleep(0.05)
        going.remove(order.folder)
        return artefacts.Made(order.folder)

    monkeypatch.setattr(artefacts, "_found_or_made", made)

    def all_at_once(*precisions):
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda each: bundle_for(model, "onnx", each, None, tmp_path), precisions))

    assert len({each.path for each in all_at_once("fp32", "fp32", "fp32")}) == 1
    all_at_once("int8", "int8-half")  # two folders, and one calibration that is not there yet
    assert max(most) == 1
    both = threading.Barrier(2, timeout=60)
    monkeypatch.setattr(artefacts, "_found_or_made", lambda order, _: (both.wait(), artefacts.Made(order.folder))[1])
    all_at_once("fp32", "fp16")  # neither ends before the other has begun


def test_a_matrix_with_more_time_gives_it_to_its_exports_too(command, matrix, tmp_path, monkeypatch):
    seen = []

    def made(*_, limits, **__):
        seen.append((limits.seconds, limits.memory_mb))
        return artefacts.Made(error="not now")

    monkeypatch.setattr(plan, "bundle_for", made)
    matrix.write_text(f"{MATRIX}\n[limits]\nseconds = 1800\n")
    command("run", "--matrix", matrix, "-o", tmp_path / "out")
    assert set(seen) == {(1800, 16000)}


def test_the_two_networks_of_one_name_are_named(tmp_path):
    from adain_model import embedded_checkpoint, load_network, save_network

    network = load_network(embedded_checkpoint("lite"))
    for folder in ("a", "b"):
        with torch.no_grad():
            network.decoder.conv1_2.bias += 1
        (tmp_path / folder).mkdir()
        save_network(network, tmp_path / folder / "x.safetensors")
    with pytest.raises(InputError, match="two are called x; give their files names of their own"):
        open_models(["lite", "a/x.safetensors", "b/x.safetensors"], tmp_path)


def test_cases_that_would_share_an_id_get_numbers_that_are_free():
    made = [SimpleCase(a_case(id=name)) for name in ("a", "a", "a.2", "a", "A")]
    assert [each.case.id for each in plan._distinct(made)] == ["a", "a.3", "a.2", "a.4", "A.5"]


@dataclass(frozen=True)
class SimpleCase:
    """As much of a planned case as has an id."""

    case: Case
