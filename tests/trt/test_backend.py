"""Which engines are opened here: what sidecars say against this TensorRT, GPU and system; rebuilding from a kit."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import fake_cuda
from adain_export.target import GraphRequest, get_target
from adain_runtime.backend import get_backend, open_bundle
from adain_runtime.backends.trt import BACKEND
from adain_runtime.bundle import MANIFEST, Bundle
from adain_runtime.cli import run as run_command
from adain_runtime.errors import BundleError, InputError, QualityError, UnavailableError
from adain_runtime.trt import build, golden, library
from adain_runtime.trt.engine import Engine
from adain_runtime.trt.options import Options, Profile
from adain_runtime.trt.sidecar import Here, read_sidecar

HERE = Here("trt", "10.3.0", "8.7", library.this_platform())
IMAGE = {"image": np.random.default_rng(0).random((1, 3, 32, 24), np.float32)}


def run(model, **options):
    with open_bundle(model, backend="trt", **options) as session:
        return session.run("encoder", IMAGE), session.bundle.path


def test_engines_of_another_tensorrt_are_refused_with_both_versions_and_the_command(engines, monkeypatch, tensorrt):
    tensorrt.install(monkeypatch, "10.13.3.9")
    with pytest.raises(InputError) as caught:
        run(engines)
    said = str(caught.value)
    assert "built by TensorRT 10.3.0, and 10.13.3.9 is here" in said
    assert "python3 KIT/build.py" in said
    assert "--model KIT --rebuild" in said
    assert said.count("TensorRT 10.3.0") == 1


def test_engines_for_another_gpu_are_refused_with_both_capabilities(engines, device):
    device.capability = (8, 9)
    with pytest.raises(InputError, match=r"built for compute capability 8\.7, and this GPU has 8\.9"):
        run(engines)


def test_engines_for_all_from_ampere_on_run_on_another_gpu_and_have_their_level(kit, tmp_path, tensorrt, device):
    options = Options(Profile((16, 16), (32, 32), (64, 64)), hw_compat=True, opt_level=5)
    place = build.build_bundle(kit, tmp_path / "engines", options, parts=["encoder"])
    wanted, _ = run(place)
    device.capability = (12, 0)
    found, _ = run(place)
    np.testing.assert_array_equal(found["features"], wanted["features"])
    assert b'"level": 5' in (place / "encoder.engine").read_bytes()


def test_an_engine_that_says_more_than_it_is_does_not_load(engines, edit, relist, device):
    """TensorRT refuses it itself, whatever stands beside it."""
    for part in ("encoder", "decoder", "stylizer"):
        edit(engines / f"{part}.engine.json", hw_compat=True)
    relist(engines)
    device.capability = (12, 0)
    with pytest.raises(BundleError, match="incompatible device"):
        run(engines)


def test_engines_of_another_system_are_refused(engines, monkeypatch):
    monkeypatch.setattr("adain_runtime.backends.trt.this_platform", lambda: "linux-aarch64")
    with pytest.raises(InputError, match=f"built on {library.this_platform()}, and this is linux-aarch64"):
        run(engines)


def test_engines_for_rtx_are_refused_where_tensorrt_is(engines, edit, relist, monkeypatch):
    for part in ("encoder", "decoder", "stylizer"):
        edit(engines / f"{part}.engine.json", flavor="rtx")
    edit(engines / MANIFEST, target="trt-rtx")
    relist(engines)
    monkeypatch.setattr(library, "MODULES", library.MODULES | {"rtx": ("no_such_module",)})
    with pytest.raises(InputError, match="built by TensorRT for RTX, and TensorRT is here"):
        run(engines)


@pytest.mark.parametrize(
    ("changes", "here", "fits"),
    [
        ({}, HERE, True),
        ({}, Here("trt", "10.3.1", "8.7", HERE.platform), False),
        ({"version_compatible": True}, Here("trt", "10.13.3.9", "8.7", HERE.platform), True),
        ({"version_compatible": True}, Here("trt", "10.14.1.48.post1", "8.7", HERE.platform), True),
        ({"version_compatible": True, "tensorrt": "10.2.0.post1"}, HERE, True),
        ({"tensorrt": "10.3.0.post1"}, HERE, False),
        ({"version_compatible": True}, Here("trt", "10.2.0", "8.7", HERE.platform), False),
        ({"version_compatible": True}, Here("trt", "11.4.0", "8.7", HERE.platform), False),
        ({}, Here("trt", "10.3.0", "9.0", HERE.platform), False),
        ({"hw_compat": True}, Here("trt", "10.3.0", "12.0", HERE.platform), True),
        ({"hw_compat": True}, Here("trt", "10.3.0", "7.5", HERE.platform), False),
        ({"hw_compat": True}, Here("trt", "10.3.0", "8.0", HERE.platform), True),
        ({"hw_compat": True, "compute_capabilities": []}, Here("trt", "10.3.0", "8.6", HERE.platform), True),
        ({"compute_capabilities": []}, Here("trt", "10.3.0", "8.7", HERE.platform), False),
        ({"compute_capabilities": ["8.6", "12.0"]}, Here("trt", "10.3.0", "12.0", HERE.platform), True),
        ({"compute_capabilities": ["8.6", "12.0"]}, Here("trt", "10.3.0", "8.9", HERE.platform), False),
    ],
)
def test_what_an_engine_fits(engines, edit, relist, changes, here, fits):
    edit(engines / "encoder.engine.json", **changes)
    relist(engines)
    assert (read_sidecar(Bundle.open(engines), "encoder").differences(here) == []) is fits


def test_a_version_compatible_engine_is_loaded_by_a_later_tensorrt(made, tmp_path, tensorrt, monkeypatch):
    options = build.Options(build.Profile((16, 16), (32, 32), (64, 48)), version_compatible=True)
    folder = build.build_bundle(made / "strided-trt-kit-fp16", tmp_path, options, parts=["encoder"])
    wanted, _ = run(folder)
    tensorrt.install(monkeypatch, "10.13.3.9")
    np.testing.assert_array_equal(run(folder)[0]["features"], wanted["features"])


def test_a_truncated_engine_is_found_by_its_digest(engines):
    path = engines / "encoder.engine"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match=r"encoder\.engine: has .* bytes where the manifest says"):
        run(engines)


def test_a_truncated_engine_that_everything_vouches_for_is_refused_by_tensorrt(engines, edit, relist):
    path = engines / "encoder.engine"
    path.write_bytes(path.read_bytes()[:-100])
    relist(engines)
    entry = json.loads((engines / MANIFEST).read_text())["files"]["encoder.engine"]
    edit(engines / "encoder.engine.json", engine=entry)
    relist(engines)
    with pytest.raises(
        BundleError, match=r"TensorRT 10\.3\.0 can't load it \(\[fake\].*Serialization.*truncated"
    ) as caught:
        run(engines)
    assert "and more" not in str(caught.value)


def test_an_engine_whose_sidecar_is_missing_is_not_loaded(engines, relist):
    (engines / "encoder.engine.json").unlink()
    with pytest.raises(BundleError, match=r"encoder\.engine\.json: missing"):
        run(engines)
    relist(engines)
    with pytest.raises(BundleError, match=r"nothing says which TensorRT and GPU encoder's engine is for.*build\.py"):
        run(engines)


def test_an_altered_sidecar_is_found_by_its_digest(engines, edit):
    edit(engines / "encoder.engine.json", tensorrt="10.13.3.9")
    with pytest.raises(BundleError, match=r"encoder\.engine\.json: "):
        run(engines)


def test_a_sidecar_of_another_engine_is_told(engines, relist):
    shutil.copy(engines / "decoder.engine.json", engines / "encoder.engine.json")
    relist(engines)
    with pytest.raises(BundleError, match=r"describes decoder's engine of .*encoder\.engine has"):
        run(engines)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"flavor": "magic"},
        {"tensorrt": "new"},
        {"compute_capabilities": 8},
        {"hw_compat": "yes"},
        {"onnx": {"encoder.onnx": "short"}},
        {"options": {}},
        {"engine": None},
    ],
)
def test_a_sidecar_that_makes_no_sense_is_damaged(engines, edit, relist, changes):
    edit(engines / "encoder.engine.json", **changes)
    relist(engines)
    with pytest.raises(BundleError, match=r"encoder\.engine\.json: damaged"):
        run(engines)


def test_an_engine_that_computes_another_part_is_told(engines, edit, relist):
    shutil.copy(engines / "decoder.engine", engines / "encoder.engine")
    relist(engines)
    edit(
        engines / "encoder.engine.json", engine=json.loads((engines / MANIFEST).read_text())["files"]["encoder.engine"]
    )
    relist(engines)
    with pytest.raises(
        BundleError, match="takes shift, scale, features and gives 1 outputs, and its manifest says image"
    ):
        run(engines)


def test_an_engine_of_another_precision_is_told(engines, edit, relist):
    plain = json.loads((engines / MANIFEST).read_text())
    plain["parts"]["encoder"]["outputs"][0]["dtype"] = "float32"
    (engines / MANIFEST).write_text(json.dumps(plain))
    with pytest.raises(BundleError, match=r"features is DataType\.HALF, and its manifest says float32"):
        run(engines)


def test_a_kit_asks_for_rebuild(kit, tensorrt):
    with pytest.raises(InputError, match="holds ONNX graphs and no engines: add --rebuild"):
        run(kit)


def test_rebuild_builds_once_and_keeps_it_by_what_it_depends_on(kit, tensorrt, device, monkeypatch):
    builds = []
    real = build._in_child
    monkeypatch.setattr(build, "_in_child", lambda part, *rest: builds.append(part) or real(part, *rest))
    first, place = run(kit, rebuild=True)
    assert builds == ["decoder", "encoder", "stylizer"]
    again, same_place = run(kit, rebuild=True)
    assert same_place == place
    assert len(builds) == 3
    np.testing.assert_array_equal(again["features"], first["features"])
    device.capability = (8, 9)
    monkeypatch.setenv("FAKE_CUDA_CAPABILITY", "8.9")  # for the process that builds
    _, other = run(kit, rebuild=True)
    assert other != place
    assert len(builds) == 6


def test_a_damaged_cache_is_built_again_and_held_against_the_golden_outputs_again(kit, tensorrt, monkeypatch):
    seen = []
    real = golden.golden_parity
    monkeypatch.setattr(golden, "golden_parity", lambda *told: seen.append(told) or real(*told))
    wanted, place = run(kit, rebuild=True)
    (place / "encoder.engine").write_bytes(b"")
    found, again = run(kit, rebuild=True)
    assert again == place
    assert len(seen) == 2
    np.testing.assert_array_equal(found["features"], wanted["features"])


def test_engines_that_do_not_fit_are_rebuilt_from_the_kit_beside_them(engines, kit, device, monkeypatch):
    device.capability = (12, 0)
    monkeypatch.setenv("FAKE_CUDA_CAPABILITY", "12.0")
    found, place = run(engines, rebuild=True)
    assert place != engines
    assert read_sidecar(Bundle.open(place), "encoder").compute_capabilities == ("12.0",)
    assert np.isfinite(found["mean"]).all()


def test_engines_are_rebuilt_with_the_options_that_they_were_built_with(kit, tmp_path, tensorrt, device, monkeypatch):
    options = Options(Profile((16, 16), (32, 32), (96, 80), (1, 2, 2)), workspace=1 << 21, opt_level=5)
    assert options != build.kit_options(kit)
    engines = build.build_bundle(kit, tmp_path, options, parts=["encoder", "decoder"])
    device.capability = (12, 0)
    monkeypatch.setenv("FAKE_CUDA_CAPABILITY", "12.0")  # for the process that builds
    _, place = run(engines, rebuild=True)
    sidecar = read_sidecar(Bundle.open(place), "encoder")
    assert (sidecar.compute_capabilities, sidecar.options) == (("12.0",), options)
    _, of_kit = run(kit, rebuild=True)
    assert read_sidecar(Bundle.open(of_kit), "encoder").options == build.kit_options(kit)


def test_engines_of_two_builds_are_not_rebuilt_as_one(engines, kit, device, edit, relist):
    plain = json.loads((engines / "decoder.engine.json").read_text())["options"]
    edit(engines / "decoder.engine.json", options=plain | {"opt_level": 1})
    relist(engines)
    device.capability = (12, 0)
    with pytest.raises(BundleError, match=r"were built with different options.*run the kit itself: --model"):
        run(engines, rebuild=True)


def test_what_the_golden_outputs_can_not_be_compared_with_is_not_built_again(kit, tmp_path, tensorrt, monkeypatch):
    options = Options(Profile((24, 24), (32, 32), (64, 48)))
    engines = build.build_bundle(kit, tmp_path, options, parts=["encoder"])
    tensorrt.install(monkeypatch, "10.13.3.9")
    monkeypatch.setattr(build, "build_bundle", None)
    with pytest.raises(InputError, match=r"keeps no engines that it can't compare: the golden outputs don't fit"):
        run(engines, rebuild=True)


def test_without_the_kit_or_with_another_one_nothing_is_rebuilt(engines, device, made, tmp_path, relist):
    device.capability = (12, 0)
    with pytest.raises(InputError, match=r"its kit is wanted at .*strided-trt-kit-fp16"):
        run(engines, rebuild=True)
    other = shutil.copytree(made / "strided-trt-kit-fp16", tmp_path / "strided-trt-kit-fp16")
    (other / "weights.bin").write_bytes(b"others")
    relist(other)
    with pytest.raises(BundleError, match=r"decoder's was made from .*weights\.bin.*run that kit itself: --model"):
        run(engines, rebuild=True)


def test_engines_of_an_older_export_than_the_kit_beside_them_are_refused_with_both_digests(engines, kit, relist):
    run(engines)
    sidecar = read_sidecar(Bundle.open(engines), "decoder")
    (kit / "weights.bin").write_bytes(b"newer")
    relist(kit)
    now = Bundle.open(kit).manifest.files["weights.bin"].sha256
    with pytest.raises(InputError) as caught:
        run(engines)
    said = str(caught.value)
    assert f"weights.bin {sidecar.onnx['weights.bin'][:16]}, and the kit beside them, {kit}, has " in said
    assert f"weights.bin {now[:16]}" in said
    assert "python3 KIT/build.py" in said
    (kit / MANIFEST).write_text("{")  # what can't be read says nothing against them
    run(engines)


def test_engines_that_fit_are_not_rebuilt(engines, monkeypatch):
    monkeypatch.setattr(build, "build_bundle", None)
    assert run(engines, rebuild=True)[1] == engines


def test_rebuilt_engines_that_compute_something_else_are_not_used(kit, tensorrt, relist):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = kit / "golden.safetensors"
    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["stylizer.out.image"] = 1 - tensors["stylizer.out.image"]
    save_file(tensors, path, {"psnr": "40"})
    relist(kit)
    for _ in range(2):  # what was built stays in the cache, and is no better the second time
        with pytest.raises(QualityError, match=r"stylizer image: .* dB, at least 40 wanted.*not to be used"):
            run(kit, rebuild=True)


def test_rebuilt_engines_are_held_against_the_golden_outputs_once(kit, tensorrt, monkeypatch):
    seen = []
    real = golden.golden_parity
    monkeypatch.setattr(golden, "golden_parity", lambda *told: seen.append(told) or real(*told))
    for _ in range(2):
        run(kit, rebuild=True)
    assert len(seen) == 1


def test_graphs_of_bytes_are_refused_before_they_are_built(tensorrt, network, tmp_path):
    target = get_target("onnx")
    folder = target.export(network, GraphRequest("x", parts=("encoder",), io="uint8"), tmp_path).path
    with pytest.raises(InputError, match=r"its images are bytes \(--io uint8\), and engines take float planes"):
        open_bundle(folder, backend="trt", rebuild=True)


def test_without_a_cache_nothing_is_rebuilt(kit, tensorrt, monkeypatch):
    monkeypatch.setenv("ADAIN_CACHE", "off")
    with pytest.raises(InputError, match="--rebuild keeps its engines in a cache, and ADAIN_CACHE turns it off"):
        run(kit, rebuild=True)


def test_an_embedded_model_is_found_and_asks_for_rebuild(tensorrt):
    with pytest.raises(InputError, match=r"lite-onnx-fp32: holds ONNX graphs and no engines"):
        open_bundle("lite", backend="trt")


def test_options_that_engines_have_not_are_refused(engines):
    with pytest.raises(InputError, match="backend trt has no option 'threads'"):
        open_bundle(engines, backend="trt", threads=1)
    with pytest.raises(InputError, match="backend onnx has no option 'rebuild'"):
        open_bundle("lite", backend="onnx", rebuild=True)


def test_the_probe_tells_the_version_or_why_not(tensorrt, device):
    assert BACKEND.probe()
    assert "buffers by libcudart" in BACKEND.probe().detail
    device.devices = 0
    assert not BACKEND.probe()
    assert "TensorRT is installed, and no CUDA GPU can be used here (cudaGetDeviceCount: cudaErrorNoDevice)" in (
        BACKEND.probe().detail
    )


def test_the_probe_tells_what_to_install(nothing_here):
    probe = BACKEND.probe()
    assert (probe.available, probe.detail) == (False, "neither tensorrt nor tensorrt_rtx is installed")
    assert probe.fix.startswith("pip install tensorrt-cu13")
    with pytest.raises(UnavailableError, match="pip install tensorrt-cu13"):
        open_bundle("lite", backend="trt")


def test_adain_run_without_tensorrt_exits_3_with_the_pip_line(typed, nothing_here, repository):
    photo = repository / "examples" / "images" / "content" / "chelsea.jpg"
    code, out, err = typed(run_command.main, "adain-run", photo, photo, "--backend", "trt")
    assert (code, out) == (3, "")
    assert err.startswith("adain-run: backend trt: neither tensorrt nor tensorrt_rtx is installed; pip install ")
    assert err.count("\n") == 1


def test_the_backend_is_found_by_its_name():
    assert get_backend("trt") is BACKEND


def test_the_real_tensorrt_for_rtx_refuses_what_is_no_engine(made, tmp_path, rtx):
    path = tmp_path / "encoder.engine"
    path.write_bytes(b"not an engine")
    part = Bundle.open(made / "strided-trt-fp16").part("encoder")
    with pytest.raises(BundleError, match=r"encoder\.engine: TensorRT for RTX .* can't load it \(.+\): truncated"):
        Engine(library.load_library("rtx"), fake_cuda.Device(), 0, path, part, host_code=False)
