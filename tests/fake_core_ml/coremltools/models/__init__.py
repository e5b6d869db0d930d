"""Compiled models; the environment variable FAKE_CORE_ML says what goes wrong, FAKE_CORE_ML_LOG gets every call."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from adain_runtime.mil import Package


def log(*words):
    with Path(os.environ["FAKE_CORE_ML_LOG"]).open("a") as file:
        print(*words, file=file)


class CompiledMLModel:
    """Runs a copied package in the reference executor."""

    def __init__(self, path, compute_units, function_name=None):
        log("load", compute_units.name, function_name)
        trouble = os.environ.get("FAKE_CORE_ML")
        if trouble == "abort" and compute_units.name != "CPU_ONLY":
            os.abort()
        if trouble == "refuse":
            raise RuntimeError('{\n    NSLocalizedDescription = "Unable to load: in operation instance_norm";\n}')
        print("Core ML talks on stdout", flush=True)  # noqa: T201
        if not list(Path(path).rglob("weight.bin")):
            raise RuntimeError('{\n    NSLocalizedDescription = "Could not open the file weight.bin";\n}')
        self.package = Package.open(path)
        self.function = function_name or self.package.default

    def predict(self, feeds):
        if os.environ.get("FAKE_CORE_ML") == "fail":
            raise RuntimeError("Failed to evaluate model")
        described = self.package.functions[self.function]
        for feature in described.inputs:
            value = feeds[feature.name]
            assert isinstance(value, Image.Image) is (feature.color is not None)
            if feature.color is None and not value.flags.writeable:
                raise RuntimeError("value type not convertible")
        if os.environ.get("FAKE_CORE_ML") == "nothing":
            return {}
        log("predict", *(np.asarray(value).shape for value in feeds.values()))
        made = self.package.run(self.function, {name: np.asarray(value) for name, value in feeds.items()})
        return {
            feature.name: Image.fromarray(made[feature.name]).convert("RGBA")  # as Core ML gives images
            if feature.color is not None
            else made[feature.name].astype(np.float32)
            for feature in described.outputs
        }
