"""The commands ``adain-train decoder`` and ``adain-train student``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from adain_model import LITE, load_network
from adain_runtime.cli import console
from adain_train.config import DecoderConfig, Machine, Precision, StudentConfig, TrainConfig, with_settings
from adain_train.decoder import DecoderTask
from adain_train.presets import DECODERS, STUDENTS, preset, student_spec
from adain_train.runfolder import RunFolder
from adain_train.runs import pair_data, read_encoder, report, student_task, train
from adain_train.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Teacher = Annotated[Path, typer.Option(help="VGG-19 with its decoder, FILE.safetensors.")]
Spec = Annotated[
    str | None, typer.Option(help="lite, or a spec's JSON file. Default: --init's, or lite.", show_default=False)
]
Content = Annotated[Path, typer.Option(help="Folder of photos.")]
StyleFolder = Annotated[Path, typer.Option("--style", help="Folder of paintings and textures.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint, where there is one.")]
PresetName = Annotated[
    str,
    typer.Option(
        "--preset",
        help="cpu: crops of 128, a student's targets kept. gpu: of 256, fresh; a decoder as the paper's.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(help="Steps in all; the schedules run over them. Default: the preset's.", show_default=False),
]
Batch = Annotated[
    int | None, typer.Option(help="Pairs a step, over all processes. Default: the preset's.", show_default=False)
]
Lr = Annotated[
    float | None,
    typer.Option(help="Learning rate. Default: 1e-4 for a decoder, 1e-3 for a student.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Of weights and data.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other field of config.toml, such as weights.style=20."),
]
Minutes = Annotated[
    float | None,
    typer.Option(help="Stop after so long, preparation too; --resume goes on. Default: no end.", show_default=False),
]
Until = Annotated[
    int, typer.Option(help="End after so many steps in all, though schedules run over --steps; 0: at --steps.")
]
CheckpointMinutes = Annotated[float, typer.Option(help="Between two checkpoints.")]
Workers = Annotated[int, typer.Option(help="Threads that load data ahead.")]
Cache = Annotated[bool, typer.Option("--cache", help="Keep all images in memory.")]
Accelerator = Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")]
Devices = Annotated[int, typer.Option(help="Devices on each machine.")]
Nodes = Annotated[int, typer.Option(help="Machines; they share the run's folder.")]
Strategy = Annotated[str, typer.Option(help="auto, or ddp for several processes.")]
PrecisionName = Annotated[str, typer.Option("--precision", help="32-true, bf16-mixed or 16-mixed.")]
Compile = Annotated[bool, typer.Option("--compile", help="Send the network and VGG-19 through torch.compile.")]
LogEvery = Annotated[int, typer.Option(help="Steps between two lines of the log.")]
SampleEvery = Annotated[int, typer.Option(help="Steps between two grids of samples; 0: at the end alone.")]


def decoder_command(
    *,
    encoder: Annotated[Path, typer.Option(help="VGG-19: vgg_normalised.pth, or an encoder's .safetensors.")],
    content: Content,
    style: StyleFolder,
    output: Output,
    resume: Resume = False,
    preset_name: PresetName = "cpu",
    steps: Steps = None,
    batch: Batch = None,
    lr: Lr = None,
    seed: Seed = 0,
    settings: Settings = None,
    minutes: Minutes = None,
    until: Until = 0,
    checkpoint_minutes: CheckpointMinutes = 10.0,
    workers: Workers = 2,
    cache: Cache = False,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: PrecisionName = "32-true",
    compile_: Compile = False,
    log_every: LogEvery = 50,
    sample_every: SampleEvery = 1000,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Train a decoder for VGG-19; with --preset gpu as the paper does."""
    machine = Machine(
        accelerator=accelerator,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        precision=cast(Precision, precision),
        compile=compile_,
        workers=workers,
        cache=cache,
        minutes=minutes,
        until=until,
        checkpoint_minutes=checkpoint_minutes,
        log_every=log_every,
        sample_every=sample_every,
    )
    chosen = cast(DecoderConfig, preset(preset_name, DECODERS))
    config = with_settings(_changed(chosen, steps=steps, batch=batch, lr=lr, seed=seed), settings or [])

    def make(fabric: Fabric) -> Task:
        return DecoderTask(config, read_encoder(encoder), pair_data(fabric, config, machine, content, style))

    _run(config, machine, RunFolder(output), make, resume=resume, as_json=as_json)


def student_command(
    *,
    teacher: Teacher,
    content: Content,
    style: StyleFolder,
    output: Output,
    resume: Resume = False,
    preset_name: PresetName = "cpu",
    spec: Spec = None,
    encoder_widths: Annotated[
        str | None,
        typer.Option(metavar="W,W/W,W/...", help="16/32,16/48,64/144,192 is lite's.", show_default=False),
    ] = None,
    decoder_widths: Annotated[
        str | None,
        typer.Option(metavar="W,W/W,W/...", help="Deep to shallow. Default: mirrored.", show_default=False),
    ] = None,
    downsample: Annotated[
        str | None,
        typer.Option(help="stride or maxpool, with --encoder-widths. Default: the --init file's.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the network.", show_default=False)] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Begin as this FILE.safetensors, its channels pruned or joined by fresh ones to fit the widths. "
            "Default: random weights.",
            show_default=False,
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Where kept targets lie, for several runs to share. Default: the run.", show_default=False),
    ] = None,
    steps: Steps = None,
    batch: Batch = None,
    lr: Lr = None,
    seed: Seed = 0,
    settings: Settings = None,
    minutes: Minutes = None,
    until: Until = 0,
    checkpoint_minutes: CheckpointMinutes = 10.0,
    workers: Workers = 2,
    cache: Cache = False,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: PrecisionName = "32-true",
    compile_: Compile = False,
    log_every: LogEvery = 50,
    sample_every: SampleEvery = 1000,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Train a small network, encoder and decoder together, from VGG-19 as its teacher."""
    machine = Machine(
        accelerator=accelerator,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        precision=cast(Precision, precision),
        compile=compile_,
        workers=workers,
        cache=cache,
        minutes=minutes,
        until=until,
        checkpoint_minutes=checkpoint_minutes,
        log_every=log_every,
        sample_every=sample_every,
    )
    start = None if init is None else load_network(init)
    base = LITE if start is None else start.spec
    network = student_spec(spec, encoder_widths, decoder_widths, downsample, name, base)
    chosen = replace(cast(StudentConfig, preset(preset_name, STUDENTS)), name=network.name, spec=network)
    config = with_settings(_changed(chosen, steps=steps, batch=batch, lr=lr, seed=seed), settings or [])

    def make(fabric: Fabric) -> Task:
        return student_task(fabric, config, machine, teacher, (content, style), cache_dir or output, start)

    _run(config, machine, RunFolder(output), make, resume=resume, as_json=as_json)


def _changed(config: Any, **values: object) -> Any:  # noqa: ANN401 a config of either kind
    changes = {name: value for name, value in values.items() if value is not None}
    if "batch" in changes and isinstance(config, StudentConfig):
        changes["perceptual_batch"] = 0  # a preset's own would take its place in most steps
    return replace(config, **changes)


def _run(
    config: TrainConfig,
    machine: Machine,
    folder: RunFolder,
    make: Callable[[Fabric], Task],
    *,
    resume: bool,
    as_json: bool,
) -> None:
    outcome, speaks = train(machine, folder, make, resume=resume)
    if speaks:
        report(config, folder, outcome, as_json=as_json)
    if outcome.ending == "signal":
        raise typer.Exit(console.INTERRUPTED)
