"""``make demo``: what is compared with what, what is said of it, and what is written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adain_export.tolerances import limits_of
from adain_model import Network, initialize, save_network
from adain_model.backend import BACKEND as TORCH
from adain_parity import comparison, demo
from adain_parity.comparison import Row, compare, verdict
from adain_runtime.backend import Options, Probe, get_backend
from adain_runtime.backends.null import NullBackend, NullSession
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.cli import console
from adain_runtime.errors import InputError, QualityError, UnavailableError
from adain_runtime.image import Photo, load_image
from adain_runtime.spec import NetworkSpec

ROW = Row("onnx", "fp32", "CPUExecutionProvider", 4_600_000, 48, 64, 12.4, 120.04, 1.5e-6)


def photo(seed: int, height: int = 40, width: int = 48) -> Photo:
    """Colours that change smoothly, with a little noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / rng.uniform(3, 9) + columns / rng.uniform(3, 9)) for _ in range(3)]
    noisy = 127 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 9, (height, width, 3))
    return Photo(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """A folder of one photo and one of one painting."""
    for place, (kind, name) in enumerate((("content", "red_house.png"), ("style", "wave.png"))):
        (tmp_path / kind).mkdir()
        Image.fromarray(photo(place).rgb).save(tmp_path / kind / name)
    return tmp_path / "content", tmp_path / "style"


@pytest.fixture
def bundles() -> list[Bundle]:
    """The embedded network as a checkpoint, and the embedded export of it."""
    return [TORCH.find("lite"), find_bundle("lite", "onnx")]


@pytest.fixture
def run_demo(monkeypatch, capsys):
    """Run the command: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setitem(console._state, "verbose", False)
        monkeypatch.setattr(sys, "argv", ["demo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            demo.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def install(monkeypatch):
    """Make these backends, besides torch, all that is installed."""

    def only(*backends) -> None:
        here = {backend.name: backend for backend in (*backends, TORCH)}
        monkeypatch.setattr(comparison, "backend_names", lambda: sorted(here))
        monkeypatch.setattr(comparison, "get_backend", here.__getitem__)

    return only


class Grey(NullBackend):
    """Opens what torch doesn't, and paints grey."""

    name = "grey"

    def open(self, bundle: Bundle, options: Options) -> NullSession:
        if bundle.manifest.target == "torch":
            raise InputError("made for torch")
        return NullSession(bundle, "grey paint")


class Reference(Grey):
    """Stands in for the executor of Core ML packages, by its name."""

    name = "coreml-reference"


class Nan(Grey):
    name = "nan"

    def open(self, bundle: Bundle, options: Options) -> NullSession:
        super().open(bundle, options)
        return NanSession(bundle, "nan")


class NanSession(NullSession):
    """Of a package that doesn't look whether its values are finite."""

    def run(self, part, feeds):
        outputs = super().run(part, feeds)
        outputs["image"][..., -1] = np.nan
        return outputs


class Absent(Grey):
    name = "absent"

    def probe(self) -> Probe:
        return Probe(False, "libabsent is not installed", "pip install absent")


class Picky(Grey):
    name = "picky"

    def open(self, bundle: Bundle, options: Options) -> NullSession:
        raise InputError("made for another")


class Deviceless(Grey):
    name = "deviceless"

    def open(self, bundle: Bundle, options: Options) -> NullSession:
        if bundle.manifest.target == "torch":
            raise InputError("made for torch")
        raise UnavailableError("no such device")


def test_the_embedded_export_agrees_with_torch_on_every_pair(bundles, install):
    install(get_backend("onnx"))
    compared = compare(bundles, [photo(1), photo(2, 33, 50)], [photo(3), photo(4), photo(5)])
    reference, onnx = compared.rows
    assert reference.is_reference
    assert (reference.psnr, reference.max_abs) == (float("inf"), 0)
    assert (onnx.backend, onnx.precision, onnx.device) == ("onnx", "fp32", "CPUExecutionProvider")
    limits = limits_of("onnx", "fp32").stylizer
    assert onnx.psnr >= limits.psnr
    assert 0 < onnx.max_abs <= limits.max_abs
    assert compared.failures == ()
    assert compared.shown is onnx
    assert [[picture.size for picture in row] for row in compared.pictures] == [[(48, 40)] * 3, [(50, 33)] * 3]


def test_the_pictures_are_what_the_stylizer_makes(bundles):
    from adain_runtime import Stylizer

    content, style = photo(1), photo(3)
    compared = compare(bundles, [content, photo(2)], [photo(4), style])
    with Stylizer.open("lite") as stylizer:
        wanted = np.asarray(stylizer(content.rgb, style.rgb)).astype(int)
    assert np.abs(np.asarray(compared.pictures[0][1]).astype(int) - wanted).max() <= 1  # the style is torch's


def test_a_photo_that_would_be_cut_into_tiles_is_compared_as_a_whole(bundles, install, monkeypatch):
    """Tiles run the encoder and the decoder, and it is the stylizer that is compared."""
    install(get_backend("onnx"))
    monkeypatch.setattr("adain_runtime.tiling.working_memory", lambda _: 0)
    compared = compare(bundles, [photo(1, 96, 160)], [photo(2)])
    assert [(row.height, row.width) for row in compared.rows] == [(96, 160)] * 2


def test_the_backend_that_computes_shapes_only_is_left_out_and_said_to_be(bundles):
    compared = compare(bundles, [photo(1)], [photo(2)])
    assert "null" not in [row.backend for row in compared.rows]
    assert [entry.reason for entry in compared.left_out if entry.backend == "null"] == [
        "computes shapes only, so there is nothing to compare"
    ]


def test_the_core_ml_reference_is_compared_and_never_timed(bundles, install):
    install(Reference(), get_backend("onnx"))
    rows = {row.backend: row for row in compare(bundles, [photo(1)], [photo(2)]).rows}
    assert rows["coreml-reference"].psnr is not None
    assert rows["coreml-reference"].milliseconds is None
    assert rows["onnx"].milliseconds > 0


def test_a_backend_that_is_not_here_is_left_out_with_the_line_that_mends_it(bundles, install):
    install(Absent(), get_backend("onnx"))
    compared = compare(bundles, [photo(1)], [photo(2)])
    assert [row.backend for row in compared.rows] == ["torch", "onnx"]
    assert [(entry.backend, entry.reason) for entry in compared.left_out] == [
        ("absent", "libabsent is not installed; pip install absent")
    ]


def test_a_backend_without_its_device_or_without_a_bundle_is_left_out_with_its_reason(bundles, install):
    install(Deviceless(), Picky())
    compared = compare(bundles, [photo(1)], [photo(2)])
    assert [(entry.backend, entry.reason) for entry in compared.left_out] == [
        ("deviceless", "no such device"),
        ("picky", "takes none of the bundles made here (onnx, torch)"),
    ]
    assert compared.shown.is_reference


def test_a_backend_that_refuses_a_bundle_of_its_own_target_is_an_error_and_not_left_out(bundles, install):
    picky = Picky()
    picky.name = "onnx"
    install(picky)
    with pytest.raises(InputError, match="made for another"):
        compare(bundles, [photo(1)], [photo(2)])


def test_a_backend_that_drifts_fails_and_is_not_the_one_shown(bundles, install):
    install(Grey(), get_backend("onnx"))
    compared = compare(bundles, [photo(1)], [photo(2)])
    assert [row.backend for row in compared.rows] == ["torch", "grey", "onnx"]
    assert [row.backend for row in compared.failures] == ["grey"]
    assert compared.shown.backend == "onnx"
    assert f"below {limits_of('grey', 'fp32', target='onnx').stylizer.psnr:g}" in compared.failures[0].failure


def test_a_backend_with_values_that_are_not_finite_fails_and_the_others_go_on(bundles, install):
    install(Nan(), get_backend("onnx"))
    compared = compare(bundles, [photo(1)], [photo(2), photo(3)])
    nan = next(row for row in compared.rows if row.backend == "nan")
    assert (nan.psnr, nan.max_abs, nan.milliseconds) == (None, None, None)
    assert "not finite" in nan.failure
    assert compared.shown.backend == "onnx"


def test_every_step_is_reported_up_to_the_last(bundles, install):
    install(get_backend("onnx"))
    told: list[tuple[int, int, str]] = []
    compare(bundles, [photo(1)], [photo(2), photo(3)], report=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(1, 7))  # two runners: two pictures each, one timing each
    assert {steps for _, steps, _ in told} == {6}
    assert {label for _, _, label in told} == {"torch fp32", "onnx fp32"}


def test_nothing_to_compare_with_is_an_error(bundles):
    with pytest.raises(UnavailableError, match=r"torch.*takes none of the bundles made here \(onnx\)"):
        compare(bundles[1:], [photo(1)], [photo(2)])
    with pytest.raises(InputError, match="1 contents and 0 styles"):
        compare(bundles, [photo(1)], [])


def test_a_verdict_holds_both_numbers_against_the_precision_and_passes_no_nan():
    limits = limits_of("onnx", "fp32").stylizer
    decibels, largest = limits.psnr, limits.max_abs
    assert verdict("onnx", "fp32", decibels, largest) == ""
    assert verdict("onnx", "fp32", decibels - 0.1, largest).startswith("psnr ")
    assert verdict("onnx", "fp32", decibels, 1.1 * largest).startswith("max_abs ")
    assert verdict("onnx", "fp16", decibels - 0.1, 1.1 * largest) == ""
    assert verdict("onnx", "fp32", float("nan"), 0)
    assert verdict("onnx", "fp32", float("inf"), float("nan"))
    assert verdict("onnx", "fp32", float("inf"), 0) == ""
    assert verdict("openvino", "fp32", decibels - 0.1, largest, target="onnx").startswith("psnr ")
    assert verdict("onnx", "int2", float("inf"), 0).startswith("no tolerance is set for onnx int2, only for ")


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (ROW, ("onnx", "fp32", "cpu", "4.6", "64x48", "12", "120.0 dB", "1.5e-06")),
        (replace(ROW, psnr=float("inf"), max_abs=0.0), (*demo.cells(ROW)[:6], "exact", "0")),
        (replace(ROW, psnr=None, max_abs=None, milliseconds=None), (*demo.cells(ROW)[:5], "-", *["not finite"] * 2)),
        (replace(ROW, backend="torch", device="cpu"), ("torch", *demo.cells(ROW)[1:6], "reference", "-")),
    ],
    ids=["measured", "equal to the last bit", "not finite", "the reference"],
)
def test_a_row_reads(row, shown):
    assert demo.cells(row) == shown


def test_samples_are_named_after_their_files(folders):
    assert [sample.name for sample in demo.find_samples("--content", folders[0])] == ["Red house"]


def test_samples_take_title_and_source_from_the_sources_file_beside_them(folders):
    (folders[0].parent / "SOURCES.md").write_text(
        "| file | title | author | licence | done |\n|---|---|---|---|---|\n"
        "| `wave.png` | The Wave | Hokusai, 1831 | public domain | cut |\n"
        f"| `red_house.png` | {'A very long title ' * 3} | nobody | CC0 | kept |\n"
    )
    content, style = (demo.find_samples("--style", folder)[0] for folder in folders)
    assert (style.name, style.source) == ("The Wave", "The Wave; Hokusai, 1831; public domain")
    assert content.name == "Red house"
    assert content.source.endswith("; nobody; CC0")


def test_the_repository_has_samples_of_its_own_with_sources():
    for option in ("--content", "--style"):
        samples = demo.find_samples(option, None)
        assert len(samples) >= 3
        assert all(sample.source for sample in samples)


@pytest.mark.parametrize("option", ["--content", "--style"])
def test_a_folder_that_is_not_there_is_named_with_the_option_that_mends_it(run_demo, tmp_path, option):
    code, out, err = run_demo("--out", tmp_path / "out", option, tmp_path / "nowhere")
    assert code == 2
    assert out == ""
    assert "nowhere: no such folder of images" in err
    assert option in err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images_is_refused(run_demo, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run_demo("--out", tmp_path / "out", "--style", tmp_path / "empty")
    assert code == 2
    assert "no images" in err


def test_a_backend_out_of_tolerance_fails_the_demo_after_the_gallery_is_written(
    run_demo, folders, bundles, install, monkeypatch, tmp_path
):
    install(Grey(), get_backend("onnx"))
    monkeypatch.setattr(demo, "export", lambda checkpoint, folder: bundles)
    content, style = folders
    code, out, err = run_demo("--out", tmp_path / "out", "--content", content, "--style", style)
    assert code == QualityError.exit_code == 1
    assert "grey" in out
    assert "grey fp32:" in err.splitlines()[-1]
    page = (tmp_path / "out" / "gallery.html").read_text(encoding="utf-8")
    assert "<tr class=failed><td>grey</td>" in page
    with Image.open(tmp_path / "out" / "gallery.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.slow
def test_the_demo_exports_compares_and_writes_everything_it_says(run_demo, folders, tmp_path):
    content, style = folders
    network = Network(NetworkSpec("tiny", encoder=((4,), (6,), (8,), (10,)), decoder=((8,), (6,), (4,), (4, 3))))
    initialize(network, torch.Generator().manual_seed(7))
    save_network(network, tmp_path / "tiny.safetensors")
    out = tmp_path / "new" / "out"
    code, table, err = run_demo(
        "--out", out, "--content", content, "--style", style, "--checkpoint", tmp_path / "tiny.safetensors"
    )
    assert code == 0, err
    for name in ("tiny-onnx-fp32", "tiny-onnx-fp16"):
        assert Bundle.open(out / "bundles" / name).manifest.name == "tiny"
    rows = [line.split() for line in table.splitlines() if line.split()[:1] in (["torch"], ["onnx"])]
    assert [row[:2] for row in rows] == [["torch", "fp32"], ["onnx", "fp32"], ["onnx", "fp16"]]
    assert [row[4] for row in rows] == ["48x40"] * 3
    assert rows[0][6] == "reference"
    for row in rows[1:]:
        tolerance = limits_of("onnx", row[1]).stylizer
        assert row[6] == "exact" or float(row[6]) >= tolerance.psnr
        assert float(row[-1]) <= tolerance.max_abs
    assert "timings of this run, not a benchmark" in " ".join(table.split())
    assert "null left out" in err
    assert str(out / "gallery.html") in err
    page = (out / "gallery.html").read_text(encoding="utf-8")
    for text in ("Red house in the style of Wave", f"--checkpoint {tmp_path / 'tiny.safetensors'}", "onnxruntime"):
        assert text in page
    assert min(load_image(out / "gallery.png").rgb.shape[:2]) > 400
