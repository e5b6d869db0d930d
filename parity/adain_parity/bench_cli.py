"""``adain-bench``: how fast, how large and how exact every backend is on this machine's CPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, Optional

import typer
from PIL import Image

from adain_model.samples import sample_folder
from adain_parity.bench import Case, Contender, LeftOut, Row, measure_app, measure_parts
from adain_parity.bench_load import LoadWatch
from adain_parity.bench_report import Benchmark, check_paths, require_matplotlib, write
from adain_parity.machine import processor
from adain_runtime.backend import get_backend, require
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.results import spell_command

if TYPE_CHECKING:
    from adain_parity.artefacts import Model

PLAIN = "onnx, plain export"
PACKAGES = ("adain-edge", "numpy", "onnxruntime", "openvino", "MNN", "torch")
SIZES = (256, 512, 1024)
ROUNDS = 15
_APP_SIZE = 512
_LARGEST_SCRATCH = 4096

app = console.new_app("Measure the backends on this machine.")


def main() -> NoReturn:
    """Entry point."""
    console.run(app, "adain-bench")


@app.command()
def bench(
    output: Annotated[Path, typer.Option("--output", "-o", help="Writes OUTPUT.json, .md and .png.")] = Path("bench"),
    checkpoint: Annotated[
        Optional[list[Path]],  # noqa: UP045 Typer reads this at run time on Python 3.10
        typer.Option(help="FILE.safetensors, measured beside the embedded student; may be given again."),
    ] = None,
    size: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(min=16, max=_LARGEST_SCRATCH, help="Side in pixels; may be given again. Default: 256 512 1024."),
    ] = None,
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="CPU threads of each backend. Default: all CPUs.", show_default=False),
    ] = None,
    rounds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=3, help=f"Rounds at most; at least three are run. Default: {ROUNDS}.", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="No round begins later than this after a size's first.")] = 45,
    photo: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="What is stylised. Default: the package's sample.", show_default=False),
    ] = None,
    style: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="After what. Default: the package's sample.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A look: 256 px and three rounds.")] = False,
    _verbose: console.Verbose = False,
    _version: console.Version = False,
) -> None:
    """Measure the stylizer part and the whole of adain-run, backend by backend in turn, and write tables and a plot."""
    from adain_export.target import get_target

    require("what it measures is exported first", get_target("onnx").probe())
    require_matplotlib()
    from rich.markdown import Markdown

    from adain_parity.artefacts import open_models
    from adain_runtime.stylizer import EMBEDDED_MODEL

    sizes = sorted(set(size or ((256,) if quick else SIZES)))
    if odd := [side for side in sizes if side % 8]:
        raise InputError(f"--size {odd[0]}: the networks take multiples of 8; {odd[0] // 8 * 8 or 16} is near")
    rounds = rounds or (3 if quick else ROUNDS)
    photo, style = _sample(photo, "content", "chelsea.jpg"), _sample(style, "style", "summertime.jpg")
    for path in checkpoint or ():
        if not path.is_file():
            raise InputError(f"{path}: no such checkpoint; adain-model import makes one")
    models = open_models([EMBEDDED_MODEL, *(str(path.resolve()) for path in checkpoint or ())], Path())
    for model in models:
        stride = model.network.spec.stride
        if odd := [side for side in sizes if side % stride or side < 2 * stride]:
            raise InputError(f"--size {odd[0]}: {model.name} takes multiples of {stride}, from {2 * stride}")
    check_paths(output)
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    used, peak, watch = threads or os.cpu_count() or 1, 0.0, LoadWatch()
    for model in models:
        with TemporaryDirectory(prefix="adain-bench-") as scratch:
            folder = Path(scratch)
            contenders, missing = _contenders(model, folder)
            for side in sizes:
                left_out += [LeftOut(model.name, side, *one) for one in missing]
                case = _case(model, side, contenders, photo, style)
                found, lost, rate = measure_parts(
                    case, folder, threads=used, rounds=rounds, seconds=seconds, report=console.say
                )
                rows, left_out, peak = rows + found, left_out + lost, max(peak, rate)
                if side == min(sizes, key=lambda one: abs(one - _APP_SIZE)):
                    small = folder / "photo.jpg"
                    _resized(photo, side).save(small, quality=95)
                    found, lost = measure_app(
                        case, small, style, folder, threads=used, rounds=3 if quick else 5, report=console.say
                    )
                    rows, left_out = rows + found, left_out + lost
    measured = Benchmark(
        command=spell_command(["adain-bench", *_shown(sys.argv[1:])]),
        processor=processor(),
        cores=os.cpu_count() or 1,
        threads=used,
        tools=_tools(),
        load=watch.look(),
        sgemm=peak,
        baseline=PLAIN,
        rows=tuple(rows),
        left_out=tuple(left_out),
    )
    written = write(measured, output)
    console.show(Markdown(measured.to_markdown()))
    console.say(f"wrote {', '.join(map(str, written))}")


def _contenders(model: Model, folder: Path) -> tuple[list[Contender], list[tuple[str, str]]]:
    """Exports that the backends here can run, the plain one first; and those that can't be run, with why."""
    from adain_export.target import Request, get_target

    network, name, missing = model.network, model.network.spec.name, []
    console.say(f"{name}: exporting")
    onnx = get_target("onnx")
    plain = onnx.export(network, Request(name, rewrites=("fold-color",)), folder / "plain").path
    phase = onnx.export(network, Request(name), folder / "phase").path
    contenders = [Contender(PLAIN, "onnx", plain), Contender("onnx", "onnx", phase)]
    for backend in ("openvino", "mnn"):
        if not (probe := get_backend(backend).probe()):
            missing.append((backend, probe.detail + (f"; {probe.fix}" if probe.fix else "")))
        elif backend == "openvino":
            contenders.append(Contender(backend, backend, phase))
        else:
            made = get_target("mnn").export(network, Request(name), folder / "mnn").path
            contenders += [Contender("mnn", backend, made), Contender("mnn, exact", backend, made, exact=True)]
    return contenders, missing


def _case(model: Model, side: int, contenders: list[Contender], photo: Path, style: Path) -> Case:
    import numpy as np

    from adain_model.cost import layer_costs, macs
    from adain_runtime import Stylizer
    from adain_runtime.manifest import Sizes
    from adain_runtime.planes import planes_for

    network = model.network
    with Stylizer.open(contenders[0].model, threads=1) as stylizer:
        prepared = stylizer.style(style)
    pixels = np.asarray(_resized(photo, side))
    costs = layer_costs(network, side, side)
    return Case(
        network=model.name,
        size=side,
        macs=macs(costs, "encoder") + macs(costs, "decoder"),
        reference=Contender("torch", "torch", model.checkpoint),
        baseline=PLAIN,
        contenders=tuple(contenders),
        feeds={
            "image": planes_for([pixels], Sizes()),
            "mean": prepared.mean[None, :, None, None],
            "std": prepared.std[None, :, None, None],
            "alpha": np.ones((1, 1, 1, 1), np.float32),
        },
    )


def _resized(photo: Path, side: int) -> Image.Image:
    from adain_runtime.image import load_image

    return Image.fromarray(load_image(photo).rgb).resize((side, side), Image.Resampling.BICUBIC)


def _sample(given: Path | None, kind: Literal["content", "style"], name: str) -> Path:
    path = given or sample_folder(kind) / name
    if not path.is_file():
        raise InputError(f"{path}: no such image; give one with --{'photo' if kind == 'content' else 'style'} FILE")
    return path


def _shown(arguments: list[str]) -> list[str]:
    """The command as it may be published: files by their own names, without the folders of this machine."""
    shown = []
    for word in arguments:
        cut = word.find("=") + 1 if word.startswith("--") else 2 if word.startswith("-") else 0
        option, value = word[:cut], word[cut:]
        shown.append(option + (Path(value).name if Path(value).is_absolute() else value))
    return shown


def _tools() -> dict[str, str]:
    from adain_export.doctor import installed

    return {name: found for name in PACKAGES if (found := installed(name))}
