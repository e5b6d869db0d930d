"""``adain-model``: import the weights people have, and say what a checkpoint is."""

from __future__ import annotations

import re
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

import adain_model
from adain_model.specs import SPECS, VGG19, named_spec
from adain_runtime.cli import console
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.files import sha256_file
from adain_runtime.results import spell_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table


_FACTS = ("path", "bytes", "sha256", "weights_sha256", "encoder_id", "storage")

app = console.new_app("Import trained weights as checkpoints, and say what a checkpoint is.")


@app.callback()
def _shared(version: console.Version = False, verbose: console.Verbose = False) -> None:
    pass


@app.command(
    "import",
    epilog="Example: adain-model import --encoder vgg_normalised.pth --decoder decoder.pth -o vgg19.safetensors",
)
def import_(
    *,
    encoder: Annotated[
        Path,
        typer.Option(help="Encoder weights: pytorch-AdaIN's vgg_normalised.pth, a torchvision VGG-19, .safetensors."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write, NAME.safetensors.")],
    decoder: Annotated[
        Path | None, typer.Option(help="Decoder weights; without them the checkpoint is an encoder alone.")
    ] = None,
    spec: Annotated[
        str, typer.Option(help=f"What the weights are for: {', '.join(SPECS)}, or a JSON file of a spec.")
    ] = VGG19.name,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size, rounded.")] = False,
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Turn weight files into one checkpoint.

    Reads the files of pytorch-AdaIN, torchvision's VGG-19 state dict, and safetensors with the same keys. A
    pickle is read for its tensors only; one that would run code is refused.
    """
    network = named_spec(spec)
    _check_output(output, encoder, decoder)
    _require_torch()

    imported = adain_model.import_network(encoder, decoder, network)
    adain_model.save_network(imported.module, output, half=half)
    following = _following(output, whole=decoder is not None)
    result = _identity(adain_model.load_checkpoint(output))
    result |= {"sources": [_plain(source) for source in imported.sources], "next": following}
    if as_json:
        console.print_json(result)
        return
    columns = ("part", "file", "layout", "used", "ignored")
    read = [
        (s.part, escape(str(s.path)), s.layout, f"{len(s.used)} convolutions", _summary(s.ignored))
        for s in imported.sources
    ]
    console.show(console.table("Read", columns, read), _facts("Written", result))
    if decoder is not None and imported.sources[0].layout == "torchvision":
        console.say("note: the published decoder was trained on vgg_normalised, not on torchvision's features")
    console.say(f"next: {following}")


@app.command(epilog="Example: adain-model half run/lite.safetensors -o lite.safetensors")
def half(
    *,
    file: Annotated[Path, typer.Argument(help="A checkpoint NAME.safetensors, or an embedded name such as lite.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write, NAME.safetensors.")],
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Store a checkpoint's weights as float16: half the size, each rounded to the nearest.

    Training and `import` write float32. Whatever reads the file computes in float32, with the rounded weights.
    """
    _require_torch()
    _check_output(output, adain_model.find_checkpoint(file))

    adain_model.save_network(adain_model.load_checkpoint(file).module, output, half=True)
    written = adain_model.load_checkpoint(output)
    whole = isinstance(written.module, adain_model.Network)
    following = _following(output, whole=whole)
    result = _identity(written) | {"next": following}
    if as_json:
        console.print_json(result)
        return
    console.show(_facts("Written", result))
    console.say(f"next: {following}")


@app.command(epilog="Example: adain-model info vgg19.safetensors --size 1080x1920")
def info(
    *,
    file: Annotated[Path, typer.Argument(help="A checkpoint NAME.safetensors, or an embedded name such as lite.")],
    size: Annotated[
        str, typer.Option(help="Image size that the operations are counted for, HEIGHTxWIDTH.")
    ] = "512x512",
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Print a checkpoint's layers, parameters, multiply-accumulates (MACs) and digests."""
    height, width = _size(size)
    _require_torch()

    checkpoint = adain_model.load_checkpoint(file)
    found = adain_model.layer_costs(checkpoint.module, height, width)
    result = _identity(checkpoint)
    result |= {
        "size": [height, width],
        "parts": _totals(found, height * width),
        "layers": [asdict(layer) for layer in found],
    }
    if as_json:
        console.print_json(result)
        return
    console.show(_layer_table(found, height, width), _total_table(result["parts"]), _facts("Checkpoint", result))


def _check_output(output: Path, *sources: Path | None) -> None:
    if output.suffix != ".safetensors":
        raise InputError(f"-o {output}: checkpoints are safetensors; name it {output.stem or 'network'}.safetensors")
    for source in sources:
        if source is not None and source.exists() and output.exists() and source.samefile(output):
            raise InputError(f"-o {output}: would replace the weights it is made from; choose another name")


def _require_torch() -> None:
    if find_spec("torch") is None:
        raise UnavailableError("torch is not installed, and checkpoints are read with it: pip install torch")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})(?:[xX](\d{1,6}))?", text)
    if match is None:
        raise InputError(f"--size {text}: expected HEIGHTxWIDTH in pixels, such as 512x512")
    return int(match[1]), int(match[2] or match[1])


def _following(written: Path, *, whole: bool) -> str:
    """What can be done with a file that was written; without a decoder it can only be looked at."""
    return spell_command([*("adain-export onnx" if whole else "adain-model info").split(), str(written)])


def _identity(checkpoint: adain_model.Checkpoint) -> dict[str, Any]:

    module = checkpoint.module
    return {
        "path": str(checkpoint.path),
        "bytes": checkpoint.path.stat().st_size,
        "sha256": sha256_file(checkpoint.path),
        "weights_sha256": adain_model.weights_sha256(module),
        "encoder_id": adain_model.encoder_id(module),
        "storage": checkpoint.storage,
        "spec": module.spec.to_json(),
    }


def _plain(source: adain_model.Source) -> dict[str, Any]:
    return asdict(source) | {"path": str(source.path)}


def _summary(ignored: Sequence[str]) -> str:
    shown = ", ".join(ignored[:4])
    return f"{shown} and {len(ignored) - 4} more" if len(ignored) > 4 else shown or "nothing"


def _totals(found: Sequence[adain_model.LayerCost], pixels: int) -> dict[str, dict[str, float]]:

    totals: dict[str, dict[str, float]] = {}
    for part in dict.fromkeys(layer.name.partition(".")[0] for layer in found):
        count = adain_model.macs(found, part)
        parameters = sum(layer.parameters for layer in found if layer.name.startswith(f"{part}."))
        totals[part] = {"parameters": parameters, "macs": count, "macs_per_pixel": count / pixels}
    return totals


def _layer_table(found: Sequence[adain_model.LayerCost], height: int, width: int) -> Table:
    rows = [
        (
            layer.name,
            f"{layer.kernel}x{layer.kernel}",
            layer.stride,
            f"{layer.inputs}→{layer.outputs}",
            f"{layer.parameters:,}",
            f"{layer.macs:,}",
        )
        for layer in found
    ]
    columns = ("layer", "kernel", "stride", "in→out", "parameters", "MACs")
    return console.table(f"Layers at {height}x{width}", columns, rows, right="stride parameters MACs")


def _total_table(totals: Mapping[str, Mapping[str, float]]) -> Table:
    both = {key: sum(part[key] for part in totals.values()) for key in ("parameters", "macs", "macs_per_pixel")}
    rows = [
        (name, f"{part['parameters']:,}", f"{part['macs']:,}", f"{part['macs_per_pixel']:,.0f}")
        for name, part in {**totals, "total": both}.items()
    ]
    title = "Totals (conv0 is folded away at export and left out of the MACs)"
    return console.table(title, ("part", "parameters", "MACs", "a pixel"), rows, right="parameters MACs pixel")


def _facts(title: str, result: Mapping[str, Any]) -> Table:
    spec = [(f"spec.{field}", escape(str(value))) for field, value in result["spec"].items()]
    rows = [(field, escape(str(result[field]))) for field in _FACTS]
    return console.table(title, ("field", "value"), rows + spec)


def main() -> None:
    """Entry point of ``adain-model``."""
    console.run(app, "adain-model")
