"""``adain-export``: from a checkpoint to the files that a device runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional, cast

import typer

from adain_export.calibration import Calibration
from adain_export.doctor import diagnose
from adain_export.target import PLACEMENTS, REWRITES, Int8, Placement, Request, get_target
from adain_runtime.backend import require
from adain_runtime.bundle import Bundle
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.manifest import PART_NAMES, Parity

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES = console.examples(
    ("adain-export onnx", "the embedded student, here"),
    ("adain-export onnx vgg19.safetensors --fp16 -o build", "in half precision"),
    ("adain-export onnx --int8 calibration.json", "in int8, see adain-calib"),
    ("adain-export inspect build/vgg19-onnx-fp16", "what is in a bundle"),
    ("adain-export doctor", "what works here"),
)

app = console.new_app("Export networks, look into bundles, see what works here.", epilog=EXAMPLES)


def main() -> NoReturn:
    """Entry point."""
    console.run(app, "adain-export")


@app.callback()
def options(_version: console.Version = False) -> None:
    """Export networks, look into bundles, see what works here."""


@app.command()
def onnx(
    checkpoint: Annotated[
        Optional[Path],  # noqa: UP045 Typer reads this at run time on Python 3.10
        typer.Argument(help="FILE.safetensors. Default: the embedded student.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that gets the bundle.")] = Path(),
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision; statistics stay float32.")] = False,
    int8: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--int8",
            metavar="CALIBRATION.json",
            help="Convolutions in int8 with the ranges of adain-calib; the rest float32, or half with --fp16.",
            show_default=False,
        ),
    ] = None,
    placement: Annotated[
        str, typer.Option(help="With --int8: quantise after-pad or before-pad; the numbers are the same.")
    ] = PLACEMENTS[0],
    parts: Annotated[str, typer.Option(metavar="PART,PART,...", help="Which parts to write.")] = ",".join(PART_NAMES),
    rewrites: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NAME,NAME,...|none",
            help="Exact rewrites to apply: fold-color, phase. Default: all that fit.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Model name in the bundle. Default: the network's own.", show_default=False),
    ] = None,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Write an ONNX bundle, checked in ONNX Runtime against PyTorch before it is kept."""
    target = get_target("onnx")
    require("target onnx", target.probe())
    from adain_model.checkpoint import embedded_checkpoint, load_network

    network = load_network(checkpoint or embedded_checkpoint())
    request = Request(
        name=network.spec.name if name is None else name,
        precision="fp16" if fp16 else "fp32",
        parts=_split(parts),
        rewrites=REWRITES if rewrites is None else _split(rewrites),
        int8=_int8(int8, placement),
    )
    bundle = target.export(network, request, output)
    _show_export(bundle, as_json)


@app.command(name="list")
def list_targets(as_json: console.AsJson = False, _verbose: console.Verbose = False) -> None:
    """List the targets and whether they work here."""
    targets = diagnose().targets
    if as_json:
        console.print_json({name: asdict(probe) for name, probe in targets.items()})
    else:
        console.show(console.probe_table("Targets", "target", targets))


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.", show_default=False)],
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Verify a bundle and show what is in it."""
    opened = Bundle.open(bundle)
    if as_json:
        console.print_json(json.loads(opened.manifest.to_json()))
        return
    manifest = opened.manifest
    facts = {
        "model": f"{manifest.name} ({manifest.spec.channels} channels, stride {manifest.spec.stride})",
        "target, precision": f"{manifest.target}, {manifest.precision}",
        "encoder": manifest.encoder_id,
        "weights": manifest.weights_sha256,
        "sizes": _sizes(opened),
        "rewrites": ", ".join(manifest.rewrites) or "none",
        "int8": ", ".join(manifest.int8) or "no layer",
        "made with": ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items()),
        "parity": parity_line(manifest.parity),
    }
    interface = [
        (name, way, tensor.name, tensor.dtype, " x ".join(map(str, tensor.shape)))
        for name, part in manifest.parts.items()
        for way, tensors in (("in", part.inputs), ("out", part.outputs))
        for tensor in tensors
    ]
    console.show(
        console.table(f"{bundle}: sound", ["field", "value"], facts.items()),
        console.table("Parts", ["part", "", "name", "type", "shape"], interface),
        files_table(opened),
    )


@app.command()
def doctor(as_json: console.AsJson = False, _verbose: console.Verbose = False) -> None:
    """Show what is installed, what works here, and why the rest doesn't."""
    found = diagnose()
    if as_json:
        console.print_json(asdict(found))
        return
    machine = {"python": found.python, "system": found.system, "cores": found.cores}
    packages = {name: version or "-" for name, version in found.packages.items()}
    console.show(
        console.table("This machine", ["", "found"], (machine | packages).items()),
        console.probe_table("Targets", "target", found.targets),
        console.probe_table("Backends", "backend", found.backends),
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


def _show_export(bundle: Bundle, as_json: bool) -> None:
    if as_json:
        console.print_json({"bundle": str(bundle.path), "manifest": json.loads(bundle.manifest.to_json())})
        return
    console.show(
        files_table(bundle),
        f"parity: {parity_line(bundle.manifest.parity)}",
        f"wrote {bundle.path}; next: adain-run PHOTO STYLE --model {bundle.path}",
    )


def _int8(calibration: Path | None, placement: str) -> Int8 | None:
    if calibration is None:
        if placement != PLACEMENTS[0]:
            raise InputError(f"--placement {placement} is about int8: give --int8 CALIBRATION.json with it")
        return None
    return Int8(Calibration.load(calibration), cast(Placement, placement))


def _sizes(bundle: Bundle) -> str:
    sizes = bundle.manifest.sizes
    upper = "" if sizes.maximum is None else f", at most {sizes.maximum}"
    return f"multiples of {sizes.multiple}, at least {sizes.minimum}{upper}"


def _split(names: str) -> tuple[str, ...]:
    return () if names == "none" else tuple(name.strip() for name in names.split(",") if name.strip())
