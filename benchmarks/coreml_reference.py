"""The executor of Core ML packages against torch in float32: differences, and the time that executing takes.

    python benchmarks/coreml_reference.py --images examples/images
    python benchmarks/coreml_reference.py vgg19.safetensors --images examples/images

The stylizer at 256x256, arrays in and out, fp32 and fp16; sums over float16 kept in float32 and in float16. The time is
that of numpy here: it says how long a check takes, and nothing of Core ML. Writes
benchmarks/results/coreml_reference_NETWORK.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np

from adain_export.check import in_torch
from adain_export.coreml.request import CoremlRequest, parse_size
from adain_export.target import Precision, get_target
from adain_model.checkpoint import embedded_checkpoint, load_network
from adain_runtime import open_bundle
from adain_runtime.metrics import max_abs, psnr
from coreml_sizes import RESULTS, take_pairs

MODES: tuple[tuple[Precision, str], ...] = (
    ("fp32", "float32-sums"),
    ("fp16", "float32-sums"),
    ("fp16", "float16-sums"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="default: the embedded student")
    parser.add_argument("--images", type=Path, required=True, help="folder with content/ and style/")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--size", default="256")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    network = load_network(arguments.checkpoint or embedded_checkpoint())
    size = parse_size(arguments.size)
    feeds = []
    for content, style in take_pairs(arguments.images, arguments.pairs, size):
        stats = in_torch("encoder", network, {"image": style})
        alpha = np.ones((1, 1, 1, 1), np.float32)
        feeds.append({"image": content, "mean": stats["mean"], "std": stats["std"], "alpha": alpha})
    wanted = [in_torch("stylizer", network, feed)["image"] for feed in feeds]
    plain = CoremlRequest(network.spec.name, sizes=(size,), io="tensor", allow_low_quality=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for precision, sums in MODES:
            where = Path(folder) / precision
            if not where.is_dir():
                get_target("coreml").export(network, replace(plain, precision=precision), where)
            (made,) = where.iterdir()
            seconds, decibels, differences = [], [], []
            with open_bundle(made, backend="coreml-reference", provider=sums) as session:
                for feed, want in zip(feeds, wanted, strict=True):
                    start = perf_counter()
                    found = session.run("stylizer", feed)["image"]
                    seconds.append(perf_counter() - start)
                    decibels.append(psnr(want, found))
                    differences.append(max_abs(want, found))
            rows.append(
                {
                    "precision": precision,
                    "sums": sums,
                    "max_abs": float(f"{max(differences):.3g}"),
                    "psnr_worst": round(min(decibels), 1),
                    "seconds_median": round(statistics.median(seconds), 2),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python benchmarks/coreml_reference.py (see its head)",
        "network": network.spec.name,
        "size": arguments.size,
        "tools": {tool: version(tool) for tool in ("torch", "coremltools", "numpy")},
        "rows": rows,
    }
    arguments.out.mkdir(exist_ok=True)
    path = arguments.out / f"coreml_reference_{network.spec.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
