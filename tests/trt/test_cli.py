"""``adain-export trt`` as people type it: each option is in the kit, or in what the simulated TensorRT was told."""

from __future__ import annotations

import json
from functools import partial

import onnx
import pytest

from adain_export import cli
from adain_runtime.bundle import Bundle
from adain_runtime.results import spell_command
from calibrations import calibrated

SIZES = ("--min", "32", "--opt", "48x64", "--max", "64x96")


@pytest.fixture
def command(typed):
    """``adain-export trt`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-export", "trt")


def options_of(kit):
    return json.loads((kit / "build.json").read_text(encoding="utf-8"))


def engine_of(bundle, part):
    """What the simulated TensorRT was told when it built an engine."""
    body = (bundle / f"{part}.engine").read_bytes()[7 + 32 :]
    return json.loads(body[4 : 4 + int.from_bytes(body[:4], "big")])


def test_every_option_of_the_build_is_in_the_kit_and_in_its_script(command, checkpoint, tmp_path, nothing_here):
    code, out, err = command(
        *(checkpoint, "--kit", "-o", tmp_path, "--fp16", "--parts", "encoder", "--name", "mine", "--rewrites", "none"),
        *(*SIZES, "--batch", "1,2,3", "--workspace", "1G", "--opt-level", "5", "--hw-compat", "--version-compatible"),
    )
    kit = tmp_path / "mine-trt-kit-fp16"
    assert (code, err) == (0, "")
    assert f"wrote {kit}" in out
    assert options_of(kit) == {
        "profile": {"min": [32, 32], "opt": [48, 64], "max": [64, 96], "batch": [1, 2, 3]},
        "flavor": "trt",
        "workspace": 1 << 30,
        "opt_level": 5,
        "hw_compat": True,
        "version_compatible": True,
        "compute_capabilities": [],
    }
    script = (kit / "build.sh").read_text(encoding="utf-8")
    shapes = "--minShapes=image:1x3x32x32 --optShapes=image:2x3x48x64 --maxShapes=image:3x3x64x96"
    for words in (
        shapes,
        "--memPoolSize=workspace:1024M",
        "--builderOptimizationLevel=5",
        "--hardwareCompatibilityLevel=ampere+",
        "--versionCompatible",
    ):
        assert words in script
    manifest = Bundle.open(kit).manifest
    assert (manifest.name, manifest.precision, set(manifest.parts)) == ("mine", "fp16", {"encoder"})
    assert manifest.rewrites == ()


def test_a_kit_without_options_leaves_the_builder_its_own_ways(command, checkpoint, tmp_path, nothing_here):
    code, out, err = command(checkpoint, "--kit", "-o", tmp_path, "--parts", "encoder", "--json")
    made = json.loads(out)
    assert (code, err) == (0, "")
    assert made["bundle"] == str(tmp_path / "strided-trt-kit-fp32")
    assert made["manifest"]["rewrites"] == ["phase"]
    options = options_of(tmp_path / "strided-trt-kit-fp32")
    assert options["profile"] == {"min": [64, 64], "opt": [512, 512], "max": [1024, 1024], "batch": [1, 1, 1]}
    assert [options[name] for name in ("workspace", "opt_level", "hw_compat")] == [None, None, False]
    script = (tmp_path / "strided-trt-kit-fp32" / "build.sh").read_text(encoding="utf-8")
    for flag in ("--memPoolSize", "--builderOptimizationLevel", "--hardwareCompatibilityLevel", "--versionCompatible"):
        assert flag not in script


def test_int8_is_by_the_calibration_and_where_the_placement_says(command, checkpoint, network, tmp_path, nothing_here):
    calibration = calibrated(network)
    calibration.save(tmp_path / "calibration.json")
    code, *_ = command(
        *(checkpoint, "--kit", "-o", tmp_path, "--parts", "decoder"),
        *("--int8", "--calibration", tmp_path / "calibration.json", "--placement", "before-pad"),
    )
    assert code == 0
    bundle = Bundle.open(tmp_path / "strided-trt-kit-int8")
    layers = tuple(layer for layer in calibration.int8 if layer.startswith("decoder."))
    assert (bundle.manifest.calibration, bundle.manifest.int8) == (calibration.digest, layers)
    nodes = onnx.load(bundle.graph("decoder"), load_external_data=False).graph.node
    codes = {node.output[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert codes & {node.input[0] for node in nodes if node.op_type == "Pad"}  # padded as codes
    code, _, err = command(checkpoint, "--kit", "-o", tmp_path, "--placement", "before-pad")
    assert (code, err.count("\n")) == (2, 1)
    assert "give --int8 with it" in err


def test_the_builder_is_told_every_option_and_what_it_timed_is_kept(command, checkpoint, tmp_path, tensorrt):
    cache, folder = tmp_path / "timing.cache", tmp_path / "my build" / "told-trt-fp32"
    code, out, _ = command(
        *(checkpoint, "-o", folder.parent, "--parts", "encoder", "--name", "told"),
        *("--min", "16", "--opt", "32", "--max", "64x48", "--batch", "2", "--opt-level", "5"),
        *("--hw-compat", "--version-compatible", "--timing-cache", cache, "--workspace", "2M"),
    )
    assert code == 0
    words = ["adain-run", "PHOTO", "STYLE", "--model", str(folder), "--backend", "trt"]
    assert out.endswith(f"wrote {folder}; next: {spell_command(words)}\n")
    engine = engine_of(folder, "encoder")
    assert (engine["level"], engine["portable"], engine["compatible"]) == (5, True, True)
    assert engine["profile"] == {"image": [[1, 3, 16, 16], [1, 3, 32, 32], [2, 3, 64, 48]]}
    assert cache.read_bytes() == b"+timed"


def test_a_workspace_that_is_too_small_ends_the_build_with_1_and_nothing_is_written(
    command, checkpoint, tmp_path, tensorrt
):
    out = tmp_path / "out"
    ran = command(checkpoint, "-o", out, "--parts", "encoder", *SIZES, "--workspace", "1K")
    assert ran.code == 1
    assert "could not find any implementation" in ran.one_line()
    assert list(out.iterdir()) == []


def test_rtx_engines_are_for_the_compute_capabilities_that_are_named(command, checkpoint, tmp_path, rtx):
    code, *_ = command(
        *(checkpoint, "--flavor", "rtx", "--compute-capability", "8.6, 12.0", "-o", tmp_path),
        *("--parts", "encoder", *SIZES),
    )
    assert code == 0
    sidecar = json.loads((tmp_path / "strided-trt-rtx-fp32" / "encoder.engine.json").read_text(encoding="utf-8"))
    assert sidecar["compute_capabilities"] == ["8.6", "12.0"]
