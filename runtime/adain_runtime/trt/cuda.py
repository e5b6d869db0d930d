"""Device memory, streams and graphs without torch or pycuda: by cuda-bindings, else by ctypes."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from adain_runtime.trt.cudart import NON_BLOCKING, OLD_DRIVER, OUT_OF_MEMORY, CudaError, Cudart

__all__ = ["OUT_OF_MEMORY", "BindingsCuda", "Cuda", "CudaError", "open_cuda"]


class Cuda(Protocol):
    """What engines need of CUDA. A protocol, so that two libraries and the tests' simulated device are one thing.

    Every call raises `CudaError`. Addresses, streams and graphs are whole numbers; the device is number 0.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 `Cudart` describes them all
    def count(self) -> int: ...  # noqa: D102
    def capability(self) -> str: ...  # noqa: D102
    def total_memory(self) -> int: ...  # noqa: D102
    def allocate(self, size: int) -> int: ...  # noqa: D102
    def free(self, address: int) -> None: ...  # noqa: D102
    def allocate_pinned(self, size: int) -> int: ...  # noqa: D102
    def free_pinned(self, address: int) -> None: ...  # noqa: D102
    def to_device(self, device: int, host: int, size: int, stream: int) -> None: ...  # noqa: D102
    def to_host(self, host: int, device: int, size: int, stream: int) -> None: ...  # noqa: D102
    def new_stream(self) -> int: ...  # noqa: D102
    def drop_stream(self, stream: int) -> None: ...  # noqa: D102
    def wait(self, stream: int) -> None: ...  # noqa: D102
    def begin_capture(self, stream: int) -> None: ...  # noqa: D102
    def end_capture(self, stream: int) -> int: ...  # noqa: D102
    def launch(self, graph: int, stream: int) -> None: ...  # noqa: D102
    def drop_graph(self, graph: int) -> None: ...  # noqa: D102


def open_cuda() -> Cuda:
    """cuda-bindings where it is installed, else libcudart by ctypes.

    So too where the driver is too old for these bindings, as CUDA 13's on a driver of CUDA 12 (torch brings them).

    Raises:
        CudaError: neither is here.
    """
    if not has_bindings():
        return Cudart()
    bindings = BindingsCuda()
    try:
        bindings.count()
    except CudaError as error:
        if error.code == OLD_DRIVER:
            with suppress(CudaError):
                older = Cudart()
                older.count()
                return older
    return bindings


def has_bindings() -> bool:
    """Whether cuda-bindings is installed."""
    try:
        return find_spec("cuda.bindings.runtime") is not None
    except ModuleNotFoundError:  # another package is called cuda, or none
        return False


class BindingsCuda:
    """`Cuda` by NVIDIA's cuda-bindings, whose calls return ``(error, *values)``."""

    name = "cuda-bindings"

    def __init__(self) -> None:
        try:
            self._runtime: Any = import_module("cuda.bindings.runtime")
        except (ImportError, OSError, RuntimeError) as error:
            raise CudaError(f"cuda-bindings can't be imported ({error})") from error

    def _call(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 each call gives what it gives
        try:
            error, *values = getattr(self._runtime, function)(*arguments)
        except RuntimeError as problem:  # it finds its own library only when it is first called
            raise CudaError(f"{function}: {problem}") from problem
        if int(error) != 0:
            raise CudaError(f"{function}: {getattr(error, 'name', error)}", int(error))
        return values[0] if len(values) == 1 else values

    def count(self) -> int:
        """CUDA devices here."""
        return int(self._call("cudaGetDeviceCount"))

    def capability(self) -> str:
        """The device's compute capability."""
        attributes = self._runtime.cudaDeviceAttr
        names = ("cudaDevAttrComputeCapabilityMajor", "cudaDevAttrComputeCapabilityMinor")
        return ".".join(str(self._call("cudaDeviceGetAttribute", getattr(attributes, name), 0)) for name in names)

    def total_memory(self) -> int:
        """Bytes of device memory."""
        _, total = self._call("cudaMemGetInfo")
        return int(total)

    def allocate(self, size: int) -> int:
        """Device memory."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        """Pinned host memory."""
        return int(self._call("cudaMallocHost", size))

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        self._call("cudaFreeHost", address)

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        """Begin a copy."""
        self._call("cudaMemcpyAsync", device, host, size, self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        """Begin a copy."""
        self._call("cudaMemcpyAsync", host, device, size, self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)

    def new_stream(self) -> int:
        """A stream that doesn't wait for the default one."""
        return int(self._call("cudaStreamCreateWithFlags", NON_BLOCKING))

    def drop_stream(self, stream: int) -> None:
        """Give a stream back."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: int) -> None:
        """Until everything that was begun on a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def begin_capture(self, stream: int) -> None:
        """Record what is begun on a stream from here on."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """What was recorded, ready to be launched."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return int(self._call("cudaGraphInstantiateWithFlags", graph, 0))
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Begin what a graph recorded."""
        self._call("cudaGraphLaunch", graph, stream)

    def drop_graph(self, graph: int) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)
