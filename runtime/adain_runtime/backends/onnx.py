"""ONNX Runtime: the backend of a bare install, with any execution provider that the installed build has."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING

from adain_runtime import telemetry
from adain_runtime.backend import Array, Options, Probe, check_target
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.cache import SWITCH, cache_folder
from adain_runtime.cores import threads_each
from adain_runtime.errors import BundleError, InputError, UnavailableError
from adain_runtime.session import BaseSession

if TYPE_CHECKING:
    import onnxruntime

NAME = "onnx"
_INSTALL = "pip install onnxruntime"
_PROVIDER_SUFFIX = "ExecutionProvider"
_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_FATAL_ONLY = 4  # onnxruntime's own log repeats in many lines what the raised error says


class OnnxBackend:
    """Runs ONNX bundles in ONNX Runtime."""

    name = NAME

    def probe(self) -> Probe:
        """The version and the providers of the installed build."""
        try:
            telemetry.opt_out()
            import onnxruntime
        except (ImportError, OSError) as error:
            return Probe(False, f"onnxruntime can't be imported ({error})", _INSTALL)
        providers = ", ".join(short_name(name) for name in _available_providers())
        return Probe(True, f"onnxruntime {onnxruntime.__version__}; providers: {providers}")

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """An ONNX bundle's folder, or an embedded model by name."""
        return find_bundle(model, NAME)

    def open(self, bundle: Bundle, options: Options) -> OnnxSession:
        """Open a bundle; a part's graph is loaded when it is first run."""
        options.only(NAME, "threads", "provider", "allow_fallback")
        check_target(bundle, NAME, NAME, "trt-kit")  # a build kit for TensorRT holds the same graphs
        return OnnxSession(bundle, options)


BACKEND = OnnxBackend()


class OnnxSession(BaseSession):
    """An open ONNX bundle."""

    def __init__(self, bundle: Bundle, options: Options) -> None:
        self._options = options
        self._provider = find_provider(options.provider or "cpu", allow_fallback=options.allow_fallback)
        self._graphs: dict[str, onnxruntime.InferenceSession] = {}
        self._loading = Lock()
        super().__init__(bundle, self._provider)

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        names = [tensor.name for tensor in self.bundle.part(part).outputs]
        graph = self._graph(part)
        try:
            outputs = graph.run(None, feeds)
        except Exception as error:  # onnxruntime's errors have no base of their own; most often it is out of memory
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            raise InputError(
                f"{self.bundle.graph(part)}: ONNX Runtime failed on {shapes} ({error}); if it is out of memory, take a "
                "smaller picture (--size)"
            ) from error
        if len(outputs) != len(names):
            raise BundleError(
                f"{self.bundle.graph(part)}: gives {len(outputs)} outputs, and its manifest names {len(names)}; "
                "export the bundle again"
            )
        return dict(zip(names, outputs, strict=True))

    def _graph(self, part: str) -> onnxruntime.InferenceSession:
        with self._loading:
            if part not in self._graphs:
                self._graphs[part] = self._load(part)
            return self._graphs[part]

    def _load(self, part: str) -> onnxruntime.InferenceSession:
        telemetry.opt_out()
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = _FATAL_ONLY
        # a plan of the memory of a second run of one shape stands beside that of the first, and saves no time here
        settings.enable_mem_pattern = False
        # threads that wait for work sleep: awake, they take the processor from decoding and encoding beside them, and
        # cost a third more processor time on a busy machine
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._options.threads is not None:
            settings.intra_op_num_threads = self._options.threads
        path = self.bundle.graph(part)
        fallback = self._options.allow_fallback
        if self._provider in (_CUDA, _TENSORRT):
            _preload_libraries()

        def load(providers: list[tuple[str, dict[str, str]]]) -> onnxruntime.InferenceSession:
            # no fallback of its own, which prints a report on stdout; and no biases of convolutions in int32, which a
            # step that is small beyond int32, or in float16 beyond that, gives other values
            return onnxruntime.InferenceSession(
                os.fspath(path),
                settings,
                providers=providers,
                enable_fallback=0,
                disabled_optimizers=["WeightBiasQuantization"],
            )

        network = _digest(self.bundle)
        for provider in self._candidates():
            options = with_options(provider, network)
            try:
                graph = load(options)
                break
            except Exception as error:
                if fallback and provider != _CPU:
                    continue
                if provider != _CPU:
                    raise UnavailableError(
                        f"backend onnx: provider {short_name(provider)!r} can't run {path} ({error}); mend its driver "
                        "or libraries, or add --allow-fallback"
                    ) from error
                raise BundleError(f"{path}: ONNX Runtime {onnxruntime.__version__} can't load it ({error})") from error
        self._device = running_provider(self._provider, graph.get_providers(), fallback)
        return graph

    def _candidates(self) -> list[str]:
        """The provider, and with a fallback what is tried after it: CUDA after TensorRT, and the CPU."""
        if not self._options.allow_fallback:
            return [self._provider]
        cuda = [_CUDA] if self._provider == _TENSORRT and _CUDA in _available_providers() else []
        return list(dict.fromkeys([self._provider, *cuda, _CPU]))

    def shared(self, callers: int) -> OnnxSession | None:
        """A session for several threads at once, on the CPU: a graph runs any number of times beside itself."""
        each = threads_each(self._options.threads, callers)
        if each is None or self._provider != _CPU:
            return None
        return OnnxSession(self.bundle, replace(self._options, threads=each))

    def release(self, part: str) -> None:
        """Free a part's graph with the arena of its maps; the next run loads it again."""
        self._graphs.pop(part, None)

    def close(self) -> None:
        """Free the graphs."""
        self._graphs.clear()
        super().close()


def short_name(provider: str) -> str:
    """``CUDAExecutionProvider`` as people type it: ``cuda``."""
    return provider.removesuffix(_PROVIDER_SUFFIX).lower()


def find_provider(name: str, *, allow_fallback: bool = False) -> str:
    """A provider of the installed build by its short or full name, whatever the case.

    Raises:
        UnavailableError: this build doesn't have it, and no fallback is allowed.
    """
    available = _available_providers()
    wanted = name.lower().removesuffix(_PROVIDER_SUFFIX.lower())
    for provider in available:
        if short_name(provider) == wanted:
            return provider
    if allow_fallback:
        return _CPU
    has = ", ".join(short_name(provider) for provider in available)
    raise UnavailableError(
        f"backend onnx: provider {name!r} is not in this build of ONNX Runtime, which has {has}; "
        f"install the build that has it (such as pip install onnxruntime-gpu) or add --allow-fallback"
    )


def _digest(bundle: Bundle) -> str:
    """What tells a bundle's graphs and weights from those of another, of whatever names."""
    digests = sorted((name, entry.sha256) for name, entry in bundle.manifest.files.items())
    return hashlib.sha256(repr(digests).encode()).hexdigest()[:32]


def with_options(provider: str, network: str) -> list[tuple[str, dict[str, str]]]:
    """A provider as ONNX Runtime is given it, with what makes it start fast the second time.

    TensorRT's keeps its engines and timings in the person's cache, and leaves what it doesn't take to CUDA's. It isn't
    told a precision: the graph has its types already, and these flags would take the statistics to half as well.
    CUDA's computes float32 whole: TF32, its own choice, has a mantissa of 10 bits. TensorRT's has no such switch
    (onnxruntime#26029); NVIDIA_TF32_OVERRIDE=0 in the environment turns it off for a whole process.

    Args:
        provider: its full name.
        network: digest of the bundle's files. TensorRT's engines are told apart by names and shapes alone, so each
            network has a folder of its own (onnxruntime#6455).

    Raises:
        InputError: that cache can't be made.
    """
    if provider == _TENSORRT:
        options: dict[str, str] = {}
        if (place := cache_folder("onnxruntime-tensorrt")) is not None:
            place /= network
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                why = f"{place}: can't be made for TensorRT's engines ({error.strerror or error})"
                raise InputError(f"{why}; set {SWITCH} to a folder that can be written, or to off") from error
            options = {
                "trt_engine_cache_enable": "True",
                "trt_engine_cache_path": os.fspath(place),
                "trt_timing_cache_enable": "True",
                "trt_timing_cache_path": os.fspath(place),
            }
        cuda = with_options(_CUDA, network) if _CUDA in _available_providers() else []
        return [(provider, options), *cuda]
    if provider == _CUDA:  # an exhaustive search would begin anew at every size of picture
        return [(provider, {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})]
    return [(provider, {})]


def running_provider(asked: str, running: list[str], allow_fallback: bool) -> str:
    """The provider that came up, compared with the one asked for.

    Raises:
        UnavailableError: they differ, and no fallback is allowed.
    """
    first = running[0] if running else "none"
    if first != asked and not allow_fallback:
        raise UnavailableError(
            f"backend onnx: provider {short_name(asked)!r} was asked for and {short_name(first)!r} came up; "
            f"its driver or libraries are missing here; mend them or add --allow-fallback"
        )
    return first


@cache
def _preload_libraries() -> None:
    """Load CUDA and cuDNN from NVIDIA's own wheels, where they are, since nothing else finds them without torch."""
    import onnxruntime

    if preload := getattr(onnxruntime, "preload_dlls", None):  # from 1.21 on
        # it prints what it doesn't find on stdout, which is the host program's; the session's error says it again
        vars(onnxruntime)["print"] = partial(print, file=sys.stderr)
        preload()


@cache
def _available_providers() -> tuple[str, ...]:
    telemetry.opt_out()
    import onnxruntime

    # Azure's provider calls a service for its own operations and leaves all of these to the CPU, under its name
    return tuple(name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider")
