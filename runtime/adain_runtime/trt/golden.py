"""Inputs and outputs that a build kit carries: whether engines built elsewhere compute what PyTorch does.

    python -m adain_runtime.trt.golden KIT [BUNDLE]

runs them through the bundle's engines (without BUNDLE: through those that are built for this machine into the cache).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adain_runtime.backend import Array, Session, open_bundle
from adain_runtime.bundle import Bundle
from adain_runtime.errors import AdainError, BundleError, InputError, QualityError
from adain_runtime.manifest import Parity
from adain_runtime.metrics import max_abs, psnr, relative_l2
from adain_runtime.trt.build import TARGETS, OneLine
from adain_runtime.trt.golden_fit import GOLDEN, golden_misfit
from adain_runtime.trt.sidecar import read_sidecar

FILE = GOLDEN


@dataclass(frozen=True)
class Compared:
    """One output against the golden one.

    Attributes:
        part: which part.
        output: which of its outputs.
        shape: of that output.
        max_abs: largest absolute difference.
        psnr: dB; against 1 for an image, against the largest magnitude for the rest.
        relative_l2: relative L2 error.
        wanted: the least PSNR that the precision allows.
    """

    part: str
    output: str
    shape: tuple[int, ...]
    max_abs: float
    psnr: float
    relative_l2: float
    wanted: float

    def __bool__(self) -> bool:
        return self.psnr >= self.wanted

    def __str__(self) -> str:
        return f"{self.part} {self.output}: {self.psnr:.1f} dB, at least {self.wanted:g} wanted"


def save_golden(path: Path, cases: Mapping[str, tuple[Mapping[str, Array], Mapping[str, Array]]], least: float) -> None:
    """Write part name to (feeds, outputs), and the least PSNR in dB that their precision allows."""
    from safetensors.numpy import save_file

    tensors = {
        f"{part}.{way}.{name}": np.ascontiguousarray(values)
        for part, ways in cases.items()
        for way, named in zip(("in", "out"), ways, strict=True)
        for name, values in named.items()
    }
    save_file(tensors, path, {"psnr": f"{least:g}"})
    path.chmod(0o644)  # safetensors makes files that nobody else may read


def compare(session: Session, kit: Path) -> list[Compared]:
    """Run a kit's golden inputs of the parts that a session has.

    Raises:
        BundleError: the kit has none, or they are damaged.
        InputError: they are outside the profile of the session's engines.
    """
    tensors, least = _load(kit / FILE)
    _check_profile(session.bundle, tensors)
    rows = []
    for part in session.bundle.manifest.parts:
        feeds, wanted = (_named(tensors, f"{part}.{way}.") for way in ("in", "out"))
        found = session.run(part, feeds)
        for name, values in wanted.items():
            peak = 1.0 if name == "image" else max(float(np.abs(values.astype(np.float64)).max()), 1e-12)
            given = found[name]
            decibels, error = psnr(values, given, peak=peak), relative_l2(values, given)
            rows.append(Compared(part, name, given.shape, max_abs(values, given), decibels, error, least))
    return rows


def _check_profile(bundle: Bundle, tensors: Mapping[str, Array]) -> None:
    if bundle.manifest.target not in TARGETS.values():
        return
    shapes = {name: values.shape for name, values in tensors.items()}
    for part, interface in bundle.manifest.parts.items():
        inputs = {f"{part}.in.{tensor.name}": tensor.shape for tensor in interface.inputs}
        if trouble := golden_misfit(shapes, inputs, read_sidecar(bundle, part).options.profile):
            raise InputError(f"{bundle.path}: {trouble}")


def _named(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {key.removeprefix(prefix): values for key, values in tensors.items() if key.startswith(prefix)}


def golden_parity(session: Session, kit: Path, reference: str) -> Parity:
    """The worst image of the golden ones, or the worst features where there is no image, for a manifest.

    Raises:
        QualityError: an output is further off than its precision allows.
    """
    rows = compare(session, kit)
    for row in rows:
        if not row:
            raise QualityError(f"{session.bundle.path}: {row} of {kit / FILE}: these engines are not to be used")
    images = [row for row in rows if row.output == "image"]
    features = [row for row in rows if row.output == "features"]
    return Parity.worst(
        reference,
        session.device,
        tuple(f"{row.part} {'x'.join(map(str, row.shape))}" for row in images or features),
        images=[(row.max_abs, row.psnr) for row in images],
        features=[row.relative_l2 for row in features],
    )


def _load(path: Path) -> tuple[dict[str, Array], float]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, float(file.metadata()["psnr"])  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: no golden outputs can be read ({error}); copy the kit again") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a line an output; returns the exit code."""
    parser = OneLine(prog="golden", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("bundle", type=Path, nargs="?", help="engines built from it; default: built here")
    parser.add_argument("--backend", default="trt")
    given = parser.parse_args(arguments)
    try:
        kit = Bundle.open(given.kit)
        rebuild = given.bundle is None and given.backend == "trt"
        with open_bundle(given.bundle or given.kit, backend=given.backend, rebuild=rebuild) as session:
            rows = compare(session, kit.path)
            print(f"{session.bundle.path} on {session.device}")
    except AdainError as error:
        print(f"golden: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    for row in rows:
        print(f"{'ok' if row else 'NO':3} {row}")
    return 0 if all(rows) else QualityError.exit_code


if __name__ == "__main__":
    sys.exit(main())
