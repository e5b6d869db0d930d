"""MNN: made of our ONNX parts by the converter in MNN's wheel; the fast path on CPUs, and what Android apps link."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from adain_export.target import WEIGHTS, GraphRequest, Weights
from adain_export.targets.onnx import onnx_manifest, probe_tools, refuse_foreign_folder
from adain_runtime.backend import Options, Probe, require, require_backend
from adain_runtime.bundle import MANIFEST, Bundle, describe_files
from adain_runtime.errors import InputError, QualityError, UnavailableError
from adain_runtime.files import replacing_folder
from adain_runtime.manifest import Parity

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto

    from adain_export.calibration import Calibration
    from adain_export.target import Request
    from adain_model.network import Network

NAME = "mnn"
# MNN.tools.mnnconvert is a wrapper around this that installs a package by itself and reports to its makers; this isn't.
_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
_WEIGHTS: dict[Weights, tuple[str, ...]] = {
    "fp32": (),
    "fp16": ("--fp16",),
    # a zero point for each channel: 11 dB better on VGG-19 than without, and the files are as small
    "int8": ("--weightQuantBits", "8", "--weightQuantAsymmetric", "true"),
}
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "adain-edge/mnn")


class MnnTarget:
    """Exports MNN bundles."""

    name = NAME

    def probe(self) -> Probe:
        """Whether the tools of the ONNX target are installed, and MNN."""
        tools, backend = probe_tools(), require_probe()
        if not (tools or backend):
            return Probe(False, f"{tools.detail}; {backend.detail}", f"{tools.fix} MNN")
        if not tools:
            return tools
        return backend and Probe(True, f"{backend.detail.partition(',')[0]}, {tools.detail}")

    def request_for(
        self,
        name: str,
        precision: str,
        sizes: tuple[tuple[int, int], ...],  # noqa: ARG002 every target is asked alike, and one MNN graph takes any size
        calibration: Callable[[], Calibration],  # noqa: ARG002
    ) -> Request:
        """The request behind a label: ``fp32``, or ``fp32-w16`` and ``fp32-w8`` by how weights are stored.

        Raises:
            InputError: no such label.
        """
        weights = next((stored for stored in WEIGHTS if GraphRequest(name, weights=stored).label == precision), None)
        if weights is None:
            labels = ", ".join(GraphRequest(name, weights=stored).label for stored in WEIGHTS)
            raise InputError(f"target {NAME} has no precision {precision}; it has {labels}")
        return GraphRequest(name, weights=weights)

    def export(self, network: Network, request: Request, out: Path) -> Bundle:
        """Write ``out/NAME-mnn-PRECISION``, checked in MNN against torch: the graph exactly, then as it runs fast.

        Raises:
            InputError: a request for fp16 or int8 arithmetic, which MNN chooses where it runs.
        """
        require(f"target {NAME}", self.probe())
        _refuse_arithmetic(request)
        request = GraphRequest.of(request)
        from adain_export.onnx_parts import onnx_parts
        from adain_export.phase_major import lay_out_by_phase

        final = out / f"{request.name}-{NAME}-{request.label}"
        refuse_foreign_folder(final)
        made = onnx_parts(network, replace(request, weights="fp32"))
        interfaces = {part: replace(interface, file=f"{part}.mnn") for part, interface in made.interfaces.items()}
        with replacing_folder(final) as folder:
            for part, model in made.models.items():
                lay_out_by_phase(model)
                convert(model, folder / interfaces[part].file, request.weights)
            manifest = onnx_manifest(network, request, replace(made, interfaces=interfaces), NAME)
            manifest = replace(
                manifest,
                files=describe_files(folder),
                tools=dict(manifest.tools) | {"MNN": version("MNN")},
            )
            manifest = replace(manifest, parity=_parity(Bundle(folder, manifest), network, request))
            (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        return Bundle.open(final)


TARGET = MnnTarget()


def require_probe() -> Probe:
    """What the backend of the same name says of the installed MNN."""
    from adain_runtime.backends.mnn import BACKEND

    return BACKEND.probe()


def convert(model: ModelProto, path: Path, weights: Weights = "fp32") -> None:
    """Convert an ONNX model in a process of its own, and write the same bytes for the same model.

    MNN writes a random identifier into each file; it is replaced by one made of the file's other bytes.

    Raises:
        UnavailableError: the converter crashed.
        QualityError: it wrote no model.
    """
    if weights == "fp16":  # the converter cuts digits: on VGG-19 63 dB in place of 77
        from adain_export.stored_weights import rounded_to_half

        model = rounded_to_half(model)
    source = path.with_suffix(".source.onnx")
    source.write_bytes(model.SerializeToString(deterministic=True))
    names = ["-f", "ONNX", "--modelFile", source.name, "--MNNModel", path.name, "--bizCode", "adain"]
    try:
        done = subprocess.run(  # noqa: S603 our own interpreter, and names that we made
            [sys.executable, "-c", _CONVERT, *names, *_WEIGHTS[weights]],
            cwd=path.parent,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    finally:
        source.unlink()
    said = " / ".join((done.stdout + done.stderr).split("\n")[-6:]).strip(" /")
    if done.returncode:
        raise UnavailableError(f"MNN's converter ended with {done.returncode} on {path.name} ({said}); {_reinstall()}")
    if not path.is_file():
        raise QualityError(f"MNN's converter wrote no {path.name} ({said}); nothing was written")
    path.write_bytes(with_own_identifier(path.read_bytes()))


def with_own_identifier(data: bytes) -> bytes:
    """A model's bytes with the random identifier replaced by one that follows from the rest of them.

    Raises:
        QualityError: there is none in the model's head, so that this is no file as this version of MNN writes it.
    """
    found = _UUID.search(data, 0, 256)
    if found is None:
        raise QualityError(f"MNN {version('MNN')} wrote a model without an identifier; {_reinstall()}")
    start, end = found.span()
    rest = data[:start] + data[end:]
    return data[:start] + str(uuid.uuid5(_NAMESPACE, rest.hex())).encode() + data[end:]


def _reinstall() -> str:
    return 'pip install "MNN>=3.6.1,<3.7" is what was tested'


def _refuse_arithmetic(request: Request) -> None:
    if request.precision != "fp32" or request.int8 is not None:
        raise InputError(
            f"target mnn makes float32 graphs, and {request.accuracy} was asked for: MNN chooses its arithmetic where "
            "it runs. For small files there is --weights fp16 or int8; target onnx makes fp16 and int8 graphs"
        )


def _parity(bundle: Bundle, network: Network, request: GraphRequest) -> Parity:
    """The worse of MNN as it runs by default and MNN in exact mode, which must be as near as any fp32 bundle."""
    from adain_export.check import check
    from adain_export.tolerances import ANY, limits_of

    backend, runtime, bytes_too = require_backend(NAME), f"MNN {version('MNN')}", request.io == "uint8"
    with backend.open(bundle, Options(exact=True)) as session:
        exact = limits_of(ANY, request.label)
        check(session, network, request, f"{runtime}, exact", limits=exact, eight_bits=bytes_too)
    with backend.open(bundle, Options()) as session:
        return check(session, network, request, runtime, eight_bits=bytes_too)
