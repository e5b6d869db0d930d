"""Puts the simulated GPU and the simulated TensorRT where the real ones would be."""

from __future__ import annotations

import sys
from pathlib import Path

import fake_cuda
import fake_trt
from adain_runtime.backends import trt
from adain_runtime.trt import cuda, cudart

TESTS = Path(fake_trt.__file__).parent


def use_device(patch, device, face="libcudart"):
    patch.setattr(fake_cuda, "DEVICE", device)
    patch.setattr(cudart, "_load", lambda: fake_cuda.Libcudart(device))
    for module in (cuda, trt):
        patch.setattr(module, "has_bindings", lambda: face == "cuda-bindings")
    patch.setitem(sys.modules, "cuda.bindings.runtime", fake_cuda.bindings(device))


def use_tensorrt(patch, folder, version="10.3.0"):
    """The simulated TensorRT, in this process and in those that it starts."""
    fake_trt.install(patch, version)
    (folder / "tensorrt.py").write_text("from fake_trt import *\nfrom fake_trt import __version__\n")
    patch.setenv("PYTHONPATH", f"{folder}:{TESTS}")
    patch.setenv("FAKE_TRT_VERSION", version)
    patch.setenv("ADAIN_CACHE", str(folder / "cache"))
