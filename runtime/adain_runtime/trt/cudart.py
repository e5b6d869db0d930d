"""CUDA by ctypes: the calls of libcudart that engines need, for where cuda-bindings isn't installed.

Standard library only: a build kit carries this file as it stands, beside its `build.py`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

OVERRIDE = "ADAIN_CUDART"
"""Environment variable: the path of a libcudart that isn't found by itself."""

SUCCESS, OUT_OF_MEMORY, OLD_DRIVER = 0, 2, 35
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
NON_BLOCKING = 1  # cudaStreamNonBlocking: the stream doesn't wait for the default one
THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: what other threads call doesn't spoil the capture
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor and -Minor
_MAJORS = (13, 12, 11)
_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceCount": (ctypes.POINTER(_INT),),
    "cudaDeviceGetAttribute": (ctypes.POINTER(_INT), _INT, _INT),
    "cudaMemGetInfo": (ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)),
    "cudaMalloc": (ctypes.POINTER(_POINTER), _SIZE),
    "cudaFree": (_POINTER,),
    "cudaMallocHost": (ctypes.POINTER(_POINTER), _SIZE),
    "cudaFreeHost": (_POINTER,),
    "cudaMemcpyAsync": (_POINTER, _POINTER, _SIZE, _INT, _POINTER),
    "cudaStreamCreateWithFlags": (ctypes.POINTER(_POINTER), ctypes.c_uint),
    "cudaStreamDestroy": (_POINTER,),
    "cudaStreamSynchronize": (_POINTER,),
    "cudaStreamBeginCapture": (_POINTER, _INT),
    "cudaStreamEndCapture": (_POINTER, ctypes.POINTER(_POINTER)),
    "cudaGraphInstantiateWithFlags": (ctypes.POINTER(_POINTER), _POINTER, ctypes.c_ulonglong),
    "cudaGraphDestroy": (_POINTER,),
    "cudaGraphLaunch": (_POINTER, _POINTER),
    "cudaGraphExecDestroy": (_POINTER,),
}


class CudaError(Exception):
    """A call that failed.

    Attributes:
        code: the runtime's number for it; 0 where the library itself isn't there.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Cudart:
    """libcudart, on device 0 of those that CUDA_VISIBLE_DEVICES leaves. Addresses, streams and graphs are numbers."""

    name = "libcudart"

    def __init__(self) -> None:
        """Load the library.

        Raises:
            CudaError: it isn't here, or is another library, or too old.
        """
        self._library = _load()
        try:
            for function, arguments in _ARGUMENTS.items():
                call = getattr(self._library, function)
                call.argtypes, call.restype = arguments, _INT
        except AttributeError as error:
            raise CudaError(f"the libcudart that was found is none, or older than CUDA 11.4 ({error})") from error
        self._library.cudaGetErrorName.argtypes = (_INT,)
        self._library.cudaGetErrorName.restype = ctypes.c_char_p

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code != SUCCESS:
            said = self._library.cudaGetErrorName(code)
            raise CudaError(f"{function}: {said.decode() if said else code}", code)

    def _made(self, function: str, *arguments: object) -> int:
        """The handle or address that a call gives through its first argument."""
        made = _POINTER()
        self._call(function, ctypes.byref(made), *arguments)
        return made.value or 0

    def count(self) -> int:
        """CUDA devices here."""
        found = _INT()
        self._call("cudaGetDeviceCount", ctypes.byref(found))
        return found.value

    def capability(self) -> str:
        """The device's compute capability, such as ``8.7``."""
        major, minor = _INT(), _INT()
        self._call("cudaDeviceGetAttribute", ctypes.byref(major), _MAJOR, 0)
        self._call("cudaDeviceGetAttribute", ctypes.byref(minor), _MINOR, 0)
        return f"{major.value}.{minor.value}"

    def total_memory(self) -> int:
        """Bytes of device memory, used or not."""
        free, total = _SIZE(), _SIZE()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return total.value

    def allocate(self, size: int) -> int:
        """Device memory."""
        return self._made("cudaMalloc", size)

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        """Host memory that the device reads and writes by itself."""
        return self._made("cudaMallocHost", size)

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        self._call("cudaFreeHost", address)

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        """Begin a copy."""
        self._call("cudaMemcpyAsync", device, host, size, TO_DEVICE, stream)

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        """Begin a copy."""
        self._call("cudaMemcpyAsync", host, device, size, TO_HOST, stream)

    def new_stream(self) -> int:
        """A stream that doesn't wait for the default one."""
        return self._made("cudaStreamCreateWithFlags", NON_BLOCKING)

    def drop_stream(self, stream: int) -> None:
        """Give a stream back."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: int) -> None:
        """Until everything that was begun on a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def begin_capture(self, stream: int) -> None:
        """From here on, what is begun on a stream is recorded and not run."""
        self._call("cudaStreamBeginCapture", stream, THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """What was recorded, ready to be launched."""
        graph = _POINTER()
        self._call("cudaStreamEndCapture", stream, ctypes.byref(graph))
        try:
            return self._made("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Begin what a graph recorded."""
        self._call("cudaGraphLaunch", graph, stream)

    def drop_graph(self, graph: int) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)


def _load() -> Any:  # noqa: ANN401 a library has the functions that it has
    """The first that loads and that the driver is new enough for; else the first that loads, which will say so."""
    said, old = [], []
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            said.append(str(error))
            continue
        if not _is_beyond_driver(library):
            return library
        old.append(library)
    if old:
        return old[0]
    raise CudaError(f"no libcudart can be loaded ({said[0]}); {OVERRIDE}=FILE names one")


def _is_beyond_driver(library: Any) -> bool:  # noqa: ANN401
    try:
        return bool(library.cudaGetDeviceCount(ctypes.byref(_INT())) == OLD_DRIVER)
    except AttributeError:  # it is another library, which is said where its calls are looked up
        return False


def _candidates() -> list[str]:
    """Where libcudart may be: the named one alone, else the loader's places and those of NVIDIA's own wheels."""
    if named := os.environ.get(OVERRIDE):
        return [named]
    if sys.platform == "win32":
        return [f"cudart64_{major if major > 11 else '110'}.dll" for major in _MAJORS]
    wheels = sorted(str(file) for place in sys.path if place for file in _in_wheels(Path(place)))
    usual = [f"libcudart.so.{major}{'.0' if major == 11 else ''}" for major in _MAJORS]
    return [*usual, "libcudart.so", *wheels, "/usr/local/cuda/lib64/libcudart.so"]


def _in_wheels(place: Path) -> list[Path]:
    return list((place / "nvidia").glob("*/lib/libcudart.so.*"))
