"""The training loop: Fabric carries it from a CPU to many GPUs, and it can be stopped and resumed at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from adain_runtime.cli import console
from adain_runtime.errors import InputError, QualityError
from adain_train.checkpoints import TrainState, check_identity, load_state, random_state, save_state, set_random_state
from adain_train.config import Algorithm, Machine, as_plain
from adain_train.data import prefetch
from adain_train.muon import Muon
from adain_train.runfolder import RunFolder
from adain_train.schedule import MovingAverage, learning_rate
from adain_train.stopping import stopping
from adain_train.task import Share, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Ending = Literal["done", "time", "signal"]
_OPTIMIZERS: Mapping[Algorithm, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "muon": Muon}
_NORM = "the gradient's norm"


@dataclass
class Clock:
    """Time spent training, over all runs."""

    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def run(self) -> float:
        """Seconds of this run."""
        return time.monotonic() - self.started

    @property
    def total(self) -> float:
        """Seconds of all runs."""
        return self.before + self.run


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        ending: ``done``: all steps that were asked for; ``time``: the minutes are over; ``signal``: SIGTERM or Ctrl-C.
        step: steps done, over all runs.
        losses: the last line of the log.
    """

    ending: Ending
    step: int
    losses: Mapping[str, float]


class Trainer:
    """One run of a training, from its beginning or from a checkpoint.

    Args:
        fabric: launched.
        task: what is trained.
        machine: how.
        folder: where the run lives.
        resume: whether to go on from the folder's checkpoint.
        ends: when to stop, by `time.monotonic`; None is the machine's minutes from now.

    Raises:
        InputError: the folder holds a run and is not to be resumed, or its checkpoint is of another training.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        machine: Machine,
        folder: RunFolder,
        *,
        resume: bool,
        ends: float | None = None,
    ) -> None:
        self.fabric, self.task, self.machine, self.folder = fabric, task, machine, folder
        self.config = task.config
        self.share = Share(fabric.global_rank, fabric.world_size)
        self.config.check_shared(self.share.world)
        self.identity = {**as_plain(self.config), "sources": dict(task.sources), "kind": type(self.config).__name__}
        self._layout = torch.channels_last if machine.channels_last else torch.contiguous_format
        for module in (task.frozen, task.model):
            module.to(fabric.device)
            module.to(memory_format=self._layout)
        self._raw = task.model
        self._average = MovingAverage(self._raw, self.config.ema)
        optimizer = _OPTIMIZERS[self.config.optimizer](self._raw.parameters(), lr=self.config.lr)
        compiled: nn.Module = torch.compile(self._raw) if machine.compile else self._raw  # type: ignore[assignment]
        if machine.compile:
            task.measure.compile()
        self._model, self._optimizer = fabric.setup(compiled, optimizer)
        self.step, self._clock, self._sums = 0, Clock(), _Sums()
        self._ends = ends if ends is not None else deadline(machine)
        folder.check_free(resume=resume)
        if folder.checkpoint.exists():
            self._restore()
        self._check_together()
        fabric.barrier()  # before any process writes into the folder
        if fabric.is_global_zero:
            folder.begin(self.config, machine, task.sources, step=self.step)

    def run(self) -> Outcome:
        """Train until all steps are done, the time is over, or a signal asks to stop; then write what there is.

        Raises:
            QualityError: a loss is not finite; the last checkpoint is kept.
            InputError: a file can't be written.
        """
        saved, last = time.monotonic(), dict[str, float]()
        ending: Ending = "done"
        last_step = self.machine.last(self.config)
        steps = range(self.step, last_step)
        batches = prefetch(lambda step: self.task.load(step, self.share), steps, workers=self.machine.workers)
        with stopping() as stop, closing(batches), console.progress(enabled=self.fabric.is_global_zero) as bar:
            shown = bar.add_task(self.config.name, total=self.config.steps, completed=self.step)
            for step, batch in zip(steps, batches, strict=True):
                self._sums.add(self.train_step(step, batch))
                self.step = step + 1
                if self.step % self.machine.log_every == 0 or self.step == self.config.steps:
                    last = self._log()
                    bar.update(shown, description=_headline(self.config.name, last))
                bar.update(shown, completed=self.step)
                if self.machine.sample_every and self.step % self.machine.sample_every == 0:
                    self._sample()
                if self._agreed(stop.is_set(), self._over()):
                    ending = "signal" if stop.is_set() else "time"
                    break
                if self._agreed(time.monotonic() - saved > 60 * self.machine.checkpoint_minutes):
                    self.save()
                    saved = time.monotonic()
            self.save()
            return self._finish("done" if self.step >= last_step else ending, last)

    def train_step(self, step: int, batch: dict[str, Tensor]) -> dict[str, float]:
        """One step: gradients, then the optimizer, then the moving average.

        Raises:
            QualityError: a loss or the gradient is not finite.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        losses = self.gradients(step, batch)
        scaled = self.machine.precision == "16-mixed"  # whose scaler skips a step that overflows, and goes on
        if self.config.clip:
            norm = self.fabric.clip_gradients(
                self._model, self._optimizer, max_norm=self.config.clip, error_if_nonfinite=False
            )
            if norm is not None and not scaled:
                losses[_NORM] = norm.detach()
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._average.update(self._raw, step)
        return self._read(step, losses)

    def gradients(self, step: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave a step's gradients, averaged over the processes, in the model; returns the losses, on the device."""
        here = {name: self._moved(tensor) for name, tensor in batch.items()}
        with self.fabric.autocast():
            losses = self.task.losses(self._model, here, step)
        self.fabric.backward(losses["total"])
        return {name: value.detach() for name, value in losses.items()}

    def _read(self, step: int, losses: dict[str, Tensor]) -> dict[str, float]:
        """A step's losses as numbers. The device is waited for here alone, when all of the step is on its way.

        A step that is not finite has spoilt the weights in memory by then; the checkpoint is what is kept.
        """
        values = torch.stack([value.float() for value in losses.values()]).tolist()
        found = dict(zip(losses, values, strict=True))
        if not all(math.isfinite(value) for value in values):
            raise self._not_finite(step, ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
        found.pop(_NORM, None)
        return found

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            QualityError: a weight is not finite; the checkpoint before stays.
        """
        if not all(bool(torch.isfinite(values).all()) for values in self._raw.state_dict().values()):
            raise self._not_finite(self.step - 1, "its weights")  # a gradient that nothing clips shows a step later
        state = TrainState(
            step=self.step,
            seconds=self._clock.total,
            identity=self.identity,
            model=self._raw.state_dict(),
            ema=self._average.module.state_dict(),
            optimizer=self._optimizer.state_dict(),
            precision=dict(self.fabric.strategy.precision.state_dict()),
            random=random_state(self.fabric.device),
            sums=asdict(self._sums),
        )
        if self.fabric.is_global_zero:
            save_state(state, self.folder.checkpoint)
        self.fabric.barrier()

    def _restore(self) -> None:
        state = load_state(self.folder.checkpoint)
        check_identity(self.identity, state, self.folder.checkpoint)
        self._raw.load_state_dict(state.model)
        self._average.module.load_state_dict(state.ema)
        self._optimizer.load_state_dict(state.optimizer)
        if state.precision:  # of float16 alone, and this run may have another precision
            self.fabric.strategy.precision.load_state_dict(state.precision)
        set_random_state(state.random, self.fabric.device)
        self.step, self._clock, self._sums = state.step, Clock(state.seconds), _Sums(**state.sums)

    def _check_together(self) -> None:
        """All processes must have found the same checkpoint, or none."""
        if self.share.world > 1:
            total = self.fabric.all_reduce(torch.tensor(float(self.step), device=self.fabric.device), reduce_op="sum")
            if self._agreed(float(total) != self.share.world * self.step):  # type: ignore[arg-type]
                raise InputError(
                    f"{self.folder.checkpoint}: some processes found it and others didn't; the run's folder must be "
                    "one that all machines share"
                )

    def _moved(self, tensor: Tensor) -> Tensor:
        moved = tensor.to(self.fabric.device, non_blocking=True)
        if moved.dtype == torch.uint8:
            moved = moved.float() / 255
        return moved.contiguous(memory_format=self._layout) if moved.dim() == 4 else moved

    def _agreed(self, *wishes: bool) -> bool:
        """Whether any process wishes it: all must stop, or save, at the same step."""
        if self.share.world == 1:
            return any(wishes)
        total = self.fabric.all_reduce(torch.tensor(float(any(wishes)), device=self.fabric.device), reduce_op="sum")
        return bool(total > 0)  # type: ignore[operator]

    def _over(self) -> bool:
        return self._ends is not None and time.monotonic() > self._ends

    def _log(self) -> dict[str, float]:
        means = self._sums.take()
        if self.share.world > 1:
            reduced = self.fabric.all_reduce(torch.tensor(list(means.values()), device=self.fabric.device))
            means = dict(zip(means, reduced.tolist(), strict=True))  # type: ignore[union-attr]
        if self.fabric.is_global_zero:
            rate = learning_rate(self.config, self.step - 1)
            self.folder.log(self.step, means, rate=rate, seconds=self._clock.total)
        return means

    def _sample(self) -> None:
        if self.fabric.is_global_zero:
            network = self.task.network(self._average.module)
            self.folder.sample(self.step, self.task.samples.grid(network, self.fabric.device))

    def _finish(self, ending: Ending, last: Mapping[str, float]) -> Outcome:
        last = last or self.folder.last_losses()
        if self.fabric.is_global_zero:
            network = self.task.network(self._average.module)
            self.folder.finish(self.config, network, self.task.sources, last, self.step, self._clock.total)
        if ending == "done" and not (self.machine.sample_every and self.step % self.machine.sample_every == 0):
            self._sample()
        self.folder.close()
        self.fabric.barrier()
        return Outcome(ending, self.step, last)

    def _not_finite(self, step: int, what: str) -> QualityError:
        kept = self.folder.checkpoint
        last = f"the last good checkpoint is {kept}" if kept.exists() else "no checkpoint was written yet"
        return QualityError(
            f"step {step + 1} is not finite ({what}), with the batch {self.task.describe(step, self.share)}; {last}; "
            "a lower --lr, --set clip=1 or --precision 32-true may help"
        )


def deadline(machine: Machine) -> float | None:
    """When the minutes that a command is given are over, by `time.monotonic`."""
    return None if machine.minutes is None else time.monotonic() + 60 * machine.minutes


@dataclass
class _Sums:
    """Sums of the losses since the last line of the log."""

    count: int = 0
    totals: dict[str, float] = field(default_factory=dict)

    def add(self, losses: Mapping[str, float]) -> None:
        if losses.keys() != self.totals.keys():  # another stage has other losses
            self.count, self.totals = 0, dict.fromkeys(losses, 0.0)
        self.count += 1
        for name, value in losses.items():
            self.totals[name] += value

    def take(self) -> dict[str, float]:
        means = {name: value / self.count for name, value in self.totals.items()}
        self.count, self.totals = 0, dict.fromkeys(self.totals, 0.0)
        return means


def _headline(name: str, losses: Mapping[str, float]) -> str:
    return " ".join([name, *(f"{loss} {value:.3g}" for loss, value in losses.items())])
