"""What the commands of all targets share: their common options, and what they print at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

from adain_export.calibration import Calibration
from adain_export.target import PLACEMENTS, REWRITES, Int8, Placement
from adain_runtime.bundle import Bundle
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.manifest import PART_NAMES, Parity

if TYPE_CHECKING:
    from rich.table import Table

    from adain_model.network import Network

WITHOUT_CALIBRATION = (
    "--int8 without a calibration: give the ranges of adain-calib, --int8 CALIBRATION.json "
    "(adain-calib collect makes one)"
)
ALL_PARTS = ",".join(PART_NAMES)
AFTER_PAD = PLACEMENTS[0]

# Optional[...] and not | None: Typer reads these at run time on Python 3.10
Checkpoint = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Argument(help="FILE.safetensors or an embedded name. Default: lite.", show_default=False),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder that gets the bundle.")]
Fp16 = Annotated[bool, typer.Option("--fp16", help="Half precision; statistics stay float32.")]
Int8File = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--int8",
        metavar="CALIBRATION.json",
        help="Convolutions in int8 with the ranges of adain-calib; the rest float32, or half with --fp16.",
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
        help="Exact rewrites to apply: fold-color, phase. Default: all that fit.",
        show_default=False,
    ),
]
StoredWeights = Annotated[
    str, typer.Option("--weights", metavar="fp32|fp16|int8", help="How weights are stored; computed with in float32.")
]
ImageType = Annotated[
    str, typer.Option("--io", metavar="float|uint8", help="Images as float planes, or as bytes of RGB pixels.")
]
Name = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Model name in the bundle. Default: the network's own.", show_default=False),
]


def load(checkpoint: Path | None) -> Network:
    """The network of a checkpoint, or the embedded one.

    Raises:
        InputError: no such file, or it is no checkpoint.
    """
    from adain_model.checkpoint import embedded_checkpoint, load_network

    return load_network(checkpoint or embedded_checkpoint())


def int8_of(calibration: Path | None, placement: str) -> Int8 | None:
    """What ``--int8`` and ``--placement`` ask for; None without ``--int8``.

    Raises:
        InputError: a file that is no calibration, an unknown placement, or one without ``--int8``.
    """
    if calibration is None:
        if placement != AFTER_PAD:
            raise InputError(f"--placement {placement} is about int8: give --int8 CALIBRATION.json with it")
        return None
    if not calibration.name or calibration.name.startswith("-"):  # an option that stands where the file should
        raise InputError(WITHOUT_CALIBRATION)
    return Int8(Calibration.load(calibration), cast(Placement, placement))


def rewrites_of(names: str | None) -> tuple[str, ...]:
    """What ``--rewrites`` asks for; all of them without it."""
    return REWRITES if names is None else split(names)


def split(names: str) -> tuple[str, ...]:
    """``a, b`` as ("a", "b"); ``none`` as nothing."""
    return () if names == "none" else tuple(name.strip() for name in names.split(",") if name.strip())


def show_export(bundle: Bundle, as_json: bool, following: str | None = None) -> None:
    """What was written, how far it is from torch, and the next command; or the manifest as JSON.

    Args:
        bundle: what was written.
        as_json: whether the manifest is shown.
        following: the next command; None for ``adain-run`` with its default backend.
    """
    if as_json:
        console.print_json({"bundle": str(bundle.path), "manifest": json.loads(bundle.manifest.to_json())})
        return
    console.show(
        files_table(bundle),
        f"parity: {parity_line(bundle.manifest.parity)}",
        f"wrote {bundle.path}; next: {following or f'adain-run PHOTO STYLE --model {bundle.path}'}",
    )


def parity_line(parity: Parity | None) -> str:
    """The manifest's parity in a line."""
    if parity is None:
        return "not compared with anything"
    decibels = "equal to the last bit" if parity.psnr is None else f"{parity.psnr:.1f} dB"
    return (
        f"{parity.runtime} against {parity.reference}: max abs {parity.max_abs:.2g}, {decibels} "
        f"(worst of {len(parity.cases)} cases)"
    )


def files_table(bundle: Bundle) -> Table:
    """Every file of a bundle with its size and digest."""
    rows = [(name, f"{entry.bytes:,}", entry.sha256[:16]) for name, entry in bundle.manifest.files.items()]
    return console.table("Files", ["file", "bytes", "sha256"], rows, right="bytes")
