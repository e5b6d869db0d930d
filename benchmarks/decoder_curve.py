"""The curve of a decoder's training beside the published decoder: losses on training crops, and on all test pairs.

    python benchmarks/decoder_curve.py RUN_FOLDER --eval eval.json --row decoder --reference "reference (vgg19)"

RUN_FOLDER is what ``adain-train decoder -o`` wrote, eval.json what ``adain-train eval --json`` printed for its weights.
Writes benchmarks/results/decoder_curve.json and docs/images/decoder.png; without RUN_FOLDER the figure is drawn again
from the JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from adain_model.figures import COLOURS, GREY, GRID, save_figure

RESULT = Path(__file__).parent / "results" / "decoder_curve.json"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "decoder.png"
LOSSES = ("content", "style")


def main() -> None:
    """Read, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--eval", type=Path, help="of the trained decoder and the published one, on the same pairs")
    parser.add_argument("--row", default="decoder", help="the trained decoder's name there")
    parser.add_argument("--reference", default="reference (vgg19)", help="the published decoder's name there")
    options = parser.parse_args()
    if options.run is not None:
        RESULT.write_text(json.dumps(curve(options), indent=1) + "\n", encoding="utf-8")
    save_figure(figure(json.loads(RESULT.read_text(encoding="utf-8"))), PICTURE)
    print(f"wrote {PICTURE}")


def curve(options: argparse.Namespace) -> dict[str, Any]:
    """The log's losses by step, and both decoders' on the test pairs."""
    lines = [json.loads(line) for line in (options.run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = {row["name"]: row for row in json.loads(options.eval.read_text(encoding="utf-8"))["rows"]}
    return {
        "steps": [line["step"] for line in lines],
        "training": {name: [round(line[name], 4) for line in lines] for name in LOSSES},
        "pairs": rows[options.row]["pairs"],
        "trained": {name: rows[options.row]["mean"][name] for name in LOSSES},
        "published": {name: rows[options.reference]["mean"][name] for name in LOSSES},
    }


def figure(found: dict[str, Any]) -> Figure:
    """Two panels on logarithmic axes: the curve on training crops, a line for each decoder on the test pairs."""
    made = Figure(figsize=(11, 4.2), layout="constrained")
    for axis, name in zip(made.subplots(1, 2), LOSSES, strict=True):
        axis.plot(found["steps"], found["training"][name], color="black", linewidth=1.8, label="on training crops")
        for i, (which, label) in enumerate((("trained", "this decoder"), ("published", "the published decoder"))):
            text = f"{label}, {found['pairs']} test pairs"
            axis.axhline(found[which][name], color=COLOURS[i], linestyle=("--", "-.")[i], linewidth=1.8, label=text)
        axis.set(xscale="log", yscale="log", xlabel="steps of 8 pairs", ylabel=f"{name} loss")
        ticks = [tick for tick in (1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200) if tick > 0.9 * min(axis.get_ylim())]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_xticks([50, 100, 200, 500, 1000, 2000, 3000], ["50", "100", "200", "500", "1,000", "2,000", "3,000"])
        axis.minorticks_off()
        axis.grid(True, color=GRID, linewidth=0.7)
        axis.tick_params(colors=GREY)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = made.axes[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    made.suptitle("A decoder for VGG-19 trained from random weights for 3,000 steps", fontsize=12, x=0.01, ha="left")
    return made


if __name__ == "__main__":
    main()
