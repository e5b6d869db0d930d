"""Core ML bundles: what they hold, that they compute what torch computes, and that nothing wrong is kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

from adain_export import check
from adain_export.coreml import tolerances
from adain_export.coreml.graphs import graph
from adain_export.coreml.request import CoremlRequest
from adain_export.target import REWRITES, Int8, Request, get_target
from adain_export.targets import coreml
from adain_export.tolerances import Limits, Metrics, built_in
from adain_runtime.backend import Options, get_backend
from adain_runtime.bundle import MANIFEST, Bundle
from adain_runtime.errors import BundleError, InputError, QualityError, UnavailableError
from adain_runtime.metrics import psnr
from adain_runtime.mil import Package
from adain_runtime.spec import NetworkSpec
from calibrations import calibrated
from networks import WIDE, make_network

TARGET = get_target("coreml")
ALL = ("encoder", "decoder", "stylizer")
SMALL = ((64, 64), (48, 80))
KINDS = {
    "functions": CoremlRequest("x", parts=ALL, sizes=SMALL),
    "enumerated": CoremlRequest("x", sizes=SMALL, system="iOS16"),
    "range": CoremlRequest("x", precision="fp32", io="tensor", parts=ALL, sizes=SMALL, shapes="range"),
    "fixed": CoremlRequest("x", precision="fp32", parts=ALL, sizes=SMALL[1:]),
}


@pytest.fixture(scope="module")
def wide():
    return make_network(WIDE)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def export_of(pooled, tmp_path_factory):
    """A bundle of a kind, made once."""
    return cache(lambda kind: TARGET.export(pooled, KINDS[kind], tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="module")
def exported(kind, export_of):
    return export_of(kind)


@pytest.fixture(scope="module")
def small(strided, tmp_path_factory):
    """The cheapest there is."""
    return TARGET.export(
        strided, CoremlRequest("s", parts=("stylizer",), sizes=((16, 16),)), tmp_path_factory.mktemp("s")
    )


def run(bundle, part, feeds):
    with get_backend("coreml-reference").open(bundle, Options()) as session:
        return session.run(part, feeds)


def test_every_part_agrees_with_torch_at_every_size(kind, exported, pooled):
    sizes = exported.manifest.sizes.exact or ((48, 48), (80, 64))
    half, image = KINDS[kind].precision == "fp16", KINDS[kind].io == "image"
    for part in KINDS[kind].parts:
        for height, width in sizes:
            feeds = check.part_feeds(part, pooled, 1, height, width, eight_bits=image)
            wanted, found = check.in_torch(part, pooled, feeds), run(exported, part, feeds)
            for name, values in wanted.items():
                if name == "image" and image:
                    assert psnr(check.to_eight_bits(values), found[name]) >= 55
                else:
                    assert np.abs(values - found[name]).max() <= (2e-2 if half else 2e-5) * np.abs(values).max()


def test_a_bundle_says_which_function_takes_which_size(kind, exported):
    manifest = exported.manifest
    packages = {file.partition("/")[0] for file in manifest.files} - {"README.md"}
    parts = [part for part in ALL if part in manifest.parts]
    if kind == "functions":
        assert packages == {"x.mlpackage"}
        assert [f.name for f in manifest.parts["stylizer"].functions] == ["stylize_48x80", "stylize_64"]
        assert Package.open(exported.graph("encoder")).default == "stylize_64"
    else:
        assert packages == {f"x_{part}.mlpackage" for part in parts}
        assert all(part.functions == () for part in manifest.parts.values())
    assert manifest.sizes.exact == {"range": (), "fixed": ((48, 80),)}.get(kind, ((48, 80), (64, 64)))
    assert manifest.options["shapes"] == ("fixed" if kind == "functions" else kind)
    assert manifest.options["target"] == ("iOS18" if kind == "functions" else "iOS16")


def test_every_bundle_was_executed_and_compared_before_it_was_kept(kind, exported):
    parity = exported.manifest.parity
    assert "coreml-reference" in parity.runtime
    assert "not Core ML" in parity.runtime
    assert {case.split()[0] for case in parity.cases} == set(KINDS[kind].parts)
    assert len(parity.cases) == len(KINDS[kind].parts) * (1 if kind == "fixed" else 2)


@pytest.mark.parametrize("kind", ["functions", "enumerated", "fixed"])
def test_a_size_that_was_not_exported_is_refused_with_those_that_were(kind, export_of):
    with pytest.raises(InputError, match="not among the sizes of this bundle, which takes 48x80"):
        run(export_of(kind), "encoder", {"image": np.zeros((1, 3, 136, 136), np.float32)})


def test_a_range_refuses_what_is_beyond_its_bounds_or_between_its_multiples(export_of):
    for side, said in ((44, "multiple of 8"), (40, "at least 48"), (88, "over 80")):
        with pytest.raises(InputError, match=said):
            run(export_of("range"), "encoder", {"image": np.zeros((1, 3, side, 64), np.float32)})


def test_weights_are_stored_once_for_all_parts_and_sizes(export_of, pooled):
    numbers = sum(value.numel() for name, value in pooled.state_dict().items() if "conv0" not in name)
    stored = sum(
        entry.bytes for name, entry in export_of("functions").manifest.files.items() if name.endswith("weight.bin")
    )
    constants = 64 * 60  # each blob has a head and begins at a multiple of 64
    assert 2 * numbers <= stored <= 2 * numbers + 2 * constants


def test_a_package_tells_xcode_what_it_is(kind, exported, pooled):
    for part in KINDS[kind].parts:
        package = Package.open(exported.graph(part))
        assert {"description", "version", "author", "license"} <= set(package.metadata)
        assert package.metadata["adain.encoder_id"] == exported.manifest.encoder_id
        assert package.metadata["adain.io"] == KINDS[kind].io
        assert json.loads(package.metadata["adain.spec"]) == pooled.spec.to_json()
        assert not any("date" in key for key in package.metadata)
        for function in package.functions.values():
            for feature in (*function.inputs, *function.outputs):
                assert feature.description
                if feature.name in ("image", "stylized"):
                    assert "RGB" in feature.description
                    assert feature.color == ("rgb" if KINDS[kind].io == "image" else None)
                if feature.name == "alpha":
                    assert "from 0" in feature.description
                    assert "to 1 (all style)" in feature.description


def test_the_readme_says_what_it_holds_and_that_its_swift_was_not_compiled(kind, exported):
    text = (exported.path / "README.md").read_text()
    assert "has not been compiled" in text
    for part in exported.manifest.parts.values():
        assert f"`{part.file}`" in text
        assert all(f"`{function.name}`" in text for function in part.functions)
    assert ("CVPixelBuffer" in text) is (KINDS[kind].io == "image")
    assert ('try load("x", "stylize_64")' in text) is (kind == "functions")


def test_nothing_in_a_bundle_tells_of_the_machine_that_made_it(exported, repository):
    for path in exported.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for place in (str(repository), "site-packages", str(exported.path)):
                assert place.encode() not in data


@pytest.mark.slow
def test_another_process_with_another_hash_seed_day_and_threads_writes_the_same_bytes(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from networks import WIDE, make_network\n"
        "from adain_export.coreml.request import CoremlRequest\n"
        "from adain_export.target import get_target\n"
        "request = CoremlRequest('x', sizes=((64, 64), (16, 24)), weights='pal6', allow_low_quality=True)\n"
        "get_target('coreml').export(make_network(WIDE), request, Path(sys.argv[1]))\n"
    )
    for name in "ab":
        environment = os.environ | {
            "PYTHONHASHSEED": "1" if name == "a" else "2",
            "TZ": "UTC" if name == "a" else "UTC+26",
            "OMP_NUM_THREADS": "1" if name == "a" else "2",
        }
        command = [sys.executable, "-c", program, str(tmp_path / name), str(Path(__file__).parents[1])]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    first, second = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()} for n in "ab"
    )
    assert len(first) == 5
    assert first == second


MODES = {
    "int8": ({"weights": "int8"}, 8.6, 38),
    "pal8": ({"weights": "pal8"}, 10, 38),
    "pal6": ({"weights": "pal6"}, 7.2, 33),
    "pal4": ({"weights": "pal4"}, 5, 24),
}


@pytest.mark.slow
@pytest.mark.parametrize("system", ["iOS16", "iOS18"])
@pytest.mark.parametrize("mode", MODES)
def test_small_weights_are_small_and_stay_near_torch(mode, system, wide, tmp_path):
    options, bits, decibels = MODES[mode]
    request = CoremlRequest(
        "w", sizes=((64, 64),), parts=("stylizer",), system=system, allow_low_quality=True, **options
    )
    bundle = TARGET.export(wide, request, tmp_path)
    large = sum(v.numel() for v in wide.state_dict().values() if v.numel() >= 2048)
    small = sum(v.numel() for v in wide.state_dict().values() if v.numel() < 2048)
    stored = sum(entry.bytes for name, entry in bundle.manifest.files.items() if name.endswith("weight.bin"))
    palettes = 4 * 512 * 16 * 2 if "pal" in mode else 0
    assert stored <= large * bits / 8 + small * 2 + palettes + 64 * 80
    assert bundle.path.name == f"w-coreml-fp16-{'w8' if mode == 'int8' else mode}"
    assert bundle.manifest.parity.psnr >= decibels


@pytest.mark.slow
def test_int8_activations_quantise_the_calibrations_layers_and_no_other(pooled, tmp_path):
    calibration = calibrated(pooled)
    fed = "decoder.conv4_1"
    some = replace(calibration, int8=(*calibration.int8[1:4], fed))
    assert fed not in calibration.int8[1:4]
    request = CoremlRequest("a", sizes=((64, 64),), parts=("stylizer",), int8=Int8(some), allow_low_quality=True)
    bundle = TARGET.export(pooled, request, tmp_path)
    assert bundle.path.name == "a-coreml-fp16-w8a8"
    assert (bundle.manifest.int8, bundle.manifest.calibration) == (some.int8[:-1], some.digest)
    block = Package.open(bundle.graph("stylizer")).functions["main"].block
    made = {output.name: operation for operation in block.operations for output in operation.outputs}
    int8 = set()
    for operation in block.operations:
        if operation.kind != "conv":
            continue
        before, weight = (made[operation.inputs[name][0]] for name in ("x", "weight"))
        layer = operation.inputs["weight"][0]
        coded = layer.startswith(fed.replace(".", "_")) or before.kind == "dequantize"
        assert coded is weight.kind.startswith("constexpr")
        if before.kind == "dequantize":
            int8.add(next(name for name in calibration.layers if layer.startswith(name.replace(".", "_") + "_weight")))
    assert int8 == set(some.int8[:-1])


def test_a_calibration_of_nothing_but_the_layer_that_adain_feeds_is_refused(pooled, tmp_path):
    alone = replace(calibrated(pooled), int8=("decoder.conv4_1",))
    with pytest.raises(InputError, match=r"no layer in int8 but decoder\.conv4_1, which AdaIN feeds"):
        TARGET.export(pooled, CoremlRequest("a", sizes=((64, 64),), int8=Int8(alone)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_few_values_are_checked_on_the_sample_pictures_too(wide, tmp_path):
    request = CoremlRequest("w", sizes=((64, 80), (32, 64)), parts=("stylizer",), allow_low_quality=True)
    plain = TARGET.export(wide, request, tmp_path).manifest.parity
    fitted = TARGET.export(wide, replace(request, weights="int8"), tmp_path).manifest.parity
    assert plain.cases == ("stylizer 1x3x32x64", "stylizer 1x3x64x80")
    assert fitted.cases[:2] == plain.cases
    assert len(fitted.cases) == 2 + 3 * 3
    assert "stylizer, coffee under ramparts" in fitted.cases
    small = replace(request, weights="int8", sizes=((32, 64),))
    assert TARGET.export(wide, small, tmp_path).manifest.parity.cases == plain.cases[:1]


def test_a_calibration_of_another_network_is_refused_before_anything_is_written(pooled, strided, tmp_path):
    with pytest.raises(InputError, match="the calibration was made for pooled"):
        TARGET.export(strided, CoremlRequest("x", sizes=((16, 16),), int8=Int8(calibrated(pooled))), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_misses_its_tolerance_is_not_kept_unless_that_is_asked_for(strided, tmp_path, monkeypatch):
    strict = Metrics(psnr=500)
    monkeypatch.setattr(tolerances, "limits_of", lambda *_: Limits(strict, strict, strict, 1.0))
    request = CoremlRequest("x", sizes=((16, 16),), parts=("stylizer",))
    with pytest.raises(QualityError, match=r"stylizer 1x3x16x16 in coreml-reference .*; nothing was written"):
        TARGET.export(strided, request, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert TARGET.export(strided, replace(request, allow_low_quality=True), tmp_path).manifest.parity.psnr > 40


def test_no_tolerance_lets_an_image_fall_under_30_db():
    assert min(limits.stylizer.psnr for limits in built_in()["coreml"].values()) >= 30


@pytest.mark.parametrize("label", ["fp32", "fp16", "fp16-w8", "fp16-pal8", "fp16-pal6", "fp16-pal4", "fp32-w8"])
def test_the_request_of_a_label_has_that_label_and_limits(label):
    request = TARGET.request_for("x", label, ((16, 16), (32, 24)), lambda: pytest.fail("no calibration is wanted"))
    assert (request.label, request.io, request.sizes) == (label, "tensor", ((16, 16), (32, 24)))
    assert tolerances.limits_for(request).stylizer.psnr >= 30


def test_the_request_of_an_unknown_label_is_refused():
    with pytest.raises(InputError, match="target coreml has no precision 'fp16-pal5'; it has fp16, fp16-w8"):
        TARGET.request_for("x", "fp16-pal5", ((16, 16),), lambda: pytest.fail("no calibration is wanted"))


def test_a_plain_request_takes_the_defaults_of_core_ml():
    made = coreml.coreml_request(Request("x", "fp32", parts=("encoder",)))
    assert made == CoremlRequest("x", "fp32", ("encoder",), rewrites=REWRITES)


def test_a_second_export_replaces_the_first_and_loses_no_file_of_a_person(strided, tmp_path):
    request = CoremlRequest("s", sizes=((16, 16),), parts=("encoder", "stylizer"))
    first = TARGET.export(strided, request, tmp_path)
    assert set(first.manifest.parts) == {"encoder", "stylizer"}
    second = TARGET.export(strided, replace(request, parts=("encoder",)), tmp_path)
    assert second.path == first.path
    assert set(Bundle.open(second.path).manifest.parts) == {"encoder"}
    kept = {part.file for part in second.manifest.parts.values()}
    assert {file.name for file in second.path.iterdir() if file.suffix == ".mlpackage"} == kept
    (second.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt beside the bundle"):
        TARGET.export(strided, request, tmp_path)
    assert (second.path / "notes.txt").read_text() == "mine"
    (second.path / "notes.txt").unlink()
    assert set(Bundle.open(second.path).manifest.parts) == {"encoder"}


def test_a_folder_that_is_no_bundle_is_not_replaced(strided, tmp_path):
    (tmp_path / "s-coreml-fp16").mkdir()
    with pytest.raises(InputError, match="is no bundle, so it is not replaced"):
        TARGET.export(strided, CoremlRequest("s", sizes=((16, 16),)), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_package_is_refused_when_the_bundle_is_opened(small, tmp_path, damage):
    copied = Path(shutil.copytree(small.path, tmp_path / small.path.name))
    weights = next(copied.rglob("weight.bin"))
    data = bytearray(weights.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"weight\.bin: (has|its content)"):
        Bundle.open(copied)


def test_a_missing_coremltools_is_told_with_the_line_that_installs_it(strided, tmp_path, monkeypatch):
    monkeypatch.setattr(coreml, "find_spec", lambda name: None if name == "coremltools" else object())
    with pytest.raises(
        UnavailableError, match=r'coremltools not installed; pip install torch "coremltools>=9\.0,<10" thr'
    ):
        TARGET.export(strided, CoremlRequest("x"), tmp_path)


def test_a_python_without_a_wheel_is_told(monkeypatch):
    monkeypatch.setattr(coreml.sys, "version_info", (3, 14, 0))
    probe = TARGET.probe()
    assert not probe
    assert "no wheel for Python" in probe.detail
    assert "python3.13" in probe.fix


def test_a_system_without_a_wheel_is_told_though_pip_built_what_it_could(tmp_path, monkeypatch):
    """As on Linux with an ARM processor: coremltools is there, without the library that writes weights."""
    monkeypatch.setattr(coreml, "_is_whole", lambda: False)
    probe = TARGET.probe()
    assert not probe
    assert "has lost its native half" in probe.detail
    monkeypatch.undo()
    monkeypatch.setattr(coreml.platform, "system", lambda: "Linux")
    monkeypatch.setattr(coreml.platform, "machine", lambda: "aarch64")
    assert "coremltools has no wheel for Linux aarch64" in TARGET.probe().detail
    assert coreml._is_whole()


def test_another_coremltools_than_9_is_told(monkeypatch):
    monkeypatch.setattr(coreml, "version", lambda name: "8.3.0")
    assert "coremltools 8.3.0 is installed" in TARGET.probe().detail
    monkeypatch.setattr(coreml, "version", lambda name: "9.1.0b1")
    assert TARGET.probe()


def test_the_manifest_of_a_bundle_lists_every_file_below_it(small):
    below = {p.relative_to(small.path).as_posix() for p in small.path.rglob("*") if p.is_file()}
    assert below == {*small.manifest.files, MANIFEST}


def test_a_range_in_half_precision_counts_more_cells_than_half_precision_can(tmp_path):
    """65,536 cells and their unbiased variance: a float16 ends at 65,504."""
    spec = NetworkSpec("flat", ((4, 4), (6,)), ((6,), (4, 3)), color_conv=True, correction=1)
    network = make_network(spec)
    request = CoremlRequest("x", parts=("stylizer",), sizes=((16, 16), (512, 512)), shapes="range", io="tensor")
    feeds = {"image": np.random.default_rng(0).random((1, 3, 512, 512), np.float32)}
    feeds |= {"mean": np.zeros((1, 6, 1, 1), np.float32), "std": np.ones((1, 6, 1, 1), np.float32)}
    feeds["alpha"] = np.ones((1, 1, 1, 1), np.float32)
    with get_backend("coreml-reference").open(TARGET.export(network, request, tmp_path), Options()) as session:
        made = session.run("stylizer", feeds)["image"]
    with torch.no_grad():
        wanted = graph("stylizer", network, (512, 512), 1.0)[0](*map(torch.from_numpy, feeds.values())).numpy()
    assert np.abs(made - wanted).max() < 0.05
