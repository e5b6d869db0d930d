"""``adain-export coreml``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

from adain_export.commands import shared
from adain_export.coreml.request import SYSTEMS, CoremlRequest, Io, Shapes, System, Weights, one_of, parse_size, plan
from adain_export.target import Int8, Precision
from adain_runtime.cli import console
from adain_runtime.errors import InputError

if TYPE_CHECKING:
    from adain_model.network import Network

_SIZES = ["512x512"]


def coreml(
    checkpoint: shared.Checkpoint = None,
    output: shared.Output = Path(),
    size: Annotated[
        list[str],
        typer.Option(metavar="HxW", help="Height x width of pictures; may be given several times."),
    ] = _SIZES,
    precision: Annotated[str, typer.Option(help="fp16, or fp32 (never on the Neural Engine).")] = "fp16",
    weights: Annotated[
        str, typer.Option(metavar="none|int8|pal8|pal6|pal4", help="How weights are stored: int8, or a palette.")
    ] = "none",
    activations: Annotated[
        str, typer.Option(metavar="none|int8", help="int8 computes in int8 (W8A8) by --calibration.")
    ] = "none",
    calibration: shared.CalibrationFile = None,
    shapes: Annotated[
        Optional[str],  # noqa: UP045 Typer reads this at run time on Python 3.10
        typer.Option(
            metavar="fixed|enumerated|range",
            help="How several sizes are kept. Default: fixed, a function a size; enumerated below iOS18.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="|".join(SYSTEMS), help="Oldest system. Default: the oldest that can.", show_default=False
        ),
    ] = None,
    io: Annotated[
        str, typer.Option(metavar="image|tensor", help="Image buffers, or float arrays in [0, 1].")
    ] = "image",
    parts: Annotated[
        str, typer.Option(metavar="PART,PART,...", help="encoder, stylizer, decoder (masks need it).")
    ] = "encoder,stylizer",
    name: shared.Name = None,
    fp16: shared.Fp16Elsewhere = False,
    int8: shared.Int8Elsewhere = False,
    author: Annotated[str, typer.Option(help="In the package's metadata.")] = "adain-edge",
    license_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--license", help="In the package's metadata. Default: MIT for the embedded.", show_default=False),
    ] = None,
    allow_low_quality: Annotated[
        bool, typer.Option("--allow-low-quality", help="Keep a package that differs too much from PyTorch.")
    ] = False,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Write Core ML packages, executed by the reference against PyTorch before they are kept."""
    shared.refuse("--fp16", fp16, "Core ML packages are fp16 unless --precision fp32 is given; leave it out")
    shared.refuse("--int8", int8, "give --activations int8 to compute in int8, or --weights int8 for weights alone")
    exporter, network = shared.begin("coreml", checkpoint)
    one_of("--precision", precision, ("fp16", "fp32"))
    request = CoremlRequest(
        name=network.spec.name if name is None else name,
        precision=cast(Precision, precision),
        parts=shared.split(parts),
        int8=_int8(network, activations, calibration),
        sizes=tuple(map(parse_size, size)),
        shapes=cast(Optional[Shapes], shapes),  # noqa: UP045 a cast is evaluated on Python 3.10 too
        weights=cast(Weights, weights),
        system=cast(Optional[System], target),  # noqa: UP045
        io=cast(Io, io),
        allow_low_quality=allow_low_quality,
        author=author,
        license=license_ or ("MIT" if checkpoint is None else "that of the checkpoint"),
    )
    for note in plan(request, network.spec).notes:
        console.say(f"note: {note}")
    bundle = exporter.export(network, request, output)
    shared.show_export(bundle, as_json, shared.run_command(bundle.path, "coreml-reference"))


def _int8(network: Network, activations: str, calibration: Path | None) -> Int8 | None:
    one_of("--activations", activations, ("none", "int8"))
    if activations == "none":
        if calibration is not None:
            raise InputError("--calibration is about int8 activations: give --activations int8 with it")
        return None
    return Int8(shared.ranges_for(network, calibration))
