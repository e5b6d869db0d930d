"""A training from its config to its outcome: what every command that trains does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from adain_model import VGG19, Encoder, Network, import_network, load_encoder, load_network
from adain_runtime.cli import console
from adain_train.config import Machine, StudentConfig, TrainConfig
from adain_train.data import ImageSet, check_folder, list_images
from adain_train.launch import disband, launch
from adain_train.loop import Outcome, Trainer, deadline
from adain_train.losses import require_vgg19
from adain_train.pairs import PairData
from adain_train.runfolder import RunFolder
from adain_train.student import StudentTask, check_start, digests
from adain_train.targets import KeptTargets, LiveTargets, Targets, make_targets, targets_folder
from adain_train.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    machine: Machine,
    folder: RunFolder,
    make: Callable[[Fabric], Task],
    *,
    resume: bool,
) -> tuple[Outcome, bool]:
    """Train what ``make`` makes, for as long as the machine is given.

    Args:
        machine: where, and for how long.
        folder: where the run lives.
        make: the task, once Fabric is launched.
        resume: whether to go on from the folder's checkpoint.

    Returns:
        how it ended, and whether this process, of several, is the one that says so.

    Raises:
        InputError: bad input, or a file that can't be written.
        QualityError: a loss is not finite.
        UnavailableError: the device, or a library, is not here.
    """
    ends = deadline(machine)  # what data and targets take is in it
    folder.check_free(resume=resume)  # before the minutes that they take
    fabric = launch(machine)
    try:
        outcome = Trainer(fabric, make(fabric), machine, folder, resume=resume, ends=ends).run()
    finally:
        disband()
    return outcome, fabric.is_global_zero


def report(config: TrainConfig, folder: RunFolder, outcome: Outcome, *, as_json: bool) -> None:
    """Say how a run ended, and what to do next."""
    weights = folder.weights(config)
    plain = {**asdict(outcome), "steps": config.steps, "weights": str(weights), "checkpoint": str(folder.checkpoint)}
    if as_json:
        console.print_json(plain)
        return
    rows = [(name, f"{value:.5g}") for name, value in outcome.losses.items()]
    title = f"{outcome.step:,} of {config.steps:,} steps: {weights}"
    console.show(console.table(title, ("loss", "last mean"), rows, right="mean"))
    if outcome.ending == "done":
        console.say(f"next: adain-train eval {weights} --help")
    else:
        console.say("next: the same command with --resume")


def read_encoder(path: Path) -> Encoder:
    """A VGG-19 encoder from a checkpoint of ours, or from a torch file.

    Raises:
        InputError: it can't be read, or isn't VGG-19.
    """
    torch_file = path.suffix in {".pth", ".pt"}
    encoder = cast(Encoder, import_network(path, None, VGG19).module) if torch_file else load_encoder(path)
    require_vgg19(encoder, path)
    return encoder


def student_task(
    fabric: Fabric,
    config: StudentConfig,
    machine: Machine,
    teacher: Path,
    folders: tuple[Path, Path],
    kept: Path,
    start: Network | None,
    *,
    check: Callable[[Mapping[str, str]], None] = lambda _: None,
) -> StudentTask:
    """A student's task: its images checked, and its targets made where they are kept.

    Args:
        fabric: launched.
        config: what the training is.
        machine: how the images are read.
        teacher: VGG-19 with its decoder, a file.
        folders: of contents and of styles.
        kept: where kept targets lie.
        start: what the student begins as; None is random weights.
        check: is shown the digests of what it is made of, before the minutes that kept targets take; what it raises
            is raised.

    Raises:
        InputError: a file or folder can't be used, the teacher isn't VGG-19, or the student can't begin as ``start``.
    """
    check_start(config, start)
    master = load_network(teacher)
    require_vgg19(master.encoder, teacher)
    data = pair_data(fabric, config, machine, *folders)
    check(digests(master, data, start))
    targets: Targets
    if config.kept_crops:
        folder = targets_folder(kept, config, master, data)
        with fabric.rank_zero_first():
            if not folder.exists():
                with _bar(fabric, "teacher", 2 * config.kept_crops + config.kept_pairs) as advance:
                    make_targets(folder, config, master.to(fabric.device), data, fabric.device, advance=advance)
        targets = KeptTargets(folder, config, master, data)
    else:
        targets = LiveTargets(master, data, config.weights.style_kind)
    return StudentTask(config, master, data, targets, start)


def pair_data(fabric: Fabric, config: TrainConfig, machine: Machine, content: Path, style: Path) -> PairData:
    """Both folders, every image checked.

    Raises:
        InputError: see `check_folder`.
    """

    def check(folder: Path) -> ImageSet:
        with _bar(fabric, f"checking {folder.name}", len(list_images(folder))) as advance:
            found = check_folder(
                folder,
                config.framing,
                cache=machine.cache,
                workers=max(1, machine.workers),
                advance=lambda: advance(1),
            )
        if fabric.is_global_zero:
            console.say(found.report())
        return found

    contents = check(content)
    return PairData(contents, contents if style == content else check(style), config.seed)


@contextmanager
def _bar(fabric: Fabric, title: str, total: int) -> Iterator[Callable[[int], object]]:
    with console.progress(enabled=fabric.is_global_zero) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)
