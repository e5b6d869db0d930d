"""The loop: stopped and resumed it goes on as if nothing had been, and what is bad stops it."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from adain_model import load_network
from adain_runtime.errors import InputError, QualityError
from adain_train.checkpoints import load_state
from adain_train.decoder import DecoderTask
from adain_train.launch import launch
from adain_train.loop import Trainer
from adain_train.muon import Muon
from adain_train.runfolder import RunFolder
from adain_train.schedule import learning_rate
from adain_train.student import StudentTask
from adain_train.targets import LiveTargets
from adain_train.task import Share
from pictures import one_line


@pytest.fixture(params=["decoder", "student", "student with features"])
def make_task(request, teacher, data, decoder_config, student_config):
    """A task anew, as a new process would have it."""

    def make(**changes):
        if request.param == "decoder":
            return DecoderTask(replace(decoder_config, **changes), teacher.encoder, data)
        features = 2.0 if request.param == "student with features" else 0.0
        config = replace(student_config, kept_crops=0, kept_pairs=0, distill_features=features, **changes)
        return StudentTask(config, teacher, data, LiveTargets(teacher, data, "mean_std"))

    return make


def trainer(task, machine, path, *, resume=False):
    return Trainer(launch(machine), task, machine, RunFolder(path), resume=resume)


class StopAt:
    """Sends this process a signal while a step's batch is loaded."""

    def __init__(self, task, step, number=signal.SIGTERM):
        self.task, self.step, self.number = task, step, number

    def __getattr__(self, name):
        return getattr(self.task, name)

    def load(self, step, share):
        if step == self.step:
            os.kill(os.getpid(), self.number)
        return self.task.load(step, share)


def journal(path):
    lines = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_and_resumed_is_bit_for_bit_one_run(make_task, machine, tmp_path, number):
    whole = trainer(make_task(), machine, tmp_path / "whole").run()
    first = trainer(StopAt(make_task(), 2, number), machine, tmp_path / "parts").run()
    second = trainer(make_task(), machine, tmp_path / "parts", resume=True).run()
    assert (whole.ending, first.ending, second.ending) == ("done", "signal", "done")
    assert (whole.step, first.step, second.step) == (6, 3, 6)
    assert journal(tmp_path / "whole") == journal(tmp_path / "parts")
    files = [next((tmp_path / run).glob("*.safetensors")).read_bytes() for run in ("whole", "parts")]
    assert files[0] == files[1]
    states = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "parts")]
    for part in ("model", "ema"):
        assert all(torch.equal(states[0][part][name], states[1][part][name]) for name in states[0][part])


def test_a_run_whose_time_went_into_its_preparation_takes_one_step(make_task, machine, tmp_path):
    late = Trainer(
        launch(machine), make_task(), machine, RunFolder(tmp_path / "run"), resume=False, ends=time.monotonic() - 1
    ).run()
    assert (late.ending, late.step) == ("time", 1)


def test_weights_that_are_not_finite_never_replace_a_checkpoint(make_task, machine, tmp_path):
    """A gradient that nothing clips shows one step later, and the last step has none after it."""
    made = trainer(make_task(), machine, tmp_path / "run")
    made.save()
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    made.step = 1
    with torch.no_grad():
        next(made._raw.parameters()).fill_(float("nan"))
    with pytest.raises(QualityError, match=r"step 1 is not finite \(its weights\).*--set clip=1"):
        made.save()
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_a_mean_over_steps_that_spans_a_stop_is_the_same(make_task, machine, tmp_path):
    machine = replace(machine, log_every=3)
    trainer(make_task(), machine, tmp_path / "whole").run()
    trainer(StopAt(make_task(), 1), machine, tmp_path / "parts").run()
    trainer(make_task(), machine, tmp_path / "parts", resume=True).run()
    assert journal(tmp_path / "whole") == journal(tmp_path / "parts")


def test_worker_threads_change_nothing(make_task, machine, tmp_path):
    for workers in (0, 3):
        trainer(make_task(), replace(machine, workers=workers), tmp_path / str(workers)).run()
    assert journal(tmp_path / "0") == journal(tmp_path / "3")


def test_a_resume_after_a_crash_takes_the_lost_steps_again(make_task, machine, tmp_path):
    trainer(StopAt(make_task(), 2), machine, tmp_path / "run").run()
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    trainer(StopAt(make_task(), 4), machine, tmp_path / "run", resume=True).run()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(before)  # as if it had been killed after step 5
    trainer(make_task(), machine, tmp_path / "run", resume=True).run()
    assert [line["step"] for line in journal(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_last_line_that_was_torn_is_taken_again_and_a_foreign_log_refused(make_task, machine, tmp_path):
    trainer(StopAt(make_task(), 2), machine, tmp_path / "run").run()
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 4, "sec')
    trainer(StopAt(make_task(), 4), machine, tmp_path / "run", resume=True).run()
    assert [line["step"] for line in journal(tmp_path / "run")] == [1, 2, 3, 4, 5]
    for foreign in ("[1]\n{}\n", "my notes", '[{"step": 1}]', '{"step": 1}\nand so on'):
        log.write_text(foreign)
        with pytest.raises(InputError, match="not a log of ours"):
            trainer(make_task(), machine, tmp_path / "run", resume=True)
        assert log.read_text() == foreign


def test_training_lowers_the_loss(make_task, machine, tmp_path):
    trainer(make_task(steps=30, lr=3e-3), machine, tmp_path).run()
    losses = [line["total"] for line in journal(tmp_path) if line["step"] <= 15]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_the_minutes_end_a_run_and_the_next_goes_on(make_task, machine, tmp_path):
    outcome = trainer(make_task(), replace(machine, minutes=1e-9), tmp_path).run()
    assert (outcome.ending, outcome.step) == ("time", 1)
    assert trainer(make_task(), machine, tmp_path, resume=True).run().ending == "done"


def test_a_run_leaves_config_log_grid_weights_and_card(make_task, machine, tmp_path):
    task = make_task()
    trainer(task, machine, tmp_path).run()
    network = load_network(tmp_path / f"{task.config.name}.safetensors")
    assert network(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)).isfinite().all()
    assert "steps = 6" in (tmp_path / "config.toml").read_text()
    assert task.data.contents.digest in (tmp_path / "README.md").read_text()
    with Image.open(tmp_path / "samples" / "step_0000006.png") as grid:
        assert grid.size == (5 * 24, 5 * 24)
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_folder_with_a_run_is_not_overwritten(make_task, machine, tmp_path):
    trainer(make_task(), machine, tmp_path).run()
    with pytest.raises(InputError, match="--resume"):
        trainer(make_task(), machine, tmp_path)


def test_another_training_can_not_be_resumed(make_task, machine, tmp_path):
    trainer(make_task(), machine, tmp_path).run()
    with pytest.raises(InputError, match=r"lr: asked 0\.5, was 0\.001") as error:
        trainer(make_task(lr=0.5), machine, tmp_path, resume=True)
    one_line(error)


def flipped(content):
    """One byte of a tensor is another."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-2000], lambda _: b"", lambda _: b"no checkpoint", flipped], ids=range(4)
)
def test_a_damaged_checkpoint_is_named_and_kept(make_task, machine, tmp_path, damage):
    trainer(make_task(), machine, tmp_path).run()
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="damaged checkpoint") as error:
        trainer(make_task(), machine, tmp_path, resume=True)
    assert str(path) in one_line(error)
    assert path.exists()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own tracing
def test_a_compiled_run_takes_the_same_steps(make_task, machine, tmp_path, monkeypatch):
    """Traced as ever, but without the minute that generating code takes."""
    trainer(make_task(), machine, tmp_path / "plain").run()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    made = trainer(make_task(), replace(machine, compile=True), tmp_path / "compiled")
    assert made.task.measure._compiled_call_impl is not None
    made.run()
    plain, compiled = (journal(tmp_path / name)[-1] for name in ("plain", "compiled"))
    assert compiled["total"] == pytest.approx(plain["total"], rel=1e-4)


class Spoiled:
    """A task whose loss is NaN at a step."""

    def __init__(self, task, step):
        self.task, self.step = task, step

    def __getattr__(self, name):
        return getattr(self.task, name)

    def losses(self, model, batch, step):
        found = self.task.losses(model, batch, step)
        return {**found, "total": found["total"] * float("nan")} if step == self.step else found


def test_a_loss_that_is_not_finite_stops_with_the_batch_named_and_the_checkpoint_kept(make_task, machine, tmp_path):
    trainer(StopAt(make_task(), 1), machine, tmp_path).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(QualityError, match=r"step 4 is not finite .*\.png \+ .*\.png") as error:
        trainer(Spoiled(make_task(), 3), machine, tmp_path, resume=True).run()
    assert str(tmp_path / "checkpoint.pt") in one_line(error)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_full_disk_is_an_error_and_the_checkpoint_before_stays(make_task, machine, tmp_path, monkeypatch):
    trainer(StopAt(make_task(), 1), machine, tmp_path).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left on device"):
        trainer(make_task(), machine, tmp_path, resume=True).run()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_signals_act_as_before_after_a_run(make_task, machine, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    trainer(make_task(), machine, tmp_path).run()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("algorithm", "kind"), [("adam", torch.optim.Adam), ("muon", Muon)])
def test_a_step_is_of_clipped_gradients_at_the_schedules_rate(make_task, machine, tmp_path, algorithm, kind):
    """Both optimizers hide the scale of gradients, so these are looked at as the optimizer gets them."""
    made = trainer(make_task(clip=1e-3, optimizer=algorithm, warmup=4), machine, tmp_path)
    seen = []

    def look(optimizer, *_):
        gradients = [parameter.grad.flatten() for parameter in made.task.model.parameters()]
        seen.append((torch.cat(gradients).norm().item(), [group["lr"] for group in optimizer.param_groups]))

    optimizer = made._optimizer.optimizer
    assert isinstance(optimizer, kind)
    optimizer.register_step_pre_hook(look)
    made.train_step(2, made.task.load(2, Share()))
    ((norm, rates),) = seen
    assert norm == pytest.approx(1e-3, rel=1e-3)
    wanted = learning_rate(made.config, 2)
    assert set(rates) == {wanted}
    assert wanted < made.config.lr


def test_what_a_run_leaves_is_the_average_of_its_weights(make_task, machine, tmp_path):
    task = make_task()
    trainer(task, machine, tmp_path).run()
    state = load_state(tmp_path / "checkpoint.pt")
    left = load_network(tmp_path / f"{task.config.name}.safetensors").state_dict()
    weights = {}
    for part in ("ema", "model"):
        task.model.load_state_dict(getattr(state, part))
        weights[part] = {name: tensor.clone() for name, tensor in task.network(task.model).state_dict().items()}
    assert all(torch.equal(left[name], tensor) for name, tensor in weights["ema"].items())
    assert not all(torch.equal(left[name], tensor) for name, tensor in weights["model"].items())


def test_checkpoints_come_as_often_as_was_asked_for(make_task, machine, tmp_path):
    for minutes, kept in ((1e-9, True), (60.0, False)):
        path = tmp_path / str(kept)
        with pytest.raises(QualityError):
            trainer(Spoiled(make_task(), 3), replace(machine, checkpoint_minutes=minutes), path).run()
        assert (path / "checkpoint.pt").exists() is kept
    assert load_state(tmp_path / "True" / "checkpoint.pt").step == 3


def test_grids_come_as_often_as_was_asked_for_and_show_what_the_average_paints(make_task, machine, tmp_path):
    task = make_task()
    trainer(task, replace(machine, sample_every=2), tmp_path).run()
    files = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in files] == [f"step_{step:07d}.png" for step in (2, 4, 6)]
    network = load_network(tmp_path / f"{task.config.name}.safetensors")
    side, samples = 24, task.samples
    with Image.open(files[-1]) as grid:
        found = np.asarray(grid.convert("RGB")).astype(int)
    for row, content in enumerate(samples.contents, 1):
        for column, style in enumerate(samples.styles, 1):
            planes = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255 for image in (content, style)]
            with torch.no_grad():
                wanted = network(*planes)[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
            cell = found[row * side : (row + 1) * side, column * side : (column + 1) * side]
            assert np.abs(cell - wanted).max() <= 1


def test_bfloat16_trains(make_task, machine, tmp_path):
    outcome = trainer(make_task(steps=2), replace(machine, precision="bf16-mixed"), tmp_path).run()
    assert outcome.ending == "done"
