"""One engine at work: its context, its buffers on the device and pinned on the host, the graph of its last shape."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from adain_runtime.backend import Array
from adain_runtime.errors import BundleError, InputError, UnavailableError
from adain_runtime.manifest import Part, Tensor
from adain_runtime.trt.cuda import OUT_OF_MEMORY, Cuda, CudaError
from adain_runtime.trt.library import Library, Log

if TYPE_CHECKING:
    from adain_runtime.trt import api

_COMPARED_BYTES = 1 << 16  # what is smaller is compared with what the device holds; what is larger is just sent
_SPARE = 256  # bytes; an empty allocation gives no address
Shapes = tuple[tuple[int, ...], ...]


@dataclass
class Buffer:
    """A tensor's place on the device, and pinned memory of the same size on the host.

    Attributes:
        device: address.
        pinned: address.
        capacity: bytes of each.
        held: the shape whose values the device holds as they stand in the pinned memory; None when it may not.
    """

    cuda: Cuda
    device: int = 0
    pinned: int = 0
    capacity: int = 0
    held: tuple[int, ...] | None = None

    def reserve(self, size: int) -> bool:
        """Room for so many bytes; whether the addresses changed."""
        if size <= self.capacity:
            return False
        self.release()
        self.device = self.cuda.allocate(max(size, _SPARE))
        self.pinned = self.cuda.allocate_pinned(max(size, _SPARE))
        self.capacity = size
        return True

    def view(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """The pinned memory as an array; good until the buffer grows."""
        size = int(np.prod(shape)) * dtype.itemsize
        memory = memoryview((ctypes.c_ubyte * size).from_address(self.pinned))
        values: Array = np.frombuffer(memory.cast("B"), dtype).reshape(shape)
        return values

    def release(self) -> None:
        """Give both back."""
        device, pinned = self.device, self.pinned
        self.device = self.pinned = self.capacity = 0
        self.held = None
        if device:
            with suppress(CudaError):  # a device that has failed fails here too, and has nothing left to free
                self.cuda.free(device)
        if pinned:
            with suppress(CudaError):
                self.cuda.free_pinned(pinned)


class Engine:
    """A part's engine, loaded.

    The first call of a shape runs as it is, the second is recorded as a CUDA graph, and from then on the graph is
    launched, until the shape or an address changes. TensorRT for RTX compiles kernels while it runs and keeps graphs
    of its own, so there it is asked for those.

    Attributes:
        replays: launches of a recorded graph so far.
        no_graph: why there are no graphs; None where there can be.
        uploads: inputs that were sent to the device so far.
    """

    def __init__(self, library: Library, cuda: Cuda, stream: int, path: Path, part: Part, *, host_code: bool) -> None:
        """Load an engine whose sidecar has been checked.

        Args:
            library: TensorRT.
            cuda: the device.
            stream: everything is begun on it.
            path: the serialised engine.
            part: what it must take and give.
            host_code: whether to let it bring a runtime of its own, as version-compatible engines do.

        Raises:
            BundleError: TensorRT refuses it, or its inputs and outputs are not the part's.
            UnavailableError: TensorRT doesn't come up here.
        """
        self._library, self._cuda, self._stream, self._path, self._part = library, cuda, stream, path, part
        self.replays = self.uploads = 0
        self.no_graph: str | None = None
        self._graph: int | None = None
        self._shapes: Shapes | None = None
        self._addresses: dict[str, int] = {}
        self._calls = 0
        self._buffers = {tensor.name: Buffer(cuda) for tensor in part.inputs}
        self._log = Log(library.module)
        try:
            self._runtime: api.Runtime = library.module.Runtime(self._log.logger)
        except (TypeError, RuntimeError) as error:
            raise UnavailableError(
                f"{library} doesn't start here{self._log.last()}; look at the GPU's driver"
            ) from error
        if host_code:
            self._runtime.engine_host_code_allowed = True
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise BundleError(
                f"{path}: {library} can't load it{self._log.first()}: truncated, damaged, or for another TensorRT or "
                "GPU; build it again from its kit"
            )
        self._engine: api.ICudaEngine = engine
        self._outputs = self._check_interface()
        self._buffers |= {f"out {tensor.name}": Buffer(cuda) for tensor in part.outputs}
        context = self._new_context()
        if context is None:
            raise UnavailableError(
                f"{path}: {library} can't make an execution context{self._log.last()}; most often the GPU's memory is "
                "too small for the profile's largest size: build with a smaller --max"
            )
        self._context = context

    def _new_context(self) -> api.IExecutionContext | None:
        if self._library.flavor == "trt":
            return self._engine.create_execution_context()
        self.no_graph = "TensorRT for RTX keeps its own"
        engine = cast("api.RtxCudaEngine", self._engine)
        settings = engine.create_runtime_config()
        settings.cuda_graph_strategy = self._library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(settings)

    def _check_interface(self) -> list[str]:
        """The engine's own names of the outputs, in the part's order."""
        trt, engine = self._library.module, self._engine
        types = {"float32": trt.DataType.FLOAT, "float16": trt.DataType.HALF}
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        wanted = [tensor.name for tensor in self._part.inputs]
        if sorted(inputs) != sorted(wanted) or len(outputs) != len(self._part.outputs):
            raise BundleError(
                f"{self._path}: takes {', '.join(inputs)} and gives {len(outputs)} outputs, and its manifest says "
                f"{', '.join(wanted)} and {len(self._part.outputs)}; build it again from its kit"
            )
        if len(outputs) > 1:  # in no order that TensorRT promises; one alone may have another name than the part's
            named = [tensor.name for tensor in self._part.outputs]
            if sorted(outputs) != sorted(named):
                raise BundleError(
                    f"{self._path}: gives {', '.join(outputs)}, and its manifest says {', '.join(named)}; build it "
                    "again from its kit"
                )
            outputs = named
        pairs = [(tensor.name, tensor) for tensor in self._part.inputs]
        pairs += zip(outputs, self._part.outputs, strict=True)
        for name, tensor in pairs:
            if engine.get_tensor_dtype(name) != types.get(tensor.dtype):
                raise BundleError(
                    f"{self._path}: {name} is {engine.get_tensor_dtype(name)}, and its manifest says {tensor.dtype}; "
                    "build it again from its kit"
                )
        return outputs

    def run(self, feeds: Mapping[str, Array], resident: Mapping[str, int] | None = None) -> dict[str, Array]:
        """Run on checked feeds.

        Args:
            feeds: the part's inputs, in its types, within the profile.
            resident: inputs that are on the device already, by address; their feeds only say the shape.

        Returns:
            The part's outputs, as arrays of their own.

        Raises:
            InputError: the device is out of memory, or TensorRT refuses a shape.
            UnavailableError: the device failed.
        """
        try:
            return self._run(feeds, resident or {})
        except CudaError as error:
            self._forget()
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            if error.code == OUT_OF_MEMORY:
                raise InputError(
                    f"{self._path}: the GPU is out of memory on {shapes} ({error}); take a smaller picture (--size)"
                ) from error
            raise UnavailableError(f"{self._path}: the GPU failed on {shapes} ({error}); look at its driver") from error

    def device_address(self, output: str) -> int:
        """Where an output's last values are on the device."""
        return self._buffers[f"out {output}"].device

    def _run(self, feeds: Mapping[str, Array], resident: Mapping[str, int]) -> dict[str, Array]:
        shapes = tuple(feeds[tensor.name].shape for tensor in self._part.inputs)
        if shapes != self._shapes:
            self._set_shapes(feeds, shapes)
        for tensor in self._part.inputs:
            if tensor.name in resident:
                self._bind(tensor.name, resident[tensor.name])
            else:
                self._bind(tensor.name, self._upload(tensor, feeds[tensor.name]))
        outputs = [self._output(name, tensor) for name, tensor in zip(self._outputs, self._part.outputs, strict=True)]
        self._execute()
        for (_, size), tensor in zip(outputs, self._part.outputs, strict=True):
            buffer = self._buffers[f"out {tensor.name}"]
            self._cuda.to_host(buffer.pinned, buffer.device, size, self._stream)
        self._cuda.wait(self._stream)
        return {
            tensor.name: self._buffers[f"out {tensor.name}"].view(shape, np.dtype(tensor.dtype)).copy()
            for (shape, _), tensor in zip(outputs, self._part.outputs, strict=True)
        }

    def _set_shapes(self, feeds: Mapping[str, Array], shapes: Shapes) -> None:
        self._forget()
        for tensor in self._part.inputs:
            if not self._context.set_input_shape(tensor.name, feeds[tensor.name].shape):
                raise InputError(
                    f"{self._path}: {self._library} refuses {tensor.name} {list(feeds[tensor.name].shape)}"
                    f"{self._log.last()}; take a picture within the engine's profile"
                )
        self._shapes = shapes

    def _upload(self, tensor: Tensor, values: Array) -> int:
        """Send an input, but for a small one that the device holds already, such as a style's statistics."""
        buffer = self._buffers[tensor.name]
        buffer.reserve(values.nbytes)
        pinned = buffer.view(values.shape, values.dtype)
        if buffer.held == values.shape and values.nbytes <= _COMPARED_BYTES and np.array_equal(pinned, values):
            return buffer.device
        buffer.held = None
        np.copyto(pinned, values)
        self._cuda.to_device(buffer.device, buffer.pinned, values.nbytes, self._stream)
        buffer.held = values.shape
        self.uploads += 1
        return buffer.device

    def _output(self, name: str, tensor: Tensor) -> tuple[tuple[int, ...], int]:
        """An output's shape and bytes, with room for it."""
        shape = tuple(self._context.get_tensor_shape(name))
        if any(side < 0 for side in shape):
            raise BundleError(f"{self._path}: {name} has no shape of its own ({shape}); build it again from its kit")
        size = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
        buffer = self._buffers[f"out {tensor.name}"]
        buffer.reserve(size)
        self._bind(name, buffer.device)
        return shape, size

    def _bind(self, name: str, address: int) -> None:
        if self._addresses.get(name) == address:
            return
        self._drop_graph()
        if not self._context.set_tensor_address(name, address):
            raise UnavailableError(f"{self._path}: {self._library} refuses the memory of {name}{self._log.last()}")
        self._addresses[name] = address

    def _execute(self) -> None:
        if self._graph is not None:
            self._cuda.launch(self._graph, self._stream)
            self.replays += 1
            return
        self._calls += 1
        if self._calls == 2 and self.no_graph is None:  # the first call has done what can't be recorded
            self._graph = self._capture()
            if self._graph is not None:
                self._cuda.launch(self._graph, self._stream)
                self.replays += 1
                return
        self._enqueue()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            self._forget()
            raise UnavailableError(f"{self._path}: {self._library} failed while it ran{self._log.last()}")

    def _capture(self) -> int | None:
        """The call as a graph; None, with the reason kept, for an engine that can't be recorded, which runs plainly."""
        self._cuda.wait(self._stream)
        try:
            self._cuda.begin_capture(self._stream)
            fine = self._context.execute_async_v3(self._stream)
            graph = self._cuda.end_capture(self._stream)
        except CudaError as error:
            self.no_graph = str(error)
            return None
        if fine:
            return graph
        self._cuda.drop_graph(graph)
        self.no_graph = f"the engine can't be recorded{self._log.last()}"
        return None

    def _drop_graph(self) -> None:
        self._calls = 0
        if self._graph is not None:
            graph, self._graph = self._graph, None
            with suppress(CudaError):
                self._cuda.drop_graph(graph)

    def _forget(self) -> None:
        """After a failure nothing that the device holds is trusted."""
        self._drop_graph()
        self._shapes = None
        for buffer in self._buffers.values():
            buffer.held = None

    def close(self) -> None:
        """Give everything back: the graph, then what it reads, then the engine."""
        self._drop_graph()
        for buffer in self._buffers.values():
            buffer.release()
        del self._context, self._engine, self._runtime
