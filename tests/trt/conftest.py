"""A GPU and a TensorRT that are simulated, and a small network's kit and engines for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import fake_cuda
import fake_trt
from adain_export.target import get_target
from adain_export.targets.trt import TrtRequest
from adain_model.checkpoint import save_network
from adain_runtime.bundle import MANIFEST, describe_file
from adain_runtime.trt import library
from adain_runtime.trt.build import build_bundle
from adain_runtime.trt.options import Options, Profile
from fake_gpu import use_device, use_tensorrt
from networks import SPECS, make_network

PROFILE = Profile((16, 16), (32, 32), (64, 48), (1, 1, 2))


@pytest.fixture(params=["cuda-bindings", "libcudart"])
def face(request):
    """What CUDA is called by."""
    return request.param


@pytest.fixture
def device(monkeypatch):
    """A simulated GPU, called through ctypes."""
    made = fake_cuda.Device()
    use_device(monkeypatch, made)
    return made


@pytest.fixture
def tensorrt(device, monkeypatch, tmp_path_factory):
    """The simulated TensorRT on the simulated GPU."""
    use_tensorrt(monkeypatch, tmp_path_factory.mktemp("tensorrt"))
    return fake_trt


@pytest.fixture
def nothing_here(monkeypatch):
    """Neither TensorRT nor TensorRT for RTX is installed."""
    monkeypatch.setattr(library, "MODULES", {"trt": ("no_such_module",), "rtx": ("nor_this",)})


@pytest.fixture(scope="session")
def network():
    return make_network(SPECS["strided"])


@pytest.fixture
def checkpoint(network, tmp_path):
    """The small network's file."""
    path = tmp_path / "small.safetensors"
    save_network(network, path)
    return path


@pytest.fixture(scope="session")
def request_of(network):
    """A request for the small network."""

    def make(**changes):
        given = {"precision": "fp16", "options": Options(PROFILE)} | changes
        return TrtRequest(network.spec.name, **given)

    return make


@pytest.fixture(scope="session")
def made(network, request_of, tmp_path_factory):
    """Folder with a kit and the engines built from it, all float16; only read."""
    out = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        use_device(patch, fake_cuda.Device())
        use_tensorrt(patch, tmp_path_factory.mktemp("tensorrt"))
        get_target("trt").export(network, request_of(kit=True), out)
        build_bundle(out / "strided-trt-kit-fp16", out, Options(PROFILE))
    return out


@pytest.fixture
def kit(made, tmp_path):
    """A copy of the kit."""
    return Path(shutil.copytree(made / "strided-trt-kit-fp16", tmp_path / "strided-trt-kit-fp16"))


@pytest.fixture
def engines(made, tmp_path, tensorrt):
    """A copy of the engines, where they run."""
    return Path(shutil.copytree(made / "strided-trt-fp16", tmp_path / "strided-trt-fp16"))


@pytest.fixture
def relist():
    """Makes a bundle's manifest list what its folder holds, as somebody who alters both would."""

    def write(folder):
        plain = json.loads((folder / MANIFEST).read_text())
        found = {path.name: vars(describe_file(path)) for path in folder.iterdir() if path.name != MANIFEST}
        (folder / MANIFEST).write_text(json.dumps(plain | {"files": found}))

    return write


@pytest.fixture
def edit():
    """Changes fields of a JSON file."""

    def write(path, **changes):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return write
