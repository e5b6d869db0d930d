from __future__ import annotations

import json

import pytest
import torch

import gpu
import gpu_contenders
from adain_model.network import Network
from adain_runtime.spec import NetworkSpec
from gpu_limit import Rates, Work, least_work
from networks import SPECS, make_network

CPU = torch.device("cpu")
RATES = Rates(flops=1e12, copy=1e11, matrix=64, copied=2**20)


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    gpu.main(["--dry-run", "--output", str(folder)])
    (result,) = folder.glob("gpu-*.json")
    return json.loads(result.read_text()), result.with_suffix(".md").read_text()


def test_a_dry_run_has_a_row_for_every_contender(dry):
    result, _ = dry
    assert result["dry_run"] is True
    assert [row["contender"] for row in result["rows"]] == list(gpu_contenders.CONTENDERS)
    assert result["unmeasured"] == []


def test_what_was_measured_on_the_cpu_says_so(dry):
    result, page = dry
    assert result["device"].startswith("cpu ")
    assert result["made_with"]["cuda"] is None
    assert result["made_with"]["driver"] is None
    assert "A dry run" in page


def test_a_row_has_either_numbers_or_a_reason(dry):
    result, page = dry
    measured = {row["contender"]: row for row in result["rows"] if "ms" in row}
    assert {"torch-fp32", "torch-fp16"} == set(measured)
    for row in result["rows"]:
        assert ("ms" in row) is not bool(row.get("reason"))
        assert row["contender"] in page
    half = measured["torch-fp16"]
    assert half["psnr"] > 40
    assert half["ms"]["min"] <= half["ms"]["median"] <= half["ms"]["max"]
    assert measured["torch-fp32"]["psnr_note"] == "the reference"
    assert all(row["peak_note"] for row in measured.values())


def test_a_dry_run_writes_nothing_unless_told_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "results")
    gpu.main(["--dry-run", "--contenders", "torch-fp32"])
    assert not (tmp_path / "results").exists()
    assert "torch-fp32" in capsys.readouterr().out


def test_a_spent_budget_begins_nothing_and_lists_it(tmp_path, capsys):
    gpu.main(["--dry-run", "--budget-seconds", "0", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert result["rows"] == []
    assert [row["contender"] for row in result["unmeasured"]] == list(gpu_contenders.CONTENDERS)
    assert "the budget of 0 s was spent" in capsys.readouterr().out


def test_a_contender_that_fails_is_a_row_and_the_rest_go_on(monkeypatch):
    def broken(case):
        raise ValueError("of no use\nsecond line")

    monkeypatch.setitem(gpu_contenders.CONTENDERS, "torch-fp16", broken)
    found = gpu.Found()
    plan = gpu.Plan(sizes=(16,), batches=(2,), contenders=("torch-fp16", "torch-fp32"), rounds=2, least_seconds=0)
    with torch.no_grad():
        assert len(list(gpu.measure({"tiny": make_network(SPECS["pooled"])}, plan, CPU, RATES, 1e12, found))) == 1
    failed, fine = found.rows
    assert failed["reason"] == "ValueError: of no use"
    assert fine["images_per_second"] == pytest.approx(2 / (fine["ms"]["median"] / 1000))


def test_cases_of_too_many_pixels_are_listed():
    found = gpu.Found()
    plan = gpu.Plan(sizes=(32,), batches=(8,), most_pixels=7 * 32**2)
    list(gpu.measure({"tiny": make_network(SPECS["pooled"])}, plan, CPU, RATES, 0.0, found))
    assert found.rows == []
    assert found.unmeasured == [
        {"network": "tiny", "size": 32, "batch": 8, "reason": "more than 7168 pixels a call"},
    ]


def test_the_least_work_is_that_counted_by_hand():
    network = make_tiny()
    # 3 to 4 channels at 16x16; pooled; 4 to 6 at 8x8; 6 to 4 at 8x8; upsampled, 4 to 3 at 16x16 with 4 of 9 taps
    macs = 9 * (3 * 4 * 256 + 4 * 6 * 64 + 6 * 4 * 64) + 4 * (4 * 3 * 256)
    maps = 4 * 3 * 256 + 2 * (4 * 64 + 4 * 64 + 6 * 64 + 6 * 64 + 4 * 64 + 4 * 64) + 4 * 3 * 256
    weights = 2 * (9 * (3 * 4 + 4 * 6 + 6 * 4 + 4 * 3) + 4 + 6 + 4 + 3)
    assert least_work(network, 16, 2) == Work(flops=pytest.approx(2 * 2 * macs), moved=2 * maps + weights)


def test_the_folded_colour_convolution_is_no_work():
    plain, coloured = make_tiny(), make_tiny(color_conv=True)
    assert least_work(coloured, 16, 1) == least_work(plain, 16, 1)


def test_the_limit_is_the_slower_of_computing_and_moving():
    rates = Rates(flops=100.0, copy=10.0, matrix=1, copied=1)
    assert Work(flops=400, moved=20).limit(rates) == 4
    assert Work(flops=400, moved=70).limit(rates) == 7


def test_timing_takes_medians_and_divides_by_the_limit():
    found = gpu.timing([0.004, 0.002, 0.009], batch=8, limit=0.001)
    assert found == {
        "ms": {"median": 4.0, "min": 2.0, "max": 9.0},
        "images_per_second": 2000.0,
        "times_limit": 4.0,
    }


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"), ("Orin (nvgpu)/nvidia ", "orin-nvgpu-nvidia")],
)
def test_a_slug_is_a_plain_file_name(name, wanted):
    assert gpu.slug(name) == wanted


def test_the_page_has_a_line_a_row_and_groups_what_could_not_run(dry):
    result, _ = dry
    labels = {"network": "lite", "batch": 1, "contender": "x"}
    rows = [
        labels
        | {"size": 256, "ms": {"median": 1.5, "min": 1.25, "max": 2.0}, "images_per_second": 666.7, "times_limit": 3.0}
        | {"peak_bytes": 12_000_000, "psnr": 61.26},
        labels | {"size": 512, "reason": "not installed"},
        labels | {"size": 1024, "reason": "not installed"},
    ]
    page = gpu.markdown(result | {"rows": rows, "dry_run": False, "device": "A GPU"})
    assert "# The stylizer on A GPU\n" in page
    assert "| lite | 256 | 1 | x | 1.500 (1.250 to 2.000) | 667 | 12 | 61.3 | 3.00 |\n" in page
    assert "- x (lite 1 x 512, lite 1 x 1024): not installed\n" in page


def test_without_a_gpu_the_whole_run_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA GPU here"):
        gpu.main([])


def test_an_unknown_contender_is_refused(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--dry-run", "--contenders", "magic"])
    assert "no contender magic" in capsys.readouterr().err


def test_the_onnx_that_is_timed_is_a_float16_stylizer():
    import onnx

    case = gpu_contenders.Case(make_network(SPECS["strided"]), 16, 1, CPU)
    model = onnx.load_from_string(case.onnx)
    assert tuple(value.name for value in model.graph.input) == gpu_contenders.INPUTS
    assert [value.name for value in model.graph.output] == [gpu_contenders.OUTPUT]
    assert {w.data_type for w in model.graph.initializer if "conv" in w.name} == {onnx.TensorProto.FLOAT16}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_every_contender_of_torch_runs(tmp_path):
    gpu.main(["--sizes", "64", "--batches", "1", "--rounds", "1", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    rows = {row["contender"]: row for row in json.loads(path.read_text())["rows"]}
    for name in ("torch-fp32", "torch-fp16", "torch-fp16-graph", "compile-fp16", "compile-fp16-graph"):
        assert rows[name]["ms"]["min"] > 0
        assert rows[name]["peak_bytes"] > 0


def make_tiny(**settings):
    """Two stages, one convolution each, pooled: small enough to count by hand."""
    return Network(NetworkSpec("tiny", ((4,), (6,)), ((4,), (3,)), **settings))
