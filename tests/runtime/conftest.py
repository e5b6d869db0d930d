"""What the runtime's tests share: pictures, bundles whole and damaged, and commands run in this process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adain_runtime import Manifest, NetworkSpec, Stylizer
from adain_runtime.bundle import EMBEDDED, MANIFEST, describe_file
from adain_runtime.cli import run, style
from adain_runtime.manifest import PART_NAMES
from adain_runtime.parts import part_interface
from ran import Ran

TINY = NetworkSpec(
    name="tiny", encoder=((4,), (4,), (4,), (5,)), decoder=((5,), (4,), (4,), (4, 3)), downsample="stride"
)


@pytest.fixture(scope="session")
def lite() -> Path:
    """The embedded bundle's folder; it is only read."""
    return EMBEDDED / "lite-onnx-fp32"


@pytest.fixture
def lite_copy(lite: Path, tmp_path: Path) -> Path:
    """A copy of the embedded bundle, to damage."""
    return Path(shutil.copytree(lite, tmp_path / "copied-onnx-fp32"))


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """Writes a bundle of a few bytes, whole and verifiable, that only the null backend can run."""

    def make(folder: Path, **changes: object) -> Path:
        folder.mkdir(parents=True)
        for number, name in enumerate([*(f"{part}.graph" for part in PART_NAMES), "weights.bin"]):
            (folder / name).write_bytes(bytes([number]) * (50 + number))
        manifest = Manifest(
            name="tiny",
            target="onnx",
            precision="fp32",
            spec=TINY,
            weights_sha256="ab" * 32,
            encoder_id="0123456789abcdef",
            parts={part: part_interface(part, TINY, f"{part}.graph") for part in PART_NAMES},
            files={path.name: describe_file(path) for path in sorted(folder.iterdir())},
        )
        (folder / MANIFEST).write_text(replace(manifest, **changes).to_json())
        return folder

    return make


@pytest.fixture
def tiny(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle of a few bytes."""
    return make_bundle(tmp_path / "tiny-onnx-fp32")


@pytest.fixture(scope="session")
def edit_manifest() -> Callable[..., None]:
    """Changes fields of a bundle's manifest as plain JSON, whether or not it makes sense."""

    def edit(folder: Path, **changes: object) -> None:
        path = folder / MANIFEST
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


@pytest.fixture(scope="session")
def flip_bit() -> Callable[[Path], None]:
    """Flips one bit in the middle of a file."""

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return flip


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Random pictures, the same for the same arguments."""

    def make(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)

    return make


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    """Smooth pictures with some noise, as photos are: a network's rounding does not flip their pixels."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        random = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width] / 20
        waves = [np.sin(a * x + b * y + c) for a, b, c in random.uniform(0, 2, (3, 3))]
        return np.clip(np.stack(waves, -1) * 90 + 128 + random.normal(0, 6, (height, width, 3)), 0, 255).astype(
            np.uint8
        )

    return make


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Writes an array as an image file and gives its path."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def stylizer() -> Iterator[Stylizer]:
    """The embedded model in ONNX Runtime."""
    with Stylizer.open("lite", threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def null_stylizer() -> Iterator[Stylizer]:
    """The embedded model, shapes only."""
    with Stylizer.open("lite", backend="null") as opened:
        yield opened


@pytest.fixture
def adain_run(_command) -> Callable[..., Ran]:
    """``adain-run`` in this process, in an empty folder."""
    return _command(run.main, "adain-run")


@pytest.fixture
def adain_style(_command) -> Callable[..., Ran]:
    """``adain-style`` in this process, in an empty folder."""
    return _command(style.main, "adain-style")


@pytest.fixture
def _command(typed, monkeypatch, tmp_path) -> Callable[..., Callable[..., Ran]]:
    monkeypatch.chdir(tmp_path)
    return lambda main, program: partial(typed, main, program)


@pytest.fixture
def python(tmp_path) -> Callable[..., Ran]:
    """Runs a program text in a Python process of its own, in the test's folder."""

    def call(program: str, *arguments: object, **environment: str) -> Ran:
        kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "GITHUB_ACTIONS")}
        done = subprocess.run(
            [sys.executable, "-c", program, *map(os.fspath, map(str, arguments))],
            cwd=tmp_path,
            env=kept | {"NO_COLOR": "1", "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def contents_of() -> Callable[[Path], dict[str, bytes | None]]:
    """Everything under a folder: path to bytes, None for a folder. Equal before and after: nothing was touched."""

    def look(folder: Path) -> dict[str, bytes | None]:
        return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}

    return look
