"""Which TensorRT is here, and whether it can build or run. Standard library only; kits carry it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Protocol

from adain_runtime.trt.cudart import CudaError, Cudart
from adain_runtime.trt.options import FLAVORS, BuildError, Flavor

MODULES: dict[Flavor, tuple[str, ...]] = {"trt": ("tensorrt",), "rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
NAMES: dict[Flavor, str] = {"trt": "TensorRT", "rtx": "TensorRT for RTX"}
INSTALL: dict[Flavor, str] = {
    "trt": "pip install tensorrt-cu13 (tensorrt-cu12 with CUDA 12; on a Jetson: sudo apt install python3-libnvinfer)",
    "rtx": 'pip install "tensorrt-rtx-cu13-bindings==1.7.*" "tensorrt-rtx-cu13-libs==1.7.*" "cuda-bindings==13.*"',
}
OLDEST = 10  # major version; 10.3 is the oldest whose names the tests have, and JetPack 6.0 has 8.6
_DISTRIBUTIONS: dict[Flavor, tuple[str, ...]] = {
    "trt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt_cu13", "tensorrt_cu12"),
    "rtx": ("tensorrt_rtx", "tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu12_bindings"),
}


class Counts(Protocol):
    """What can say how many CUDA devices there are. A protocol: libcudart and cuda-bindings both do."""

    def count(self) -> int:
        """Devices here."""
        ...


@dataclass(frozen=True)
class Library:
    """TensorRT's Python module.

    Attributes:
        module: itself; what may be touched of it is in `api`.
        flavor: TensorRT or TensorRT for RTX.
        version: such as ``10.3.0``.
    """

    module: Any
    flavor: Flavor
    version: str

    def __str__(self) -> str:
        return f"{NAMES[self.flavor]} {self.version}"


def installed_flavor() -> Flavor | None:
    """TensorRT where it is installed, else TensorRT for RTX, else None; imports neither."""
    return next((flavor for flavor in FLAVORS if module_name(flavor)), None)


def module_name(flavor: Flavor) -> str | None:
    """The module that would be imported; None where it isn't installed."""
    return next((name for name in MODULES[flavor] if find_spec(name) is not None), None)


def installed_version(flavor: Flavor) -> str:
    """What is installed, in words, without importing it."""
    for distribution in _DISTRIBUTIONS[flavor]:
        try:
            return f"{NAMES[flavor]} {version(distribution)}"
        except PackageNotFoundError:
            continue
    return NAMES[flavor]


def load_library(flavor: Flavor) -> Library:
    """Import it.

    Raises:
        BuildError: it isn't installed, can't be imported, or is too old (exit code 3).
    """
    name = module_name(flavor)
    if name is None:
        raise BuildError(f"{NAMES[flavor]} is not installed; {INSTALL[flavor]}", 3)
    try:
        module = import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise BuildError(f"{NAMES[flavor]} is installed and can't be imported ({first}); mend it", 3) from error
    library = Library(module, flavor, str(module.__version__))
    major = library.version.partition(".")[0]
    if flavor == "trt" and major.isdigit() and int(major) < OLDEST:
        raise BuildError(f"{library} is too old: {OLDEST} or later is wanted (on a Jetson: JetPack 6.1 or later)", 3)
    return library


def gpu_trouble(open_cuda: Callable[[], Counts] = Cudart) -> str | None:
    """Why there is no CUDA device to use, asked of what counts them; None where there is one."""
    try:
        count = open_cuda().count()
    except CudaError as error:
        return f"no CUDA GPU can be used here ({error})"
    return None if count else "no CUDA GPU is here"


def this_platform() -> str:
    """Operating system and processor, such as ``linux-aarch64``: engines don't cross it."""
    return f"{platform.system()}-{platform.machine()}".lower()


class Log:
    """Keeps what TensorRT says from warnings up, for the line that says why something failed."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401
        self.lines: list[str] = []
        keep, errors = self.lines.append, module.ILogger.Severity.ERROR

        class Keeper(module.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
                if severity <= errors and message.strip():
                    keep(message.strip().splitlines()[0])

        self.logger: Any = Keeper()

    def last(self) -> str:
        """The last error in brackets, where one was said."""
        return f" ({self.lines[-1][:300]})" if self.lines else ""

    def first(self) -> str:
        """The first error in brackets: what follows it is often its echo."""
        return f" ({self.lines[0][:300]})" if self.lines else ""
