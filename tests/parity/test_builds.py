"""Engines that are built and not run: what is proved of a GPU on a machine without one, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adain_export.target import GraphRequest, get_target
from adain_model.checkpoint import weights_sha256
from adain_parity.artefacts import Model
from adain_parity.engines import CAPABILITY, options_for, probe_builder
from adain_parity.markdown import markdown_summary
from adain_parity.matrix import BackendRow, Limits, Matrix
from adain_parity.overview import headline
from adain_parity.page import parity_page
from adain_parity.plan import Asked, planned_bundles
from adain_parity.results import SCHEMA, Run
from adain_parity.run import Settings, run_cases
from adain_parity.worker import Job, build
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.trt import library
from runs import a_case, a_run
from sabotage import edited_bundle, pads_of

LIMITS = Limits(300, 3000)
BUILT = a_case(
    "lite-trt-rtx",
    backend="trt-rtx",
    content="",
    style="",
    verdict="built",
    reason="encoder, decoder, stylizer parsed and built for compute capability 8.6 (4.2 MB), not run",
    device="TensorRT for RTX 1.7.1",
    parts=(),
)


def plan_of(network, bundle, sizes=("16x24", "32x16")):
    row = BackendRow("trt-rtx", ("fp32",), "onnx")
    matrix = Matrix(1, ("x",), sizes, ("cat",), ("flat",), (0.6,), (row,), LIMITS)
    model = Model("x", Path("unused.safetensors"), network, weights_sha256(network))
    return planned_bundles(matrix, [bundle], [model], lambda _: Asked())


def test_a_builder_has_one_case_for_all_sizes_pictures_and_alphas(exported_small):
    (plan,) = plan_of(*exported_small)
    assert plan.case.only_built
    assert (plan.case.height, plan.case.width) == (32, 24)
    assert plan.sizes == ("16x24", "32x16")
    assert plan.case.id == "x-trt_rtx-fp32-32x24-build"


def test_engines_take_images_from_the_least_to_the_largest_size():
    options = options_for(("16x24", "32x16"), "")
    assert (options.profile.min, options.profile.max) == ((16, 16), (32, 24))
    assert options.capabilities == (CAPABILITY,)
    assert options_for(("16x24",), "12.0").capabilities == ("12.0",)
    with pytest.raises(InputError, match="wants numbers such as"):
        options_for(("16x24",), "ampere")


def test_what_builds_and_is_not_installed_says_how_it_is(monkeypatch):
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match='pip install "tensorrt-rtx-cu13-bindings'):
        probe_builder()


def test_a_bundle_is_built_and_one_that_tensorrt_refuses_is_a_failed_case(exported_small, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed: adain-edge[trt-rtx]")
    network, bundle = exported_small
    (case,) = run_cases(plan_of(network, bundle), Settings(tmp_path, LIMITS))
    assert (case.verdict, case.parts) == ("built", ())
    assert "encoder, decoder, stylizer parsed and built for compute capability 8.6" in case.reason
    assert case.device.startswith("TensorRT for RTX")
    assert not list(tmp_path.rglob("*.engine"))

    def wrapping(model):
        for node in pads_of(model):
            for attribute in node.attribute:
                if attribute.name == "mode":
                    attribute.s = b"wrap"

    (case,) = run_cases(plan_of(network, edited_bundle(bundle, wrapping)), Settings(tmp_path, LIMITS))
    assert case.verdict == "failed"
    for part in bundle.manifest.parts:
        assert f"{part}: not for TensorRT: " in case.reason


def test_what_is_built_is_told_apart_from_what_was_compared(tmp_path):
    run = a_run(a_case(), BUILT)
    assert headline(run) == "The one case holds against PyTorch; 1 built, not run"
    assert headline(a_run(BUILT)) == "Nothing was compared: 1 built, not run"
    assert run.exit_code == 0
    assert "Built, not run: 1 of trt-rtx, by TensorRT for RTX 1.7.1" in markdown_summary(run)
    page = parity_page(run, tmp_path)
    assert "is-built" in page
    assert "engines for up to 48x64" in page


def test_a_required_builder_that_built_is_there():
    assert a_run(a_case(), BUILT, required=("trt-rtx",)).exit_code == 0


def test_a_run_with_a_built_case_comes_back_and_fits_the_schema():
    run = a_run(BUILT)
    assert Run.from_json(run.to_json()) == run
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(run.to_json()), json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_graphs_of_bytes_are_not_built_and_that_is_no_failure(exported_small, tmp_path):
    network, _ = exported_small
    bundle = get_target("onnx").export(network, GraphRequest("x", parts=("stylizer",), io="uint8"), tmp_path)
    made = build(Job("build", "trt-rtx", str(tmp_path / "result.json"), model=str(bundle.path), sizes=("16x24",)))
    assert "TensorRT takes no images of bytes" in made.unavailable
    assert not made.errors
