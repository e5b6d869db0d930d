"""The executor of Core ML packages against torch in float32.

    python benchmarks/coreml_reference.py --images examples/images
    python benchmarks/coreml_reference.py vgg19.safetensors --images examples/images --pairs 1

The stylizer at 128x128, arrays in and out, fp32 and fp16; sums over float16 kept in float32 and in float16. Writes
benchmarks/results/coreml_reference_NETWORK.json, and prints the table of docs/coreml-reference.md (`--table`: no more).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from adain_export.check import in_torch
from adain_export.coreml.request import CoremlRequest, parse_size
from adain_export.target import Precision, get_target
from adain_model.checkpoint import embedded_checkpoint, load_network
from adain_runtime import open_bundle
from adain_runtime.metrics import max_abs, psnr
from coreml_sizes import NETWORKS, RESULTS, take_pairs

MODES: tuple[tuple[Precision, str], ...] = (
    ("fp32", "float32-sums"),
    ("fp16", "float32-sums"),
    ("fp16", "float16-sums"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="default: the embedded student")
    parser.add_argument("--images", type=Path, help="folder with content/ and style/")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--size", default="128")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table of what was measured, and end")
    arguments = parser.parse_args()
    if not arguments.table:
        if arguments.images is None:
            parser.error("--images is required")
        measure_modes(arguments)
    print(table(arguments.out))


def measure_modes(arguments: argparse.Namespace) -> None:
    """Export, execute, compare and write."""
    network = load_network(arguments.checkpoint or embedded_checkpoint())
    size = parse_size(arguments.size)
    feeds = []
    for content, style in take_pairs(arguments.images, arguments.pairs, size):
        stats = in_torch("encoder", network, {"image": style})
        alpha = np.ones((1, 1, 1, 1), np.float32)
        feeds.append({"image": content, "mean": stats["mean"], "std": stats["std"], "alpha": alpha})
    wanted = [in_torch("stylizer", network, feed)["image"] for feed in feeds]
    plain = CoremlRequest(network.spec.name, parts=("stylizer",), sizes=(size,), io="tensor", allow_low_quality=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for precision, sums in MODES:
            where = Path(folder) / precision
            if not where.is_dir():
                get_target("coreml").export(network, replace(plain, precision=precision), where)
            (made,) = where.iterdir()
            with open_bundle(made, backend="coreml-reference", provider=sums) as session:
                found = [session.run("stylizer", feed)["image"] for feed in feeds]
            rows.append(
                {
                    "precision": precision,
                    "sums": sums,
                    "max_abs": float(f"{max(map(max_abs, wanted, found)):.2g}"),
                    "psnr_worst": round(min(map(psnr, wanted, found)), 1),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python benchmarks/coreml_reference.py (see its head)",
        "network": network.spec.name,
        "size": arguments.size,
        "pairs": arguments.pairs,
        "tools": {tool: version(tool) for tool in ("torch", "coremltools", "numpy")},
        "rows": rows,
    }
    arguments.out.mkdir(exist_ok=True)
    path = arguments.out / f"coreml_reference_{network.spec.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def table(folder: Path) -> str:
    """The table of docs/coreml-reference.md, of what the results of a folder say."""
    lines = ["| stylizer, 128x128 | max abs against float32 torch | PSNR |", "|---|---|---|"]
    for network, called in NETWORKS.items():
        path = folder / f"coreml_reference_{network}.json"
        if path.is_file():
            for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
                sums = ", `float16-sums`" if row["sums"] == "float16-sums" else ""
                cells = f"{row['max_abs']:.2g} | {row['psnr_worst']:.1f} dB"
                lines.append(f"| {called}, {row['precision']}{sums} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
