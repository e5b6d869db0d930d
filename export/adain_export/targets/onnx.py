"""ONNX: one graph a part over one weights file, run by ONNX Runtime and read by most other tools."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from adain_export.target import GraphRequest
from adain_runtime.backend import Options, Probe, require, require_backend
from adain_runtime.bundle import MANIFEST, Bundle, describe_files, unlisted
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_folder
from adain_runtime.manifest import Manifest, Parity, Sizes

if TYPE_CHECKING:
    from adain_export.onnx_parts import OnnxParts
    from adain_export.target import Request
    from adain_model.network import Network

NAME = "onnx"
TOOLS = ("torch", "onnx", "onnxscript")
_INSTALL = f"pip install {' '.join(TOOLS)}"


class OnnxTarget:
    """Exports ONNX bundles."""

    name = NAME

    def probe(self) -> Probe:
        """Whether torch, onnx and onnxscript are installed."""
        return probe_tools()

    def export(self, network: Network, request: Request, out: Path) -> Bundle:
        """Write ``out/NAME-onnx-PRECISION``, checked in ONNX Runtime against torch."""
        require(f"target {NAME}", self.probe())
        from adain_export.onnx_parts import onnx_parts
        from adain_export.shared_weights import save_sharing

        request = GraphRequest.of(request)
        if request.weights == "int8":
            raise InputError("target onnx stores weights as fp32 or fp16, and target mnn as int8 too")
        final = out / f"{request.name}-{NAME}-{request.label}"
        refuse_foreign_folder(final)
        made = onnx_parts(network, request)
        with replacing_folder(final) as folder:
            save_sharing(made.models, folder)
            manifest = onnx_manifest(network, request, made, NAME)
            manifest = replace(manifest, files=describe_files(folder))
            manifest = replace(manifest, parity=onnxruntime_parity(Bundle(folder, manifest), network, request))
            (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        return Bundle.open(final)


TARGET = OnnxTarget()


def probe_tools() -> Probe:
    """Whether torch, onnx and onnxscript are installed, which every format made of ONNX wants."""
    missing = [tool for tool in TOOLS if find_spec(tool) is None]
    if missing:
        return Probe(False, f"{', '.join(missing)} not installed", _INSTALL)
    return Probe(True, ", ".join(f"{tool} {version(tool)}" for tool in TOOLS))


def onnx_manifest(network: Network, request: Request, made: OnnxParts, target: str) -> Manifest:
    """What a bundle of ONNX graphs says of itself; its files and its parity are still to be filled in."""
    from adain_model.checkpoint import encoder_id, weights_sha256

    int8 = request.int8
    return Manifest(
        name=request.name,
        target=target,
        precision=request.label,
        spec=network.spec,
        weights_sha256=weights_sha256(network),
        encoder_id=encoder_id(network),
        parts=made.interfaces,
        files={},
        sizes=Sizes(multiple=network.spec.stride, minimum=2 * network.spec.stride),
        rewrites=made.rewrites,
        calibration=None if int8 is None else int8.calibration.digest,
        int8=() if int8 is None else int8.layers(made.interfaces),
        tools={tool: version(tool) for tool in ("adain-edge", *TOOLS)} | {"python": platform.python_version()},
    )


def onnxruntime_parity(bundle: Bundle, network: Network, request: Request) -> Parity:
    """The written graphs, run by ONNX Runtime, against torch.

    Raises:
        QualityError: they differ by more than the precision allows.
    """
    from adain_export.check import check

    eight_bits = GraphRequest.of(request).io == "uint8"
    with require_backend(NAME).open(bundle, Options()) as session:
        return check(session, network, request, f"onnxruntime {version('onnxruntime')}", eight_bits=eight_bits)


def refuse_foreign_folder(path: Path) -> None:
    """Refuse to replace what is no bundle, before the work is done.

    Raises:
        InputError: something stands at ``path`` that an export did not make, or its parent is no folder.
    """
    if path.parent.exists() and not path.parent.is_dir():
        raise InputError(f"{path.parent}: is a file, and a folder is wanted; choose another -o")
    if path.is_symlink() or (path.exists() and not (path / MANIFEST).is_file()):
        raise InputError(f"{path}: exists and is no bundle, so it is not replaced; choose another -o")
    if path.exists() and (strangers := unlisted(path, _listed_files(path / MANIFEST))):
        raise InputError(
            f"{path}: holds {', '.join(strangers[:3])} beside the bundle, which replacing it would lose; move "
            "it elsewhere, or choose another -o"
        )


def _listed_files(manifest: Path) -> list[str]:
    """What an older export may have written there, even one whose manifest is damaged or of another schema."""
    try:
        return list(json.loads(manifest.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
