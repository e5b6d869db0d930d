"""The exact rewrites of the decoder against the plain graph, on every CPU backend: are they worth being the default?

    python benchmarks/rewrites.py [--vgg19 vgg19.safetensors]

The stylizer part as it is, with the phase rewrite, and with that of the last convolution too, taken in turn in one
process, backend after backend; medians, and the median ratio of neighbours in time to the plain graph. VGG-19 is
measured with the checkpoint's weights where it is given and with random ones otherwise: the time is the same. Writes
benchmarks/results/rewrites.json and prints the table of docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adain_export.target import REWRITES, Request, get_target
from adain_model import VGG19, Network, embedded_checkpoint, initialize, load_network
from adain_runtime import open_bundle

RESULT = Path(__file__).parent / "results" / "rewrites.json"
CASES = (("lite", 512), ("lite", 1024), ("vgg19", 512))
NETWORKS = {"lite": "student", "vgg19": "VGG-19"}
VARIANTS = {"plain": REWRITES[:1], "phase": REWRITES[:2], "phase and phase-last": REWRITES}
BACKENDS = {"onnx": "onnx", "openvino": "onnx", "mnn": "mnn"}
"""Backend to the target that it runs."""

PACKAGES = {"torch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino", "MNN": "MNN"}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vgg19", type=Path, default=None)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    networks = {"lite": load_network(embedded_checkpoint()), "vgg19": vgg19(arguments.vgg19)}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, network in networks.items():
            bundles = {
                (target, variant): export(target, network, names, Path(folder) / variant)
                for target in dict.fromkeys(BACKENDS.values())
                for variant, names in VARIANTS.items()
            }
            for model, size in CASES:
                if model != name:
                    continue
                for backend, target in BACKENDS.items():
                    made = {variant: bundles[target, variant] for variant in VARIANTS}
                    found = compare(made, backend, network, size, arguments.runs)
                    rows.append({"model": name, "size": size, "backend": backend} | found)
                    print(rows[-1], flush=True)
    result = {
        "command": "python benchmarks/rewrites.py",
        "cores": os.cpu_count(),
        "tools": {tool: version(package) for tool, package in PACKAGES.items()},
        "runs": arguments.runs,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(table(rows))


def vgg19(path: Path | None) -> Network:
    """VGG-19 from a checkpoint, or of its shape."""
    if path is not None:
        return load_network(path)
    network = Network(VGG19).requires_grad_(False)
    initialize(network, torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.get_parameter("decoder.conv1_2.weight").mul_(0.01)
    return network.eval()


def export(target: str, network: Network, rewrites: tuple[str, ...], out: Path) -> Path:
    """A bundle with these rewrites."""
    return get_target(target).export(network, Request(network.spec.name, rewrites=rewrites), out).path


def compare(bundles: Mapping[str, Path], backend: str, network: Network, size: int, runs: int) -> dict[str, Any]:
    """Milliseconds of each variant, and how often as fast as the plain one it is."""
    rng, channels = np.random.default_rng(0), network.spec.channels
    feeds = {
        "image": rng.random((1, 3, size, size), np.float32),
        "mean": rng.random((1, channels, 1, 1), np.float32),
        "std": rng.random((1, channels, 1, 1), np.float32),
        "alpha": np.ones((1, 1, 1, 1), np.float32),
    }
    seconds: dict[str, list[float]] = {name: [] for name in bundles}
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(open_bundle(path, backend=backend, threads=os.cpu_count()))
            for name, path in bundles.items()
        }
        for run in range(runs + 2):
            for name, session in sessions.items():
                start = time.perf_counter()
                session.run("stylizer", feeds)
                if run >= 2:
                    seconds[name].append(time.perf_counter() - start)
    return {
        "ms": {name: round(1000 * statistics.median(taken), 1) for name, taken in seconds.items()},
        "ratio": {
            name: round(statistics.median(a / b for a, b in zip(seconds["plain"], taken, strict=True)), 3)
            for name, taken in seconds.items()
        },
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as the documentation has them."""
    lines = ["| network, size | backend | " + " | ".join(VARIANTS) + " |", "|---|---|" + "---|" * len(VARIANTS)]
    for row in rows:
        cells = [
            f"{row['ms'][name]:.0f} ms" + ("" if name == "plain" else f" ({row['ratio'][name]:.2f} x)")
            for name in VARIANTS
        ]
        where = f"{NETWORKS[row['model']]}, {row['size']}x{row['size']}"
        lines.append(f"| {where} | {row['backend']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
