"""``adain-export``: from a checkpoint to the files that a device runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from adain_export.commands.coreml import coreml
from adain_export.commands.mnn import mnn
from adain_export.commands.onnx import onnx
from adain_export.commands.other import command_of
from adain_export.commands.shared import files_table, parity_line
from adain_export.commands.trt import trt
from adain_export.doctor import diagnose
from adain_export.target import target_names
from adain_runtime.bundle import Bundle
from adain_runtime.cli import console
from adain_runtime.sizes import spell_sizes

EXAMPLES = console.examples(
    ("adain-export onnx", "the embedded student, here"),
    ("adain-export onnx vgg19.safetensors --fp16 -o build", "in half precision"),
    ("adain-export onnx --int8", "in int8; of your own network: --calibration, see adain-calib"),
    ("adain-export coreml --size 512 --size 768", "for iPhone, in half"),
    ("adain-export trt --fp16 --kit -o build", "to build TensorRT engines elsewhere"),
    ("adain-export mnn vgg19.safetensors", "for MNN: CPUs, Android"),
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


_OWN = {command.__name__: command for command in (onnx, coreml, trt, mnn)}
for _name, _command in _OWN.items():
    app.command(_name)(_command)
for _name in target_names():
    if _name not in (*_OWN, "list", "inspect", "doctor"):
        app.command(_name)(command_of(_name))


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
        "sizes": spell_sizes(manifest.sizes),
        "options": ", ".join(f"{option} {value}" for option, value in manifest.options.items()) or "none",
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
