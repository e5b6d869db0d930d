"""adain-bench: contenders in turn in processes of their own, what failed said, and numbers that follow from times."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from adain_model import embedded_checkpoint, save_network
from adain_parity import bench, bench_cli, bench_report
from adain_parity.bench import Case, Contender, LeftOut, Row, Worker, measure_app, measure_parts
from adain_parity.bench_load import Load, LoadWatch
from adain_parity.bench_report import Benchmark
from adain_runtime.bundle import EMBEDDED
from adain_runtime.errors import InputError, UnavailableError
from networks import SPECS, make_network

LITE = EMBEDDED / "lite-onnx-fp32"
CHANNELS = 192


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    style = {name: rng.random((1, CHANNELS, 1, 1), np.float32) for name in ("mean", "std")}
    return Case(
        network="lite",
        size=16,
        macs=1_000_000,
        reference=Contender("torch", "torch", embedded_checkpoint()),
        baseline="onnx",
        contenders=(
            Contender("twin", "onnx", LITE),
            Contender("onnx", "onnx", LITE),
            Contender("broken", "onnx", LITE / "nowhere"),
        ),
        feeds={"image": rng.random((1, 3, 16, 16), np.float32), **style, "alpha": np.ones((1, 1, 1, 1), np.float32)},
    )


def row(contender="onnx", *, size=512, ms=100.0, what="stylizer", psnr=120.0):
    return Row(
        what, "lite", size, contender, "CPU", ms, 0.9 * ms, 1.1 * ms, 1.0, 3, 50.0, 20.0, 0.5, 10**8, 10**6, psnr
    )


def benchmark(*rows, load=None, left_out=()):
    return Benchmark(
        command="adain-bench",
        processor="a processor",
        cores=2,
        threads=2,
        tools={"numpy": "2.0"},
        load=load or Load(0.01, 0.0, 1.0),
        sgemm=200.0,
        baseline="onnx",
        rows=rows,
        left_out=left_out,
    )


def test_contenders_run_in_turn_and_one_that_can_not_is_left_out_with_its_reason(case, tmp_path):
    rows, left_out, peak = measure_parts(case, tmp_path, threads=1, rounds=4, seconds=60)
    assert [one.contender for one in rows] == ["twin", "onnx"]
    assert [one.contender for one in left_out] == ["broken"]
    assert "nowhere" in left_out[0].reason
    twin, onnx = rows
    assert twin.rounds == onnx.rounds == 4
    assert onnx.psnr > 100
    assert onnx.ratio == 1
    assert onnx.low <= onnx.ms <= onnx.high
    assert onnx.device == "CPUExecutionProvider"
    assert onnx.gflops == pytest.approx(2 * case.macs / onnx.ms / 1e6)
    assert onnx.of_peak == pytest.approx(onnx.gflops / peak)
    assert 20e6 < onnx.rss < 2e9
    assert onnx.bytes == sum(path.stat().st_size for path in LITE.iterdir())


def test_a_row_is_the_median_of_its_rounds_and_the_ratio_that_of_each_round(case):
    twin, onnx, _ = case.contenders
    made = bench._row("stylizer", case, twin, {twin: [1.0, 2.0, 4.0], onnx: [2.0, 6.0, 4.0]}, "CPU", 7)
    assert (made["ms"], made["low"], made["high"], made["rounds"]) == (2000, 1500, 3000, 3)
    assert made["ratio"] == 2  # of 2, 3 and 1: above 1 where it is faster than the baseline
    alone = bench._row("stylizer", case, twin, {twin: [1.0]}, "CPU", 7)
    assert (alone["ms"], alone["low"], alone["high"], alone["ratio"]) == (1000, 1000, 1000, 1)


def test_no_round_is_begun_after_the_time_is_up_once_there_are_three(case, tmp_path):
    rows, _, _ = measure_parts(replace(case, contenders=case.contenders[:2]), tmp_path, threads=1, rounds=9, seconds=0)
    assert {one.rounds for one in rows} == {3}


def test_adain_run_is_measured_from_the_shell_to_the_file(case, tmp_path, repository):
    samples = repository / "examples" / "images"
    photo, style = samples / "content" / "chelsea.jpg", samples / "style" / "summertime.jpg"
    slow = replace(case, contenders=case.contenders[::2])
    rows, left_out = measure_app(slow, photo, style, tmp_path, threads=1, rounds=1)
    assert [one.contender for one in rows] == ["twin"]
    assert rows[0].rss > 20e6
    assert rows[0].psnr is None
    assert [one.contender for one in left_out] == ["broken"]
    assert left_out[0].reason.startswith("adain-run: ")


def test_a_process_that_dies_is_told_with_its_last_words():
    with pytest.raises(UnavailableError, match=r"gone: its process ended with 1 \(KeyError: 'feeds'\)"):
        Worker({"label": "gone", "backend": "onnx", "model": "lite"}, 1)


def test_the_peak_of_memory_is_of_this_process_and_in_bytes():
    program = (  # a process of its own: this one's peak was long ago
        "from adain_parity.bench_worker import peak_rss; before = peak_rss(); ballast = bytearray(b'1') * 40_000_000; "
        "print(before, peak_rss(), ballast[-1])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after, _ = map(int, done.stdout.split())
    assert before + 30e6 < after < 64e9


def test_it_starts_where_there_is_no_resource_module():
    """As on Windows."""
    program = "import sys; sys.modules['resource'] = None; import adain_parity.bench_cli, adain_parity.bench_worker"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_other_load_is_told_and_says_what_to_trust():
    assert "quiet" in str(Load(0.01, 0.0, 1.0))
    assert "NOT QUIET" in str(Load(0.4, 0.0, 3.0))
    assert "NOT QUIET" in str(Load(0.0, 0.2, 3.0))
    assert Load(None, None, None).quiet is None
    found = LoadWatch().look()
    assert found.others is None or 0 <= found.others <= 1


def test_json_and_markdown_say_the_same_numbers_and_what_was_not_measured():
    found = benchmark(row(), row("mnn", ms=50.0), left_out=(LeftOut("lite", 512, "openvino", "not installed"),))
    plain = json.loads(found.to_json())
    assert [one["ms"] for one in plain["rows"]] == [100.0, 50.0]
    assert plain["load"]["quiet"] is True
    page = found.to_markdown()
    assert "## lite, 512x512: stylizer" in page
    assert "| mnn | 50 | 45-55 |" in page
    assert "- lite 512, openvino: not installed" in page
    assert "Nothing but a CPU was measured" in page


def test_a_column_that_nothing_has_is_not_shown():
    whole = replace(row(what="adain-run"), load_ms=None, gflops=None, of_peak=None, psnr=None)
    header = next(line for line in benchmark(whole).to_markdown().splitlines() if line.startswith("| contender"))
    assert header == "| contender | ms | quartiles | x plain | peak MB | file MB |"


def test_three_files_are_written_and_the_plot_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [row(size=size, ms=size / 5) for size in (256, 512)]
    paths = bench_report.write(benchmark(*rows, row("mnn", size=256)), tmp_path / "deep" / "cpu")
    assert [path.name for path in paths] == ["cpu.json", "cpu.md", "cpu.png"]
    assert paths[2].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--size", "100"], "multiples of 8"),
        (["--photo", "nowhere.jpg"], "nowhere.jpg: no such image; give one with --photo FILE"),
        (["--checkpoint", "nowhere.safetensors"], "nowhere.safetensors"),
        (["-o", "file/cpu"], "-o file: can't be made"),
        (["-o", "x" * 300 + "/cpu"], "can't be made (File name too long)"),
        (["-o", "/proc/self/cpu"], "-o /proc/self: can't be written"),
        (["--checkpoint", "twin.safetensors"], "stands there twice, by its weights"),
        (["--checkpoint", "lite.safetensors"], "two are called lite; give their files names of their own"),
        (["--checkpoint", "damaged.safetensors"], "damaged.safetensors: not a whole safetensors file"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(arguments, problem, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "damaged.safetensors").write_bytes(b"{")
    (tmp_path / "twin.safetensors").write_bytes(embedded_checkpoint().read_bytes())
    save_network(make_network(replace(SPECS["strided"], name="lite")), tmp_path / "lite.safetensors")
    monkeypatch.setattr(bench_cli, "measure_parts", lambda *_, **__: pytest.fail("it measured"))
    monkeypatch.setattr(sys, "argv", ["adain-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        bench_cli.main()
    assert stopped.value.code == 2
    assert problem in capsys.readouterr().err


def test_the_command_is_shown_without_folders_of_this_machine():
    typed = [
        "--checkpoint",
        "/secret/vgg19.safetensors",
        "-o",
        "out/cpu",
        "--photo=/secret/a.jpg",
        "-o/secret/cpu",
        "--quick",
    ]
    shown = ["--checkpoint", "vgg19.safetensors", "-o", "out/cpu", "--photo=a.jpg", "-ocpu", "--quick"]
    assert bench_cli._shown(typed) == shown


def test_a_benchmark_without_the_baseline_has_ratios_to_itself(case):
    times = {case.contenders[0]: [1.0, 2.0]}
    made = bench._row("stylizer", case, case.contenders[0], times, "", 1)
    assert made["ratio"] == 1
    with pytest.raises(InputError):
        bench_cli._sample(None, "content", "none.jpg")


def test_a_worker_that_talks_without_end_is_not_waited_for():
    """More than a pipe holds."""
    chatty = "import sys; sys.stderr.write('x' * 1_000_000); print('{}', flush=True); sys.stdin.read()"
    real = subprocess.Popen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.subprocess, "Popen", lambda _, **kept: real([sys.executable, "-c", chatty], **kept))
        with bench.Worker({"backend": "onnx"}, 1) as worker:
            assert worker.ready == {}
