"""The command ``adain-train recipe``: the runs of a recipe, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adain_model import LITE, load_network, weights_sha256
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file, sha256_file
from adain_runtime.results import command_line
from adain_train.checkpoints import check_identity, load_state
from adain_train.commands import Minutes, Spec, Teacher
from adain_train.config import Machine, StudentConfig, as_plain
from adain_train.presets import student_spec
from adain_train.recipe import Stage, read_recipe
from adain_train.runfolder import RunFolder
from adain_train.runs import student_task, train

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from adain_train.task import Task


def recipe_command(
    recipe: Annotated[Path, typer.Argument(help="FILE.toml: the stages.", show_default=False)],
    *,
    teacher: Teacher,
    data: Annotated[
        list[str], typer.Option(metavar="NAME=DIR", help="The folder that the recipe calls so; once for each.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder: each stage has one in it.")],
    init: Annotated[
        Path | None,
        typer.Option(help="Begin the first stage as this FILE.safetensors. Default: random.", show_default=False),
    ] = None,
    spec: Spec = None,
    machine: Annotated[
        list[str] | None,
        typer.Option("--machine", metavar="NAME=VALUE", help="For every stage, such as accelerator=cpu."),
    ] = None,
    minutes: Minutes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the folder's stages stand.")] = False,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Train a student in the stages of a recipe, each begun as what the one before left."""
    stages, folders, ends = read_recipe(recipe), _folders(data), time.monotonic() + 60 * (minutes or 0)
    network = student_spec(spec, None, None, None, None, LITE if init is None else load_network(init).spec)
    plan = [(stage, stage.config(network), stage.on(machine or [], minutes)) for stage in stages]
    for stage in stages:  # all that is wrong is said before the hours that the first one takes
        RunFolder(output / stage.name).check_free(resume=resume)
        for name in (stage.content, stage.style):
            if name not in folders:
                raise InputError(f"{recipe}: stage {stage.name} takes {name}; give --data {name}=DIR")
    rows, speaks, ending, trained = list[dict[str, Any]](), True, "done", False
    for stage, config, where in plan:
        folder = RunFolder(output / stage.name)
        if not _is_done(folder, config, where, teacher, init):
            left = None if minutes is None else max(1e-6, (ends - time.monotonic()) / 60)
            if trained and left == 1e-6:  # it would make targets for minutes, to take one step
                ending = "time"
                break
            console.say(f"stage {stage.name}: {len(rows) + 1} of {len(plan)}")
            outcome, speaks = train(
                replace(where, minutes=left),
                folder,
                _maker(stage, config, where, teacher, (folders[stage.content], folders[stage.style]), output, init),
                resume=True,
            )
            ending, trained = outcome.ending, True
        rows.append(_row(stage, config, folder))
        init = folder.weights(config)
        if ending != "done":
            break
    if speaks:
        _report(recipe, output, rows, as_json=as_json, done=ending == "done")
    if ending == "signal":
        raise typer.Exit(console.INTERRUPTED)


def _folders(data: list[str]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in data]
    if wrong := [text for text, (name, _, folder) in zip(data, pairs, strict=True) if not (name and folder)]:
        raise InputError(f"--data {wrong[0]}: expected NAME=DIR")
    return {name: Path(folder) for name, _, folder in pairs}


def _maker(
    stage: Stage,
    config: StudentConfig,
    machine: Machine,
    teacher: Path,
    folders: tuple[Path, Path],
    kept: Path,
    init: Path | None,
) -> Callable[[Fabric], Task]:
    def make(fabric: Fabric) -> Task:
        def check(sources: Mapping[str, str]) -> None:
            for name, wanted in stage.sources.items():
                if (found := sources.get(name, "none")) != wanted:
                    raise InputError(
                        f"stage {stage.name}: the recipe was taken with another {name}: found {found[:12]}, wanted "
                        f"{wanted[:12]} (SHA-256); give that one, or change the line in the recipe's sources"
                    )

        start = None if init is None else load_network(init)
        return student_task(fabric, config, machine, teacher, folders, kept, start, check=check)

    return make


def _is_done(folder: RunFolder, config: StudentConfig, machine: Machine, teacher: Path, init: Path | None) -> bool:
    """Whether a stage's run is over; one of another teacher, or that was begun otherwise, is refused.

    Its images are not looked at again: that takes as long as beginning.
    """
    if not folder.checkpoint.exists():
        return False
    state = load_state(folder.checkpoint)
    given = {"teacher": teacher} | ({} if init is None else {"init": init})
    kept = {name: digest for name, digest in state.identity["sources"].items() if name not in ("teacher", "init")}
    sources = kept | {name: weights_sha256(load_network(path)) for name, path in given.items()}
    check_identity({**state.identity, **as_plain(config), "sources": sources}, state, folder.checkpoint)
    return state.step >= machine.last(config) and folder.weights(config).exists()


def _row(stage: Stage, config: StudentConfig, folder: RunFolder) -> dict[str, Any]:
    weights = folder.weights(config)
    return {
        "stage": stage.name,
        "step": load_state(folder.checkpoint).step,
        "steps": config.steps,
        "seed": config.seed,
        "losses": folder.last_losses(),
        "weights": str(weights),
        "sha256": sha256_file(weights),
    }


def _report(recipe: Path, output: Path, rows: list[dict[str, Any]], *, as_json: bool, done: bool) -> None:
    """The card of the whole, and the last lines on a terminal."""
    card = [f"# {recipe.stem}", "", "Trained by adain-train; each stage's folder has its own card, log and config.", ""]
    card += [f"    {command_line()}", "", f"sha256 of {recipe.name}: {sha256_file(recipe)}", ""]
    card += ["| stage | steps | of | seed | last losses | sha256 of the weights |", "|---|---|---|---|---|---|"]
    for row in rows:
        losses = ", ".join(f"{name} {value:.4g}" for name, value in row["losses"].items() if name != "total")
        counts = f"{row['step']:,} | {row['steps']:,} | {row['seed']}"
        card.append(f"| {row['stage']} | {counts} | {losses} | {row['sha256']} |")
    with replacing_file(output / "README.md") as part:
        part.write_text("\n".join([*card, ""]), encoding="utf-8")
    if as_json:
        console.print_json({"done": done, "stages": rows})
        return
    cells = [
        (row["stage"], f"{row['step']:,} of {row['steps']:,}", *(_loss(row, name) for name in ("content", "style")))
        for row in rows
    ]
    console.show(console.table(str(output), ("stage", "steps", "content", "style"), cells, right="content style"))
    weights = rows[-1]["weights"]
    console.say(f"next: adain-train eval {weights} --help" if done else "next: the same command with --resume")


def _loss(row: Mapping[str, Any], name: str) -> str:
    return f"{row['losses'][name]:.4g}" if name in row["losses"] else "-"
