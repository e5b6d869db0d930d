"""Do the float16 graphs stay finite and near float32 where every result is float16? No GPU is needed.

    python benchmarks/half_proof.py [--vgg19 vgg19.safetensors]

Trained weights, every part, features scaled by 1, 100 and 1000; once as they are exported (statistics and the affine
map in float32) and once with everything in float16, as a graph that is cast as a whole would be. Writes
benchmarks/results/half_proof.json and prints the table of docs/tensorrt.md.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

from adain_export.half_proof import Proved, prove
from adain_model import embedded_checkpoint, load_network, weights_sha256

RESULT = Path(__file__).parent / "results" / "half_proof.json"


def main() -> None:
    """Prove, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vgg19", type=Path, default=None)
    arguments = parser.parse_args()
    networks = {"lite": load_network(embedded_checkpoint())}
    if arguments.vgg19 is not None:
        networks["vgg19"] = load_network(arguments.vgg19)
    rows = []
    print("| network | part | features | largest feature | as exported | all float16 |\n|---|---|---|---|---|---|")
    for name, network in networks.items():
        ours, naive = prove(network), prove(network, naive=True)
        for one, other in zip(ours, naive, strict=True):
            print(f"| {name} | {one.part} | x{one.scale:g} | {largest(one)} | {spell(one)} | {spell(other)} |")
            for proved, how in ((one, "exported"), (other, "all float16")):
                outcomes = [vars(outcome) for outcome in proved.outcomes]
                row = {"network": name, "part": proved.part, "features": proved.scale, "how": how}
                rows.append(row | {"outcomes": outcomes})
    result = {
        "command": "python benchmarks/half_proof.py --vgg19 vgg19.safetensors",
        "tools": {tool: version(tool) for tool in ("torch", "onnx", "onnxruntime")},
        "weights_sha256": {name: weights_sha256(network) for name, network in networks.items()},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def spell(proved: Proved) -> str:
    """The lowest PSNR, or which outputs are not finite."""
    broken = [outcome.output for outcome in proved.outcomes if not outcome.finite]
    if broken:
        return f"not finite: {', '.join(broken)}"
    return f"{min(outcome.psnr for outcome in proved.outcomes if outcome.psnr is not None):.1f} dB"


def largest(proved: Proved) -> str:
    """The features' largest magnitude in float32, where the part gives them."""
    return next((f"{outcome.largest:.3g}" for outcome in proved.outcomes if outcome.output == "features"), "-")


if __name__ == "__main__":
    main()
