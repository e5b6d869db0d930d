"""A folder of photos: decoding and encoding beside the network and two photos in it, against one after the other.

    python benchmarks/folder.py                                   # the embedded student
    python benchmarks/folder.py --model vgg19-onnx-fp32           # an exported VGG-19

Both ways in one process with one open session, a round of each in turn so that a busy machine slows both alike; medians
of the rounds' ratios, with the smallest and the largest. Writes benchmarks/results/folder.json, or folder_MODEL.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from adain_runtime import Style, Stylizer
from adain_runtime.jobs import AT_ONCE, AtOnce, Done, Failed, Job, run_jobs

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
RESULTS = Path(__file__).parent / "results"


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
    parser.add_argument("--model", default="lite")
    parser.add_argument("--backend", default="onnx")
    asked = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    with (
        tempfile.TemporaryDirectory() as made,
        Stylizer.open(asked.model, backend=asked.backend, threads=asked.threads, cache=False) as stylizer,
        ExitStack() as stack,
    ):
        wave = stylizer.style(IMAGES / "style" / "ramparts.jpg")
        ways = ways_of(stylizer, [wave], stack)
        for number, (name, case) in enumerate(CASES.items()):
            jobs = write_photos(Path(made) / str(number), case)
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for round_ in range(asked.rounds + 1):
                for way, run in ways.items():
                    took = measure(jobs, case.size, run)
                    if round_:  # the first warms up
                        seconds[way].append(took)
            results[name] = {"photos": len(jobs)} | {way: row(seconds, way, len(jobs)) for way in ways}
            told = ", ".join(f"{way} {results[name][way]['times_as_fast']['median']:.2f} x" for way in list(ways)[1:])
            print(f"{name:34} {told}", flush=True)
    label = Path(asked.model).name + ("" if asked.backend == "onnx" else f"_{asked.backend}")
    report = {
        "command": " ".join(["python benchmarks/folder.py", *shown(sys.argv[1:])]),
        "model": label,
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "rounds": asked.rounds,
        "cases": results,
    }
    RESULTS.mkdir(exist_ok=True)
    name = "folder.json" if label == "lite" else f"folder_{label}.json"
    (RESULTS / name).write_text(json.dumps(report, indent=1) + "\n")


Way = Callable[[list[Job], dict[str, Any]], list[Done | Failed]]


def ways_of(stylizer: Stylizer, styles: list[Style], stack: ExitStack) -> dict[str, Way]:
    """One after the other, overlapped, and as ``adain-run`` does it: two in the network where its backend can."""
    alone = partial(stylizer.stylize, styles=styles)

    def one_by_one(jobs: list[Job], settings: dict[str, Any]) -> list[Done | Failed]:
        return [result for job in jobs for result in run_jobs([job], alone, **settings)]

    ways: dict[str, Way] = {
        "one_by_one": one_by_one,
        "overlapped": lambda jobs, settings: list(run_jobs(jobs, alone, **settings)),
    }
    if (shared := stylizer.shared(AT_ONCE)) is not None:
        beside = partial(stack.enter_context(shared).stylize, styles=styles)
        two = AtOnce(beside, lambda photo: stylizer.whole_at_once(photo.height, photo.width, AT_ONCE))
        ways["two_at_once"] = lambda jobs, settings: list(run_jobs(jobs, alone, **settings, at_once=two))
    return ways


def row(seconds: dict[str, list[float]], way: str, photos: int) -> dict[str, Any]:
    """Seconds a photo, and how many times as fast as one by one in the same round."""
    ratios = [serial / took for serial, took in zip(seconds["one_by_one"], seconds[way], strict=True)]
    return {
        "seconds_a_photo": round(statistics.median(seconds[way]) / photos, 4),
        "times_as_fast": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
    }


def shown(arguments: list[str]) -> list[str]:
    """What was typed, a path as its last part: no folder of a machine in the results."""
    return [Path(argument).name if os.sep in argument else argument for argument in arguments]


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


def measure(jobs: list[Job], size: int | None, way: Way) -> float:
    """Seconds for all photos."""
    start = time.perf_counter()
    done = way(jobs, {"batch_size": 1, "size": size, "max_pixels": 100_000_000, "quality": 95})
    assert all(isinstance(result, Done) for result in done)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
