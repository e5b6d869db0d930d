"""What this package touches of TensorRT's Python module, as types: mypy lets the code use nothing else.

TensorRT 10.3, 10.13 and 11, and TensorRT for RTX, all have what is listed here, but for the classes whose name begins
with ``Rtx``; a test holds every name against the recorded interface of each version. Nothing of this exists at run
time but for the type checker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Shape = Sequence[int]


class Tensor(Protocol):
    """ITensor."""

    name: str
    shape: Shape


class INetworkDefinition(Protocol):
    """A network being built."""

    num_inputs: int
    num_layers: int

    def get_input(self, index: int, /) -> Tensor: ...


class ParserError(Protocol):
    """One of a parser's complaints."""

    def desc(self) -> str: ...


class OnnxParser(Protocol):
    """Reads ONNX into a network."""

    num_errors: int

    def parse_from_file(self, path: str, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class IOptimizationProfile(Protocol):
    """The shapes that an engine takes."""

    def set_shape(self, name: str, least: Shape, usual: Shape, most: Shape, /) -> None: ...


class ITimingCache(Protocol):
    """What was timed before."""

    def serialize(self) -> IHostMemory: ...


class IHostMemory(Protocol):
    """Bytes of TensorRT's own; memoryview takes it."""

    nbytes: int


class IBuilderConfig(Protocol):
    """How an engine is built."""

    progress_monitor: object
    builder_optimization_level: int
    hardware_compatibility_level: Any

    def add_optimization_profile(self, profile: IOptimizationProfile, /) -> int: ...
    def set_memory_pool_limit(self, pool: Any, size: int, /) -> None: ...  # noqa: ANN401
    def set_flag(self, flag: Any, /) -> None: ...  # noqa: ANN401
    def clear_flag(self, flag: Any, /) -> None: ...  # noqa: ANN401
    def create_timing_cache(self, data: bytes, /) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, mismatch: bool, /) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...


class RtxBuilderConfig(IBuilderConfig, Protocol):
    """What TensorRT for RTX adds: the compute capabilities to build for."""

    num_compute_capabilities: int

    def set_compute_capability(self, capability: Any, index: int, /) -> bool: ...  # noqa: ANN401


class Builder(Protocol):
    """Builds engines."""

    def create_network(self, flags: int, /) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig, /
    ) -> IHostMemory | None: ...


class RtxRuntimeConfig(Protocol):
    """How TensorRT for RTX runs an engine."""

    cuda_graph_strategy: Any


class IExecutionContext(Protocol):
    """An engine at work."""

    def set_input_shape(self, name: str, shape: Shape, /) -> bool: ...
    def get_tensor_shape(self, name: str, /) -> Shape: ...
    def set_tensor_address(self, name: str, address: int, /) -> bool: ...
    def execute_async_v3(self, stream: int, /) -> bool: ...


class ICudaEngine(Protocol):
    """An engine, ready."""

    num_io_tensors: int

    def get_tensor_name(self, index: int, /) -> str: ...
    def get_tensor_mode(self, name: str, /) -> Any: ...  # noqa: ANN401
    def get_tensor_dtype(self, name: str, /) -> Any: ...  # noqa: ANN401
    def create_execution_context(self) -> IExecutionContext | None: ...


class RtxCudaEngine(Protocol):
    """What TensorRT for RTX adds: graphs of its own, which know when its kernels have been compiled."""

    def create_runtime_config(self) -> RtxRuntimeConfig: ...
    def create_execution_context(self, config: RtxRuntimeConfig, /) -> IExecutionContext | None: ...


class Runtime(Protocol):
    """Loads engines."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, data: bytes, /) -> ICudaEngine | None: ...
