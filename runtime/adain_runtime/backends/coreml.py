"""Core ML itself, on a Mac: the packages of a bundle, compiled once and run on the compute units that are asked for."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from adain_runtime.backend import Array, Options, Probe, check_target
from adain_runtime.backends.coreml_first_load import UNITS, Shapes, Trial, compiled_folder, first_load, predict
from adain_runtime.backends.coreml_reference import CoreMLReferenceSession
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from adain_runtime.mil import Package

NAME = "coreml"
REFERENCE = "coreml-reference"
_INSTALL = 'pip install "coremltools>=9.0,<10"'
_OLDEST = 9  # coremltools' major version
_NEWEST_PYTHON = (3, 13)


class CoreMLBackend:
    """Runs Core ML bundles on macOS. Its providers are compute units: all (the default), cpu, cpu-gpu and cpu-ane."""

    name = NAME

    def probe(self) -> Probe:
        """Whether this is a Mac with coremltools."""
        if platform.system() != "Darwin":  # not sys.platform, by which a type checker takes the rest for dead
            return Probe(
                False,
                f"Core ML runs on macOS only, and this is {platform.system()}",
                f"--backend {REFERENCE} executes the same packages here, slowly",
            )
        if find_spec("coremltools") is None:
            if sys.version_info[:2] > _NEWEST_PYTHON:
                newest = ".".join(map(str, _NEWEST_PYTHON))
                return Probe(
                    False,
                    f"coremltools has no wheel for Python {platform.python_version()}",
                    f"use a virtual environment of Python {newest}: python{newest} -m venv .venv",
                )
            return Probe(False, "coremltools is not installed", _INSTALL)
        try:
            found = version("coremltools")
        except PackageNotFoundError:
            found = "of an unknown version"
        if found[0].isdigit() and int(found.split(".")[0]) < _OLDEST:
            return Probe(False, f"coremltools {found} is too old", _INSTALL)
        return Probe(True, f"coremltools {found}, macOS {platform.mac_ver()[0]}; providers: {', '.join(UNITS)}")

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """A Core ML bundle's folder."""
        return find_bundle(model, NAME)

    def open(self, bundle: Bundle, options: Options) -> CoreMLSession:
        """Open a bundle; a function is compiled and tried in a process of its own when it is first run.

        Raises:
            InputError: a bundle of another target, or an option that this backend doesn't have.
            UnavailableError: no such compute units.
        """
        check_target(bundle, NAME, NAME)
        options.only(NAME, "provider")
        units = options.provider or "all"
        if units not in UNITS:
            raise UnavailableError(f"backend {NAME}: no compute units {units!r}, only {', '.join(UNITS)}")
        return CoreMLSession(bundle, units)


BACKEND = CoreMLBackend()


Shape = tuple[tuple[str, tuple[int, ...]], ...]


class CoreMLSession(CoreMLReferenceSession):
    """An open Core ML bundle on Core ML."""

    def __init__(self, bundle: Bundle, units: str) -> None:
        self._units = units
        self._models: dict[tuple[str, str], Any] = {}
        self._trials: dict[tuple[str, str, Shape], Trial] = {}
        super().__init__(bundle, "float32-sums")

    @property
    def device(self) -> str:
        """The compute units, and once something has run, how many of its operations each device got."""
        counts: dict[str, int] = {}
        functions = {(package, function): trial for (package, function, _), trial in self._trials.items()}
        for trial in functions.values():
            for device, number in trial.placement.items():
                counts[device] = counts.get(device, 0) + number
        shown = ", ".join(f"{number} operations on {device}" for device, number in sorted(counts.items()))
        return f"Core ML {self._units}" + (f" ({shown})" if shown else "")

    def placement(self, part: str, height: int, width: int) -> Mapping[str, int]:
        """How many operations of a part Core ML's compute plan gives to each device, for images of a size.

        Empty where Core ML doesn't say: before macOS 14.4, and of functions that are not their package's default. Where
        one function takes several sizes, it is of its default size.
        """
        package, name = self.function(part, height, width)
        shapes = {feature.name: feature.shape or () for feature in package.functions[name].inputs}
        return self._tried(package, name, shapes).placement

    def _prepare(self, package: Package, function: str) -> None:
        """Nothing: Core ML checks a package when it compiles it."""

    def _execute(self, package: Package, function: str, given: Mapping[str, Array]) -> Mapping[str, Array]:
        from PIL import Image

        described = package.functions[function]
        feeds = {
            feature.name: Image.fromarray(given[feature.name])
            if feature.color is not None
            else np.require(given[feature.name], requirements=("C", "W"))  # coremltools takes no read-only array
            for feature in described.inputs
        }
        shapes = {
            feature.name: given[feature.name].shape[: 2 if feature.color is not None else None]
            for feature in described.inputs
        }
        model = self._model(package, function, shapes)
        try:
            made = predict(model, feeds, described.outputs)
        except Exception as error:  # Core ML's errors come as RuntimeError or Exception with its text
            raise InputError(f"{package.path}: Core ML failed in {function} on {self._units} ({error})") from error
        return {
            feature.name: np.asarray(made[feature.name].convert("RGB"))
            if feature.color is not None
            else np.asarray(made[feature.name])
            for feature in described.outputs
        }

    def _model(self, package: Package, function: str, shapes: Shapes) -> Any:  # noqa: ANN401 coremltools has no types
        trial = self._tried(package, function, shapes)
        key = (os.fspath(package.path), function)
        if key not in self._models:
            try:
                self._models[key] = self._load(trial, function)
            except Exception:  # noqa: BLE001 it loaded once: what was kept has lost a file, as to a cleaner of caches
                shutil.rmtree(compiled_folder(self._digests(package)), ignore_errors=True)
                self._trials.clear()
                trial = self._tried(package, function, shapes)
                try:
                    self._models[key] = self._load(trial, function)
                except Exception as error:
                    words = " ".join(str(error).split())
                    raise UnavailableError(f"{package.path}: Core ML can't load {function} ({words})") from error
        return self._models[key]

    def _load(self, trial: Trial, function: str) -> Any:  # noqa: ANN401
        from coremltools import ComputeUnit
        from coremltools.models import CompiledMLModel

        named = {} if function == "main" else {"function_name": function}
        units = getattr(ComputeUnit, UNITS[self._units])
        return CompiledMLModel(os.fspath(trial.compiled), compute_units=units, **named)

    def _tried(self, package: Package, function: str, shapes: Shapes) -> Trial:
        key = (os.fspath(package.path), function, tuple(sorted(shapes.items())))
        if key not in self._trials:
            self._trials[key] = first_load(package, function, self._units, shapes, self._digests(package))
        return self._trials[key]

    def _digests(self, package: Package) -> dict[str, str]:
        return {
            name: entry.sha256
            for name, entry in self.bundle.manifest.files.items()
            if (self.bundle.path / name).is_relative_to(package.path)
        }

    def close(self) -> None:
        """Free the models."""
        self._models.clear()
        super().close()
