"""A parity run round-trips to parity.json, fits its schema, and says how the command ends."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adain_parity.results import (
    SCHEMA,
    Blame,
    Case,
    LayerError,
    Machine,
    Metrics,
    Part,
    Pictures,
    Reference,
    Run,
    StageError,
    timestamp,
)
from adain_runtime.errors import InputError

PART = Part(
    "stylizer",
    Metrics(max_abs=0.5, mean_abs=0.01, psnr=20.0, ssim=0.9),
    Metrics(psnr=40.0),
    finite=True,
    failures=("psnr 20 below 40",),
)
BLAME = Blame(
    "encoder, from encoder.conv2_1 on",
    "encoder",
    "encoder.conv2_1",
    (StageError("encoder", 0.3, 1e-3), StageError("adain", None, 1e-3)),
    (LayerError("encoder.conv1_1", 0, 1e-7, 1e-3), LayerError("encoder.conv2_1", 1, None, 1e-3)),
)
PASSED = Case("a", "onnx", "cpu", "lite", "fp32", 64, 48, "scene", "brush", 1.0, "passed")
FAILED = replace(
    PASSED,
    id="b",
    verdict="failed",
    reason="stylizer: psnr 20 below 40",
    parts=(PART,),
    blame=BLAME,
    pictures=Pictures("content.png", "style.png", "reference.png"),
)
SKIPPED = replace(PASSED, id="c", backend="trt", verdict="skipped", reason="tensorrt is not installed")


def a_run(*cases, required=()):
    return Run(
        when="2026-01-02T03:04:05Z",
        command="adain-parity run",
        matrix="default",
        machine=Machine("Linux", "a processor", 2),
        tools={"torch": "2.14.1"},
        reference=Reference("torch", "2.14.1", "float32", "cpu"),
        cases=cases,
        required=required,
    )


def test_a_run_comes_back_from_its_own_file(tmp_path):
    run = a_run(PASSED, FAILED, SKIPPED, required=("onnx",))
    run.save(tmp_path / "parity.json")
    assert Run.load(tmp_path) == Run.load(tmp_path / "parity.json") == run


def test_a_run_fits_its_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(a_run(PASSED, FAILED, SKIPPED).to_json()), schema)


@pytest.mark.parametrize(
    ("cases", "required", "code"),
    [
        ((PASSED, SKIPPED), (), 0),
        ((PASSED, FAILED), (), 1),
        ((replace(PASSED, verdict="crashed"),), (), 1),
        ((replace(PASSED, verdict="timed out"),), (), 1),
        ((PASSED, SKIPPED), ("onnx",), 0),
        ((PASSED, SKIPPED), ("trt",), 3),
        ((PASSED,), ("mnn",), 3),
        ((FAILED, SKIPPED), ("trt",), 1),
    ],
)
def test_how_a_run_ends(cases, required, code):
    assert a_run(*cases, required=required).exit_code == code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(schema_version=2), "newer than this version reads"),
        (lambda p: p.pop("schema_version"), "no parity run"),
        (lambda p: p.pop("machine"), "no field machine"),
        (lambda p: p.update(extra=1), "unknown field extra"),
        (lambda p: p["cases"][0].update(verdict="fine"), r"cases\[0\].verdict: expected one of passed"),
        (lambda p: p["cases"][0].update(alpha="much"), r"cases\[0\].alpha: expected a finite number"),
        (lambda p: p["cases"].append(p["cases"][0]), "two cases share an id, a"),
    ],
)
def test_a_file_that_is_no_run_is_refused_by_name(change, message):
    plain = json.loads(a_run(PASSED).to_json())
    change(plain)
    with pytest.raises(InputError, match=message):
        Run.from_json(json.dumps(plain))


def test_the_time_of_a_run_can_be_set(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert timestamp() == "1970-01-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        timestamp()
