"""MNN: Winograd convolutions on CPUs from phones to servers, from a library of a few megabytes."""

from __future__ import annotations

import os
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from adain_runtime.backend import Array, Options, Probe, check_target, require
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.errors import BundleError, InputError
from adain_runtime.session import BaseSession
from adain_runtime.silence import silent_stdout

NAME = "mnn"
_INSTALL = "pip install MNN"
_WINOGRAD_MEMORY_LEVEL = 3  # MNN::Interpreter::HintMode; Python has no name for it
_SMALL_TILES, _ANY_TILES = 1, 3  # its levels: 1 tries only Winograd's smallest tiles, 3 (MNN's own choice) all
OUTPUT_NAMES = {"stylizer": {"image": "stylized"}}  # a graph's names are unique, and its input is `image` already


class MnnBackend:
    """Runs MNN bundles on the CPU."""

    name = NAME

    def probe(self) -> Probe:
        """The installed version. MNN is not imported: it prints when it is."""
        try:
            if find_spec("MNN") is None:
                return Probe(False, "MNN is not installed", _INSTALL)
            return Probe(True, f"MNN {version('MNN')}, cpu")
        except (PackageNotFoundError, ImportError, ValueError) as error:
            return Probe(False, f"MNN can't be found whole ({error})", _INSTALL)

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """An MNN bundle's folder."""
        return find_bundle(model, NAME)

    def open(self, bundle: Bundle, options: Options) -> MnnSession:
        """Open a bundle; a part's graph is loaded when it is first run."""
        options.only(NAME, "threads", "exact")
        check_target(bundle, NAME, NAME)
        require(f"backend {NAME}", self.probe())
        return MnnSession(bundle, options)


BACKEND = MnnBackend()


class MnnSession(BaseSession):
    """An open MNN bundle.

    MNN runs a graph at any size and plans memory anew when the size changes, which costs a few percent of a run; so
    one graph serves all sizes.
    """

    def __init__(self, bundle: Bundle, options: Options) -> None:
        self._threads = options.threads or os.cpu_count() or 1  # MNN's own default is 4, whatever the machine
        self._level = _SMALL_TILES if options.exact else _ANY_TILES
        self._graphs: dict[str, tuple[Any, Any]] = {}
        self._planned: set[tuple[str, tuple[tuple[int, ...], ...]]] = set()
        super().__init__(bundle, "CPU, exact" if options.exact else "CPU")  # styles are kept by it

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        if part not in self._graphs:
            self._graphs[part] = self._load(part)
        from MNN import expr

        manager, graph = self._graphs[part]
        # MNN shares its runtime, and with it this hint, between all sessions of a process
        manager.set_hint(_WINOGRAD_MEMORY_LEVEL, self._level)
        names = [tensor.name for tensor in self.bundle.part(part).outputs]
        sizes = part, tuple(values.shape for values in feeds.values())
        inputs = []
        for values in feeds.values():
            ready = np.ascontiguousarray(values)
            kind = expr.uint8 if ready.dtype == np.uint8 else expr.float
            variable = expr.placeholder(list(ready.shape), expr.NCHW, kind)
            variable.write(ready)
            inputs.append(variable)
        try:
            # it prints when it plans memory, that is when a graph is first run at a size, and then its errors too
            with nullcontext() if sizes in self._planned else silent_stdout():
                outputs = _forward(graph, inputs, len(names))
            self._planned.add(sizes)
        except Exception as error:  # MNN has no errors of its own; most often it is out of memory
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            raise InputError(
                f"{self.bundle.graph(part)}: MNN failed on {shapes} ({error}); if it is out of memory, take a smaller "
                "picture (--size)"
            ) from error
        # a copy: what MNN gives is its own memory, which the next run writes over
        return {name: np.array(values) for name, values in zip(names, outputs, strict=True)}

    def _load(self, part: str) -> tuple[Any, Any]:
        wanted, path = self.bundle.part(part), self.bundle.graph(part)
        renamed = OUTPUT_NAMES.get(part, {})
        settings = {"backend": "CPU", "numThread": self._threads, "precision": "high"}
        try:
            with silent_stdout():
                from MNN import nn

                manager = nn.create_runtime_manager((settings,))
                graph = nn.load_module_from_file(
                    os.fspath(path),
                    [tensor.name for tensor in wanted.inputs],
                    [renamed.get(tensor.name, tensor.name) for tensor in wanted.outputs],
                    runtime_manager=manager,
                )
        except Exception as error:
            raise BundleError(
                f"{path}: MNN {version('MNN')} can't load it; export it again with this version"
            ) from error
        return manager, graph

    def close(self) -> None:
        """Free the graphs."""
        self._graphs.clear()
        super().close()


def _forward(graph: Any, inputs: list[Any], number: int) -> list[Any]:  # noqa: ANN401 MNN has no types
    variables = graph.forward(inputs)
    if len(variables) != number:  # without a word, as where it ran out of memory
        raise RuntimeError(f"it gave {len(variables)} of {number} outputs")
    return [variable.read() for variable in variables]
