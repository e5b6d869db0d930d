"""``adain-export mnn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from adain_export.commands import shared
from adain_export.target import IO, GraphRequest, Weights
from adain_runtime.cli import console


def mnn(
    checkpoint: shared.Checkpoint = None,
    output: shared.Output = Path(),
    weights: Annotated[str, typer.Option("--weights", metavar="fp32|fp16|int8", help=shared.HOW_STORED)] = "fp32",
    io: shared.ImageType = "float",
    parts: shared.Parts = shared.ALL_PARTS,
    rewrites: shared.Rewrites = None,
    name: shared.Name = None,
    fp16: shared.Fp16Elsewhere = False,
    int8: shared.Int8Elsewhere = False,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Write an MNN bundle, checked in MNN against PyTorch before it is kept."""
    why = "MNN chooses its arithmetic where it runs; for small files there is --weights fp16 or int8"
    shared.refuse("--fp16", fp16, f"{why}, and targets onnx, trt and coreml compute in fp16")
    shared.refuse("--int8", int8, f"{why}, and targets onnx, trt and coreml (--activations int8) compute in int8")
    target, network = shared.begin("mnn", checkpoint)
    request = GraphRequest(
        name=network.spec.name if name is None else name,
        parts=shared.split(parts),
        rewrites=shared.rewrites_of(rewrites),
        weights=cast(Weights, weights),
        io=cast(IO, io),
    )
    bundle = target.export(network, request, output)
    shared.show_export(bundle, as_json, shared.run_command(bundle.path, "mnn"))
