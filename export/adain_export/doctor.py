"""What is installed, and which targets and backends work on this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from adain_export.target import get_target, target_names
from adain_runtime.backend import Probe, backend_names, get_backend

PACKAGES = (
    *("adain-edge", "numpy", "pillow", "onnxruntime", "safetensors", "typer", "rich"),
    *(
        "torch",
        "torchvision",
        "onnx",
        "onnxscript",
        "coremltools",
        "tensorrt",
        "tensorrt-cu13",
        "tensorrt-cu12",
        "tensorrt-rtx-cu13-bindings",
        "cuda-bindings",
        "MNN",
        "openvino",
    ),
)


@dataclass(frozen=True)
class Diagnosis:
    """The machine in words; ``packages`` holds None for what is not installed."""

    python: str
    system: str
    cores: int
    packages: Mapping[str, str | None]
    targets: Mapping[str, Probe]
    backends: Mapping[str, Probe]


def diagnose() -> Diagnosis:
    """Look at this machine; imports nothing heavy."""
    return Diagnosis(
        python=platform.python_version(),
        system=platform.platform(),
        cores=os.cpu_count() or 1,
        packages={name: installed(name) for name in PACKAGES},
        targets={name: get_target(name).probe() for name in target_names()},
        backends={name: get_backend(name).probe() for name in backend_names()},
    )


def installed(distribution: str) -> str | None:
    """A distribution's version, or None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
