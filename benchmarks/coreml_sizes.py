"""Core ML packages by mode: megabytes, and how far from torch the reference finds them.

    python benchmarks/coreml_sizes.py --images ../shared/data/test --calibration calibration.json
    python benchmarks/coreml_sizes.py vgg19.safetensors --images ../shared/data/test --calibration calibration.json

Each mode is exported as it would be for an app, executed op by op on pairs of pictures, the encoding of the style
included, and compared with float32 torch as 8-bit images. Nothing here ran on Core ML. Every row is written as soon as
it is measured, to benchmarks/results/coreml_NETWORK.json; `--only ROW...` makes some anew and keeps the others. At the
end the table of docs/coreml.md is printed, of every network that has results (`--table` prints it and no more).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adain_export.calibration import Calibration
from adain_export.check import in_torch, to_eight_bits
from adain_export.coreml.pictures import middle
from adain_export.coreml.request import CoremlRequest, Size, Weights, parse_size
from adain_export.target import Int8, get_target
from adain_model.checkpoint import embedded_checkpoint, load_network, weights_sha256
from adain_model.network import Network
from adain_runtime import Bundle
from adain_runtime.backend import Options, get_backend
from adain_runtime.metrics import max_abs, psnr, relative_l2

RESULTS = Path(__file__).parent / "results"
NETWORKS = {"lite": "student", "vgg19": "VGG-19"}
"""What the table calls them, in its order."""

WEIGHTS: tuple[Weights, ...] = ("int8", "pal8", "pal6", "pal4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="default: the embedded student")
    parser.add_argument("--images", type=Path, help="folder with content/ and style/")
    parser.add_argument("--calibration", type=Path, help="calibration.json of adain-calib; without it no W8A8 row")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--size", default="192")
    parser.add_argument("--second", default="128x192", help="the other size of rows of two, run too")
    parser.add_argument("--only", nargs="*", default=[], help="rows to make; others that stand in the result are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table of what was measured, and end")
    arguments = parser.parse_args()
    if not arguments.table:
        if arguments.images is None:
            parser.error("--images is required")
        measure_rows(arguments)
    print(table(arguments.out))


def measure_rows(arguments: argparse.Namespace) -> None:
    """Measure the rows that are wanted, and write each to the network's file."""
    network = load_network(arguments.checkpoint or embedded_checkpoint())
    size, second = parse_size(arguments.size), parse_size(arguments.second)
    wanted = requests(network, size, second, arguments.calibration)
    if unknown := sorted(set(arguments.only) - set(wanted)):
        raise SystemExit(f"no such rows: {unknown}; there are {list(wanted)} (W8A8 with --calibration)")
    path = arguments.out / f"coreml_{network.spec.name}.json"
    result: dict[str, object] = {
        "command": "python benchmarks/coreml_sizes.py (see its head)",
        "network": network.spec.name,
        "weights_sha256": weights_sha256(network),
        "size": arguments.size,
        "second": arguments.second,
        "pairs": [f"{content.name} + {style.name}" for content, style in pairs_of(arguments.images, arguments.pairs)],
        "tools": {tool: version(tool) for tool in ("torch", "coremltools", "numpy")},
    }
    kept: dict[str, Any] = json.loads(path.read_text()) if arguments.only and path.is_file() else result | {"rows": {}}
    rows: dict[str, dict[str, Any]] = kept.pop("rows")
    if kept != result:
        raise SystemExit(f"{path.name} was measured otherwise ({kept}): measure all rows anew, without --only")
    arguments.out.mkdir(exist_ok=True)
    for name in arguments.only or wanted:
        with tempfile.TemporaryDirectory() as folder:
            bundle = get_target("coreml").export(network, wanted[name], Path(folder))
            sizes = [size, second] if len(wanted[name].sizes) > 1 else [size]
            rows[name] = {"megabytes": megabytes(bundle)} | measure(bundle, network, arguments, sizes)
            parity = bundle.manifest.parity
            rows[name]["check_psnr"] = None if parity is None or parity.psnr is None else round(parity.psnr, 1)
        ordered = {row: rows[row] for row in (*wanted, *rows) if row in rows}
        path.write_text(json.dumps(result | {"rows": ordered}, indent=1) + "\n", encoding="utf-8")
        print(line(network.spec.name, name, rows[name]), flush=True)


def requests(network: Network, size: Size, second: Size, calibration: Path | None) -> dict[str, CoremlRequest]:
    """Row name to request, in the table's order."""
    one = CoremlRequest(network.spec.name, sizes=(size,), system="iOS18", allow_low_quality=True)
    old = replace(one, sizes=(size, second), system="iOS16")
    made = {
        "fp32": replace(one, precision="fp32"),
        "fp16": one,
        "fp16, two sizes": replace(one, sizes=(size, second)),
        "fp16, fixed, iOS16": replace(old, sizes=(size,)),
        "fp16, enumerated, iOS16": replace(old, shapes="enumerated"),
        "fp16, range, iOS16": replace(old, shapes="range"),
    }
    made |= {f"fp16, weights {weights}": replace(one, weights=weights) for weights in WEIGHTS}
    made["fp16, weights pal6, iOS16"] = replace(old, sizes=(size,), weights="pal6")
    if calibration is not None:
        made["fp16, W8A8"] = replace(one, int8=Int8(Calibration.load(calibration)))
    return made


def table(folder: Path) -> str:
    """The table of docs/coreml.md, of what the results of a folder say."""
    lines = ["| network | mode | MB | PSNR, worst | PSNR, median | max abs |", "|---|---|---|---|---|---|"]
    for network in NETWORKS:
        path = folder / f"coreml_{network}.json"
        if path.is_file():
            rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
            lines += [line(network, name, found) for name, found in rows.items()]
    return "\n".join(lines)


def line(network: str, name: str, found: dict[str, object]) -> str:
    cells = ["equal" if found[key] is None else f"{found[key]:.1f} dB" for key in ("psnr_worst", "psnr_median")]
    called = NETWORKS.get(network, network)
    return f"| {called} | {name} | {found['megabytes']:.2f} | {cells[0]} | {cells[1]} | {found['max_abs']:.3f} |"


def pairs_of(images: Path, count: int) -> list[tuple[Path, Path]]:
    contents, styles = (
        [path for path in sorted((images / kind).iterdir()) if path.suffix in (".jpg", ".png")]
        for kind in ("content", "style")
    )
    return [(contents[i % len(contents)], styles[i % len(styles)]) for i in range(count)]


def take_pairs(images: Path, count: int, size: Size) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(middle(content, *size), middle(style, *size)) for content, style in pairs_of(images, count)]


def measure(bundle: Bundle, network: Network, arguments: argparse.Namespace, sizes: list[Size]) -> dict[str, object]:
    """8-bit images of the packages (their own style statistics too) against float32 torch's, at all sizes."""
    decibels, differences = [], []
    encoded: dict[str, list[float]] = {"features": [], "mean": [], "std": []}
    pairs = [pair for size in sizes for pair in take_pairs(arguments.images, arguments.pairs, size)]
    with get_backend("coreml-reference").open(bundle, Options()) as session:
        for content, style in pairs:
            alpha = np.ones((1, 1, 1, 1), np.float32)
            of_style = session.run("encoder", {"image": style}), in_torch("encoder", network, {"image": style})
            for name, values in encoded.items():
                values.append(relative_l2(of_style[1][name], of_style[0][name]))
            feeds = [{"image": content, "mean": s["mean"], "std": s["std"], "alpha": alpha} for s in of_style]
            made = session.run("stylizer", feeds[0])["image"]
            wanted = in_torch("stylizer", network, feeds[1])["image"]
            decibels.append(psnr(to_eight_bits(wanted), made))
            differences.append(max_abs(to_eight_bits(wanted), made))
    return {
        "psnr": [round(value, 2) if np.isfinite(value) else None for value in decibels],
        "psnr_worst": round(min(decibels), 1) if np.isfinite(min(decibels)) else None,
        "psnr_median": round(statistics.median(decibels), 1) if np.isfinite(statistics.median(decibels)) else None,
        "max_abs": round(max(differences), 4),
        "encoder_relative_l2": {name: float(f"{max(values):.2g}") for name, values in encoded.items()},
    }


def megabytes(bundle: Bundle) -> float:
    return round(sum(entry.bytes for name, entry in bundle.manifest.files.items() if "/" in name) / 1e6, 2)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
