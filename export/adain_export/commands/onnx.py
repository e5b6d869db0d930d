"""``adain-export onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from adain_export.commands import shared
from adain_export.target import IO, GraphRequest, Weights
from adain_runtime.cli import console


def onnx(
    checkpoint: shared.Checkpoint = None,
    output: shared.Output = Path(),
    fp16: shared.Fp16 = False,
    int8: shared.AsInt8 = False,
    calibration: shared.CalibrationFile = None,
    placement: shared.PlacementName = shared.AFTER_PAD,
    parts: shared.Parts = shared.ALL_PARTS,
    rewrites: shared.Rewrites = None,
    weights: Annotated[str, typer.Option("--weights", metavar="fp32|fp16", help=shared.HOW_STORED)] = "fp32",
    io: shared.ImageType = "float",
    name: shared.Name = None,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Write an ONNX bundle, checked in ONNX Runtime against PyTorch before it is kept."""
    target, network = shared.begin("onnx", checkpoint)
    request = GraphRequest(
        name=network.spec.name if name is None else name,
        precision="fp16" if fp16 else "fp32",
        parts=shared.split(parts),
        rewrites=shared.rewrites_of(rewrites, int8=int8),
        int8=shared.int8_of(network, int8, calibration, placement),
        weights=cast(Weights, weights),
        io=cast(IO, io),
    )
    shared.show_export(target.export(network, request, output), as_json)
