"""A folder of photos with the embedded student: decoding and encoding beside the network, against one after the other.

    python benchmarks/folder.py

Both ways in one process with one open session, a round of each in turn so that a busy machine slows both alike; medians
of the rounds' ratios, with the smallest and the largest. Writes benchmarks/results/folder.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from adain_runtime import Stylizer
from adain_runtime.image import Photo
from adain_runtime.jobs import Done, Job, run_jobs

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
RESULT = Path(__file__).parent / "results" / "folder.json"


@dataclass(frozen=True)
class Case:
    """A folder: photos of so many pixels, in one format, made smaller first or not."""

    photos: int
    width: int
    height: int
    suffix: str
    size: int | None = None


CASES = {
    "12 megapixels, JPEG, --size 512": Case(8, 4000, 3000, ".jpg", 512),
    "1 megapixel, JPEG": Case(8, 1152, 896, ".jpg"),
    "1 megapixel, PNG": Case(8, 1152, 896, ".png"),
    "512x512, JPEG": Case(16, 512, 512, ".jpg"),
}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    asked = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as made, Stylizer.open("lite", threads=asked.threads, cache=False) as stylizer:
        wave = stylizer.style(IMAGES / "style" / "ramparts.jpg")
        for number, (name, case) in enumerate(CASES.items()):
            jobs = write_photos(Path(made) / str(number), case)
            ratios, one_by_one, together = [], [], []
            for round_ in range(asked.rounds + 1):
                serial, overlapped = measure(jobs, case.size, partial(stylizer.stylize, styles=[wave]))
                if round_:  # the first warms up
                    ratios.append(serial / overlapped)
                    one_by_one.append(serial / len(jobs))
                    together.append(overlapped / len(jobs))
            results[name] = {
                "photos": len(jobs),
                "seconds_a_photo_one_by_one": round(statistics.median(one_by_one), 4),
                "seconds_a_photo_overlapped": round(statistics.median(together), 4),
                "times_as_fast": {
                    "median": round(statistics.median(ratios), 3),
                    "min": round(min(ratios), 3),
                    "max": round(max(ratios), 3),
                },
            }
            low, high = min(ratios), max(ratios)
            print(f"{name:34} {statistics.median(ratios):.2f} x  ({low:.2f} to {high:.2f})", flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    report = {
        "command": "python benchmarks/folder.py",
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "rounds": asked.rounds,
        "cases": results,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")


def write_photos(folder: Path, case: Case) -> list[Job]:
    """A folder of photos, and where each goes."""
    folder.mkdir()
    sources = sorted((IMAGES / "content").glob("*.jpg"))
    jobs = []
    for number in range(case.photos):
        with Image.open(sources[number % len(sources)]) as photo:
            path = folder / f"{number}{case.suffix}"
            photo.convert("RGB").resize((case.width, case.height), Image.Resampling.BICUBIC).save(path)
        jobs.append(Job(path, folder / "out" / path.name))
    return jobs


def measure(jobs: list[Job], size: int | None, stylize: Callable[[list[Photo]], list[Photo]]) -> tuple[float, float]:
    """Seconds for all photos, one after the other and overlapped."""
    run = partial(run_jobs, stylize=stylize, batch_size=1, size=size, max_pixels=100_000_000, quality=95)
    seconds = []
    for batches in ([[job] for job in jobs], [jobs]):
        start = time.perf_counter()
        done = [result for batch in batches for result in run(batch)]
        seconds.append(time.perf_counter() - start)
        assert all(isinstance(result, Done) for result in done)
    return seconds[0], seconds[1]


if __name__ == "__main__":
    main()
