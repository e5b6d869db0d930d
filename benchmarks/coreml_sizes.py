"""Core ML packages by how their weights are stored: megabytes, and how far from torch the reference finds them.

    python benchmarks/coreml_sizes.py --images examples/images
    python benchmarks/coreml_sizes.py vgg19.safetensors --images ../shared/data/test --calibration calibration.json

Each mode is exported as it would be for an app (encoder and stylizer at one size, for iOS18: one package, weights
stored once) and executed op by op on pairs of pictures. Nothing here ran on Core ML.
Writes benchmarks/results/coreml_NETWORK.json and prints the table of docs/coreml.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from adain_export.calibration import Calibration
from adain_export.check import in_torch, to_eight_bits
from adain_export.coreml.request import CoremlRequest, Size, Weights, parse_size
from adain_export.target import Int8, get_target
from adain_model.checkpoint import embedded_checkpoint, load_network
from adain_model.network import Network
from adain_runtime import Bundle
from adain_runtime.backend import Options, get_backend
from adain_runtime.image import Photo, load_image, resize_shorter
from adain_runtime.manifest import Sizes
from adain_runtime.metrics import max_abs, psnr
from adain_runtime.planes import planes_for

RESULTS = Path(__file__).parent / "results"
WEIGHTS: tuple[Weights, ...] = ("int8", "pal8", "pal6", "pal4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="default: the embedded student")
    parser.add_argument("--images", type=Path, required=True, help="folder with content/ and style/")
    parser.add_argument("--calibration", type=Path, help="calibration.json of adain-calib; without it no W8A8 row")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--size", default="256")
    parser.add_argument("--second", default="512", help="the row of two sizes")
    parser.add_argument("--only", nargs="*", help="rows to make, by name; others that stand in the result are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    network = load_network(arguments.checkpoint or embedded_checkpoint())
    size = parse_size(arguments.size)
    pairs = take_pairs(arguments.images, arguments.pairs, size)
    rows: dict[str, dict[str, object]] = {}
    path = arguments.out / f"coreml_{network.spec.name}.json"
    if arguments.only and path.is_file():
        rows = json.loads(path.read_text())["rows"]
    with tempfile.TemporaryDirectory() as folder:
        for name, request in requests(network, size, parse_size(arguments.second), arguments.calibration).items():
            if arguments.only and name not in arguments.only:
                continue
            bundle = get_target("coreml").export(network, request, Path(folder) / str(len(rows)))
            rows[name] = {"megabytes": megabytes(bundle)} | measure(bundle, network, pairs)
            print(row(name, rows[name]), flush=True)
    result = {
        "command": "python benchmarks/coreml_sizes.py (see its head)",
        "network": network.spec.name,
        "size": arguments.size,
        "pairs": [f"{content.name} + {style.name}" for content, style in pairs_of(arguments.images, arguments.pairs)],
        "tools": {tool: version(tool) for tool in ("torch", "coremltools", "numpy")},
        "rows": rows,
    }
    arguments.out.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print("\n| mode | MB | PSNR, worst | PSNR, median | max abs |\n|---|---|---|---|---|")
    for name, found in rows.items():
        print(row(name, found))


def requests(network: Network, size: Size, second: Size, calibration: Path | None) -> dict[str, CoremlRequest]:
    plain = CoremlRequest(network.spec.name, sizes=(size,), system="iOS18", allow_low_quality=True)
    made = {
        "fp32": replace(plain, precision="fp32"),
        "fp16": plain,
        "fp16, two sizes": replace(plain, sizes=(size, second)),
    }
    made |= {f"fp16, weights {weights}": replace(plain, weights=weights) for weights in WEIGHTS}
    made |= {
        f"fp16, weights {weights}, iOS16": replace(plain, weights=weights, system="iOS16") for weights in WEIGHTS[2:]
    }
    if calibration is not None:
        made["fp16, W8A8"] = replace(plain, int8=Int8(Calibration.load(calibration)))
    return made


def pairs_of(images: Path, count: int) -> list[tuple[Path, Path]]:
    contents, styles = (
        [path for path in sorted((images / kind).iterdir()) if path.suffix in (".jpg", ".png")]
        for kind in ("content", "style")
    )
    return [(contents[i % len(contents)], styles[i % len(styles)]) for i in range(count)]


def take_pairs(images: Path, count: int, size: Size) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(planes(content, size), planes(style, size)) for content, style in pairs_of(images, count)]


def planes(path: Path, size: Size) -> np.ndarray:
    """The middle of a picture, resized to cover a size."""
    height, width = size
    photo = load_image(path)
    shorter = int(np.ceil(min(photo.height, photo.width) * max(height / photo.height, width / photo.width)))
    covering = resize_shorter(photo, shorter, enlarge=True).rgb
    top, left = (covering.shape[0] - height) // 2, (covering.shape[1] - width) // 2
    return planes_for([Photo(np.ascontiguousarray(covering[top : top + height, left : left + width])).rgb], Sizes())


def measure(bundle: Bundle, network: Network, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, object]:
    """8-bit images of the packages (their own style statistics too) against float32 torch's."""
    decibels, differences = [], []
    with get_backend("coreml-reference").open(bundle, Options()) as session:
        for content, style in pairs:
            alpha = np.ones((1, 1, 1, 1), np.float32)
            made, wanted = (
                run("stylizer", {"image": content, "mean": s["mean"], "std": s["std"], "alpha": alpha})["image"]
                for run in (session.run, lambda part, feeds: in_torch(part, network, feeds))
                for s in [run("encoder", {"image": style})]
            )
            decibels.append(psnr(to_eight_bits(wanted), made))
            differences.append(max_abs(to_eight_bits(wanted), made))
    return {
        "psnr": [round(value, 2) if np.isfinite(value) else None for value in decibels],
        "psnr_worst": round(min(decibels), 1) if np.isfinite(min(decibels)) else None,
        "psnr_median": round(statistics.median(decibels), 1) if np.isfinite(statistics.median(decibels)) else None,
        "max_abs": round(max(differences), 4),
    }


def megabytes(bundle: Bundle) -> float:
    return round(sum(entry.bytes for name, entry in bundle.manifest.files.items() if "/" in name) / 1e6, 2)


def row(name: str, found: dict[str, object]) -> str:
    cells = ["equal" if found[key] is None else f"{found[key]:.1f} dB" for key in ("psnr_worst", "psnr_median")]
    return f"| {name} | {found['megabytes']:.2f} | {cells[0]} | {cells[1]} | {found['max_abs']:.3f} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
