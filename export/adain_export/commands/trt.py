"""``adain-export trt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional, cast

import typer

from adain_export.commands import shared
from adain_export.target import get_target
from adain_export.targets.onnx import probe_tools
from adain_export.targets.trt import TrtRequest
from adain_runtime.backend import require
from adain_runtime.cli import console
from adain_runtime.results import spell_command
from adain_runtime.trt.options import (
    BuildError,
    Flavor,
    Options,
    Profile,
    parse_batch,
    parse_bytes,
    parse_capabilities,
    parse_size,
)
from adain_runtime.trt.rebuild import as_our_error


def trt(
    checkpoint: shared.Checkpoint = None,
    output: shared.Output = Path(),
    fp16: shared.Fp16 = False,
    int8: shared.AsInt8 = False,
    calibration: shared.CalibrationFile = None,
    placement: shared.PlacementName = shared.AFTER_PAD,
    kit: Annotated[
        bool, typer.Option("--kit", help="Write a build kit for another machine; build nothing here.")
    ] = False,
    least: Annotated[str, typer.Option("--min", metavar="HxW", help="Smallest image.")] = "64",
    usual: Annotated[str, typer.Option("--opt", metavar="HxW", help="The size that it is made fastest for.")] = "512",
    most: Annotated[str, typer.Option("--max", metavar="HxW", help="Largest image; memory grows with it.")] = "1024",
    batch: Annotated[
        str, typer.Option(metavar="N|LEAST,USUAL,MOST", help="Images a call: at most N, fastest at 1.")
    ] = "1",
    workspace: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="BYTES", help="Most scratch memory, such as 2G. Default: no limit.", show_default=False),
    ] = None,
    opt_level: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="0..5", help="0 builds quickly, 5 tries everything. Default: 3.", show_default=False),
    ] = None,
    timing_cache: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Keeps what was timed, for the next build.", show_default=False),
    ] = None,
    hw_compat: Annotated[
        bool, typer.Option("--hw-compat", help="For every GPU from compute capability 8.0 on; slower.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="For later TensorRT of the same major version too.")
    ] = False,
    flavor: Annotated[
        str, typer.Option(metavar="trt|rtx", help="TensorRT, or TensorRT for RTX, which builds without a GPU.")
    ] = "trt",
    compute_capability: Annotated[
        str, typer.Option(metavar="N.N,...", help="With --flavor rtx. Default: 8.6,8.9,12.0.", show_default=False)
    ] = "",
    parts: shared.Parts = shared.ALL_PARTS,
    rewrites: shared.Rewrites = None,
    name: shared.Name = None,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Build TensorRT engines, or write a kit that builds them where the GPU is."""
    require("target trt", probe_tools())
    try:
        options = Options(
            profile=Profile(
                parse_size("--min", least), parse_size("--opt", usual), parse_size("--max", most), parse_batch(batch)
            ),
            flavor=cast(Flavor, flavor),
            workspace=None if workspace is None else parse_bytes(workspace),
            opt_level=opt_level,
            hw_compat=hw_compat,
            version_compatible=version_compatible,
            compute_capabilities=parse_capabilities(compute_capability),
        )
    except BuildError as error:
        raise as_our_error(error) from error
    network = shared.load(checkpoint)
    request = TrtRequest(
        name=network.spec.name if name is None else name,
        precision="fp16" if fp16 else "fp32",
        parts=shared.split(parts),
        rewrites=shared.rewrites_of(rewrites, int8=int8, usual=TrtRequest.rewrites),
        int8=shared.int8_of(network, int8, calibration, placement),
        options=options,
        kit=kit,
        timing_cache=timing_cache,
    )
    bundle = get_target("trt").export(network, request, output)
    shared.show_export(bundle, as_json, following(kit, bundle.path))


def following(kit: bool, path: Path) -> str:
    """The next command to copy."""
    if kit:
        build = spell_command(["python3", f"{path.name}/build.py"])
        return f"copy it to the machine with the GPU, and there: {build}"
    return shared.run_command(path, "trt")
