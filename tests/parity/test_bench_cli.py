"""``adain-bench`` as people type it: what each option changes of what is measured, and what is written and printed."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from adain_export.target import REWRITES, get_target
from adain_model import embedded_checkpoint, save_network
from adain_parity import bench, bench_cli
from adain_parity.artefacts import Model
from adain_parity.bench import Contender, LeftOut, Row
from adain_runtime import Stylizer
from adain_runtime.backend import Probe, get_backend
from adain_runtime.bundle import EMBEDDED
from networks import SPECS, make_network

pytest.importorskip("matplotlib", reason="matplotlib, which adain-bench plots with, is not installed")

LITE = EMBEDDED / "lite-onnx-fp32"
ONE = Contender(bench_cli.PLAIN, "onnx", LITE)


@pytest.fixture
def command(typed, monkeypatch, tmp_path):
    """``adain-bench`` in this process and an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    return partial(typed, bench_cli.main, "adain-bench")


@pytest.fixture
def one_contender(monkeypatch):
    """The embedded bundle is all that is measured, and mnn is said not to be here: nothing is exported."""
    monkeypatch.setattr(bench_cli, "_contenders", lambda *_: ([ONE], [("mnn", "not here; pip install MNN")]))


@pytest.fixture
def asked(monkeypatch, one_contender):
    """What the measuring was asked for, part and adain-run; nothing is measured."""
    seen = SimpleNamespace(parts=[], apps=[])

    def measured(what, case):
        numbers = (2.0, 1.0, 3.0, 1.0, 3, None, None, None, 10**8, 10**6, None)
        return [Row(what, case.network, case.size, case.baseline, "CPU", *numbers)], []

    def parts(case, folder, **kept):
        seen.parts.append((case, kept))
        return *measured("stylizer", case), 10.0 * len(seen.parts)

    def app(case, photo, style, folder, **kept):
        seen.apps.append((case, np.asarray(Image.open(photo)), style, kept))
        return measured("adain-run", case)

    monkeypatch.setattr(bench_cli, "measure_parts", parts)
    monkeypatch.setattr(bench_cli, "measure_app", app)
    return seen


@pytest.fixture
def small(tmp_path):
    """A checkpoint that is no embedded one."""
    path = tmp_path / "small.safetensors"
    save_network(make_network(SPECS["strided"]), path)
    return path


def flat(path, color):
    Image.new("RGB", (40, 24), color).save(path)
    return path


def found(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_without_options_three_sizes_are_measured_and_three_files_called_bench_are_written(command, asked, tmp_path):
    ran = command()
    assert ran.code == 0
    assert [case.size for case, _ in asked.parts] == [256, 512, 1024]
    assert [(case.network, case.reference.model) for case, _ in asked.parts] == [("lite", embedded_checkpoint())] * 3
    _, kept = asked.parts[0]
    assert (kept["rounds"], kept["seconds"]) == (15, 45)
    ((case, photo, _, kept),) = asked.apps
    assert (case.size, photo.shape, kept["rounds"]) == (512, (512, 512, 3), 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.md", "bench.png"]
    assert ran.err.endswith("wrote bench.json, bench.md, bench.png\n")
    assert "Backends on the CPU" in ran.out
    assert found(tmp_path / "bench.json")["sgemm"] == 30  # the best of all sizes


def test_quick_is_one_size_and_three_rounds_of_both(command, asked):
    assert command("--quick").code == 0
    ((case, kept),) = asked.parts
    assert (case.size, kept["rounds"]) == (256, 3)
    ((case, _, _, kept),) = asked.apps
    assert (case.size, kept["rounds"]) == (256, 3)


def test_sizes_are_measured_once_each_in_order_and_adain_run_at_the_one_that_is_nearest_to_512(
    command, asked, tmp_path
):
    assert command("--size", "64", "--size", "16", "--size", "64", "--quick").code == 0
    assert [case.size for case, _ in asked.parts] == [16, 64]
    assert [case.feeds["image"].shape for case, _ in asked.parts] == [(1, 3, 16, 16), (1, 3, 64, 64)]
    small, large = (case.macs for case, _ in asked.parts)
    assert large == pytest.approx(16 * small, rel=0.05)
    ((case, photo, _, _),) = asked.apps
    assert (case.size, photo.shape) == (64, (64, 64, 3))
    made = found(tmp_path / "bench.json")
    assert [(row["what"], row["size"]) for row in made["rows"]] == [
        ("stylizer", 16),
        ("stylizer", 64),
        ("adain-run", 64),
    ]
    assert [(one["contender"], one["size"]) for one in made["left_out"]] == [("mnn", 16), ("mnn", 64)]
    assert {one["reason"] for one in made["left_out"]} == {"not here; pip install MNN"}


def test_rounds_seconds_and_threads_reach_the_measuring_and_the_report(command, asked, tmp_path):
    assert command("--size", "16", "--rounds", "7", "--seconds", "2.5", "--threads", "3").code == 0
    ((_, kept),) = asked.parts
    assert (kept["rounds"], kept["seconds"], kept["threads"]) == (7, 2.5, 3)
    ((*_, kept),) = asked.apps
    assert (kept["rounds"], kept["threads"]) == (5, 3)
    assert found(tmp_path / "bench.json")["threads"] == 3
    assert "threads each: 3" in (tmp_path / "bench.md").read_text(encoding="utf-8")


def test_the_photo_that_is_given_is_what_is_stylised(command, asked, tmp_path):
    assert command("--size", "16", "--photo", flat(tmp_path / "red.png", (255, 0, 0))).code == 0
    ((case, _),) = asked.parts
    assert case.feeds["image"][0].mean((1, 2)).tolist() == [1, 0, 0]
    ((_, photo, _, _),) = asked.apps
    assert photo.mean((0, 1)) == pytest.approx([255, 0, 0], abs=3)  # a JPEG


def test_the_style_that_is_given_is_after_which_it_is_done(command, asked, tmp_path):
    blue = flat(tmp_path / "blue.png", (0, 0, 255))
    assert command("--size", "16", "--style", blue).code == 0
    ((case, _),) = asked.parts
    with Stylizer.open(LITE, threads=1) as stylizer:
        wanted = stylizer.style(blue)
    np.testing.assert_allclose(case.feeds["mean"].ravel(), wanted.mean, rtol=1e-5)
    np.testing.assert_allclose(case.feeds["std"].ravel(), wanted.std, rtol=1e-5)
    ((_, _, style, _),) = asked.apps
    assert style == blue


def test_checkpoints_are_measured_after_the_embedded_student(command, asked, small, tmp_path):
    other = tmp_path / "other.safetensors"
    save_network(make_network(SPECS["pooled"]), other)
    assert command("--quick", "--checkpoint", "small.safetensors", "--checkpoint", other).code == 0
    assert [(case.network, case.reference.model) for case, _ in asked.parts] == [
        ("lite", embedded_checkpoint()),
        ("strided", small),
        ("pooled", other),
    ]
    assert [case.network for case, *_ in asked.apps] == ["lite", "strided", "pooled"]
    assert len({case.macs for case, _ in asked.parts}) == 3
    made = found(tmp_path / "bench.json")
    assert list(dict.fromkeys(row["network"] for row in made["rows"])) == ["lite", "strided", "pooled"]
    assert made["command"] == (
        "adain-bench --quick --checkpoint small.safetensors --checkpoint other.safetensors"  # without its folder
    )


def test_output_names_the_three_files_and_its_folder_is_made(command, asked, tmp_path):
    ran = command("--quick", "--output", "deep/er/cpu")
    assert ran.code == 0
    assert sorted(path.name for path in (tmp_path / "deep" / "er").iterdir()) == ["cpu.json", "cpu.md", "cpu.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "8"], "--size"),
        (["--size", "8192"], "--size"),
        (["--rounds", "2"], "--rounds"),
        (["--seconds", "-1"], "--seconds"),
        (["--threads", "0"], "--threads"),
        (["--style", "none.jpg"], "none.jpg: no such image; give one with --style FILE"),
        (["--photo", "text.jpg"], "text.jpg"),
        (["--style", "text.jpg"], "text.jpg"),
        (["--checkpoint", "text.jpg"], "text.jpg"),
        (["--sizes", "16"], "No such option: --sizes"),
        (["again"], "unexpected extra argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_measured_or_written(command, asked, tmp_path, arguments, said):
    (tmp_path / "text.jpg").write_text("no picture, and no network")
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert asked.parts == []
    assert [path.name for path in tmp_path.iterdir()] == ["text.jpg"]


@pytest.mark.parametrize(
    ("output", "said"), [(".", "give the results a name"), ("taken", "taken.md is there and is no")]
)
def test_a_place_that_can_not_be_written_is_told_before_anything_is_measured(command, asked, tmp_path, output, said):
    (tmp_path / "taken.md").mkdir()
    ran = command("--quick", "-o", output)
    assert ran.code == 2
    assert said in ran.one_line()
    assert asked.parts == []


def test_rounds_that_are_asked_for_hold_for_a_quick_look_too(command, asked):
    assert command("--quick", "--rounds", "7").code == 0
    ((_, kept),) = asked.parts
    assert kept["rounds"] == 7


def test_verbose_shows_where_an_error_was_raised(command):
    assert command("--size", "100").err.count("\n") == 1
    code, _, err = command("--size", "100", "--verbose")
    assert code == 2
    assert err.startswith("Traceback")
    assert err.endswith("adain-bench: --size 100: the networks take multiples of 8; 96 is near\n")


def test_what_it_can_not_do_without_is_told_by_name_and_exit_3(command, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "matplotlib" else object())
    ran = command("--quick")
    assert ran.code == 3
    assert ran.one_line().endswith("matplotlib, which is not installed; pip install matplotlib\n")
    monkeypatch.setattr(
        type(get_target("onnx")), "probe", lambda _: Probe(False, "torch not installed", "pip install torch")
    )
    ran = command("--quick")
    assert ran.code == 3
    assert "what it measures is exported first: torch not installed; pip install torch" in ran.one_line()


def test_the_threads_and_rounds_that_are_asked_for_are_those_of_every_process(
    command, one_contender, monkeypatch, tmp_path
):
    """The whole of it, on one bundle: each worker's order and environment, each adain-run's command line."""
    workers, runs = [], []
    popen, run = subprocess.Popen, subprocess.run

    def start(words, **kept):
        if "adain_parity.bench_worker" in words:
            workers.append((json.loads(words[-1]), kept["env"]))
        return popen(words, **kept)

    def finish(words, **kept):
        if "--backend" in words:
            runs.append(words)
        return run(words, **kept)

    own = SimpleNamespace(Popen=start, run=finish, PIPE=subprocess.PIPE)
    monkeypatch.setattr(bench, "subprocess", own)
    ran = command("--size", "16", "--quick", "--threads", "1")
    assert ran.code == 0, ran.err
    assert [spec["backend"] for spec, _ in workers] == ["torch", "onnx", "sgemm"]
    assert [spec.get("threads") for spec, _ in workers] == [1, 1, None]
    assert {env["OMP_NUM_THREADS"] for _, env in workers} == {"1"}
    assert len(runs) == 4  # three, and one that is not counted
    assert {words[words.index("--threads") + 1] for words in runs} == {"1"}
    part, whole = found(tmp_path / "bench.json")["rows"]
    assert (part["what"], part["rounds"], whole["what"], whole["rounds"]) == ("stylizer", 3, "adain-run", 3)
    assert (part["contender"], part["ratio"]) == (bench_cli.PLAIN, 1)
    assert part["psnr"] > 60
    assert "lite 16, mnn: not here; pip install MNN" in ran.out


@pytest.fixture
def exports(monkeypatch):
    """The folder and the request of each export; nothing is exported."""
    seen = []

    def export(_target, _network, request, out):
        seen.append((out.name, request))
        return SimpleNamespace(path=out)

    for target in ("onnx", "mnn"):
        monkeypatch.setattr(type(get_target(target)), "export", export)
    return seen


def here(monkeypatch, **probes):
    for backend, probe in probes.items():
        monkeypatch.setattr(type(get_backend(backend)), "probe", lambda _, probe=probe: probe)


def test_contenders_are_the_plain_graph_the_fast_one_and_each_backend_that_is_here(monkeypatch, exports, small):
    here(monkeypatch, openvino=Probe(True, "here"), mnn=Probe(True, "here"))
    out = small.parent
    contenders, left_out = bench_cli._contenders(Model("strided", small, make_network(SPECS["strided"]), "0"), out)
    assert left_out == []
    assert contenders == [
        Contender(bench_cli.PLAIN, "onnx", out / "plain"),
        Contender("onnx", "onnx", out / "phase"),
        Contender("openvino", "openvino", out / "phase"),
        Contender("mnn", "mnn", out / "mnn"),
        Contender("mnn, exact", "mnn", out / "mnn", exact=True),
    ]
    assert {name: request.rewrites for name, request in exports} == {
        "plain": ("fold-color",),
        "phase": REWRITES,
        "mnn": REWRITES,
    }


def test_a_backend_that_is_not_here_is_left_out_with_the_line_that_mends_it(monkeypatch, exports, small):
    here(monkeypatch, openvino=Probe(False, "not installed", "pip install openvino"), mnn=Probe(False, "too old"))
    model = Model("strided", small, make_network(SPECS["strided"]), "0")
    contenders, left_out = bench_cli._contenders(model, small.parent)
    assert [one.label for one in contenders] == [bench_cli.PLAIN, "onnx"]
    assert left_out == [("openvino", "not installed; pip install openvino"), ("mnn", "too old")]
    assert [name for name, _ in exports] == ["plain", "phase"]


def test_what_was_left_out_is_in_the_page_beside_what_was_measured(command, asked, monkeypatch, tmp_path):
    """A contender that fails while it is measured is told as one that never began."""
    kept = bench_cli.measure_parts

    def fails(case, folder, **others):
        rows, _, rate = kept(case, folder, **others)
        return rows, [LeftOut(case.network, case.size, "mnn, exact", "its process ended with -11")], rate

    monkeypatch.setattr(bench_cli, "measure_parts", fails)
    assert command("--quick").code == 0
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "- lite 256, mnn: not here; pip install MNN" in page
    assert "- lite 256, mnn, exact: its process ended with -11" in page
