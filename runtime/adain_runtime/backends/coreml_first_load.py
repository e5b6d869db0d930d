"""The first load of a Core ML function: compiled, run once and looked into, in a process of its own, and remembered.

Core ML ends the whole process on some packages and compute units (an abort in the compiler of the GPU or the Neural
Engine, not an error that Python could catch). So whatever is new here is first tried in a child; if it dies, that is
one line, and the caller lives. What worked is kept in a cache, so that the next start neither compiles nor tries.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adain_runtime.cache import cache_folder
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.files import replacing_file

if TYPE_CHECKING:
    from adain_runtime.mil import Feature, Package

UNITS: Mapping[str, str] = {"all": "ALL", "cpu": "CPU_ONLY", "cpu-gpu": "CPU_AND_GPU", "cpu-ane": "CPU_AND_NE"}
CACHE_VARIABLE = "ADAIN_COREML_CACHE"
"""Environment variable: the folder for compiled models. Default: among the person's caches (`adain_runtime.cache`)."""

_FIXES = {"all": "cpu-ane, or cpu", "cpu-gpu": "cpu-ane, or cpu", "cpu-ane": "cpu", "cpu": "all"}
"""What is tried next: the GPU's compiler aborts on networks that the Neural Engine runs (ultralytics#24885)."""

SECONDS = 900
"""A large function may take the Neural Engine's compiler minutes; longer than this it hangs."""

_DEVICES = {
    "MLCPUComputeDevice": "cpu",
    "MLGPUComputeDevice": "gpu",
    "MLNeuralEngineComputeDevice": "ane",
}


@dataclass(frozen=True)
class Trial:
    """What a first load left behind.

    Attributes:
        compiled: the .mlmodelc folder.
        placement: device (cpu, gpu, ane) to how many operations the compute plan gives it; empty where Core ML doesn't
            say: before macOS 14.4, and of functions that are not their package's default.
    """

    compiled: Path
    placement: Mapping[str, int]


Shapes = Mapping[str, tuple[int, ...]]


def first_load(package: Package, function: str, units: str, shapes: Shapes, digests: Mapping[str, str]) -> Trial:
    """A function that is known to load and run here: from the cache, or tried now.

    Args:
        package: what holds it.
        function: its name.
        units: a key of `UNITS`.
        shapes: of its inputs by name, of images [H,W]; one function may take several.
        digests: file to SHA-256 of the package, which the bundle has verified.

    Raises:
        UnavailableError: Core ML doesn't take it on these compute units, or ended the process.
        InputError: the cache can't be written.
    """
    folder = compiled_folder(digests)
    sizes = "-".join("x".join(map(str, shape)) for shape in shapes.values())
    compiled, record = folder / "model.mlmodelc", folder / f"{function}-{units}-{sizes}.json"
    if compiled.is_dir() and record.is_file() and (known := _read(record)) is not None:
        return Trial(compiled, known)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: can't be made ({error.strerror}); set {CACHE_VARIABLE} to a folder for compiled models"
        ) from error
    placement = _try(package, function, units, shapes, compiled)
    with replacing_file(record) as part:
        part.write_text(json.dumps(placement, sort_keys=True), encoding="utf-8")
    return Trial(compiled, placement)


def _try(package: Package, function: str, units: str, shapes: Shapes, compiled: Path) -> dict[str, int]:
    where = f"{package.path}: {function} on compute units {units!r}"
    part = compiled.with_name(f".{secrets.token_hex(4)}.mlmodelc")  # coremltools refuses every other suffix
    told = part.with_suffix(".json")
    order = _Order(str(package.path), function, units, {**shapes}, str(compiled), str(part), str(told))
    command = [sys.executable, "-m", __name__, json.dumps(asdict(order))]
    fix = f"try --compute-units {_FIXES[units]}"
    try:
        # Core ML prints what it likes on stdout, so what is found goes to a file
        done = subprocess.run(  # noqa: S603 ours
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=SECONDS, check=False
        )
        found = _read_told(told)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{where}: Core ML was not ready after {SECONDS} s; {fix}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)  # here, since Core ML may end the other process
        told.unlink(missing_ok=True)
    words = done.stderr.decode("utf-8", errors="replace")
    last = next((line for line in reversed(words.splitlines()) if line.strip()), "no message")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UnavailableError(f"{where}: Core ML ended its process with {name} ({last}); {fix}")
    if done.returncode or "placement" not in found:
        raise UnavailableError(f"{where}: Core ML can't load or run it ({found.get('error', last)}); {fix}")
    placement: dict[str, int] = found["placement"]
    return placement


def _read_told(path: Path) -> dict[str, Any]:
    """What the other process told; nothing where it had no time to."""
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plain


def _read(record: Path) -> dict[str, int] | None:
    """What was remembered; None for a damaged file, which is made again."""
    try:
        plain = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plain if isinstance(plain, dict) and all(isinstance(number, int) for number in plain.values()) else None


def compiled_folder(digests: Mapping[str, str]) -> Path:
    """The folder of a package's compiled model and of what is remembered of it."""
    return _cache() / _key(digests)


def _cache() -> Path:
    """Where compiled models are kept; they must be somewhere, so also where the person's caches are off."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    return cache_folder("coreml") or Path.home() / "Library" / "Caches" / "adain-edge" / "coreml"


def _key(digests: Mapping[str, str]) -> str:
    """What a compiled model depends on: the package's bytes, the system, and the tool."""
    try:
        tool = version("coremltools")
    except PackageNotFoundError:
        tool = "unknown"
    facts = [sorted(digests.items()), platform.mac_ver()[0], platform.machine(), tool]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Order:
    """What the other process is told: a function, its units and shapes, and where what it makes goes."""

    package: str
    function: str
    units: str
    shapes: dict[str, tuple[int, ...]]
    compiled: str
    part: str
    told: str


def _child(order: _Order) -> None:
    """Try a function, and tell what was found: its placement, or what was wrong in one line."""
    try:
        found: dict[str, Any] = {"placement": _tried(order)}
    except Exception as error:  # noqa: BLE001 Core ML's errors are RuntimeErrors of several lines
        found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    Path(order.told).write_text(json.dumps(found), encoding="utf-8")


def _tried(order: _Order) -> dict[str, int]:
    """Compile, load, run on grey, ask the compute plan."""
    from coremltools import ComputeUnit
    from coremltools.models import CompiledMLModel
    from coremltools.models.utils import compile_model
    from PIL import Image

    from adain_runtime.mil import Package as Reader

    function, compiled = Reader.open(order.package).functions[order.function], Path(order.compiled)
    named = {} if order.function == "main" else {"function_name": order.function}
    units = getattr(ComputeUnit, UNITS[order.units])

    def load() -> Any:  # noqa: ANN401 coremltools has no types
        if not compiled.is_dir():
            made = Path(compile_model(order.package, order.part))
            try:
                made.rename(compiled)
            except OSError:
                if not compiled.is_dir():  # another process was faster
                    raise
        return CompiledMLModel(order.compiled, compute_units=units, **named)

    was_there = compiled.is_dir()
    try:
        model = load()
    except Exception:
        if not was_there:
            raise
        shutil.rmtree(compiled)  # it may have lost a file, as to a cleaner of caches
        model = load()
    feeds: dict[str, Any] = {}
    for feature in function.inputs:
        shape = order.shapes[feature.name]
        feeds[feature.name] = (
            Image.new("RGB", (shape[1], shape[0]), (128, 128, 128))
            if feature.color is not None
            else np.full(shape, 0.5, feature.dtype)
        )
    predict(model, feeds, function.outputs)
    try:
        return _placement(order.compiled, units, order.function)
    except Exception:  # noqa: BLE001 there are plans from macOS 14.4 on, and nothing but the counts depends on them
        return {}


def predict(model: Any, feeds: Mapping[str, Any], outputs: Sequence[Feature]) -> Mapping[str, Any]:  # noqa: ANN401
    """Every output that a function declares, by name.

    Raises:
        RuntimeError: Core ML failed, or left an output away, as it did with images of flexible size.
    """
    made: Mapping[str, Any] = model.predict(feeds)
    if missing := [feature.name for feature in outputs if feature.name not in made]:
        raise RuntimeError(f"it gave no {', '.join(missing)}")
    return made


def _placement(compiled: str, units: Any, function: str) -> dict[str, int]:  # noqa: ANN401
    from coremltools.models.compute_plan import MLComputePlan

    plan = MLComputePlan.load_from_path(path=compiled, compute_units=units)
    counts: Counter[str] = Counter()
    for operation in plan.model_structure.program.functions[function].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is not None:  # constants are on no device
            kind = type(usage.preferred_compute_device).__name__
            counts[_DEVICES.get(kind, kind)] += 1
    return dict(counts)


if __name__ == "__main__":
    _child(_Order(**json.loads(sys.argv[1])))
