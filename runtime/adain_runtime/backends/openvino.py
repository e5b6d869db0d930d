"""OpenVINO: runs ONNX bundles as they are on Intel's CPUs and GPUs."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np

from adain_runtime.backend import Array, Options, Probe, check_target, require
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.cores import physical_cores
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

    def __init__(self, bundle: Bundle, options: Options, callers: int = 1) -> None:
        """Open the bundle for ``callers`` threads at once, which share the options' CPU threads."""
        from openvino import Core

        self._core = Core()
        self._options, self._callers = options, callers
        self._graphs: dict[str, Any] = {}
        self._idle: dict[str, list[Any]] = {}  # infer requests: each has the maps of one run
        self._loading = Lock()
        asked, found = (options.provider or _CPU).upper(), list(self._core.available_devices)
        if asked.startswith("NPU"):
            raise UnavailableError(
                f"backend {NAME}: its NPUs take graphs of one size, computed in float16, and these are of any size and "
                "float32; take cpu or gpu"
            )
        if options.threads is not None and asked != _CPU:
            raise InputError(f"backend {NAME}: threads are the CPU's, and {asked.lower()} was asked for; leave one out")
        if asked not in found and not options.allow_fallback:
            raise UnavailableError(
                f"backend {NAME}: no device {asked.lower()!r} here, only {', '.join(found).lower()}; install its "
                "driver, or add --allow-fallback"
            )
        super().__init__(bundle, asked if asked in found else _CPU)

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        with self._loading:
            if part not in self._graphs:
                self._graphs[part], self._idle[part] = self._load(part), []
            graph, idle = self._graphs[part], self._idle[part]
            request = idle.pop() if idle else graph.create_infer_request()
        names = [tensor.name for tensor in self.bundle.part(part).outputs]
        try:
            results = request.infer(feeds, share_inputs=True, share_outputs=True)
        except Exception as error:  # OpenVINO's errors are RuntimeErrors; most often it is out of memory
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            raise InputError(
                f"{self.bundle.graph(part)}: OpenVINO failed on {shapes} ({_line(error)}); if it is out of memory, "
                "take a smaller picture (--size)"
            ) from error
        # a copy: what OpenVINO gives is its own memory, which the request's next run writes over
        outputs = {name: np.array(results[index]) for index, name in enumerate(names)}
        idle.append(request)
        return outputs

    def _load(self, part: str) -> Any:  # noqa: ANN401 OpenVINO's compiled model
        path = self.bundle.graph(part)
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32"}
        settings |= {"PERFORMANCE_HINT": "LATENCY"} if self._callers == 1 else {"NUM_STREAMS": self._callers}
        if self._options.threads is not None and self.device == _CPU:
            settings["INFERENCE_NUM_THREADS"] = self._options.threads
        try:
            return self._core.compile_model(self._core.read_model(os.fspath(path)), self.device, settings)
        except Exception as error:
            if self.device != _CPU and self._options.allow_fallback:
                self._device = _CPU
                return self._load(part)
            if self.device != _CPU:
                raise UnavailableError(
                    f"backend {NAME}: {self.device.lower()} can't run {path} ({_line(error)}); mend its driver, or add "
                    "--allow-fallback"
                ) from error
            raise BundleError(
                f"{path}: OpenVINO {version('openvino')} can't load it on {self.device} ({_line(error)})"
            ) from error

    def shared(self, callers: int) -> OpenVinoSession | None:
        """A session for several threads at once, on the CPU: each is a stream of OpenVINO's."""
        cores = self._options.threads or physical_cores()
        if cores is None or cores < callers or self.device != _CPU:
            return None
        return OpenVinoSession(self.bundle, replace(self._options, threads=cores), callers)

    def release(self, part: str) -> None:
        """Free a part's graph with the maps of its runs; the next run compiles it again, which is quick on a CPU."""
        if self.device != _CPU:
            return
        with self._loading:
            self._idle.pop(part, None)
            self._graphs.pop(part, None)

    def close(self) -> None:
        """Free the graphs."""
        self._idle.clear()
        self._graphs.clear()
        super().close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
