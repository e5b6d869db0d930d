"""Core ML: .mlpackage folders for iPhone, iPad and Mac, executed by the reference and compared with PyTorch."""

from __future__ import annotations

import copy
import json
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from adain_export.targets.onnx import refuse_foreign_folder
from adain_runtime.backend import Options, Probe, require, require_backend
from adain_runtime.bundle import MANIFEST, Bundle, describe_files
from adain_runtime.errors import InputError, QualityError
from adain_runtime.files import replacing_folder
from adain_runtime.manifest import Manifest, Parity, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from adain_export.calibration import Calibration
    from adain_export.coreml.request import CoremlRequest, Plan
    from adain_export.target import Request
    from adain_model.network import Network

NAME = "coreml"
REFERENCE = "coreml-reference"
OLDEST, TOO_NEW = (9, 0), (10, 0)
NEWEST_PYTHON = (3, 13)
_TOOLS = ("torch", "coremltools", "threadpoolctl")
_INSTALL = 'pip install torch "coremltools>=9.0,<10" threadpoolctl'
SMALLEST_PICTURE = 64
"""Pixels of the shorter side from which on a package is checked on pictures too: below there is little to see."""


class CoremlTarget:
    """Exports Core ML bundles."""

    name = NAME

    def probe(self) -> Probe:  # noqa: PLR0911 a return for each thing that may be missing
        """Whether torch and coremltools 9 are installed."""
        if sys.version_info[:2] > NEWEST_PYTHON:
            return Probe(
                False,
                f"coremltools has no wheel for Python {platform.python_version()}; its newest is for "
                f"{'.'.join(map(str, NEWEST_PYTHON))}",
                "use a virtual environment of Python 3.13: python3.13 -m venv .venv",
            )
        missing = [tool for tool in _TOOLS if find_spec(tool) is None]
        if not has_wheel():
            return Probe(
                False,
                f"coremltools has no wheel for {platform.system()} {platform.machine()}, and without its native half "
                "it writes no package",
                "export on macOS, or on Linux with an x86-64 processor",
            )
        if missing:
            return Probe(False, f"{', '.join(missing)} not installed", _INSTALL)
        if not _is_whole():
            lost = "coremltools has lost its native half, which writes packages"
            return Probe(False, lost, f"{_INSTALL} --force-reinstall")
        try:
            found = version("coremltools")
        except PackageNotFoundError:
            return Probe(False, "coremltools is there without its metadata, so nobody knows its version", _INSTALL)
        numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
        if not OLDEST <= numbers < TOO_NEW:
            return Probe(False, f"coremltools {found} is installed, and 9 is what the conversion is made for", _INSTALL)
        return Probe(True, ", ".join(f"{tool} {version(tool)}" for tool in _TOOLS))

    def request_for(
        self, name: str, precision: str, sizes: tuple[tuple[int, int], ...], calibration: Callable[[], Calibration]
    ) -> Request:
        """The request behind a label such as ``fp16``, ``fp16-pal6`` or ``fp16-w8a8``, for images of these sizes.

        Raises:
            InputError: no such label.
        """
        from adain_export.coreml.request import labelled

        return labelled(name, precision, sizes, calibration)

    def export(self, network: Network, request: Request, out: Path) -> Bundle:
        """Write ``out/NAME-coreml-PRECISION``, executed by the reference against torch.

        A plain `Request` takes the defaults of `CoremlRequest` for what it doesn't say.
        """
        require(f"target {NAME}", self.probe())
        from adain_export import rewrites
        from adain_export.coreml.compress import ready_for_codes
        from adain_export.coreml.package import write_packages
        from adain_export.coreml.readme import FILE, readme
        from adain_export.coreml.request import plan
        from adain_model.checkpoint import encoder_id, weights_sha256

        wanted = coreml_request(request)
        planned = plan(wanted, network.spec)
        final = out / f"{wanted.name}-{NAME}-{wanted.label}"
        refuse_foreign_folder(final)
        calibration = None if wanted.int8 is None else wanted.int8.calibration.digest
        wanted = _as_core_ml_computes(wanted, network)
        int8 = wanted.int8
        rewritten = copy.deepcopy(network) if int8 is None else int8.calibration.prepared(network)
        applied = rewrites.apply(rewritten, [name for name in wanted.rewrites if name == "fold-color"])
        rewritten = ready_for_codes(rewritten, wanted, planned)
        manifest = Manifest(
            name=wanted.name,
            target=NAME,
            precision=wanted.label,
            spec=network.spec,
            weights_sha256=weights_sha256(network),
            encoder_id=encoder_id(network),
            parts={},
            files={},
            sizes=sizes_of(planned, network.spec.stride),
            rewrites=applied,
            calibration=calibration,
            int8=() if int8 is None else int8.layers(wanted.parts),
            tools={tool: version(tool) for tool in ("adain-edge", *_TOOLS)} | {"python": platform.python_version()},
            options={
                "io": wanted.io,
                "shapes": planned.shapes,
                "target": planned.system,
                "weights": "int8" if int8 is not None else wanted.weights,
                "activations": "none" if int8 is None else "int8",
            },
        )
        with replacing_folder(final) as folder:
            parts = write_packages(rewritten, wanted, planned, folder, _described(manifest, planned))
            (folder / FILE).write_text(readme(network, wanted, planned, parts, folder), encoding="utf-8")
            manifest = replace(manifest, parts=parts, files=describe_files(folder))
            manifest = replace(manifest, parity=_parity(Bundle(folder, manifest), network, wanted, planned))
            (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        return Bundle.open(final)


TARGET = CoremlTarget()


def coreml_request(request: Request) -> CoremlRequest:
    """A request with Core ML's own options, at their defaults where it has none."""
    from adain_export.coreml.request import CoremlRequest

    if isinstance(request, CoremlRequest):
        return request
    return CoremlRequest(**{field.name: getattr(request, field.name) for field in fields(request)})


def _as_core_ml_computes(request: CoremlRequest, network: Network) -> CoremlRequest:
    """A request whose calibration has neither biases nor the layer that AdaIN feeds in int8.

    Its biases make up for rounding to the nearest, which is not what is done here.

    Raises:
        InputError: the calibration is another checkpoint's, or has no other layer in int8.
    """
    if request.int8 is None:
        return request
    from adain_export.coreml.compress import fed_by_adain

    calibration = request.int8.calibration
    calibration.check(network)
    fed = fed_by_adain(calibration)
    layers = tuple(layer for layer in calibration.int8 if layer != fed)
    if not layers:
        raise InputError(
            f"the calibration has no layer in int8 but {fed}, which AdaIN feeds and Core ML's W8A8 leaves float: name "
            'others in its "int8"'
        )
    improvements = replace(calibration.improvements, bias={})
    fewer = replace(calibration, int8=layers, search=None, improvements=improvements)
    return replace(request, int8=replace(request.int8, calibration=fewer))


def sizes_of(plan: Plan, stride: int) -> Sizes:
    """What the manifest says of the sizes."""
    if plan.shapes == "range":
        low, high = plan.bounds
        return Sizes(stride, low, high)
    return Sizes(stride, 2 * stride, exact=plan.sizes)


def _described(manifest: Manifest, plan: Plan) -> dict[str, str]:
    """The manifest's facts for the package's own metadata, so that a package without its bundle still says them."""
    from adain_export.coreml.request import spell

    return {
        "name": manifest.name,
        "precision": manifest.precision,
        "weights_sha256": manifest.weights_sha256,
        "encoder_id": manifest.encoder_id,
        "spec": json.dumps(manifest.spec.to_json(), sort_keys=True),
        "sizes": ", ".join(map(spell, plan.sizes)),
        "rewrites": ", ".join(manifest.rewrites),
        **manifest.options,
    } | ({} if manifest.calibration is None else {"calibration": manifest.calibration})


@contextmanager
def _advised(request: CoremlRequest) -> Iterator[None]:
    """Say what may be done about a package that differs too much."""
    try:
        yield
    except QualityError as error:
        if request.allow_low_quality:
            raise
        raise QualityError(f"{error}; store more bits, or keep it with --allow-low-quality") from error


def _parity(bundle: Bundle, network: Network, request: CoremlRequest, plan: Plan) -> Parity:
    from adain_export.check import check
    from adain_export.coreml.pictures import sample_pairs
    from adain_export.coreml.tolerances import limits_for
    from adain_export.threads import one_thread

    low, high = plan.bounds
    sizes = list(plan.sizes)
    if plan.shapes == "range":  # its corners, as far as they stay small enough to be run at once
        sizes = list(dict.fromkeys([(low, min(high, 2 * low)), plan.default]))
    few_values = request.weights != "none" or request.int8 is not None
    large = [size for size in sizes if min(size) >= SMALLEST_PICTURE]
    pairs = sample_pairs(*min(large, key=lambda size: size[0] * size[1])) if few_values and large else ()
    with one_thread(), require_backend(REFERENCE).open(bundle, Options()) as session, _advised(request):
        return check(
            session,
            network,
            request,
            f"{REFERENCE} (executed op by op, not Core ML)",
            sizes=[(1, *size) for size in sizes],
            limits=limits_for(request),
            eight_bits=request.io == "image",
            pairs=pairs,
        )


def has_wheel() -> bool:
    """Whether coremltools is made for this system."""
    return platform.system() == "Darwin" or (platform.system() == "Linux" and platform.machine() == "x86_64")


def _is_whole() -> bool:
    """Whether coremltools is installed with its native half: pip builds it without where it has no wheel."""
    found = find_spec("coremltools")
    places = (found.submodule_search_locations if found else None) or ()
    return any(any(Path(place).glob("libmilstoragepython*")) for place in places)
