"""What a photo of one megapixel costs outside the network: decoding, planes, checks, pixels, encoding.

    python benchmarks/own_time.py

One process; each photo goes through all steps in turn, so that a busy machine slows all alike. Medians of milliseconds,
and each step's share of the whole. The network is the backend's own call. Writes benchmarks/results/own_time.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from adain_runtime import Stylizer
from adain_runtime.image import Photo, load_image, save_image
from adain_runtime.session import BaseSession

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
RESULT = Path(__file__).parent / "results" / "own_time.json"
NETWORK = "network"
T = TypeVar("T")


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--model", default="lite")
    asked = parser.parse_args()
    steps: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        steps.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        return result

    with tempfile.TemporaryDirectory() as made, Stylizer.open(asked.model, cache=False) as stylizer:
        folder = Path(made)
        with Image.open(IMAGES / "content" / "astronaut.jpg") as photo:
            photo.convert("RGB").resize((1024, 1024), Image.Resampling.BICUBIC).save(folder / "photo.jpg", quality=95)
        wave = stylizer.style(IMAGES / "style" / "ramparts.jpg")
        session = stylizer.session
        assert isinstance(session, BaseSession)
        inner = session._run  # what BaseSession calls: the backend without the checks around it

        def network(part: str, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return timed(NETWORK, lambda: inner(part, feeds))

        session._run = network  # type: ignore[method-assign]
        for _ in range(asked.runs + 1):  # the first loads the graph
            loaded = timed("decode JPEG", lambda: load_image(folder / "photo.jpg"))
            (stylized,) = timed("stylize", partial(stylizer.stylize, [loaded], [wave], tile="off"))
            encode(timed, stylized, folder)
    medians = {name: statistics.median(times[1:]) for name, times in steps.items()}
    around = [a - b for a, b in zip(steps["stylize"][1:], steps[NETWORK][1:], strict=True)]
    medians["planes, checks and pixels"] = statistics.median(around)
    del medians["stylize"]
    own = ("decode JPEG", "planes, checks and pixels", "encode JPEG")
    total = medians[NETWORK] + sum(medians[name] for name in own)
    report = {
        "command": "python benchmarks/own_time.py",
        "model": Path(asked.model).name,
        "megapixels": 1.05,
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "runs": asked.runs,
        "milliseconds": {name: round(value, 2) for name, value in medians.items()},
        "own_share_jpeg_to_jpeg": round(1 - medians[NETWORK] / total, 4),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    for name, value in medians.items():
        print(f"{name:28} {value:8.1f} ms  {value / total:6.1%}")
    print(f"outside the network, JPEG to JPEG: {report['own_share_jpeg_to_jpeg']:.1%}")


def encode(timed: Callable[[str, Callable[[], None]], None], photo: Photo, folder: Path) -> None:
    """Write the photo as JPEG and as PNG."""
    timed("encode JPEG", lambda: save_image(photo, folder / "out.jpg"))
    timed("encode PNG", lambda: save_image(photo, folder / "out.png"))


if __name__ == "__main__":
    main()
