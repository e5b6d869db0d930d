"""TensorRT's Python module without TensorRT: engines hold their ONNX, and ONNX Runtime computes it on `fake_cuda`.

It has no name that TensorRT 10.3, 10.13 and 11 don't all have (test_api.py holds it to that), and is as strict as they
are: an engine of another version or GPU, or a truncated one, isn't loaded; shapes outside the profile, memory that is
not there, and a capture before the first run of a shape are refused.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import sys
import time
from importlib.machinery import ModuleSpec

import numpy as np
import onnx
import onnxruntime

import fake_cuda

__version__ = os.environ.get("FAKE_TRT_VERSION", "10.3.0")
__spec__ = ModuleSpec("tensorrt", None)
_MAGIC = b"FAKETRT"
_TYPES = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF"}

NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
BuilderFlag = enum.Enum("BuilderFlag", ["VERSION_COMPATIBLE", "TF32"])
HardwareCompatibilityLevel = enum.Enum("HardwareCompatibilityLevel", ["NONE", "AMPERE_PLUS"])
MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT8"])


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3

    def __init__(self):
        self._made = True


class IProgressMonitor:
    def __init__(self):
        self._made = True


def _error(logger, message):
    assert logger._made
    logger.log(ILogger.Severity.ERROR, f"[fake] Error Code 1: {message}\nand more")
    logger.log(ILogger.Severity.INFO, "noise")


class IHostMemory(bytearray):
    @property
    def nbytes(self):
        return len(self)


class _Tensor:
    def __init__(self, name, shape):
        self.name, self.shape = name, shape


class INetworkDefinition:
    def __init__(self, flags):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED, "strongly typed or nothing"
        self._model = None

    @property
    def num_layers(self):
        return len(self._model.graph.node)

    @property
    def num_inputs(self):
        return len(self._model.graph.input)

    def get_input(self, index):
        info = self._model.graph.input[index]
        return _Tensor(info.name, [axis.dim_value or -1 for axis in info.type.tensor_type.shape.dim])


class ParserError:
    def desc(self):
        return "In node 0: no such operation"


class OnnxParser:
    def __init__(self, network, logger):
        assert logger._made
        self._network = network
        self.num_errors = 0

    def parse_from_file(self, path):
        assert isinstance(path, str)
        model = onnx.load(path)
        if any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
            self.num_errors = 1
            return False
        self._network._model = model
        return True

    def get_error(self, index):
        return ParserError()


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, name, *shapes):
        if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise ValueError("inconsistent")
        self._shapes[name] = [list(shape) for shape in shapes]


class ITimingCache:
    def __init__(self, data):
        self._data = data

    def serialize(self):
        return IHostMemory(self._data + b"+timed")


class IBuilderConfig:
    def __init__(self):
        self.progress_monitor = None
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self._flags, self._limits, self._profiles, self._cache = {BuilderFlag.TF32}, {}, [], None

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_memory_pool_limit(self, pool, size):
        self._limits[pool] = size

    def set_flag(self, flag):
        self._flags.add(flag)

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def create_timing_cache(self, data):
        assert isinstance(data, bytes)
        return ITimingCache(data)

    def set_timing_cache(self, cache, mismatch):
        self._cache = cache
        return not cache._data.startswith(b"foreign")

    def get_timing_cache(self):
        return self._cache


class Builder:
    def __init__(self, logger):
        assert logger._made
        if os.environ.get("FAKE_TRT_NO_CUDA"):
            _error(logger, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags):
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        if os.environ.get("FAKE_TRT_KILLED"):
            sys.stdout.write("a library prints what it likes\n")
            sys.stdout.flush()
            os.kill(os.getpid(), int(os.environ["FAKE_TRT_KILLED"]))
        assert BuilderFlag.TF32 not in config._flags, "a mantissa of 10 bits is no float32"
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building", None, 3)
            for step in range(3):
                monitor.phase_start("Tactics", "Building", 1)
                alive = monitor.step_complete("Tactics", 0)
                while (awaited := os.environ.get("FAKE_TRT_WAIT")) and not os.path.exists(awaited):  # noqa: PTH110
                    time.sleep(0.01)
                monitor.phase_finish("Tactics")
                if not (alive and monitor.step_complete("Building", step)):
                    return None
            monitor.phase_finish("Building")
        limit = config._limits.get(MemoryPoolType.WORKSPACE)
        if limit is not None and limit < 1 << 20:
            _error(self._logger, "could not find any implementation for node")
            return None
        head = {
            "version": __version__,
            "capability": list(fake_cuda.DEVICE.capability),
            "profile": config._profiles[0]._shapes,
            "portable": config.hardware_compatibility_level is HardwareCompatibilityLevel.AMPERE_PLUS,
            "compatible": BuilderFlag.VERSION_COMPATIBLE in config._flags,
            "level": config.builder_optimization_level,
        }
        data = network._model.SerializeToString(deterministic=True)
        text = json.dumps(head).encode()
        body = len(text).to_bytes(4, "big") + text + data
        return IHostMemory(_MAGIC + hashlib.sha256(body).digest() + body)


class Runtime:
    def __init__(self, logger):
        assert logger._made
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, data):
        body = data[len(_MAGIC) + 32 :]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[len(_MAGIC) : len(_MAGIC) + 32]:
            _error(self._logger, "Serialization assertion failed")
            return None
        length = int.from_bytes(body[:4], "big")
        head = json.loads(body[4 : 4 + length])
        allowed = head["compatible"] and self.engine_host_code_allowed
        if head["version"] != __version__ and not allowed:
            _error(self._logger, "The engine plan file is not compatible with this version of TensorRT")
            return None
        built, here = tuple(head["capability"]), fake_cuda.DEVICE.capability
        if built != here and not (head["portable"] and min(built, here) >= (8, 0)):
            _error(self._logger, "The engine plan file is generated on an incompatible device")
            return None
        return ICudaEngine(self._logger, head, body[4 + length :])


class ICudaEngine:
    def __init__(self, logger, head, model):
        self._logger, self._head = logger, head
        self._model = onnx.load_from_string(model)
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        graph = self._model.graph
        self._infos = {info.name: info for info in (*graph.input, *graph.output)}

    @property
    def num_io_tensors(self):
        return len(self._infos)

    def get_tensor_name(self, index):
        return sorted(self._infos, reverse=True)[index]  # TensorRT promises no order

    def get_tensor_mode(self, name):
        inputs = [info.name for info in self._model.graph.input]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType[_TYPES[self._infos[name].type.tensor_type.elem_type]]

    def create_execution_context(self):
        if os.environ.get("FAKE_TRT_NO_CONTEXT"):
            _error(self._logger, "out of memory")
            return None
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine):
        self._engine, self._shapes, self._addresses, self._warm = engine, {}, {}, False

    def set_input_shape(self, name, shape):
        least, _, most = self._engine._head["profile"][name]
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            _error(self._engine._logger, f"{name}: outside the profile")
            return False
        self._shapes[name], self._warm = tuple(shape), False
        return True

    def get_tensor_shape(self, name):
        known = {}
        for info in self._engine._model.graph.input:
            shape = self._shapes.get(info.name)
            for axis, side in zip(info.type.tensor_type.shape.dim, shape or (), strict=bool(shape)):
                word, _, stride = axis.dim_param.partition("/")
                known[word] = side * int(stride or 1)
        shape = []
        for axis in self._engine._infos[name].type.tensor_type.shape.dim:
            word, _, stride = axis.dim_param.partition("/")
            shape.append(axis.dim_value or known.get(word, -int(stride or 1)) // int(stride or 1))
        return tuple(shape)

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return name in self._engine._infos

    def execute_async_v3(self, stream):
        device, engine = fake_cuda.DEVICE, self._engine
        if set(self._addresses) != set(engine._infos):
            _error(engine._logger, "an address is missing")
            return False
        if stream in device.capturing and not self._warm:
            device.capturing[stream].append(None)  # what a call that waits does to a capture
            return False
        self._warm = True
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        inputs = [info.name for info in engine._model.graph.input]

        def work():
            feeds = {name: self._array(device, name, shapes[name], addresses[name]).copy() for name in inputs}
            outputs = [name for name in engine._infos if name not in inputs]
            for name, values in zip(outputs, engine._session.run(outputs, feeds), strict=True):
                self._array(device, name, values.shape, addresses[name])[...] = values

        device.submit(stream, work)
        return True

    def _array(self, device, name, shape, address):
        half = self._engine.get_tensor_dtype(name) is DataType.HALF
        dtype = np.dtype(np.float16 if half else np.float32)
        memory = device.view(address, int(np.prod(shape)) * dtype.itemsize, "device")
        return np.frombuffer(memory, dtype).reshape(shape)


def install(monkeypatch, version="10.3.0"):
    """Make this the module ``tensorrt`` of this process."""
    monkeypatch.setattr(sys.modules[__name__], "__version__", version)
    monkeypatch.setitem(sys.modules, "tensorrt", sys.modules[__name__])
