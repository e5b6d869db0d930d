"""Core ML bundles executed on any machine, op by op in numpy: what their numbers should be, never how fast they are."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adain_runtime.backend import Array, Options, Probe, check_target
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.errors import BundleError, InputError, UnavailableError
from adain_runtime.session import BaseSession

if TYPE_CHECKING:
    from adain_runtime.manifest import Tensor
    from adain_runtime.mil import Accumulate, Feature, Package

NAME = "coreml-reference"
TARGET = "coreml"
DEVICE = "reference, not Core ML"
_PACKAGE = ".mlpackage"
_OUTPUT_LAYERS = {"mean": "adain.mean", "std": "adain.std", "image": "image"}
_PROVIDERS: Mapping[str, Accumulate] = {"float32-sums": "float32", "float16-sums": "float16"}


class CoreMLReferenceBackend:
    """Executes the packages of Core ML bundles.

    Its providers are two ways to keep sums over float16 values: ``float32-sums``, the default, and ``float16-sums``, as
    the poorest accelerator might; see ``adain_runtime.mil.arithmetic``.
    """

    name = NAME

    def probe(self) -> Probe:
        """Always there: it needs numpy only."""
        return Probe(True, f"{DEVICE}: packages executed in numpy {np.__version__}; providers: {', '.join(_PROVIDERS)}")

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """A Core ML bundle's folder.

        Raises:
            InputError: no such folder, or a package without the bundle around it, which says what it computes.
        """
        path = Path(model)
        if path.suffix == _PACKAGE and path.is_dir():
            raise InputError(
                f"{path}: is a package; name the bundle's folder, which holds it and its manifest.json "
                "(a package alone is opened in Python: adain_runtime.mil.Package.open)"
            )
        return find_bundle(model, TARGET)

    def open(self, bundle: Bundle, options: Options) -> CoreMLReferenceSession:
        """Open a bundle; every operation of its packages is checked before any runs.

        Raises:
            InputError: a bundle of another target, an option that this backend doesn't have, or operations that it
                doesn't know.
            BundleError: a package is damaged.
            UnavailableError: no such provider.
        """
        check_target(bundle, NAME, TARGET)
        options.only(NAME, "provider")
        provider = options.provider or next(iter(_PROVIDERS))
        if provider not in _PROVIDERS:
            raise UnavailableError(f"backend {NAME}: no provider {provider!r}, only {', '.join(_PROVIDERS)}")
        return CoreMLReferenceSession(bundle, provider, named=bool(options.provider))


BACKEND = CoreMLReferenceBackend()


class CoreMLReferenceSession(BaseSession):
    """An open Core ML bundle; ``function`` gives the package within, for whoever looks inside (blame, calibration)."""

    def __init__(self, bundle: Bundle, provider: str, *, named: bool = True) -> None:
        super().__init__(bundle, f"{DEVICE} ({provider})" if named else DEVICE)
        self._accumulate = _PROVIDERS[provider]
        self._packages: dict[str, Package] = {}
        for part in bundle.manifest.parts:
            for function in self._functions(part):
                self._prepare(self._package(part), function)

    def _prepare(self, package: Package, function: str) -> None:
        """Check a function before any runs."""
        package.plan(function)

    def _execute(self, package: Package, function: str, given: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run a function on what its package takes; images are [H,W,3] uint8 on both sides."""
        return package.run(function, given, accumulate=self._accumulate)

    def function(self, part: str, height: int, width: int) -> tuple[Package, str]:
        """The package and the name of its function that run a part on images of a size.

        Raises:
            InputError: the bundle has no such part, or nothing for this size.
        """
        entries = self.bundle.part(part).functions
        package = self._package(part)
        if not entries:
            return package, package.default
        for entry in entries:
            if (entry.height, entry.width) == (height, width):
                return package, entry.name
        has = ", ".join(f"{entry.height}x{entry.width}" for entry in entries)
        raise InputError(f"{self.bundle.path}: {part} has no function for {height}x{width}, only {has}")

    def layers(self, part: str, feeds: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """Run a part and give every operation's floats: what blame looks into.

        What is a layer of the network, or an output of the part, goes by the network's name, such as
        ``encoder.conv3_1`` or ``adain.std``; everything else by its name in the package.

        Args:
            part: which.
            feeds: as of `run`.
        """
        from adain_runtime.mil.layers import layer_names

        package, name, given = self._prepared(part, feeds)
        outputs = _ordered(self.bundle.part(part).outputs, package.functions[name].outputs)
        known = {
            feature.name: _OUTPUT_LAYERS[tensor.name]
            for tensor, feature in zip(self.bundle.part(part).outputs, outputs, strict=True)
            if tensor.name in _OUTPUT_LAYERS
        } | layer_names(package.plan(name).steps)
        for value in package.trace(name, given, accumulate=self._accumulate):
            if value.kind != "input" and value.values.dtype.kind == "f":
                yield known.get(value.name, value.name), value.values

    def _prepared(self, part: str, feeds: Mapping[str, Array]) -> tuple[Package, str, dict[str, Array]]:
        """The package of a part, its function for the feeds' size, and the feeds as that takes them."""
        package, name = self.function(part, *self._size(feeds))
        cells = feeds["features"].shape[2:] if "features" in feeds else ()
        inputs = package.functions[name].inputs
        return package, name, {feature.name: _given(feature, feeds[feature.name], cells) for feature in inputs}

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        graph = self.bundle.part(part)
        package, name, given = self._prepared(part, feeds)
        function = package.functions[name]
        made = self._execute(package, name, given)
        return {
            tensor.name: _taken(feature, made[feature.name], np.dtype(tensor.dtype))
            for tensor, feature in zip(graph.outputs, _ordered(graph.outputs, function.outputs), strict=True)
        }

    def _size(self, feeds: Mapping[str, Array]) -> tuple[int, int]:
        if "image" in feeds:
            height, width = feeds["image"].shape[2:]
            return height, width
        stride = self.bundle.manifest.spec.stride
        height, width = feeds["features"].shape[2:]
        return height * stride, width * stride

    def _package(self, part: str) -> Package:
        from adain_runtime.mil import Package

        path = self.bundle.graph(part)
        key = os.fspath(path)
        if key not in self._packages:
            self._packages[key] = Package.open(path)
        return self._packages[key]

    def _functions(self, part: str) -> list[str]:
        """Names of a part's functions, each found in its package with the part's inputs and outputs."""
        graph, package = self.bundle.part(part), self._package(part)
        names = [entry.name for entry in graph.functions] or [package.default]
        wanted = ({tensor.name for tensor in graph.inputs}, len(graph.outputs))
        for name in names:
            if name not in package.functions:
                raise BundleError(
                    f"{package.path}: has no function {name!r}, which the manifest names; export it again"
                )
            function = package.functions[name]
            if ({feature.name for feature in function.inputs}, len(function.outputs)) != wanted:
                raise BundleError(
                    f"{package.path}: {name} takes {', '.join(f.name for f in function.inputs)} and gives "
                    f"{len(function.outputs)}; {part} must take {', '.join(sorted(wanted[0]))} and give {wanted[1]}; "
                    "export it again"
                )
        return names

    def close(self) -> None:
        """Free the packages and their weights."""
        self._packages.clear()
        super().close()


def _ordered(tensors: Sequence[Tensor], features: Sequence[Feature]) -> list[Feature]:
    """A function's outputs in the manifest's order: by their names where these are the same, else as they come."""
    named = {feature.name: feature for feature in features}
    same = set(named) == {tensor.name for tensor in tensors}
    return [named[tensor.name] for tensor in tensors] if same else list(features)


def _given(feature: Feature, values: Array, cells: tuple[int, ...]) -> Array:
    """A part's array as the package takes it: an image as 8-bit pixels, a scale or shift as a map of ``cells``."""
    if feature.color is not None:
        pixels = np.rint(np.clip(values[0], 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    if feature.shape is not None and not feature.flexible and math.prod(feature.shape) == values.size:
        values = values.reshape(feature.shape)  # such as an alpha [1,1,1,1] for one declared as [1]
    elif not feature.admits(values.shape) and cells:
        values = np.broadcast_to(values, (*values.shape[:2], *cells))
    return np.asarray(values.astype(feature.dtype, copy=False))


def _taken(feature: Feature, values: Array, dtype: np.dtype[np.generic]) -> Array:
    """What the package gave as the part's array: pixels as [1,3,H,W] from 0 to 1."""
    if feature.color is not None:
        values = values.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    return np.asarray(values.astype(dtype, copy=False))
