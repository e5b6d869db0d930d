"""A CUDA device that isn't one: memory, streams that do nothing until they are waited for, graphs; two ways to call it.

What real CUDA would leave undefined (reading freed memory, a copy over the end, destroying what is in use) is an error
here, and nothing that was begun on a stream happens before somebody waits: a missing wait shows as old values.
"""

from __future__ import annotations

import ctypes
import enum
import os
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

SUCCESS, INVALID, OUT_OF_MEMORY, NO_DEVICE, CAPTURE_INVALID = 0, 1, 2, 100, 901


ErrorCode = enum.IntEnum(
    "cudaError_t",
    {
        "cudaSuccess": SUCCESS,
        "cudaErrorInvalidValue": INVALID,
        "cudaErrorMemoryAllocation": OUT_OF_MEMORY,
        "cudaErrorNoDevice": NO_DEVICE,
        "cudaErrorStreamCaptureInvalidated": CAPTURE_INVALID,
    },
)


class DeviceError(Exception):
    """A call that fails with a number."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def _capability():
    """Of the device that a child process finds."""
    major, minor = os.environ.get("FAKE_CUDA_CAPABILITY", "8.7").split(".")
    return int(major), int(minor)


@dataclass
class Device:
    """The device behind both faces.

    Attributes:
        capability: compute capability.
        total: bytes of memory.
        failing: function name to the code that it gives from now on.
        calls: names of the functions called, in order.
    """

    capability: tuple[int, int] = field(default_factory=_capability)
    total: int = 8 << 30
    devices: int = 1
    failing: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    memory: dict = field(default_factory=dict)
    streams: dict = field(default_factory=dict)
    capturing: dict = field(default_factory=dict)
    graphs: dict = field(default_factory=dict)
    executables: dict = field(default_factory=dict)
    handles: int = 1000

    def enter(self, name):
        self.calls.append(name)
        if name in self.failing:
            raise DeviceError(self.failing[name])

    def handle(self):
        self.handles += 1
        return self.handles

    def allocate(self, size, kind):
        used = sum(len(buffer) for buffer, which in self.memory.values() if which == "device")
        if kind == "device" and used + size > self.total:
            raise DeviceError(OUT_OF_MEMORY)
        buffer = ctypes.create_string_buffer(b"\xff" * size, size)  # NaN, read as a float
        self.memory[ctypes.addressof(buffer)] = buffer, kind
        return ctypes.addressof(buffer)

    def release(self, address, kind):
        if address not in self.memory or self.memory[address][1] != kind:
            raise DeviceError(INVALID)
        del self.memory[address]

    def view(self, address, size, kind=None):
        """Live memory, or INVALID."""
        for start, (buffer, which) in self.memory.items():
            if start <= address and address + size <= start + len(buffer) and kind in (None, which):
                return (ctypes.c_ubyte * size).from_address(address)
        raise DeviceError(INVALID)

    def submit(self, stream, work):
        if stream in self.capturing:
            self.capturing[stream].append(work)
        elif stream in self.streams:
            self.streams[stream].append(work)
        else:
            raise DeviceError(INVALID)

    def copy(self, target, source, size, stream, kinds):
        self.view(target, size, kinds[0])
        self.view(source, size, kinds[1])

        def work():
            self.view(target, size, kinds[0])
            self.view(source, size, kinds[1])
            ctypes.memmove(target, source, size)

        self.submit(stream, work)

    def wait(self, stream):
        if stream in self.capturing:
            raise DeviceError(CAPTURE_INVALID)
        if stream not in self.streams:
            raise DeviceError(INVALID)
        work, self.streams[stream] = self.streams[stream], []
        for step in work:
            step()

    def end_capture(self, stream):
        work = self.capturing.pop(stream)
        if None in work:
            raise DeviceError(CAPTURE_INVALID)
        graph = self.handle()
        self.graphs[graph] = work
        return graph

    def instantiate(self, graph):
        made = self.handle()
        self.executables[made] = list(self.graphs[graph])
        return made

    def launch(self, executable, stream):
        for work in self.executables[executable]:
            self.submit(stream, work)


DEVICE = Device()
"""The device that `fake_trt` computes on; a fixture puts a new one here."""


def _functions(device):
    """CUDA's functions in terms of plain numbers: name to a function that gives a value or raises `DeviceError`."""
    attributes = {75: 0, 76: 1}
    kinds = {1: ("device", "pinned"), 2: ("pinned", "device")}

    def begin(stream, _mode):
        device.capturing[stream] = []

    return {
        "cudaGetDeviceCount": lambda: device.devices if device.devices else _fail(NO_DEVICE),
        "cudaDeviceGetAttribute": lambda which, _index: device.capability[attributes[int(which)]],
        "cudaMemGetInfo": lambda: (device.total // 2, device.total),
        "cudaMalloc": lambda size: device.allocate(size, "device"),
        "cudaFree": lambda address: device.release(address, "device"),
        "cudaMallocHost": lambda size: device.allocate(size, "pinned"),
        "cudaFreeHost": lambda address: device.release(address, "pinned"),
        "cudaMemcpyAsync": lambda to, source, size, kind, stream: device.copy(
            to, source, size, stream, kinds[int(kind)]
        ),
        "cudaStreamCreateWithFlags": lambda _flags: _new(device, device.streams, []),
        "cudaStreamDestroy": lambda stream: _drop(device.streams, stream),
        "cudaStreamSynchronize": device.wait,
        "cudaStreamBeginCapture": begin,
        "cudaStreamEndCapture": device.end_capture,
        "cudaGraphInstantiateWithFlags": lambda graph, _flags: device.instantiate(graph),
        "cudaGraphDestroy": lambda graph: _drop(device.graphs, graph),
        "cudaGraphLaunch": device.launch,
        "cudaGraphExecDestroy": lambda made: _drop(device.executables, made),
    }


def _fail(code):
    raise DeviceError(code)


def _new(device, table, value):
    handle = device.handle()
    table[handle] = value
    return handle


def _drop(table, handle):
    if table.pop(handle, None) is None:
        raise DeviceError(INVALID)


def bindings(device):
    """`cuda.bindings.runtime`: calls give (error, *values)."""

    def wrapped(name, function):
        def call(*arguments):
            try:
                device.enter(name)
                value = function(*(getattr(argument, "value", argument) for argument in arguments))
            except DeviceError as failed:
                return ErrorCode(failed.code), None
            if value is None:
                return (ErrorCode.cudaSuccess,)
            return ErrorCode.cudaSuccess, *(value if isinstance(value, tuple) else (value,))

        return call

    return SimpleNamespace(
        __spec__=ModuleSpec("cuda.bindings.runtime", None),
        cudaError_t=ErrorCode,
        cudaDeviceAttr=enum.IntEnum(
            "cudaDeviceAttr", {"cudaDevAttrComputeCapabilityMajor": 75, "cudaDevAttrComputeCapabilityMinor": 76}
        ),
        cudaMemcpyKind=enum.IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2}),
        cudaStreamCaptureMode=enum.IntEnum("Mode", {"cudaStreamCaptureModeThreadLocal": 1}),
        **{name: wrapped(name, function) for name, function in _functions(device).items()},
    )


class _CFunction:
    """A function of a shared library: converts what it is given as its argtypes say, as ctypes does."""

    argtypes: tuple = ()
    restype = None

    def __init__(self, device, name, function):
        self.device, self.name, self.function = device, name, function

    def __call__(self, *arguments):
        assert len(arguments) == len(self.argtypes), self.name
        results, plain = [], []
        for wanted, given in zip(self.argtypes, arguments, strict=True):
            if hasattr(given, "_obj"):  # byref
                assert wanted is ctypes.POINTER(type(given._obj)), self.name
                results.append(given._obj)
            else:
                plain.append(wanted(getattr(given, "value", given)).value)
        try:
            self.device.enter(self.name)
            value = self.function(*plain)
        except DeviceError as failed:
            return failed.code
        values = value if isinstance(value, tuple) else (value,) if value is not None else ()
        assert len(values) == len(results), self.name
        for place, found in zip(results, values, strict=True):
            place.value = found
        return SUCCESS


class Libcudart:
    """libcudart.so as ctypes opens it."""

    def __init__(self, device):
        for name, function in _functions(device).items():
            setattr(self, name, _CFunction(device, name, function))
        self.cudaGetErrorName = _ErrorName()


class _ErrorName:
    argtypes: tuple = ()
    restype = None

    def __call__(self, code):
        return ErrorCode(code).name.encode() if code in set(ErrorCode) else None
