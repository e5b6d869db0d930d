"""VGG-19 on real pictures: ONNX fp32 and fp16, and half precision in torch itself, against float32 torch.

    python benchmarks/vgg19_parity.py --weights ../shared/weights --images ../shared/data/test

Every content and every style is used at least once. ONNX Runtime's CPU keeps float32 between the operations of an fp16
graph, so the same half-precision network is also run in torch, where every operation's result is rounded to float16:
the honest number for a device that computes in half. Writes benchmarks/results/vgg19_parity.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adain_export.graphs import part_module, with_precision
from adain_export.target import Request, get_target
from adain_model import VGG19, Network, import_network, load_network, save_network
from adain_runtime import open_bundle
from adain_runtime.image import load_image
from adain_runtime.manifest import Sizes
from adain_runtime.metrics import max_abs, psnr
from adain_runtime.planes import planes_for

RESULT = Path(__file__).parent / "results" / "vgg19_parity.json"


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder with content/ and style/")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    contents, styles = (sorted((arguments.images / kind).glob("*.jpg")) for kind in ("content", "style"))
    pairs = [(contents[i % len(contents)], styles[i % len(styles)]) for i in range(max(len(contents), len(styles)))]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.weights, pairs, Path(folder))
    result: dict[str, Any] = {
        "command": "python benchmarks/vgg19_parity.py --weights ../shared/weights --images ../shared/data/test",
        "pairs": len(pairs),
        "tools": {tool: version(tool) for tool in ("torch", "onnx", "onnxruntime")},
        "worst": {
            name: {"max_abs": max(r["max_abs"] for r in found), "psnr": min(r["psnr"] for r in found)}
            for name, found in rows.items()
        },
        "rows": rows,
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, worst in result["worst"].items():
        print(f"{name:12} max abs {worst['max_abs']:.2g}  PSNR {worst['psnr']:.1f} dB  (worst of {len(pairs)} pairs)")


def measure(weights: Path, pairs: list[tuple[Path, Path]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Import, export and compare over all pairs."""
    imported = import_network(weights / "vgg_normalised.pth", weights / "decoder.pth", VGG19)
    save_network(imported.module, folder / "vgg19.safetensors")
    network = load_network(folder / "vgg19.safetensors")
    bundles = {
        precision: get_target("onnx").export(network, Request("vgg19", precision), folder)
        for precision in ("fp32", "fp16")
    }
    half = with_precision(network, "fp16")
    rows: dict[str, list[dict[str, Any]]] = {"onnx fp32": [], "onnx fp16": [], "torch fp16": []}
    with open_bundle(bundles["fp32"].path) as fp32, open_bundle(bundles["fp16"].path) as fp16:
        for content, style in pairs:
            image, style_image = (planes_for([load_image(path).rgb], Sizes()) for path in (content, style))
            mean, std = statistics(network, style_image)
            feeds = {"image": image, "mean": mean, "std": std, "alpha": np.ones((1, 1, 1, 1), np.float32)}
            wanted = stylize(network, feeds)
            found = {
                "onnx fp32": fp32.run("stylizer", feeds)["image"],
                "onnx fp16": fp16.run("stylizer", feeds)["image"],
                "torch fp16": stylize(half, feeds),
            }
            for name, values in found.items():
                difference, decibels = max_abs(wanted, values), psnr(wanted, values)
                rows[name].append(
                    {
                        "content": content.name,
                        "style": style.name,
                        "max_abs": difference,
                        "psnr": round(decibels, 2),
                    }
                )
    return rows


@torch.inference_mode()
def statistics(network: Network, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A style's mean and standard deviation in torch."""
    _, mean, std = part_module("encoder", network)(torch.from_numpy(image))
    return mean.numpy(), std.numpy()


@torch.inference_mode()
def stylize(network: Network, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The stylizer in torch, in the network's own precision."""
    image: np.ndarray = part_module("stylizer", network)(*map(torch.from_numpy, feeds.values())).numpy()
    return image


if __name__ == "__main__":
    main()
