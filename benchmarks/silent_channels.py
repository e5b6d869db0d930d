"""Channels that no picture wakes: how much of a network does nothing.

    python benchmarks/silent_channels.py --images ../shared/data/test
    python benchmarks/silent_channels.py wide.safetensors --name lite-wide --images ../shared/data/test

A channel is silent if its largest response (after the ReLU, where one follows), over every picture and every pair of a
folder's content/ and style/ at 256x256, is under a thousandth of its layer's largest. Writes
benchmarks/results/silent_channels_NAME.json and prints the table of docs/training.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from adain_export.coreml.pictures import middle
from adain_model import Network, adain, embedded_checkpoint, load_network, weights_sha256

RESULTS = Path(__file__).parent / "results"
SIDE = 256
SILENT = 1e-3  # of the layer's largest response


@torch.no_grad()
def largest_responses(network: Network, contents: list[Tensor], styles: list[Tensor]) -> dict[str, Tensor]:
    """The largest response of every channel [C] after the ReLU, by convolution; the image has none."""
    found: dict[str, Tensor] = {}

    bare = "" if network.spec.encoder_relu else f"encoder.{network.encoder.steps[-1]}"

    def keep(name: str, _module: nn.Module, _given: object, made: Tensor) -> None:
        largest = (made.abs() if name == bare else made.relu()).amax(dim=(0, 2, 3))
        found[name] = torch.maximum(found[name], largest) if name in found else largest

    convs = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in convs[:-1]]
    features = [network.encoder(image) for image in contents]
    stats = [network.stats(network.encoder(image)) for image in styles]
    for content in features:
        for style in stats:
            network.decoder(adain(content, *style, correction=network.spec.correction, eps=network.spec.eps))
    for hook in hooks:
        hook.remove()
    return found


def table(rows: Mapping[str, Mapping[str, int]]) -> str:
    """Markdown: layers with a silent channel."""
    lines = [f"| `{name}` | {row['silent']} | {row['channels']} |" for name, row in rows.items() if row["silent"]]
    return (
        "\n".join(["| layer | silent | of |", "|---|---|---|", *lines]) if lines else "No layer has a silent channel."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=embedded_checkpoint(), help="default: lite")
    parser.add_argument("--name", default="lite", help="of the result")
    parser.add_argument("--images", type=Path, required=True, help="folder with content/ and style/")
    given = parser.parse_args()
    network = load_network(given.checkpoint).eval()
    contents, styles = (
        [torch.from_numpy(middle(path, SIDE, SIDE)) for path in sorted((given.images / kind).glob("*.jpg"))]
        for kind in ("content", "style")
    )
    if not contents or not styles:
        parser.error(f"{given.images}: no .jpg in content/ or in style/")
    rows = {
        name: {"silent": int((largest < SILENT * largest.max()).sum()), "channels": len(largest)}
        for name, largest in largest_responses(network, contents, styles).items()
    }
    result = {
        "command": "python benchmarks/silent_channels.py (see its head)",
        "weights_sha256": weights_sha256(network),
        "size": SIDE,
        "contents": len(contents),
        "styles": len(styles),
        "rows": rows,
    }
    path = RESULTS / f"silent_channels_{given.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
