"""CUDA in two ways: each does to the device what the other does, and says what went wrong."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

import fake_cuda
from adain_runtime.trt import cuda, cudart, library
from adain_runtime.trt.cuda import Cuda, CudaError
from fake_gpu import use_device


@pytest.fixture
def device(face, monkeypatch):
    made = fake_cuda.Device(capability=(12, 1), total=1 << 20)
    use_device(monkeypatch, made, face)
    return made


@pytest.fixture
def opened(device) -> Cuda:
    return cuda.open_cuda()


def test_the_device_says_what_it_is(opened, face):
    assert opened.name == ("cuda-bindings" if face == "cuda-bindings" else "libcudart")
    assert (opened.count(), opened.capability(), opened.total_memory()) == (1, "12.1", 1 << 20)


def test_bytes_go_there_and_back_when_the_stream_is_waited_for(opened):
    stream = opened.new_stream()
    here, there, back = opened.allocate_pinned(4), opened.allocate(4), opened.allocate_pinned(4)
    ctypes.memmove(here, b"edge", 4)
    opened.to_device(there, here, 4, stream)
    opened.to_host(back, there, 4, stream)
    assert ctypes.string_at(back, 4) == b"\xff" * 4
    opened.wait(stream)
    assert ctypes.string_at(back, 4) == b"edge"


def test_a_recorded_copy_runs_each_time_it_is_launched(opened, device):
    stream = opened.new_stream()
    here, there, back = opened.allocate_pinned(4), opened.allocate(4), opened.allocate_pinned(4)
    opened.begin_capture(stream)
    opened.to_device(there, here, 4, stream)
    opened.to_host(back, there, 4, stream)
    graph = opened.end_capture(stream)
    assert device.graphs == {}
    for text in (b"once", b"more"):
        ctypes.memmove(here, text, 4)
        opened.launch(graph, stream)
        opened.wait(stream)
        assert ctypes.string_at(back, 4) == text
    opened.drop_graph(graph)
    with pytest.raises(CudaError, match="cudaGraphExecDestroy: cudaErrorInvalidValue"):
        opened.drop_graph(graph)


def test_everything_can_be_given_back(opened, device):
    memory, pinned, stream = opened.allocate(16), opened.allocate_pinned(16), opened.new_stream()
    opened.free(memory)
    opened.free_pinned(pinned)
    opened.drop_stream(stream)
    assert (device.memory, device.streams) == ({}, {})


def test_out_of_memory_has_its_number(opened):
    with pytest.raises(CudaError, match="cudaMalloc: cudaErrorMemoryAllocation") as caught:
        opened.allocate(2 << 20)
    assert caught.value.code == cuda.OUT_OF_MEMORY


def test_no_device_is_told(opened, device):
    device.devices = 0
    with pytest.raises(CudaError, match="cudaErrorNoDevice"):
        opened.count()


def test_a_capture_that_was_spoilt_is_told(opened, device):
    stream = opened.new_stream()
    opened.begin_capture(stream)
    device.capturing[stream].append(None)
    with pytest.raises(CudaError, match="CaptureInvalidated"):
        opened.end_capture(stream)


class Runtime:
    """A libcudart for a driver of its own age."""

    def __init__(self, code):
        self.cudaGetDeviceCount = lambda _: code


def test_the_first_libcudart_that_the_driver_is_new_enough_for_is_taken(monkeypatch):
    """A wheel's CUDA 13 stands before the system's CUDA 12, whose driver it refuses."""
    found = {"a": None, "b": Runtime(cudart.OLD_DRIVER), "c": Runtime(0), "d": Runtime(0)}

    def load(name):
        if found[name] is None:
            raise OSError("not here")
        return found[name]

    monkeypatch.setattr(cudart.ctypes, "CDLL", load)
    monkeypatch.setattr(cudart, "_candidates", lambda: list(found))
    assert cudart._load() is found["c"]
    monkeypatch.setattr(cudart, "_candidates", lambda: ["a", "b"])
    assert cudart._load() is found["b"]  # whose calls say that the driver is too old


def test_bindings_that_the_driver_is_too_old_for_give_way_to_libcudart(monkeypatch):
    """torch brings cuda-bindings of CUDA 13 everywhere, and JetPack 6 has CUDA 12."""
    device = fake_cuda.Device()
    use_device(monkeypatch, device, "cuda-bindings")

    def refused(_):
        raise CudaError("cudaGetDeviceCount: cudaErrorInsufficientDriver", cudart.OLD_DRIVER)

    monkeypatch.setattr(cuda.BindingsCuda, "count", refused)
    assert cuda.open_cuda().name == "libcudart"
    monkeypatch.setattr(cudart.Cudart, "count", refused)
    assert cuda.open_cuda().name == "cuda-bindings"


def test_a_library_that_is_named_and_missing_is_told(monkeypatch):
    monkeypatch.setenv(cudart.OVERRIDE, "no-such-libcudart.so")
    with pytest.raises(CudaError, match=r"no libcudart can be loaded \(.*no-such-libcudart.*ADAIN_CUDART=FILE"):
        cudart.Cudart()


def test_the_real_libcudart_takes_every_signature():
    try:
        real = cudart.Cudart()
    except CudaError as error:
        pytest.skip(f"no libcudart on this machine: {error}")
    if library.gpu_trouble() is None:
        assert real.count() >= 1
        return
    with pytest.raises(CudaError, match=r"^cudaGetDeviceCount: cudaError") as caught:
        real.count()
    assert caught.value.code in (35, 100)  # cudaErrorInsufficientDriver, cudaErrorNoDevice
    with pytest.raises(CudaError):
        real.new_stream()


def test_the_real_cuda_bindings_take_every_argument():
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed: adain-edge[trt]")
    real = cuda.BindingsCuda()
    calls = [
        (real.count, ()),
        (real.capability, ()),
        (real.total_memory, ()),
        (real.allocate, (16,)),
        (real.allocate_pinned, (16,)),
        (real.to_device, (0, 0, 16, 1)),
        (real.to_host, (0, 0, 16, 1)),
        (real.new_stream, ()),
        (real.begin_capture, (0,)),
    ]
    try:
        real.count()
    except CudaError:
        for call, arguments in calls:  # each reaches CUDA, which has no device, and none fails on its way there
            with pytest.raises(CudaError, match="cudaError"):
                call(*arguments)


def test_a_library_that_is_none_is_told(monkeypatch):
    monkeypatch.setattr(cudart, "_load", lambda: SimpleNamespace(cudaMalloc=SimpleNamespace()))
    with pytest.raises(CudaError, match=r"the libcudart that was found is none, or older than CUDA 11\.4"):
        cudart.Cudart()
