"""TensorRT, or TensorRT for RTX: engines that were built for this GPU, without torch or pycuda."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from contextlib import suppress

from adain_runtime.backend import Array, Options, Probe, check_target
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.session import BaseSession
from adain_runtime.trt.build import SOURCES, TARGETS
from adain_runtime.trt.cuda import Cuda, CudaError, has_bindings, open_cuda
from adain_runtime.trt.engine import Engine
from adain_runtime.trt.library import (
    INSTALL,
    Library,
    gpu_trouble,
    installed_flavor,
    installed_version,
    load_library,
    module_name,
    this_platform,
)
from adain_runtime.trt.options import BuildError, Flavor
from adain_runtime.trt.rebuild import (
    as_our_error,
    cached_engines,
    is_checked,
    kit_beside,
    other_graphs,
    remember_checked,
)
from adain_runtime.trt.sidecar import Here, Sidecar, read_sidecar

NAME = "trt"


class TrtBackend:
    """Runs engine bundles; with ``rebuild``, kits and ONNX bundles too, by engines that are built into a cache."""

    name = NAME

    def probe(self) -> Probe:
        """Whether TensorRT is installed and a GPU is here; TensorRT itself is not imported."""
        flavor = installed_flavor()
        if flavor is None:
            return Probe(False, "neither tensorrt nor tensorrt_rtx is installed", INSTALL["trt"])
        what = installed_version(flavor)
        if trouble := gpu_trouble(open_cuda):
            return Probe(False, f"{what} is installed, and {trouble}", "it wants an NVIDIA GPU and its driver")
        return Probe(True, f"{what}; buffers by {'cuda-bindings' if has_bindings() else 'libcudart'}")

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """An engine bundle, a kit or an ONNX bundle by its folder, or an embedded ONNX model by name."""
        return find_bundle(model, "onnx")

    def open(self, bundle: Bundle, options: Options) -> TrtSession:
        """Open engines whose sidecars say that they are for this TensorRT, GPU and system.

        Raises:
            InputError: they are for another, or made from another ONNX than that of the kit beside them, or the bundle
                holds ONNX and ``rebuild`` was not asked for.
            BundleError: a sidecar is missing or damaged.
            UnavailableError: TensorRT or the GPU doesn't come up.
        """
        options.only(NAME, "rebuild")
        check_target(bundle, NAME, *TARGETS.values(), *SOURCES)
        kit = None
        if bundle.manifest.target in SOURCES:
            if not options.rebuild:
                raise InputError(
                    f"{bundle.path}: holds ONNX graphs and no engines: add --rebuild, which builds them for this GPU "
                    "and keeps them in a cache (minutes, once), or build them with adain-export trt"
                )
            kit = bundle
            parts = bundle.manifest.parts.values()
            if any(tensor.dtype == "uint8" for part in parts for tensor in (*part.inputs, *part.outputs)):
                raise InputError(f"{bundle.path}: its images are bytes (--io uint8), and engines take float planes")
        library, cuda, here = _start(_flavor_of(bundle))
        asked = None
        if kit is None:
            sidecars = {part: read_sidecar(bundle, part) for part in bundle.manifest.parts}
            trouble = [text for sidecar in sidecars.values() for text in sidecar.differences(here)]
            if other := other_graphs(bundle, sidecars):
                trouble.append(other)
            if trouble and not options.rebuild:
                raise InputError(
                    f"{bundle.path}: its engines are not for here: {'; '.join(dict.fromkeys(trouble))}; build them "
                    "again from their kit: python3 KIT/build.py, or adain-run --backend trt --model KIT --rebuild"
                )
            if trouble:
                kit, asked = kit_beside(bundle, sidecars)
        if kit is not None:
            bundle = cached_engines(kit, here, asked)
            sidecars = {part: read_sidecar(bundle, part) for part in bundle.manifest.parts}
        session = TrtSession(bundle, sidecars, library, cuda, f"{library} on compute capability {here.capability}")
        if kit is not None:
            _check_golden(session, kit)
        return session


BACKEND = TrtBackend()


def _flavor_of(bundle: Bundle) -> Flavor:
    """What a bundle wants, where it is installed; else what is."""
    wanted: Flavor = "rtx" if bundle.manifest.target == TARGETS["rtx"] else "trt"
    found = wanted if module_name(wanted) else installed_flavor()
    if found is None:
        raise UnavailableError(f"backend {NAME}: neither tensorrt nor tensorrt_rtx is installed; {INSTALL['trt']}")
    return found


def _start(flavor: Flavor) -> tuple[Library, Cuda, Here]:
    try:
        library = load_library(flavor)
        cuda = open_cuda()
        return library, cuda, Here(flavor, library.version, cuda.capability(), this_platform())
    except BuildError as error:
        raise as_our_error(error) from error
    except CudaError as error:
        raise UnavailableError(f"backend {NAME}: CUDA doesn't come up here ({error}); look at its driver") from error


def _check_golden(session: TrtSession, kit: Bundle) -> None:
    """Engines in the cache must once have given what their kit says; a session of others is closed again."""
    from adain_runtime.trt.golden import FILE, golden_parity

    if FILE not in kit.manifest.files or is_checked(session.bundle, kit.manifest.files[FILE].sha256):
        return
    try:
        golden_parity(session, kit.path, "the kit")
        remember_checked(session.bundle, kit.manifest.files[FILE].sha256)
    except BaseException:
        session.close()
        raise


class TrtSession(BaseSession):
    """Open engines on one stream. A part's engine is loaded when it is first run.

    What the encoder gave as ``features`` stays on the device too: fed to the decoder as the very same array, which
    can't be written to, it isn't sent again. Nor are a style's statistics, while they are the last ones used.
    """

    def __init__(
        self, bundle: Bundle, sidecars: Mapping[str, Sidecar], library: Library, cuda: Cuda, device: str
    ) -> None:
        self._sidecars = sidecars
        self._library = library
        self._cuda = cuda
        self._engines: dict[str, Engine] = {}
        self._features: tuple[weakref.ref[Array], int] | None = None
        super().__init__(bundle, device)
        try:
            self._stream = cuda.new_stream()
        except CudaError as error:
            raise UnavailableError(f"backend {NAME}: no CUDA stream can be made ({error})") from error

    def run(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a part, within its engine's profile.

        Raises:
            InputError: a shape outside the profile, which the message names; or see `BaseSession.run`.
        """
        if part in self._sidecars:
            self._check_profile(part, feeds)
        return super().run(part, feeds)

    def _check_profile(self, part: str, feeds: Mapping[str, Array]) -> None:
        profile = self._sidecars[part].options.profile
        for tensor in self.bundle.part(part).inputs:
            shape = feeds[tensor.name].shape if tensor.name in feeds else ()
            least, _, most = profile.shapes(tensor.shape)
            if len(shape) == len(least) and not all(
                low <= side <= high for low, side, high in zip(least, shape, most, strict=True)
            ):
                raise InputError(
                    f"{part} input {tensor.name!r} {list(shape)} is outside the engine's profile ({profile}): take a "
                    "picture within it (--size, and --style-size for a style), or build engines with another --max"
                )

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        engine = self._engine(part)
        resident = {}
        if self._features is not None and "features" in feeds and self._features[0]() is feeds["features"]:
            resident["features"] = self._features[1]
        if part == "encoder":
            self._features = None  # its memory is about to be written, or given back for more
        outputs = engine.run(feeds, resident)
        if "features" in outputs:
            outputs["features"].setflags(write=False)
            self._features = weakref.ref(outputs["features"]), engine.device_address("features")
        return outputs

    def _engine(self, part: str) -> Engine:
        if part not in self._engines:
            sidecar = self._sidecars[part]
            self._engines[part] = Engine(
                self._library,
                self._cuda,
                self._stream,
                self.bundle.graph(part),
                self.bundle.part(part),
                host_code=sidecar.version_compatible,
            )
        return self._engines[part]

    def close(self) -> None:
        """Free the engines, their buffers and the stream."""
        if self._closed:
            return
        super().close()
        self._features = None
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        with suppress(CudaError):  # a device that has failed has nothing left to free
            self._cuda.drop_stream(self._stream)
