"""TensorRT: engines for the GPU here, for RTX cards elsewhere, or a kit that builds them on another machine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from adain_export.target import INT8_REWRITES, Request
from adain_export.targets.onnx import probe_tools, refuse_foreign_folder
from adain_runtime.backend import Probe, require
from adain_runtime.bundle import MANIFEST, Bundle
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.files import replacing_folder
from adain_runtime.trt.bar import build_bar
from adain_runtime.trt.build import TARGETS, build_bundle, check_device
from adain_runtime.trt.library import gpu_trouble, installed_version, module_name
from adain_runtime.trt.options import BuildError, Options
from adain_runtime.trt.rebuild import as_our_error

if TYPE_CHECKING:
    from adain_model.network import Network

NAME = "trt"
KIT = "trt-kit"


@dataclass(frozen=True)
class TrtRequest(Request):
    """What to export for TensorRT.

    Attributes:
        options: what the engines are built for, and how.
        kit: write a build kit, and build nothing.
        timing_cache: file that keeps what was timed; None keeps nothing.
    """

    rewrites: tuple[str, ...] = INT8_REWRITES  # phase-last was never timed on a GPU
    options: Options = field(default_factory=Options)
    kit: bool = False
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.options.flavor == "rtx" and (self.kit or self.timing_cache):
            raise InputError(
                "--kit and --timing-cache are for --flavor trt: TensorRT for RTX builds here, without a GPU, and times "
                "nothing while it builds"
            )
        if self.kit and self.timing_cache is not None:
            raise InputError("--timing-cache is for a build, and --kit builds nothing: give it to the kit's build.py")


class TrtTarget:
    """Exports engine bundles and build kits."""

    name = NAME

    def probe(self) -> Probe:
        """Whether engines for this machine's GPU can be built here; kits, and engines for RTX, may be all the same."""
        tools = probe_tools()
        if not tools:
            return tools
        try:
            check_device(Options())
        except BuildError as error:
            rtx = f"; --flavor rtx works ({installed_version('rtx')})" if module_name("rtx") else ""
            return Probe(False, f"no engine for a GPU here: {error}", f"--kit writes a build kit for elsewhere{rtx}")
        return Probe(True, f"{installed_version('trt')}; {tools.detail}")

    def export(self, network: Network, request: Request, out: Path) -> Bundle:
        """Write the bundle that was asked for; where no engine can be built here, the kit, and say so.

        Raises:
            UnavailableError: no engine was built, and why; the kit was written, and is named.
        """
        require(f"target {NAME}", probe_tools())
        asked = as_trt_request(request)
        options = asked.options
        try:
            options.profile.check(network.spec.stride, 2 * network.spec.stride)
            missing = None if asked.kit else _missing(options)
        except BuildError as error:
            raise as_our_error(error) from error
        if not (asked.kit or missing):
            return self._engines(network, asked, out)
        kit = self._kit(network, asked, out)
        if missing is not None:
            raise UnavailableError(
                f"no engine was built: {missing}; the build kit is {kit.path}: run its build.py where the GPU is "
                "(--kit asks for the kit alone)"
            )
        return kit

    def _kit(self, network: Network, request: TrtRequest, out: Path) -> Bundle:
        from adain_export.trt_kit import write_kit

        final = out / f"{request.name}-{KIT}-{request.label}"
        refuse_foreign_folder(final)
        with replacing_folder(final) as folder:
            write_kit(folder, network, request, request.options)
        return Bundle.open(final)

    def _engines(self, network: Network, request: TrtRequest, out: Path) -> Bundle:
        """Build from a kit of the moment, run the golden inputs where the GPU is here, and only then put it there."""
        from adain_export.trt_kit import write_kit

        final = out / f"{request.name}-{TARGETS[request.options.flavor]}-{request.label}"
        refuse_foreign_folder(final)
        with replacing_folder(final) as folder, tempfile.TemporaryDirectory(prefix="adain-trt-") as place:
            kit = Path(place) / "kit"
            kit.mkdir()
            write_kit(kit, network, request, request.options)
            try:
                with build_bar() as listener:
                    built = build_bundle(
                        kit,
                        Path(place) / "built",
                        request.options,
                        timing_cache=request.timing_cache,
                        listener=listener,
                    )
            except BuildError as error:
                raise as_our_error(error) from error
            if request.options.flavor == "trt":
                _record_parity(built, kit)
            for file in built.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
        return Bundle.open(final)


TARGET = TrtTarget()


def as_trt_request(request: Request) -> TrtRequest:
    """A request with the defaults of this target, where it is a plain one: for rewrites that are the plain default."""
    if isinstance(request, TrtRequest):
        return request
    asked = {part.name: getattr(request, part.name) for part in fields(Request)}
    if request.rewrites == Request.rewrites:
        del asked["rewrites"]
    return TrtRequest(**asked)


def _missing(options: Options) -> str | None:
    """Why no engine can be built on this machine; None where one can.

    Raises:
        BuildError: options that don't fit the device.
    """
    try:
        check_device(options)
    except BuildError as error:
        if error.exit_code != UnavailableError.exit_code:
            raise
        trouble = gpu_trouble() if options.flavor == "trt" else None
        return str(error) if trouble is None or trouble in str(error) else f"{error}; and {trouble}"
    return None


def _record_parity(built: Path, kit: Path) -> None:
    """Run the golden inputs, refuse what is off, and write the worst into the manifest."""
    from adain_runtime.backend import open_bundle
    from adain_runtime.trt.golden import golden_parity

    with open_bundle(built, backend=NAME) as session:
        parity = golden_parity(session, kit, f"torch {version('torch')} fp32")
        manifest = replace(session.bundle.manifest, parity=parity)
    (built / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
