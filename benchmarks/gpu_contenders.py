"""The ways to run a stylizer on a GPU that benchmarks/gpu.py compares: each gives a call, or says why it can't."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from adain_export import rewrites
from adain_export.check import pink_noise
from adain_export.graphs import part_module, with_precision
from adain_export.onnx_model import OUTPUT_NAMES, part_model
from adain_export.target import REWRITES
from adain_model.network import Network
from adain_runtime.parts import part_interface
from adain_runtime.trt.builder import build_engine
from adain_runtime.trt.library import Library, Log, installed_flavor, load_library
from adain_runtime.trt.options import BuildError, Options

if TYPE_CHECKING:
    from adain_runtime.trt import api

INPUTS = ("image", "mean", "std", "alpha")
OUTPUT = OUTPUT_NAMES["stylizer"][0]
RUNTIME_ALLOCATES = "rise of the device's used memory: the runtime allocates, not torch"
_SEED = 20170320


class NotHere(Exception):  # noqa: N818 it is no failure: a contender that this machine hasn't got
    """Why a contender can't run; becomes its row."""


@dataclass(frozen=True)
class Runner:
    """A contender, ready.

    Attributes:
        call: stylises the case's image on the current stream; the result may be overwritten by the next call.
        peak_bytes: most device memory while it runs, weights included and the image going in not.
        peak_note: why there is no such number.
        notes: what is worth knowing of how it was made.
        owned: what must outlive the call.
    """

    call: Callable[[], Tensor]
    peak_bytes: int | None = None
    peak_note: str | None = None
    notes: str | None = None
    owned: tuple[object, ...] = field(default=(), repr=False)


@dataclass
class Case:
    """One network at one size and batch on one device; what contenders share is made once.

    Attributes:
        network: float32, on the CPU, as loaded.
        size: side of the square images, in pixels.
        batch: images a call.
        device: where it runs.
        torch_rewrites: exact rewrites under the float16 contenders of torch.
        compile_mode: of torch.compile.
    """

    network: Network
    size: int
    batch: int
    device: torch.device
    torch_rewrites: Sequence[str] = ("fold-color",)
    compile_mode: str = "default"

    @cached_property
    def feeds(self) -> tuple[Tensor, ...]:
        """Pictures with a photo's 1/f spectrum, the statistics of others, and alpha 1; float32."""
        rng = np.random.default_rng([_SEED, self.batch, self.size])
        image, other = (torch.from_numpy(pink_noise(rng, self.batch, self.size, self.size)) for _ in range(2))
        reference = part_module("encoder", copy.deepcopy(self.network).to(self.device))
        _, mean, std = reference(other.to(self.device))
        return image.to(self.device), mean, std, torch.ones(self.batch, 1, 1, 1, device=self.device)

    @cached_property
    def full(self) -> nn.Module:
        """The stylizer in float32: the reference."""
        return part_module("stylizer", copy.deepcopy(self.network).to(self.device))

    @cached_property
    def half(self) -> nn.Module:
        """The stylizer with float16 weights and maps, float32 statistics, channels last."""
        made = with_precision(self._rewritten(self.torch_rewrites), "fp16").to(self.device)
        return part_module("stylizer", made).to(memory_format=torch.channels_last)

    @cached_property
    def compiled(self) -> Callable[..., Tensor]:
        """``half`` under torch.compile, for this shape only."""
        torch._dynamo.reset()  # one code object serves every case, and recompilations are limited
        made: Callable[..., Tensor] = torch.compile(self.half, mode=self.compile_mode, dynamic=False, fullgraph=True)
        made(*self.feeds_last)
        return made

    @cached_property
    def feeds_last(self) -> tuple[Tensor, ...]:
        """``feeds`` with the image channels last."""
        return (self.feeds[0].contiguous(memory_format=torch.channels_last), *self.feeds[1:])

    @cached_property
    def onnx(self) -> bytes:
        """The float16 ONNX that ``adain-export onnx --fp16`` writes, without its check: batch, height, width free."""
        made = with_precision(self._rewritten(REWRITES), "fp16")
        interface = part_interface("stylizer", self.network.spec, "stylizer.onnx", features="float16")
        return bytes(part_model("stylizer", made, interface).SerializeToString())

    @cached_property
    def engine(self) -> tuple[Library, bytes]:
        """The TensorRT that is here, and its engine of `onnx` for this shape alone, strongly typed.

        Raises:
            NotHere: there is none, or it refuses the model or this GPU.
        """
        flavor = installed_flavor()
        if flavor is None:
            raise NotHere("neither tensorrt nor tensorrt_rtx is installed")
        try:
            library = load_library(flavor)
            return library, build_plan(library, self)
        except BuildError as error:
            raise NotHere(str(error)) from error

    def _rewritten(self, names: Sequence[str]) -> Network:
        made = copy.deepcopy(self.network)
        rewrites.apply(made, names)
        return made


def torch_fp32(case: Case) -> Runner:
    """Torch as it is, TF32 off."""
    return _eager(case.full, case.feeds)


def torch_fp16(case: Case) -> Runner:
    """Torch as it is, float16, channels last."""
    return _eager(case.half, case.feeds_last)


def torch_fp16_graph(case: Case) -> Runner:
    """The same, replayed as one CUDA graph."""
    _needs_cuda(case)
    return _captured(case.half, case.half, case.feeds_last)


def compile_fp16(case: Case) -> Runner:
    """The same under torch.compile."""
    _needs_cuda(case)
    return _measured(case.half, lambda: case.compiled(*case.feeds_last))


def compile_fp16_graph(case: Case) -> Runner:
    """The compiled one, replayed as one CUDA graph."""
    _needs_cuda(case)
    return _captured(case.half, case.compiled, case.feeds_last)


def onnx_cuda(case: Case) -> Runner:
    """ONNX Runtime's CUDA provider, inputs and output bound to device memory, on torch's stream."""
    import onnxruntime as ort

    provider = "CUDAExecutionProvider"
    if provider not in (found := ort.get_available_providers()):
        raise NotHere(f"onnxruntime {ort.__version__} has no {provider} here; it has {', '.join(found)}")
    _needs_cuda(case)
    device = case.device.index or 0
    settings = {
        "device_id": str(device),
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "user_compute_stream": str(torch.cuda.current_stream(case.device).cuda_stream),
    }
    model, before = case.onnx, _used_bytes(case.device)
    session = ort.InferenceSession(model, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:
        raise NotHere(f"onnxruntime fell back to {session.get_providers()[0]}")
    output, binding, run = _output(case), session.io_binding(), ort.RunOptions()
    run.add_run_config_entry("disable_synchronize_execution_providers", "1")  # the caller's events time the stream
    feeds = tuple(tensor.contiguous() for tensor in case.feeds)
    for name, tensor in zip(INPUTS, feeds, strict=True):
        binding.bind_input(name, "cuda", device, np.float32, tuple(tensor.shape), tensor.data_ptr())
    binding.bind_output(OUTPUT, "cuda", device, np.float32, tuple(output.shape), output.data_ptr())

    def call() -> Tensor:
        session.run_with_iobinding(binding, run)
        return output

    call()
    torch.cuda.synchronize(case.device)
    used, notes = _used_bytes(case.device) - before, f"onnxruntime {ort.__version__}"
    return Runner(call, used, RUNTIME_ALLOCATES, notes, owned=(session, binding, run, feeds))


def tensorrt_fp16(case: Case) -> Runner:
    """TensorRT, or TensorRT for RTX: an engine for this shape, strongly typed, built from our float16 ONNX."""
    if installed_flavor() is not None:  # what is not installed is the nearer reason
        _needs_cuda(case)
    library, plan = case.engine
    before = _used_bytes(case.device)
    log = Log(library.module)
    runtime: api.Runtime = library.module.Runtime(log.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    context = None if engine is None else engine.create_execution_context()
    if engine is None or context is None:
        raise NotHere(f"{library} built an engine and can't load it{log.last()}")
    output, feeds = _output(case), tuple(tensor.contiguous() for tensor in case.feeds)
    for name, tensor in (*zip(INPUTS, feeds, strict=True), (OUTPUT, output)):
        if name != OUTPUT and not context.set_input_shape(name, tuple(tensor.shape)):
            raise NotHere(f"{library} refuses {name} {tuple(tensor.shape)}{log.last()}")
        if not context.set_tensor_address(name, tensor.data_ptr()):
            raise NotHere(f"{library} refuses the memory of {name}{log.last()}")

    def call() -> Tensor:
        if not context.execute_async_v3(torch.cuda.current_stream(case.device).cuda_stream):
            raise RuntimeError(f"execute_async_v3 failed{log.last()}")
        return output

    call()
    torch.cuda.synchronize(case.device)
    used = _used_bytes(case.device) - before
    return Runner(call, used, RUNTIME_ALLOCATES, str(library), owned=(runtime, engine, context, feeds, log))


def tensorrt_fp16_graph(case: Case) -> Runner:
    """The same, replayed as one CUDA graph, as backend trt does."""
    plain = tensorrt_fp16(case)  # its first call has done what can't be recorded
    graph, held = torch.cuda.CUDAGraph(), []
    with torch.cuda.graph(graph):
        held.append(plain.call())

    def call() -> Tensor:
        graph.replay()
        return held[0]

    call()
    return replace(plain, call=call, owned=(graph, plain))


CONTENDERS: dict[str, Callable[[Case], Runner]] = {
    "torch-fp32": torch_fp32,
    "torch-fp16": torch_fp16,
    "torch-fp16-graph": torch_fp16_graph,
    "compile-fp16": compile_fp16,
    "compile-fp16-graph": compile_fp16_graph,
    "onnx-cuda-fp16": onnx_cuda,
    "tensorrt-fp16": tensorrt_fp16,
    "tensorrt-fp16-graph": tensorrt_fp16_graph,
}


def build_plan(library: Library, case: Case) -> bytes:
    """A serialised engine of the float16 stylizer for the case's shapes and the GPU here, by the package's builder.

    Raises:
        BuildError: the model or this GPU is refused.
    """
    capability = "{}.{}".format(*torch.cuda.get_device_capability(case.device)) if library.flavor == "rtx" else None
    options = Options(flavor=library.flavor, compute_capabilities=(capability,) if capability else ())
    shapes = {name: (tuple(tensor.shape),) * 3 for name, tensor in zip(INPUTS, case.feeds, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stylizer.onnx"
        path.write_bytes(case.onnx)
        return build_engine(library, path, shapes, options).engine


def _needs_cuda(case: Case) -> None:
    if case.device.type != "cuda":
        raise NotHere(f"needs a CUDA GPU; this ran on {case.device.type}")


def _output(case: Case) -> Tensor:
    return torch.empty(case.batch, 3, case.size, case.size, device=case.device)


def _eager(module: nn.Module, feeds: tuple[Tensor, ...]) -> Runner:
    return _measured(module, lambda: module(*feeds))


def _measured(module: nn.Module, call: Callable[[], Tensor]) -> Runner:
    """A runner of torch's own memory: the weights, and what one call takes at most."""
    device = next(module.parameters()).device
    if device.type != "cuda":
        call()
        return Runner(call, peak_note="torch counts no memory of the CPU")
    call()  # compilation, and cuDNN's search with workspaces of its own
    torch.cuda.synchronize(device)
    return Runner(call, peak_bytes=_weight_bytes(module) + _extra_bytes(call, device))


def _captured(module: nn.Module, function: Callable[..., Tensor], feeds: tuple[Tensor, ...]) -> Runner:
    device = next(module.parameters()).device
    for _ in range(3):
        function(*feeds)
    torch.cuda.synchronize(device)
    graph, held = torch.cuda.CUDAGraph(), []

    def capture() -> None:
        with torch.cuda.graph(graph):
            held.append(function(*feeds))

    peak = _weight_bytes(module) + _extra_bytes(capture, device)

    def call() -> Tensor:
        graph.replay()
        return held[0]

    call()
    return Runner(call, peak_bytes=peak, notes="peak while capturing; the graph keeps it", owned=(graph, feeds))


def _extra_bytes(call: Callable[[], object], device: torch.device) -> int:
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    kept = call()
    torch.cuda.synchronize(device)
    del kept
    return torch.cuda.max_memory_allocated(device) - before


def _used_bytes(device: torch.device) -> int:
    """Of the whole device: what CUDA itself and torch's cache hold is in it, so only a difference means something."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def _weight_bytes(module: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in module.parameters())
