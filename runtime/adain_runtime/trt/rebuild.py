"""Engines for this very machine, built once from a kit's ONNX and kept in a cache by what they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from adain_runtime.bundle import Bundle
from adain_runtime.cache import SWITCH, cache_folder
from adain_runtime.errors import AdainError, BundleError, InputError, QualityError, UnavailableError
from adain_runtime.files import replacing_file
from adain_runtime.manifest import Manifest
from adain_runtime.trt import build
from adain_runtime.trt.bar import build_bar
from adain_runtime.trt.options import BuildError, Options
from adain_runtime.trt.sidecar import Here, Sidecar

_BUILDER = 2  # 1 left TF32 on
_ERRORS: dict[int, type[AdainError]] = {1: QualityError, 2: InputError, 3: UnavailableError}


def as_our_error(error: BuildError) -> AdainError:
    """The builder stands alone and has an error of its own; this is the same in the house's family."""
    return _ERRORS[error.exit_code](str(error))


def cached_engines(kit: Bundle, here: Here, asked: Options | None = None) -> Bundle:
    """The engines of a kit or an ONNX bundle for this machine, built now where they are not there.

    Args:
        kit: what they are built from.
        here: the machine.
        asked: how they are built, which is for this machine then; None takes the kit's own options.

    Raises:
        InputError: options that don't fit the device or the kit's golden outputs, or no folder for caches.
        QualityError: the build failed.
        UnavailableError: TensorRT doesn't come up.
    """
    try:
        options = options_here(asked or build.kit_options(kit.path), here)
        manifest = build.read_kit(kit.path)
        if trouble := build.golden_trouble(kit.path, manifest, options.profile):
            raise InputError(
                f"--rebuild keeps no engines that it can't compare: {trouble}; or build these by hand, by "
                f"{kit.path / 'build.py'}"
            )
        caches = cache_folder("trt")
        if caches is None:
            raise InputError(f"--rebuild keeps its engines in a cache, and {SWITCH} turns it off; set that to a folder")
        folder = caches / cache_key(kit, here, options)
        with suppress(InputError):  # nothing there yet, or damaged: it is built again
            return Bundle.open(folder / build.bundle_name(manifest, options))
        with suppress(OSError):  # it was of the engines before; where nothing can be written, the build says so
            _mark(folder / build.bundle_name(manifest, options)).unlink()
        with build_bar() as listener:
            made = build.build_bundle(kit.path, folder, options, listener=listener)
    except BuildError as error:
        raise as_our_error(error) from error
    return Bundle.open(made)


def is_checked(engines: Bundle, golden: str) -> bool:
    """Whether these engines have given the golden outputs of this digest before."""
    try:
        return _mark(engines.path).read_text(encoding="utf-8") == golden
    except (OSError, ValueError):
        return False


def remember_checked(engines: Bundle, golden: str) -> None:
    """Keep that they have; where the cache can't be written, they are checked again the next time."""
    with suppress(InputError), replacing_file(_mark(engines.path)) as part:
        part.write_text(golden, encoding="utf-8")


def _mark(engines: Path) -> Path:
    return engines.with_name(f"{engines.name}.checked")


def options_here(options: Options, here: Here) -> Options:
    """A kit's options for the TensorRT and the GPU that are here."""
    if here.flavor == "rtx":
        return replace(
            options, flavor="rtx", compute_capabilities=(here.capability,), hw_compat=False, version_compatible=False
        )
    return replace(options, flavor="trt", compute_capabilities=())


def cache_key(kit: Bundle, here: Here, options: Options) -> str:
    """Changes with the graphs, the weights, the options, TensorRT, the GPU and the system."""
    digests = {name: entry.sha256 for name, entry in kit.manifest.files.items() if name.endswith((".onnx", ".bin"))}
    parts = {"files": digests, "here": asdict(here), "options": options.to_json(), "schema": build.SIDECAR_SCHEMA}
    parts["builder"] = _BUILDER
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def other_graphs(bundle: Bundle, sidecars: Mapping[str, Sidecar]) -> str | None:
    """What the kit beside a bundle says against its engines: that they were made from other ONNX, with both digests.

    None where no kit stands there, or one that can't be read: engines don't need it.
    """
    place = _kit_place(bundle)
    try:
        kit = Manifest.from_json((place / build.MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, BundleError):
        return None
    for part, sidecar in sidecars.items():
        found = {name: kit.files[name].sha256 for name in sidecar.onnx if name in kit.files}
        if found != dict(sidecar.onnx):
            return (
                f"{part}'s was made from {_short(sidecar.onnx)}, and the kit beside them, {place}, has {_short(found)}"
            )
    return None


def kit_beside(bundle: Bundle, sidecars: Mapping[str, Sidecar]) -> tuple[Bundle, Options]:
    """The kit that a bundle's engines were built from, where it stands beside it, with the options of that build.

    Raises:
        InputError: there is none.
        BundleError: it is another one, or the engines are of several builds.
    """
    place = _kit_place(bundle)
    where = f"{bundle.path}: to build its engines again, its kit is wanted at {place}"
    if not place.is_dir():
        raise InputError(f"{where}; put it there, or run the kit itself: --model KIT --rebuild")
    kit = Bundle.open(place)
    if other := other_graphs(bundle, sidecars):
        raise BundleError(f"{where}, and {other}; run that kit itself: --model {place} --rebuild")
    options, *others = dict.fromkeys(sidecar.options for sidecar in sidecars.values())
    if others:
        raise BundleError(
            f"{bundle.path}: its engines were built with different options, so they can't be built again as they were; "
            f"run the kit itself: --model {place} --rebuild"
        )
    return kit, options


def _kit_place(bundle: Bundle) -> Path:
    return bundle.path.resolve().parent / f"{bundle.manifest.name}-trt-kit-{bundle.manifest.precision}"


def _short(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:16]}" for name, digest in sorted(digests.items())) or "no such file"
