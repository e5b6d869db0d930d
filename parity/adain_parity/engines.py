"""Engines that are built here and not run: what can be proved of a device on a machine that doesn't have it.

In a case's own process: each part of an ONNX bundle is linted, parsed and built by TensorRT for RTX, which wants no GPU
for that. What no process can do here is to run them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from adain_parity.matrix import parse_size
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.manifest import PART_NAMES
from adain_runtime.trt.build import check_device
from adain_runtime.trt.builder import build_engine
from adain_runtime.trt.library import Library, installed_version, load_library
from adain_runtime.trt.options import BuildError, Options, Profile
from adain_runtime.trt.rebuild import as_our_error

CAPABILITY = "8.6"
"""What is built for where a matrix names nothing: one of the usual cards, as each takes its time."""


def probe_builder() -> str:
    """What builds; nothing is imported for it.

    Raises:
        UnavailableError: TensorRT for RTX isn't installed.
    """
    try:
        check_device(Options(flavor="rtx"))
    except BuildError as error:
        raise as_our_error(error) from error
    return installed_version("rtx")


def options_for(sizes: Sequence[str], capability: str) -> Options:
    """Engines for images from the least to the largest of these sizes.

    Args:
        sizes: HEIGHTxWIDTH.
        capability: of the GPUs, such as ``8.6``; empty is `CAPABILITY`.

    Raises:
        InputError: no such capability.
    """
    heights, widths = zip(*map(parse_size, sizes), strict=True)
    most = max(heights), max(widths)
    profile = Profile(min=(min(heights), min(widths)), opt=most, max=most)
    try:
        return Options(profile, "rtx", compute_capabilities=(capability or CAPABILITY,))
    except BuildError as error:
        raise as_our_error(error) from error


@dataclass(frozen=True)
class BuiltParts:
    """What became of a bundle's parts.

    Attributes:
        by: what built them.
        errors: part to why there is no engine of it.
        seconds: part to what its build took.
        size: of all engines, in bytes.
    """

    by: str
    errors: Mapping[str, str]
    seconds: Mapping[str, float]
    size: int


def build_parts(bundle: Bundle, options: Options) -> BuiltParts:
    """Build every part; what one is refused for doesn't keep the others from being built.

    Args:
        bundle: of ONNX graphs.
        options: how.

    Raises:
        UnavailableError: TensorRT for RTX doesn't come up here.
        InputError: the network doesn't take these sizes.
    """
    try:
        options.profile.check(bundle.manifest.sizes.multiple, bundle.manifest.sizes.minimum)
        library = load_library("rtx")
    except BuildError as error:
        raise as_our_error(error) from error
    errors: dict[str, str] = {}
    seconds: dict[str, float] = {}
    size = 0
    for part in (name for name in PART_NAMES if name in bundle.manifest.parts):
        start = perf_counter()
        try:
            size += _build(library, bundle, part, options)
        except (BuildError, InputError) as error:
            if isinstance(error, BuildError) and error.exit_code == UnavailableError.exit_code:
                raise as_our_error(error) from error
            errors[part] = " ".join(str(error).split())
        seconds[part] = perf_counter() - start
    return BuiltParts(str(library), errors, seconds, size)


def _build(library: Library, bundle: Bundle, part: str, options: Options) -> int:
    """Bytes of a part's engine; TensorRT for RTX takes what TensorRT refuses, so a graph is linted first."""
    import onnx

    from adain_export.trt_lint import require_clean

    graph = bundle.graph(part)
    require_clean(part, onnx.load(str(graph), load_external_data=True))
    shapes = {tensor.name: options.profile.shapes(tensor.shape) for tensor in bundle.part(part).inputs}
    return len(build_engine(library, Path(graph), shapes, options).engine)
