"""``adain-export trt``: engines where there is a GPU, a kit and an exit code of 3 where there is none."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.numpy import load_file

from adain_export import cli
from adain_export.onnx_parts import onnx_parts
from adain_export.shared_weights import save_sharing
from adain_export.target import Int8, Request
from adain_export.targets.trt import TARGET, as_trt_request
from adain_export.trt_lint import require_clean
from adain_model import VGG19, Network, embedded_checkpoint, initialize, load_network
from adain_runtime.backend import open_bundle
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError, QualityError, UnavailableError
from adain_runtime.trt import build, golden, library
from adain_runtime.trt.build import build_bundle
from adain_runtime.trt.builder import build_engine
from adain_runtime.trt.library import load_library
from adain_runtime.trt.options import RTX_CAPABILITIES, BuildError, Options, Profile
from calibrations import calibrated

KIT_FILES = {
    *("encoder.onnx", "decoder.onnx", "stylizer.onnx", "weights.bin"),
    *("build.py", "build.sh", "build.json", "golden.safetensors", "README.md"),
}


def test_a_kit_is_a_verified_bundle_with_all_that_builds_engines(kit):
    bundle = Bundle.open(kit)
    assert set(bundle.manifest.files) == KIT_FILES
    assert (bundle.manifest.target, bundle.manifest.folder_name) == ("trt-kit", kit.name)
    assert bundle.manifest.parity.psnr > 40
    text = (kit / "README.md").read_text()
    assert "min 16x16, opt 32x32, max 64x48, batch 1 to 2" in text
    assert "--model ../strided-trt-fp16" in text
    for word in ("JetPack", "nvpmodel", "jetson_clocks", "--workspace"):
        assert word in text
    assert "{" not in text


def test_a_kits_golden_outputs_are_what_its_onnx_gives(kit):
    with open_bundle(kit) as session:
        rows = golden.compare(session, kit)
    assert [(row.part, row.output) for row in rows] == [
        ("decoder", "image"),
        ("encoder", "features"),
        ("encoder", "mean"),
        ("encoder", "std"),
        ("stylizer", "image"),
    ]
    assert all(rows)
    assert all(row.psnr < 120 for row in rows)  # float16 against float32


def test_golden_tells_right_engines_from_wrong_ones_by_its_exit_code(kit, engines, capsys, monkeypatch):
    assert golden.main([str(kit), str(engines)]) == 0
    assert capsys.readouterr().out.count("ok  ") == 5
    monkeypatch.setattr(golden, "_load", lambda path: (wrong(path), 40.0))
    assert golden.main([str(kit), str(engines)]) == 1
    assert "NO  stylizer image" in capsys.readouterr().out
    assert golden.main([str(kit), str(kit / "none")]) == 2


def wrong(path):
    tensors = load_file(path)
    return tensors | {"stylizer.out.image": 1 - tensors["stylizer.out.image"]}


def test_where_the_gpu_is_engines_are_built_compared_and_recorded(network, request_of, tmp_path, tensorrt, device):
    bundle = TARGET.export(network, request_of(parts=("stylizer",)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["strided-trt-fp16"]
    assert set(bundle.manifest.files) == {"stylizer.engine", "stylizer.engine.json"}
    parity = bundle.manifest.parity
    assert parity.runtime == "TensorRT 10.3.0 on compute capability 8.7"
    assert parity.cases == ("stylizer 1x3x16x24",)
    assert parity.psnr > 40
    assert bundle.manifest.tools["TensorRT"] == "10.3.0"
    assert (bundle.manifest.sizes.minimum, bundle.manifest.sizes.maximum) == (16, 64)
    assert device.memory == {}


def test_an_encoder_alone_is_recorded_by_its_features(network, request_of, tmp_path, tensorrt):
    parity = TARGET.export(network, request_of(parts=("encoder",)), tmp_path).manifest.parity
    assert parity.cases == ("encoder 1x10x2x3",)
    assert (parity.max_abs, parity.psnr) == (None, None)
    assert 1e-5 < parity.features < 1e-2  # float16


@pytest.mark.parametrize("changed", [["--min", "24x32"], ["--batch", "2,2,2"]])
def test_golden_outputs_outside_the_profile_are_told_when_engines_are_built_and_compared(
    kit, tmp_path, tensorrt, capsys, changed
):
    assert build.main([str(kit), "-o", str(tmp_path / "out"), *changed]) == 0
    said = "the golden outputs don't fit this profile"
    asked = f"adain-export trt --kit --min {changed[1] if changed[0] == '--min' else '16x16'} --opt 32x32 --max 64x48"
    note = capsys.readouterr().err
    assert note.startswith(f"build.py: note: {said} (")
    assert "decoder.in.features in golden.safetensors is 1x10x2x3" in note
    assert asked in note
    assert golden.main([str(kit), str(tmp_path / "out" / "strided-trt-fp16")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert asked in error
    assert error.count("\n") == 1


def test_engines_that_compute_something_else_are_not_kept(network, request_of, tmp_path, tensorrt, monkeypatch):
    monkeypatch.setattr(golden, "psnr", lambda *_, **__: 12.0)
    with pytest.raises(QualityError, match=r"12\.0 dB, at least 40 wanted"):
        TARGET.export(network, request_of(parts=("stylizer",)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_tensorrt_the_command_writes_the_kit_says_so_and_exits_3(typed, checkpoint, tmp_path, nothing_here):
    out = tmp_path / "out"
    code, printed, err = typed(cli.main, "adain-export", "trt", checkpoint, "--parts", "encoder", "-o", out)
    assert (code, printed) == (3, "")
    assert err.startswith("adain-export: no engine was built: TensorRT is not installed; pip install tensorrt-cu13")
    assert f"the build kit is {out / 'strided-trt-kit-fp32'}" in err
    assert err.count("\n") == 1
    assert Bundle.open(out / "strided-trt-kit-fp32").manifest.target == "trt-kit"


def test_with_kit_the_command_exits_0_and_tells_the_next_step(typed, checkpoint, tmp_path, nothing_here):
    arguments = ("trt", checkpoint, "--kit", "--parts", "encoder", "--min", "32x64", "--batch", "4", "-o", tmp_path)
    code, printed, err = typed(cli.main, "adain-export", *arguments)
    assert (code, err) == (0, "")
    assert "copy it to the machine with the GPU, and there: python3 strided-trt-kit-fp32/build.py" in printed
    options = json.loads((tmp_path / "strided-trt-kit-fp32" / "build.json").read_text())
    assert options["profile"] == {"min": [32, 64], "opt": [512, 512], "max": [1024, 1024], "batch": [1, 1, 4]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--min", "512", "--opt", "256"], "height must rise from --min by --opt to --max: min 512x512, opt 256x256"),
        (["--min", "20x64"], "--min 20x64: both sides must be multiples of 8 and at least 16"),
        (["--max", "big"], "--max big: wants HEIGHTxWIDTH"),
        (["--workspace", "lots"], "--workspace lots: wants bytes"),
        (["--opt-level", "9"], "--opt-level 9: wants 0 to 5"),
        (["--flavor", "cuda"], "unknown flavor 'cuda'"),
        (["--flavor", "rtx", "--kit"], "--kit and --timing-cache are for --flavor trt"),
        (["--compute-capability", "8.6"], "--compute-capability is for --flavor rtx"),
        (["--kit", "--timing-cache", "x"], "give it to the kit's build.py"),
        (["--int8", "--kit"], "int8 needs the range of what enters each convolution"),
        (["--int8"], "adain-calib collect CHECKPOINT"),
        (["--int8", "--calibration", "none.json"], "none.json"),
        (["--kit", "--opt"], "Option '--opt' requires an argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_before_anything_is_made(typed, checkpoint, tmp_path, arguments, said):
    code, out, err = typed(cli.main, "adain-export", "trt", checkpoint, "-o", tmp_path / "out", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_workspace_beyond_the_device_is_refused_before_anything_is_made(network, request_of, tmp_path, tensorrt):
    options = Options(Profile(), workspace=1 << 40)
    with pytest.raises(InputError, match="this device has 8,589,934,592"):
        TARGET.export(network, request_of(options=options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plain_request_takes_the_defaults():
    made = as_trt_request(Request("lite", "fp16", parts=("encoder",)))
    assert (made.options, made.kit, made.parts, made.precision) == (Options(), False, ("encoder",), "fp16")


def test_a_plain_request_and_the_command_line_apply_the_same_rewrites(typed, checkpoint, tmp_path, monkeypatch):
    asked = []

    def export(_target, _network, request, _out):
        asked.append(request)
        raise InputError("enough")

    monkeypatch.setattr(type(TARGET), "export", export)
    typed(cli.main, "adain-export", "trt", checkpoint, "-o", tmp_path)
    assert as_trt_request(Request("x")).rewrites == asked[0].rewrites == ("fold-color", "phase")
    assert as_trt_request(Request("x", rewrites=("phase-last",))).rewrites == ("phase-last",)


def test_the_probe_says_what_is_missing_and_what_works_all_the_same(tensorrt, device, monkeypatch):
    assert TARGET.probe()
    device.devices = 0
    probe = TARGET.probe()
    assert not probe
    assert "cudaErrorNoDevice" in probe.detail
    assert probe.fix.startswith("--kit writes a build kit for elsewhere")


def test_doctor_tells_why_neither_target_nor_backend_works(typed, nothing_here):
    code, out, _ = typed(cli.main, "adain-export", "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    for kind in ("targets", "backends"):
        assert found[kind]["trt"]["available"] is False
        assert "installed" in found[kind]["trt"]["detail"]
    assert "pip install tensorrt-cu13" in found["backends"]["trt"]["fix"]


def test_the_kit_of_the_same_request_has_the_same_bytes(network, request_of, tmp_path):
    first, second = (
        TARGET.export(network, request_of(kit=True, parts=("encoder",)), tmp_path / name).path for name in "ab"
    )
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }


def test_rtx_engines_are_built_without_a_gpu_and_refuse_to_be_run_without_one(network, request_of, tmp_path, rtx):
    options = Options(Profile((16, 16), (32, 32), (64, 64)), "rtx")
    bundle = TARGET.export(network, request_of(options=options, parts=("encoder",)), tmp_path)
    assert bundle.path.name == "strided-trt-rtx-fp16"
    sidecar = json.loads((bundle.path / "encoder.engine.json").read_text())
    assert tuple(sidecar["compute_capabilities"]) == RTX_CAPABILITIES
    assert bundle.manifest.parity is None
    if library.gpu_trouble() is None:
        pytest.skip("a GPU is here, and may run it")
    with pytest.raises(UnavailableError, match="no CUDA GPU can be used here"):
        open_bundle(bundle.path, backend="trt")


def test_tensorrt_for_rtx_refuses_a_capability_that_it_does_not_know(kit, tmp_path, rtx):
    options = Options(Profile((16, 16), (32, 32), (64, 64)), "rtx", compute_capabilities=("9.0",))
    with pytest.raises(BuildError, match=r"--compute-capability 9\.0: TensorRT for RTX .* has .*8\.6, 8\.9, 12\.0"):
        build_bundle(kit, tmp_path / "out", options, parts=["encoder"])


@pytest.mark.slow
@pytest.mark.parametrize("label", ["fp32", "fp16", "int8", "int8-fp16"])
@pytest.mark.parametrize("name", ["lite", "vgg19"])
def test_every_precision_of_both_networks_builds_for_rtx(name, label, request, tmp_path, rtx):
    network = load_network(embedded_checkpoint()) if name == "lite" else request.getfixturevalue("vgg19")
    int8 = Int8(calibrated(network)) if "int8" in label else None
    made = onnx_parts(network, Request(name, "fp16" if "fp16" in label else "fp32", int8=int8))
    for part, model in made.models.items():
        require_clean(part, model)
    save_sharing(made.models, tmp_path)
    options = Options(flavor="rtx", compute_capabilities=("8.6",))
    for part, interface in made.interfaces.items():
        shapes = {tensor.name: options.profile.shapes(tensor.shape) for tensor in interface.inputs}
        assert len(build_engine(load_library("rtx"), tmp_path / f"{part}.onnx", shapes, options).engine) > 100_000


@pytest.fixture(scope="session")
def vgg19():
    """VGG-19 with random weights of its trained size: what is built doesn't depend on them."""
    made = Network(VGG19)
    initialize(made, torch.Generator().manual_seed(0))
    return made.eval().requires_grad_(False)
