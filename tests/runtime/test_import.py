"""The runtime runs without torch, without onnx and without any other room, and imports little to begin with."""

from __future__ import annotations

import json

# Everything that a bare install does not bring: importing one is an error, as it is there.
BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

ROOMS = {"adain_model", "adain_train", "adain_export", "adain_calib", "adain_parity"}
NAMES = ROOMS | {"torch", "torchvision", "onnx", "onnxscript", "lightning", "tensorboard"}
NAMES |= {"coremltools", "MNN", "openvino"}

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}: blocked by the test", name=name)

sys.meta_path.insert(0, Blocker())
assert not NAMES & {name.partition(".")[0] for name in sys.modules}
"""

EVERY_MODULE = """
import importlib, pkgutil
import adain_runtime
names = [module.name for module in pkgutil.walk_packages(adain_runtime.__path__, "adain_runtime.")]
for name in names:
    importlib.import_module(name)
print(*names)
"""

STYLISE = """
import numpy as np
import adain_runtime as adain
photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
with adain.Stylizer.open("lite") as stylizer:
    made = np.asarray(stylizer(photo, 255 - photo, preserve_color="luminance"))
assert made.shape == photo.shape and made.std() > 1
print(made.shape)
"""


def test_every_module_is_imported_and_a_picture_made_where_torch_and_the_other_rooms_are_blocked(python):
    ran = python(BLOCKED + EVERY_MODULE + STYLISE)
    assert ran.code == 0, ran.err
    names = ran.out.split("\n")[0].split()
    assert {"adain_runtime.stylizer", "adain_runtime.cli.run", "adain_runtime.backends.onnx"} <= set(names)
    assert ran.out.split("\n")[1] == "(20, 30, 3)"


def test_the_block_blocks(python):
    for name in ("torch", "adain_model.network"):
        assert f"No module named {name.partition('.')[0]!r}" in python(BLOCKED + f"import {name}").err


def test_a_backend_whose_package_is_missing_is_listed_with_its_reason(python):
    ran = python(BLOCKED + "from adain_runtime.cli.run import main; main()", "--list-backends", "--json")
    assert ran.code == 0, ran.err
    probes = json.loads(ran.out)
    assert probes["onnx"]["available"]
    assert not probes["torch"]["available"]
    assert "ModuleNotFoundError" in probes["torch"]["detail"]


def test_importing_the_package_imports_nothing_heavy(python):
    ran = python("import adain_runtime, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))")
    assert ran.code == 0, ran.err
    loaded = set(ran.out.split())
    assert {"adain_runtime", "numpy", "PIL"} <= loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "onnxscript", "typer", "click", "rich", "safetensors"}
