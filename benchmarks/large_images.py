"""Large photos in tiles: peak memory of a whole run, and time for each megapixel against that of one megapixel whole.

    python benchmarks/large_images.py                                        # the embedded student, to 8192x8192
    python benchmarks/large_images.py --model vgg19-onnx-fp32 --side 4096    # an exported VGG-19

Every run is ``adain-run`` in a process of its own, JPEG in and JPEG out, memory as the system counts it (ru_maxrss);
the styles' cache is off. One megapixel is run whole (``--tile off``) before and after each large size, so that a busy
machine slows both alike. Writes benchmarks/results/large_MODEL.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
RESULTS = Path(__file__).parent / "results"
ONE = 1024  # pixels a side: one megapixel


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--backend", default="onnx")
    parser.add_argument("--side", type=int, default=8192, help="pixels of the largest photo's side")
    parser.add_argument("--tile", default="auto")
    asked = parser.parse_args()
    sides = [side for side in (2048, 4096, 8192, 16384) if side <= asked.side]
    if asked.side not in sides:
        sides.append(asked.side)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for side in sides:
            before = run(folder, ONE, asked, "off")
            large = run(folder, side, asked, asked.tile)
            after = run(folder, ONE, asked, "off")
            megapixels = side * side / (ONE * ONE)
            whole = statistics.mean((before["seconds"], after["seconds"]))
            rows.append(
                {
                    "side": side,
                    "megapixels": megapixels,
                    **large,
                    "seconds_a_megapixel": round(large["seconds"] / megapixels, 4),
                    "times_one_megapixel": round(large["seconds"] / megapixels / whole, 3),
                    "one_megapixel": [before, after],
                }
            )
            print(
                f"{side:6} x {side:<6} {large['peak_rss_mb']:6.0f} MB  {large['seconds']:8.2f} s  "
                f"{rows[-1]['times_one_megapixel']:.2f} x the time of a megapixel whole ({whole:.2f} s)",
                flush=True,
            )
    name = Path(asked.model).name + ("" if asked.backend == "onnx" else f"_{asked.backend}")
    report = {
        "command": " ".join(["python benchmarks/large_images.py", *shown(sys.argv[1:])]),
        "model": name,
        "backend": asked.backend,
        "tile": asked.tile,
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "tools": {tool: version(tool) for tool in ("onnxruntime", "numpy", "pillow")},
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"large_{name}.json").write_text(json.dumps(report, indent=1) + "\n")


def shown(arguments: list[str]) -> list[str]:
    """What was typed, a path as its last part: no folder of a machine in the results."""
    return [Path(argument).name if os.sep in argument else argument for argument in arguments]


def run(folder: Path, side: int, asked: argparse.Namespace, tile: str) -> dict[str, float]:
    """``adain-run`` on a square photo: seconds after getting ready, as it says, and its peak memory in MB."""
    photo, told = folder / f"{side}.jpg", folder / "told.json"
    if not photo.exists():
        with Image.open(IMAGES / "content" / "chelsea.jpg") as source:
            source.convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(photo, quality=92)
    command = [str(Path(sys.executable).with_name("adain-run")), str(photo), str(IMAGES / "style" / "ramparts.jpg")]
    command += ["-o", str(folder / "out.jpg"), "--model", asked.model, "--backend", asked.backend, "--tile", tile]
    command += ["--max-pixels", str(side * side), "--no-cache", "--json"]
    # wait4 counts this child alone: the count of all children would keep the largest.
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, told, os.O_WRONLY | os.O_CREAT, 0o600)]
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"adain-run failed on {side}x{side}")
    report = json.loads(told.read_text())
    told.unlink()
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": report["done"][0]["seconds"],
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_rss_mb": round(usage.ru_maxrss * scale / 1e6, 1),
    }


if __name__ == "__main__":
    main()
