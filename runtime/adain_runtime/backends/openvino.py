"""OpenVINO: runs ONNX bundles as they are on Intel's CPUs, GPUs and NPUs."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from adain_runtime.backend import Array, Options, Probe, check_target, require
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.errors import BundleError, InputError, UnavailableError
from adain_runtime.session import BaseSession

NAME = "openvino"
_INSTALL = "pip install openvino"
_CPU = "CPU"


class OpenVinoBackend:
    """Runs ONNX bundles in OpenVINO."""

    name = NAME

    def probe(self) -> Probe:
        """The installed version; OpenVINO is not imported for it."""
        try:
            if find_spec("openvino") is None:
                return Probe(False, "openvino is not installed", _INSTALL)
            return Probe(True, f"openvino {version('openvino')}")
        except (PackageNotFoundError, ImportError, ValueError) as error:
            return Probe(False, f"openvino can't be found whole ({error})", _INSTALL)

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """An ONNX bundle's folder, or an embedded model by name."""
        return find_bundle(model, "onnx")

    def open(self, bundle: Bundle, options: Options) -> OpenVinoSession:
        """Open an ONNX bundle; a part's graph is compiled when it is first run.

        Raises:
            UnavailableError: the device asked for is not here.
        """
        options.only(NAME, "threads", "provider", "allow_fallback", "exact")
        check_target(bundle, NAME, "onnx")
        require(f"backend {NAME}", self.probe())
        return OpenVinoSession(bundle, options)


BACKEND = OpenVinoBackend()


class OpenVinoSession(BaseSession):
    """An open ONNX bundle."""

    def __init__(self, bundle: Bundle, options: Options) -> None:
        from openvino import Core

        self._core = Core()
        self._threads = options.threads
        self._graphs: dict[str, Any] = {}
        asked, found = (options.provider or _CPU).upper(), list(self._core.available_devices)
        if asked not in found and not options.allow_fallback:
            raise UnavailableError(
                f"backend {NAME}: no device {asked.lower()!r} here, only {', '.join(found).lower()}; install its "
                "driver, or add --allow-fallback"
            )
        super().__init__(bundle, asked if asked in found else _CPU)

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        if part not in self._graphs:
            self._graphs[part] = self._load(part)
        names = [tensor.name for tensor in self.bundle.part(part).outputs]
        try:
            results = self._graphs[part](feeds)
        except Exception as error:  # OpenVINO's errors are RuntimeErrors; most often it is out of memory
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            raise InputError(
                f"{self.bundle.graph(part)}: OpenVINO failed on {shapes} ({_line(error)}); if it is out of memory, "
                "take a smaller picture (--size)"
            ) from error
        # a copy: what OpenVINO gives is its own memory, which the next run writes over
        return {name: np.array(results[index]) for index, name in enumerate(names)}

    def _load(self, part: str) -> Any:  # noqa: ANN401 OpenVINO's compiled model
        path = self.bundle.graph(part)
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self._threads is not None and self.device == _CPU:
            settings["INFERENCE_NUM_THREADS"] = self._threads
        try:
            return self._core.compile_model(self._core.read_model(os.fspath(path)), self.device, settings)
        except Exception as error:
            raise BundleError(
                f"{path}: OpenVINO {version('openvino')} can't load it on {self.device} ({_line(error)})"
            ) from error

    def close(self) -> None:
        """Free the graphs."""
        self._graphs.clear()
        super().close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
