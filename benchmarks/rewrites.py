"""The phase rewrite against plain upsampling and convolution, in ONNX Runtime: is it worth being the default?

    python benchmarks/phase_rewrite.py [--vgg19 vgg19.safetensors]

The stylizer part with and without the rewrite, taken in turn in one process; medians and the ratio of each pair. VGG-19
is measured with the checkpoint's weights where it is given and with random ones otherwise: the time is the same. Writes
benchmarks/results/phase_rewrite.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from adain_export.target import REWRITES, Request, get_target
from adain_model import VGG19, Network, embedded_checkpoint, initialize, load_network
from adain_runtime import open_bundle

RESULT = Path(__file__).parent / "results" / "phase_rewrite.json"
CASES = (("lite", 512), ("lite", 1024), ("vgg19", 512))


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vgg19", type=Path, default=None)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    networks = {"lite": load_network(embedded_checkpoint()), "vgg19": vgg19(arguments.vgg19)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, network in networks.items():
            bundles = {
                "plain": export(network, tuple(r for r in REWRITES if r != "phase"), Path(folder) / "plain"),
                "phase": export(network, REWRITES, Path(folder) / "phase"),
            }
            for model, size in CASES:
                if model == name:
                    rows.append({"model": name, "size": size} | compare(bundles, network, size, arguments.runs))
                    print(rows[-1])
    result = {
        "command": "python benchmarks/phase_rewrite.py",
        "cores": os.cpu_count(),
        "tools": {tool: version(tool) for tool in ("torch", "onnxruntime")},
        "runs": arguments.runs,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def vgg19(path: Path | None) -> Network:
    """VGG-19 from a checkpoint, or of its shape."""
    if path is not None:
        return load_network(path)
    network = Network(VGG19).requires_grad_(False)
    initialize(network, torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.get_parameter("decoder.conv1_2.weight").mul_(0.01)
    return network.eval()


def export(network: Network, rewrites: tuple[str, ...], out: Path) -> Path:
    """A bundle with these rewrites."""
    return get_target("onnx").export(network, Request(network.spec.name, rewrites=rewrites), out).path


def compare(bundles: dict[str, Path], network: Network, size: int, runs: int) -> dict[str, float]:
    """Milliseconds of each and the median ratio of neighbours in time."""
    rng, channels = np.random.default_rng(0), network.spec.channels
    feeds = {
        "image": rng.random((1, 3, size, size), np.float32),
        "mean": rng.random((1, channels, 1, 1), np.float32),
        "std": rng.random((1, channels, 1, 1), np.float32),
        "alpha": np.ones((1, 1, 1, 1), np.float32),
    }
    with open_bundle(bundles["plain"]) as plain, open_bundle(bundles["phase"]) as phase:
        sessions = {"plain": plain, "phase": phase}
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        for run in range(runs + 2):
            for name, session in sessions.items():
                start = time.perf_counter()
                session.run("stylizer", feeds)
                if run >= 2:
                    seconds[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["plain"], seconds["phase"], strict=True)]
    return {
        "plain_ms": round(1000 * statistics.median(seconds["plain"]), 1),
        "phase_ms": round(1000 * statistics.median(seconds["phase"]), 1),
        "plain_over_phase": round(statistics.median(ratios), 3),
    }


if __name__ == "__main__":
    main()
