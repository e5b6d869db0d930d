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
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adain_runtime.cache import cache_folder
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.files import replacing_file

if TYPE_CHECKING:
    from adain_runtime.mil import Package

UNITS: Mapping[str, str] = {"all": "ALL", "cpu": "CPU_ONLY", "cpu-gpu": "CPU_AND_GPU", "cpu-ane": "CPU_AND_NE"}
CACHE_VARIABLE = "ADAIN_COREML_CACHE"
"""Environment variable: the folder for compiled models. Default: among the person's caches (`adain_runtime.cache`)."""

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
        placement: device (cpu, gpu, ane) to how many operations the compute plan gives it.
    """

    compiled: Path
    placement: Mapping[str, int]


def first_load(package: Package, function: str, units: str, digests: Mapping[str, str]) -> Trial:
    """A function that is known to load and run here: from the cache, or tried now.

    Args:
        package: what holds it.
        function: its name.
        units: a key of `UNITS`.
        digests: file to SHA-256 of the package, which the bundle has verified.

    Raises:
        UnavailableError: Core ML doesn't take it on these compute units, or ended the process.
        InputError: the cache can't be written.
    """
    folder = _cache() / _key(digests)
    compiled, record = folder / "model.mlmodelc", folder / f"{function}-{units}.json"
    if compiled.is_dir() and record.is_file() and (known := _read(record)) is not None:
        return Trial(compiled, known)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: can't be made ({error.strerror}); set {CACHE_VARIABLE} to a folder for compiled models"
        ) from error
    placement = _try(package, function, units, compiled)
    with replacing_file(record) as part:
        part.write_text(json.dumps(placement, sort_keys=True), encoding="utf-8")
    return Trial(compiled, placement)


def _try(package: Package, function: str, units: str, compiled: Path) -> dict[str, int]:
    where = f"{package.path}: {function} on compute units {units!r}"
    part = compiled.with_name(f".{secrets.token_hex(4)}.mlmodelc")  # coremltools refuses every other suffix
    command = [sys.executable, "-m", __name__, str(package.path), function, units, str(compiled), str(part)]
    fix = f"try --compute-units {'cpu' if units != 'cpu' else 'all'}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603 ours
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{where}: Core ML was not ready after {SECONDS} s; {fix}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)  # here, since Core ML may end the other process
    last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UnavailableError(f"{where}: Core ML ended its process with {name} ({last}); {fix}")
    if done.returncode:
        raise UnavailableError(f"{where}: Core ML can't load or run it ({last}); {fix}")
    placement: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return placement


def _read(record: Path) -> dict[str, int] | None:
    """What was remembered; None for a damaged file, which is made again."""
    try:
        plain = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plain if isinstance(plain, dict) and all(isinstance(number, int) for number in plain.values()) else None


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


def _child(package: str, function: str, units: str, compiled: str, part: str) -> None:
    """Compile, load, run on grey, ask the compute plan; the last line of stdout is the placement as JSON."""
    from coremltools import ComputeUnit
    from coremltools.models import CompiledMLModel
    from coremltools.models.utils import compile_model
    from PIL import Image

    from adain_runtime.mil import Package as Reader

    opened = Reader.open(package)
    if not Path(compiled).is_dir():
        made = Path(compile_model(package, part))
        try:
            made.rename(compiled)
        except OSError:
            if not Path(compiled).is_dir():  # another process was faster
                raise
    named = {} if function == "main" else {"function_name": function}
    chosen = getattr(ComputeUnit, UNITS[units])
    model = CompiledMLModel(compiled, compute_units=chosen, **named)
    feeds: dict[str, Any] = {}
    for feature in opened.functions[function].inputs:
        shape = feature.shape or ()
        feeds[feature.name] = (
            Image.new("RGB", (shape[1], shape[0]), (128, 128, 128))
            if feature.color is not None
            else np.full(shape, 0.5, feature.dtype)
        )
    model.predict(feeds)
    print(json.dumps(_placement(compiled, chosen, function)))  # noqa: T201 for the parent


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
    _child(*sys.argv[1:])
