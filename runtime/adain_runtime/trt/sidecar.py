"""What stands beside each engine: what built it, for what, from what. Read and held against this machine first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adain_runtime.bundle import Bundle
from adain_runtime.errors import BundleError
from adain_runtime.trt.build import SIDECAR, SIDECAR_SCHEMA
from adain_runtime.trt.library import NAMES
from adain_runtime.trt.options import FLAVORS, BuildError, Flavor, Options

_AGAIN = "build the engines again from their kit: python3 KIT/build.py"
_VERSION = re.compile(r"(\d+(?:\.\d+)*)(?:[.+-]?[a-z][\w.+-]*|\+[\w.]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Here:
    """What runs engines on this machine.

    Attributes:
        flavor: TensorRT or TensorRT for RTX.
        tensorrt: its version.
        capability: the GPU's compute capability.
        platform: operating system and processor.
    """

    flavor: Flavor
    tensorrt: str
    capability: str
    platform: str


@dataclass(frozen=True)
class Sidecar:
    """The record of one engine.

    Attributes:
        part: what it computes.
        engine_bytes: its size.
        engine_sha256: its digest.
        flavor: what built it.
        tensorrt: the version of that.
        compute_capabilities: of the GPUs that it is for.
        hw_compat: whether it runs on every later GPU too.
        version_compatible: whether later versions of the same major TensorRT load it.
        platform: operating system and processor that it was built on.
        onnx: files that it was made from, to their SHA-256.
        options: how it was built.
    """

    part: str
    engine_bytes: int
    engine_sha256: str
    flavor: Flavor
    tensorrt: str
    compute_capabilities: tuple[str, ...]
    hw_compat: bool
    version_compatible: bool
    platform: str
    onnx: Mapping[str, str]
    options: Options

    def differences(self, here: Here) -> list[str]:
        """What of this machine the engine isn't for, each with both values; empty where it can be loaded."""
        found = []
        if self.flavor != here.flavor:
            return [f"it was built by {NAMES[self.flavor]}, and {NAMES[here.flavor]} is here"]
        if not self._version_fits(here.tensorrt):
            found.append(f"it was built by {NAMES[self.flavor]} {self.tensorrt}, and {here.tensorrt} is here")
        if not self._capability_fits(here.capability):
            built_for = ", ".join(self.compute_capabilities)
            found.append(f"it was built for compute capability {built_for}, and this GPU has {here.capability}")
        if self.platform != here.platform:
            found.append(f"it was built on {self.platform}, and this is {here.platform}")
        return found

    def _version_fits(self, version: str) -> bool:
        if version == self.tensorrt:
            return True
        built, here = (_numbers(text) for text in (self.tensorrt, version))
        return self.version_compatible and built[:1] == here[:1] and here >= built

    def _capability_fits(self, capability: str) -> bool:
        return capability in self.compute_capabilities or (self.hw_compat and _numbers(capability) >= (8, 0))


def read_sidecar(bundle: Bundle, part: str) -> Sidecar:
    """The record beside a part's engine, whose digest it must name.

    Raises:
        BundleError: it is missing, damaged, or another engine's.
    """
    entry = bundle.manifest.files[bundle.part(part).file]
    path = bundle.path / f"{part}{SIDECAR}"
    if path.name not in bundle.manifest.files:
        raise BundleError(
            f"{path}: missing, so nothing says which TensorRT and GPU {part}'s engine is for, and it is not loaded; "
            f"{_AGAIN}"
        )
    try:
        found = _parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, BuildError) as error:
        detail = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{path}: damaged ({detail}); {_AGAIN}") from error
    if (found.part, found.engine_bytes, found.engine_sha256) != (part, entry.bytes, entry.sha256):
        raise BundleError(
            f"{path}: describes {found.part}'s engine of {found.engine_bytes:,} bytes, SHA-256 "
            f"{found.engine_sha256[:16]}, and {bundle.part(part).file} has {entry.bytes:,} bytes, {entry.sha256[:16]}; "
            f"{_AGAIN}"
        )
    return found


def _parse(plain: Mapping[str, Any]) -> Sidecar:
    if plain["schema_version"] != SIDECAR_SCHEMA:
        raise ValueError(f"schema_version {plain['schema_version']!r}, and {SIDECAR_SCHEMA} is read")
    if plain["flavor"] not in FLAVORS:
        raise ValueError(f"flavor {plain['flavor']!r}")
    for flag in ("hw_compat", "version_compatible"):
        if not isinstance(plain[flag], bool):
            raise TypeError(f"{flag} is {plain[flag]!r}")
    for digest in (plain["engine"]["sha256"], *plain["onnx"].values()):
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256")
    capabilities = tuple(plain["compute_capabilities"])
    for text in (plain["tensorrt"], *capabilities):
        _numbers(text)
    return Sidecar(
        part=plain["part"],
        engine_bytes=plain["engine"]["bytes"],
        engine_sha256=plain["engine"]["sha256"],
        flavor=plain["flavor"],
        tensorrt=plain["tensorrt"],
        compute_capabilities=capabilities,
        hw_compat=plain["hw_compat"],
        version_compatible=plain["version_compatible"],
        platform=plain["platform"],
        onnx=dict(plain["onnx"]),
        options=Options.from_json(plain["options"]),
    )


def _numbers(version: str) -> tuple[int, ...]:
    """``10.13.3`` as (10, 13, 3), and ``10.13.3.post1`` too; raises ValueError for what is no version."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no version")
    return tuple(int(word) for word in found[1].split("."))
