"""One engine from one ONNX graph, by TensorRT's builder. Standard library only; kits carry it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adain_runtime.trt.library import Library, Log
from adain_runtime.trt.options import BuildError, Options, Shapes

if TYPE_CHECKING:
    from adain_runtime.trt import api

Report = Callable[[str, int, int], bool]
"""Hears (phase, steps done, steps of the phase) and says whether to go on."""


@dataclass(frozen=True)
class Built:
    """An engine and what was timed for it.

    Attributes:
        engine: serialised.
        timing_cache: serialised; None for TensorRT for RTX, which times nothing while it builds.
    """

    engine: bytes
    timing_cache: bytes | None


def build_engine(
    library: Library,
    onnx: Path,
    shapes: Mapping[str, Shapes],
    options: Options,
    *,
    report: Report | None = None,
    timing_cache: bytes = b"",
) -> Built:
    """Parse and build.

    Networks are strongly typed: every tensor has the type that the ONNX says, on TensorRT 10 and 11 alike, so the
    statistics stay float32 in a float16 graph.

    Args:
        library: the TensorRT to use.
        onnx: the graph; its external weights are found beside it.
        shapes: least, usual and largest shape of each input.
        options: how; the profile is already in ``shapes``.
        report: hears of progress, and can stop the build.
        timing_cache: of an earlier build.

    Raises:
        BuildError: TensorRT doesn't come up, refuses the graph, or can't build it here.
    """
    trt = library.module
    log = Log(trt)
    try:
        builder: api.Builder = trt.Builder(log.logger)
    except (TypeError, RuntimeError) as error:  # what the bindings make of a builder that is null
        raise BuildError(f"{library} doesn't start here{log.last()}; look at the GPU's driver", 3) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser: api.OnnxParser = trt.OnnxParser(network, log.logger)
    if not parser.parse_from_file(str(onnx)):
        said = "; ".join(parser.get_error(place).desc() for place in range(parser.num_errors))
        raise BuildError(f"{onnx.name}: {library} can't parse it ({said or 'it gives no reason'})")
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        name = network.get_input(place).name
        if name not in shapes:
            raise BuildError(f"{onnx.name}: has the input {name!r}, which its manifest doesn't name")
        profile.set_shape(name, *shapes[name])
    config = _config(library, builder, options, log)
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(f"{onnx.name}: {library} refuses the profile {options.profile}{log.last()}")
    if options.flavor == "trt":
        cache = config.create_timing_cache(timing_cache)
        if not config.set_timing_cache(cache, False):
            raise BuildError(
                f"{library} refuses the timing cache: it is of another version or GPU; name another --timing-cache"
            )
    if report is not None:
        config.progress_monitor = _monitor(trt, report)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildError(
            f"{onnx.name}: {library} built no engine{log.first()}; where memory is short, take a smaller --max, a "
            "smaller batch or a --workspace limit",
            1,
        )
    timed = config.get_timing_cache() if options.flavor == "trt" else None
    return Built(bytes(memoryview(engine)), None if timed is None else bytes(memoryview(timed.serialize())))  # type: ignore[arg-type]


def _config(library: Library, builder: api.Builder, options: Options, log: Log) -> api.IBuilderConfig:
    trt = library.module
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # it is on, and gives float32 a mantissa of 10 bits: 70 dB on the student
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.opt_level is not None:
        config.builder_optimization_level = options.opt_level
    if options.hw_compat:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.capabilities:
        _set_capabilities(library, config, options.capabilities, log)  # type: ignore[arg-type]
    return config


def check_capabilities(library: Library, names: Sequence[str]) -> list[Any]:
    """TensorRT for RTX's own members for compute capabilities.

    Raises:
        BuildError: one that it hasn't got.
    """
    known = dict(library.module.ComputeCapability.__members__)
    for name in names:
        if _member(name) not in known:
            has = ", ".join(f"{word[2:-1]}.{word[-1]}" for word in known if word.startswith("SM"))
            raise BuildError(f"--compute-capability {name}: {library} has {has}")
    return [known[_member(name)] for name in names]


def _member(capability: str) -> str:
    return f"SM{capability.replace('.', '')}"


def _set_capabilities(library: Library, config: api.RtxBuilderConfig, names: Sequence[str], log: Log) -> None:
    found = check_capabilities(library, names)
    config.num_compute_capabilities = len(found)
    for place, capability in enumerate(found):
        if not config.set_compute_capability(capability, place):
            raise BuildError(f"--compute-capability {names[place]}: {library} refuses it{log.last()}")


def _monitor(trt: Any, report: Report) -> object:  # noqa: ANN401
    """TensorRT's progress as plain calls: the outermost phase's steps, under the innermost phase's name."""
    going: list[tuple[str, int]] = []

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.done = 0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                going.clear()
                self.done = 0
            going.append((phase_name, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            if not going:
                return True
            outermost, steps = going[0]
            if phase_name == outermost:
                self.done = step + 1
            return report(going[-1][0], self.done, steps)

        def phase_finish(self, phase_name: str) -> None:
            going[:] = [phase for phase in going if phase[0] != phase_name]

    return Monitor()
