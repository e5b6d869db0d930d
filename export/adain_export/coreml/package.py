"""Core ML packages on disk: one a part, or one with a function for each part and size; the same bytes each time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from adain_export.coreml.convert import converted, quiet, tools
from adain_export.coreml.request import CoremlRequest, Plan, Size
from adain_runtime.manifest import Function, Part
from adain_runtime.parts import part_interface

if TYPE_CHECKING:
    from adain_model.network import Network

SUFFIX = ".mlpackage"
VERBS = {"encoder": "encode", "decoder": "decode", "stylizer": "stylize"}
_MODEL = "com.apple.CoreML/model.mlmodel"
_IDENTIFIERS = "https://github.com/apple/coremltools/mlpackage/"
_DATE = "com.github.apple.coremltools.conversion_date"


def write_packages(
    network: Network, request: CoremlRequest, plan: Plan, folder: Path, described: Mapping[str, str]
) -> dict[str, Part]:
    """Convert the parts and write their packages.

    Args:
        network: rewritten as it is to be exported, float32.
        request: what was asked for.
        plan: what came of it.
        folder: gets the packages.
        described: the metadata's keys and values beside the descriptions.

    Returns:
        part name to what it takes and gives, and where.
    """
    parts = [part for part in VERBS if part in request.parts]
    if plan.multifunction:
        file = f"{request.name}{SUFFIX}"
        names = {(part, size): function_name(part, size) for part in parts for size in plan.sizes}
        with tempfile.TemporaryDirectory() as made:
            sources = {}
            for (part, size), name in names.items():
                sources[name] = Path(made) / f"{name}{SUFFIX}"
                _save(converted(part, network, request, plan, size), sources[name])
            _join(sources, function_name(parts[-1], plan.default), folder / file)
        finish(folder / file, request, network, described)
        return {
            part: replace(
                _interface(part, network, request, file),
                functions=tuple(Function(names[part, size], *size) for size in plan.sizes),
            )
            for part in parts
        }
    size = plan.default if plan.shapes == "fixed" else None
    interfaces = {}
    for part in parts:
        file = f"{request.name}_{part}{SUFFIX}"
        _save(converted(part, network, request, plan, size), folder / file)
        finish(folder / file, request, network, described)
        interfaces[part] = _interface(part, network, request, file)
    return interfaces


def function_name(part: str, size: Size) -> str:
    """``stylize_512`` for a square, ``stylize_512x768`` (height x width) for others."""
    height, width = size
    return f"{VERBS[part]}_{height}" + ("" if height == width else f"x{width}")


def _interface(part: str, network: Network, request: CoremlRequest, file: str) -> Part:
    whole = part_interface(part, network.spec, file, features="float16" if request.precision == "fp16" else "float32")
    one = [
        tuple(replace(tensor, shape=(1, *tensor.shape[1:])) for tensor in tensors)
        for tensors in (whole.inputs, whole.outputs)
    ]
    return Part(file, *one)


def _save(model: Any, path: Path) -> None:  # noqa: ANN401
    with quiet():
        model.save(str(path))


def _join(packages: Mapping[str, Path], default: str, path: Path) -> None:
    """Packages of one function as one of many; weights that are equal are stored once."""
    with quiet():
        ct = tools()
        descriptor = ct.utils.MultiFunctionDescriptor()
        for name, package in packages.items():
            descriptor.add_function(str(package), src_function_name="main", target_function_name=name)
        descriptor.default_function_name = default
        ct.utils.save_multifunction(descriptor, str(path))


def finish(package: Path, request: CoremlRequest, network: Network, described: Mapping[str, str]) -> None:
    """Describe a package for those who open it in Xcode, and take out what differs from run to run.

    coremltools writes the day and draws identifiers at random; both say nothing about the model.
    """
    from adain_export.coreml.metadata import describe

    with quiet():
        from coremltools.proto import Model_pb2

        model = package / "Data" / _MODEL
        spec = Model_pb2.Model()
        spec.ParseFromString(model.read_bytes())
    describe(spec, request, network, described)
    spec.description.metadata.userDefined.pop(_DATE, None)
    model.write_bytes(spec.SerializeToString(deterministic=True))
    path = package / "Manifest.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    entries = {
        str(uuid5(NAMESPACE_URL, _IDENTIFIERS + item["path"])): item for item in plain["itemInfoEntries"].values()
    }
    root = next(key for key, item in entries.items() if item["path"] == _MODEL)
    plain |= {"itemInfoEntries": entries, "rootModelIdentifier": root}
    path.write_text(json.dumps(plain, indent=4, sort_keys=True) + "\n", encoding="utf-8")
