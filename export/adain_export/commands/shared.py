"""What the commands of all targets share: their common options, and what they print at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

from adain_export.calibration import Calibration, embedded_calibration
from adain_export.target import INT8_REWRITES, PLACEMENTS, REWRITES, Int8, Placement, Target, get_target
from adain_runtime.backend import require
from adain_runtime.bundle import Bundle
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.manifest import PART_NAMES, Parity
from adain_runtime.results import spell_command

if TYPE_CHECKING:
    from rich.table import Table

    from adain_model.network import Network

ALL_PARTS = ",".join(PART_NAMES)
AFTER_PAD = PLACEMENTS[0]

# Optional[...] and not | None: Typer reads these at run time on Python 3.10
Checkpoint = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Argument(help="FILE.safetensors or an embedded name. Default: lite.", show_default=False),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder that gets the bundle.")]
Fp16 = Annotated[bool, typer.Option("--fp16", help="Half precision; statistics stay float32.")]
Fp16Elsewhere = Annotated[bool, typer.Option("--fp16", hidden=True)]
Int8Elsewhere = Annotated[bool, typer.Option("--int8", hidden=True)]
AsInt8 = Annotated[
    bool, typer.Option("--int8", help="Convolutions in int8 by a calibration; the rest float32, or half with --fp16.")
]
CalibrationFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--calibration",
        metavar="FILE.json",
        help="Ranges for int8, of adain-calib. Default: the package's own, for the embedded student.",
        show_default=False,
    ),
]
PlacementName = Annotated[
    str, typer.Option(help="With --int8: quantise after-pad or before-pad; the numbers are the same.")
]
Parts = Annotated[str, typer.Option(metavar="PART,PART,...", help="Which parts to write.")]
Rewrites = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="NAME,NAME,...|none",
        help="Exact rewrites to apply: fold-color, phase, phase-last. Default: all that fit.",
        show_default=False,
    ),
]
HOW_STORED = "How weights are stored; computed with in float32."
ImageType = Annotated[
    str, typer.Option("--io", metavar="float|uint8", help="Images as float planes, or as bytes of RGB pixels.")
]
Name = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Model name in the bundle. Default: the network's own.", show_default=False),
]


def begin(name: str, checkpoint: Path | None) -> tuple[Target, Network]:
    """A target whose tools are here, and the network that it is to export.

    Raises:
        UnavailableError: a tool is missing; it names the line that installs it.
        InputError: see `load`.
    """
    target = get_target(name)
    require(f"target {name}", target.probe())
    return target, load(checkpoint)


def refuse(flag: str, given: bool, why: str) -> None:
    """Refuse a flag of other targets, with what does it here or which targets can.

    Raises:
        InputError: it was given.
    """
    if given:
        raise InputError(f"{flag}: {why}")


def load(checkpoint: Path | None) -> Network:
    """The network of a checkpoint, or the embedded one.

    Raises:
        InputError: no such file, or it is no checkpoint.
    """
    from adain_model.checkpoint import embedded_checkpoint, load_network

    if checkpoint is not None and checkpoint.suffix == ".json":
        raise InputError(f"{checkpoint}: no checkpoint; ranges for int8 are given with --calibration {checkpoint}")
    return load_network(checkpoint or embedded_checkpoint())


def int8_of(network: Network, int8: bool, calibration: Path | None, placement: str) -> Int8 | None:
    """What ``--int8``, ``--calibration`` and ``--placement`` ask for; None without ``--int8``.

    Raises:
        InputError: a file that is no calibration, none where the package has none either, an unknown placement, or
            either option without ``--int8``.
    """
    if not int8:
        if calibration is not None:
            raise InputError("--calibration is about int8: give --int8 with it")
        if placement != AFTER_PAD:
            raise InputError(f"--placement {placement} is about int8: give --int8 with it")
        return None
    return Int8(ranges_for(network, calibration), cast(Placement, placement))


def ranges_for(network: Network, calibration: Path | None) -> Calibration:
    """The calibration of a file, or without one the package's own.

    Raises:
        InputError: a file that is no calibration; no file for a network that the package has no calibration for.
    """
    return embedded_calibration(network) if calibration is None else Calibration.load(calibration)


def rewrites_of(names: str | None, *, int8: bool = False, usual: tuple[str, ...] = REWRITES) -> tuple[str, ...]:
    """What ``--rewrites`` asks for; the usual ones without it.

    Raises:
        InputError: a rewrite that a graph with layers in int8 doesn't take.
    """
    if names is None:
        return usual
    asked = split(names)
    if int8 and (wrong := [name for name in asked if name in REWRITES and name not in INT8_REWRITES]):
        raise InputError(f"--rewrites {wrong[0]} is for float graphs; leave it or --int8 away")
    return asked


def split(names: str) -> tuple[str, ...]:
    """``a, b`` as ("a", "b"); ``none`` as nothing."""
    return () if names == "none" else tuple(name.strip() for name in names.split(",") if name.strip())


def show_export(bundle: Bundle, as_json: bool, following: str | None = None) -> None:
    """What was written, how far it is from torch, and the next command; or the manifest as JSON.

    Args:
        bundle: what was written.
        as_json: whether the manifest is shown.
        following: the next command; None for ``adain-run`` with its default backend, empty for none.
    """
    if following is None:
        following = run_command(bundle.path)
    if as_json:
        console.print_json({"bundle": str(bundle.path), "manifest": json.loads(bundle.manifest.to_json())})
        return
    console.show(
        files_table(bundle),
        f"parity: {parity_line(bundle.manifest.parity)}",
        f"wrote {bundle.path}" + (f"; next: {following}" if following else ""),
    )


def run_command(model: Path, backend: str | None = None) -> str:
    """The command that runs what was written, to copy; with the default backend where none is named."""
    chosen = [] if backend is None else ["--backend", backend]
    return spell_command(["adain-run", "PHOTO", "STYLE", "--model", str(model), *chosen])


def parity_line(parity: Parity | None) -> str:
    """The manifest's parity in a line."""
    if parity is None:
        return "not compared with anything"
    cases = f"worst of {len(parity.cases)} cases"
    if parity.features is not None:
        within = f"features within {parity.features:.2g} of PyTorch's (relative L2, {cases}), no image compared"
        return f"{parity.runtime} against {parity.reference}: {within}"
    decibels = "equal to the last bit" if parity.psnr is None else f"{parity.psnr:.1f} dB"
    return f"{parity.runtime} against {parity.reference}: max abs {parity.max_abs:.2g}, {decibels} ({cases})"


def files_table(bundle: Bundle) -> Table:
    """Every file of a bundle with its size and digest."""
    rows = [(name, f"{entry.bytes:,}", entry.sha256[:16]) for name, entry in bundle.manifest.files.items()]
    return console.table("Files", ["file", "bytes", "sha256"], rows, right="bytes")
