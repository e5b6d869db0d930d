"""The stylizer on a CUDA GPU: torch, torch.compile, ONNX Runtime and TensorRT against what the device could do at best.

    python benchmarks/gpu.py [--vgg19 vgg19.safetensors] [--budget-seconds 240]
    python benchmarks/gpu.py --dry-run          (no GPU: size 64 on the CPU, writes nothing)

Every contender of a case (network, size, batch) is made first; then they are measured in turn for several rounds in one
process, each measurement as many calls as take 20 ms, between two CUDA events. ms is the median of the rounds. PSNR is
against float32 torch on the same device. The limit is ``max(operations / matrix rate, bytes / copy rate)`` with both
rates measured on this device at the start, and operations and bytes as ``gpu_limit.least_work`` says. What can't run
here is a row with its reason, and what the time budget left out is listed. Writes benchmarks/results/gpu-DEVICE.json
and .md.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adain_model import Network, embedded_checkpoint, load_network, weights_sha256
from adain_runtime.metrics import psnr
from gpu_contenders import CONTENDERS, Case, NotHere, Runner, torch_fp32
from gpu_limit import Rates, least_work, measure_rates, repeats_for, seconds_per_call

RESULTS = Path(__file__).parent / "results"
TOOLS = (
    *("torch", "triton", "numpy", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13-bindings"),
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        sizes: sides of the square images, in pixels.
        batches: images a call.
        most_pixels: cases of more pixels a call are left out, and listed.
        contenders: names of ``CONTENDERS``.
        rounds: measurements of each.
        least_seconds: of one measurement.
        budget_seconds: nothing new is begun after it.
        compile_mode: of torch.compile.
        torch_rewrites: exact rewrites under torch's float16 contenders.
    """

    sizes: Sequence[int] = (256, 512, 1024)
    batches: Sequence[int] = (1, 8)
    most_pixels: int = 8 * 512**2
    contenders: Sequence[str] = tuple(CONTENDERS)
    rounds: int = 7
    least_seconds: float = 0.02
    budget_seconds: float = 240.0
    compile_mode: str = "default"
    torch_rewrites: Sequence[str] = ("fold-color",)


@dataclass
class Found:
    """What a run gave.

    Attributes:
        rows: one a case and contender.
        unmeasured: cases and contenders that were not begun, each with why.
    """

    rows: list[Row] = field(default_factory=list)
    unmeasured: list[Row] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the result."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(given)
    device = torch.device("cpu" if options.dry_run else "cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU here; --dry-run tries everything on the CPU")
    plan = _plan(options)
    networks = {"lite": load_network(embedded_checkpoint())}
    if options.vgg19 is not None:
        networks["vgg19"] = load_network(options.vgg19)
    output = options.output or (None if options.dry_run else RESULTS)
    start = time.monotonic()
    with torch.no_grad(), _on_a_stream(device):
        rates = measure_rates(device) if device.type == "cuda" else measure_rates(device, matrix=64, copied=2**20)
        header = {
            "command": shlex.join(["python", "benchmarks/gpu.py", *given]),
            "device": device_name(device),
            "dry_run": options.dry_run,
            "made_with": made_with(device),
            "rates": asdict(rates),
            "plan": asdict(plan),
            "networks": {name: {"weights_sha256": weights_sha256(network)} for name, network in networks.items()},
        }
        found = Found()
        for _ in measure(networks, plan, device, rates, start, found):
            result = header | {"seconds": round(time.monotonic() - start, 1)} | asdict(found)
            if output is not None:  # after every case, so that a run cut short keeps what it has
                write(result, output)
    print(markdown(result))


def measure(
    networks: Mapping[str, Network], plan: Plan, device: torch.device, rates: Rates, start: float, found: Found
) -> Iterable[None]:
    """Fill ``found`` case by case, small batches and sizes first; yields after each."""
    for batch in plan.batches:
        for size in plan.sizes:
            for name, network in networks.items():
                labels = {"network": name, "size": size, "batch": batch}
                if batch * size**2 > plan.most_pixels:
                    found.unmeasured.append(labels | {"reason": f"more than {plan.most_pixels} pixels a call"})
                else:
                    case = Case(network, size, batch, device, plan.torch_rewrites, plan.compile_mode)
                    _measure_case(case, labels, plan, rates, start, found)
                    del case
                    _free(device)
                yield


def _measure_case(case: Case, labels: Row, plan: Plan, rates: Rates, start: float, found: Found) -> None:
    """Make every contender of one case, then time them in turn."""
    spent = f"the budget of {plan.budget_seconds:g} s was spent"
    limit = least_work(case.network, case.size, case.batch).limit(rates)
    rows: list[Row] = []
    ready: dict[str, tuple[Runner, int]] = {}
    reference: NDArray[np.float32] | None = None
    for name in plan.contenders:
        if time.monotonic() - start > plan.budget_seconds:
            found.unmeasured.append(labels | {"contender": name, "reason": spent})
            continue
        row: Row = labels | {"contender": name, "limit_ms": limit * 1000}
        began = time.monotonic()
        try:
            runner = CONTENDERS[name](case)
            repeats = repeats_for(runner.call, case.device, plan.least_seconds)
            image = runner.call().float().cpu().numpy()
            if reference is None:
                reference = image if name == "torch-fp32" else torch_fp32(case).call().cpu().numpy()
        except Exception as error:  # noqa: BLE001 any library may fail in any way, and its row must say so
            row |= {"reason": _reason(error)}
        else:
            row |= quality(reference, image, name)
            row |= {"peak_bytes": runner.peak_bytes, "peak_note": runner.peak_note, "notes": runner.notes}
            ready[name] = runner, repeats
        rows.append(row | {"prepare_seconds": round(time.monotonic() - began, 2)})
    seconds = _rounds(ready, plan.rounds, case.device)
    for row in rows:
        timed = seconds.get(row["contender"])
        if isinstance(timed, str):
            row["reason"] = timed
        elif timed is not None:
            row.update(timing(timed, case.batch, limit))
    found.rows += rows


def _rounds(ready: Mapping[str, tuple[Runner, int]], rounds: int, device: torch.device) -> dict[str, list[float] | str]:
    """Seconds a call of each, one a round; or why it broke down on the way."""
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    broken: dict[str, str] = {}
    for _ in range(rounds):
        for name, (runner, repeats) in ready.items():
            if name not in broken:
                try:
                    seconds[name].append(seconds_per_call(runner.call, repeats, device))
                except Exception as error:  # noqa: BLE001 as above
                    broken[name] = _reason(error)
    return {name: broken.get(name, seconds[name]) for name in ready}


def timing(seconds: Sequence[float], batch: int, limit: float) -> Row:
    """A row's numbers from the seconds of each round."""
    median = statistics.median(seconds)
    return {
        "ms": {"median": 1000 * median, "min": 1000 * min(seconds), "max": 1000 * max(seconds)},
        "images_per_second": batch / median,
        "times_limit": median / limit,
    }


def quality(reference: NDArray[np.float32], image: NDArray[np.float32], name: str) -> Row:
    """How near an image is to the reference; the reference itself has no PSNR."""
    for what, values in (("the reference", reference), ("the image", image)):
        if not np.isfinite(values).all():
            return {"psnr": None, "psnr_note": f"{what} holds values that are not finite"}
    decibels = psnr(np.clip(reference, 0, 1), np.clip(image, 0, 1))
    if math.isfinite(decibels):
        return {"psnr": decibels}
    return {"psnr": None, "psnr_note": "the reference" if name == "torch-fp32" else "equal to the reference"}


def device_name(device: torch.device) -> str:
    """What the numbers were measured on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"


def slug(name: str) -> str:
    """A device's name as part of a file's: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def made_with(device: torch.device) -> dict[str, str | None]:
    """Versions of everything that the numbers depend on; None for what is not here."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            found[tool] = None
    found["torch"] = torch.__version__
    cuda = device.type == "cuda"
    found["cuda"] = torch.version.cuda if cuda else None
    cudnn: Any = torch.backends.cudnn  # torch's own annotations lack the call
    found["cudnn"] = str(cudnn.version()) if cuda else None
    found["driver"] = _driver() if cuda else None
    found["compute_capability"] = ".".join(map(str, torch.cuda.get_device_capability(device))) if cuda else None
    return found


def markdown(result: Mapping[str, Any]) -> str:
    """The result as a page: the device, the table, what could not run and what was not measured."""
    rates, tools = result["rates"], result["made_with"]
    used = ", ".join(f"{name} {value}" for name, value in tools.items() if value is not None)
    lines = [
        f"# The stylizer on {result['device']}",
        "",
        *(["A dry run: it proves that the program runs, and measures nothing.", ""] if result["dry_run"] else []),
        f"`{result['command']}`",
        "",
        f"Measured here: float16 matrix product of side {rates['matrix']}: {rates['flops'] / 1e12:.4g} TFLOP/s; copy "
        f"within memory: {rates['copy'] / 1e9:.4g} GB/s. Made with {used}.",
        "",
        "| network | size | batch | contender | ms (min to max) | images/s | peak MB | PSNR dB | times the limit |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|",
        *(_line(row) for row in result["rows"] if "ms" in row),
    ]
    lines += _listing("Could not run", [row for row in result["rows"] if "ms" not in row])
    lines += _listing("Not measured", result["unmeasured"])
    return "\n".join(lines) + "\n"


def write(result: Mapping[str, Any], folder: Path) -> None:
    """Write ``gpu-DEVICE.json`` and ``.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"gpu-{slug(result['device'])}"
    text = json.dumps(result, indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(result), encoding="utf-8")


def _line(row: Row) -> str:
    ms = row["ms"]
    peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}"
    decibels = row.get("psnr_note") if row["psnr"] is None else f"{row['psnr']:.1f}"
    spread = f"{ms['median']:.3f} ({ms['min']:.3f} to {ms['max']:.3f})"
    return (
        f"| {row['network']} | {row['size']} | {row['batch']} | {row['contender']} | {spread} "
        f"| {row['images_per_second']:.0f} | {peak} | {decibels} | {row['times_limit']:.2f} |"
    )


def _listing(title: str, rows: Sequence[Row]) -> list[str]:
    """Rows without numbers, those of one contender and reason in one line."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        key = row.get("contender", "every contender"), row["reason"]
        grouped.setdefault(key, []).append(f"{row['network']} {row['batch']} x {row['size']}")
    lines = [f"- {who} ({', '.join(cases)}): {reason}" for (who, reason), cases in grouped.items()]
    return ["", f"{title}:", "", *lines] if lines else []


def _reason(error: Exception) -> str:
    text = next(iter(str(error).strip().splitlines()), "")
    return text if isinstance(error, NotHere) else f"{type(error).__name__}: {text[:300]}"


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _on_a_stream(device: torch.device) -> torch.cuda.StreamContext:
    """Not the default stream, which TensorRT would synchronise with; TF32 off for the reference."""
    if device.type != "cuda":
        return torch.cuda.stream(None)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    stream: Any = torch.cuda.Stream  # as above
    return torch.cuda.stream(stream(device))


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vgg19", type=Path, help="checkpoint made by adain-model import; left out without it")
    parser.add_argument("--sizes", type=_numbers, default=Plan.sizes, help="such as 256,512,1024")
    parser.add_argument("--batches", type=_numbers, default=Plan.batches, help="such as 1,8")
    parser.add_argument("--most-pixels", type=int, default=Plan.most_pixels, help="a call; larger cases are left out")
    parser.add_argument("--contenders", type=_names, default=Plan.contenders, help=f"of {','.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--budget-seconds", type=float, default=Plan.budget_seconds)
    parser.add_argument("--compile-mode", default=Plan.compile_mode, help="of torch.compile")
    parser.add_argument("--torch-rewrites", type=_names, default=Plan.torch_rewrites, help="of fold-color,phase")
    parser.add_argument("--output", type=Path, help="folder for the result; benchmarks/results without it")
    parser.add_argument(
        "--dry-run", action="store_true", help="on the CPU, size 64, one round; writes only to --output"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.contenders if name not in CONTENDERS]:
        parser.error(f"no contender {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    return options


def _plan(options: argparse.Namespace) -> Plan:
    common: dict[str, Any] = {
        "contenders": options.contenders,
        "budget_seconds": options.budget_seconds,
        "compile_mode": options.compile_mode,
        "torch_rewrites": options.torch_rewrites,
    }
    if options.dry_run:
        return Plan(sizes=(64,), batches=(1,), rounds=1, least_seconds=0.0, **common)
    return Plan(options.sizes, options.batches, options.most_pixels, rounds=options.rounds, **common)


if __name__ == "__main__":
    main()
