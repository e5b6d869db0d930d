"""What a person waits for: importing the runtime, and one 512x512 photo with the embedded student from the shell.

    python benchmarks/startup.py

As a person has it: installed by ``pip install`` into a virtual environment of its own, not among what develops it,
where more is installed and more imported. Fresh processes, taken in turn so that a busy machine slows all alike;
medians, with the fastest and the slowest. Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES = REPOSITORY / "examples" / "images"
TOOLS = ("onnxruntime", "numpy", "typer")
RESULT = Path(__file__).parent / "results" / "startup.json"


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with Image.open(IMAGES / "content" / "astronaut.jpg") as photo:
            photo.resize((512, 512)).save(folder / "photo.jpg", quality=95)
        style = str(IMAGES / "style" / "ramparts.jpg")
        python = installed(folder / "venv")
        program = str(python.with_name("adain-run"))
        commands = {
            "python (does nothing)": [str(python), "-c", "pass"],
            "import adain_runtime": [str(python), "-c", "import adain_runtime"],
            "adain-run 512x512, new style": [program, "photo.jpg", style, "-o", "out.jpg", "--no-cache"],
            "adain-run 512x512, known style": [program, "photo.jpg", style, "-o", "out.jpg"],
        }
        tools = versions(python)
        environment = os.environ | {"ADAIN_CACHE": str(folder / "cache")}
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(runs + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
                if run:  # the first of each fills the file cache
                    seconds[name].append(time.perf_counter() - start)
    result = {
        "command": "python benchmarks/startup.py",
        "tools": {"python": sys.version.split()[0]} | tools,
        "runs": runs,
        "seconds": {
            name: {"median": round(statistics.median(s), 3), "min": round(min(s), 3), "max": round(max(s), 3)}
            for name, s in seconds.items()
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for name, figures in result["seconds"].items():
        print(f"{name:32} {figures['median']:.3f} s  ({figures['min']:.3f} to {figures['max']:.3f}, {runs} runs)")


def installed(folder: Path) -> Path:
    """The Python of a new virtual environment with the package and what it stands on, and nothing else."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(REPOSITORY)], check=True)
    return python


def versions(python: Path) -> dict[str, str]:
    """Of what takes most of the time to import."""
    code = f"from importlib.metadata import version; print(*map(version, {TOOLS!r}))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(TOOLS, found, strict=True))


if __name__ == "__main__":
    main()
