"""Run by `test_ddp.py`, alone and under torchrun: the gradients of a first step, and the weights after two.

usage: ddp_gradients.py KIND TEACHER PICTURES OUT.safetensors STRATEGY DEVICES
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from adain_model import load_network
from adain_runtime.spec import NetworkSpec
from adain_train.config import DecoderConfig, Machine, StudentConfig, TrainConfig
from adain_train.data import Framing, check_folder
from adain_train.decoder import DecoderTask
from adain_train.launch import disband, launch
from adain_train.loop import Trainer
from adain_train.pairs import PairData
from adain_train.runfolder import RunFolder
from adain_train.student import StudentTask
from adain_train.targets import LiveTargets
from adain_train.task import Task

FRAMING = Framing(crop=16, shorter_min=16, shorter_max=24)
SPEC = NetworkSpec("small", ((4,), (6, 6), (8,), (10, 10)), ((8,), (8, 6), (6, 4), (4, 3)), "stride", correction=0)


def make_task(kind: str, teacher: str, pictures: Path) -> Task:
    master = load_network(teacher)
    data = PairData(*(check_folder(pictures / name, FRAMING) for name in ("content", "style")), 0, sample_side=16)
    if kind == "decoder":
        return DecoderTask(DecoderConfig(steps=2, batch=4, framing=FRAMING), master.encoder, data)
    config = StudentConfig(steps=2, batch=4, framing=FRAMING, spec=SPEC, restore_every=2, perceptual_from=0.0)
    config = replace(config, distill_end=0.5, distill_features=2.0)
    return StudentTask(config, master, data, LiveTargets(master, data, "mean_std"))


def main() -> None:
    kind, teacher, pictures, out, strategy, devices = sys.argv[1:]
    torch.set_num_threads(1)
    machine = Machine(
        accelerator="cpu", strategy=strategy, devices=int(devices), workers=0, log_every=1, sample_every=0
    )
    fabric = launch(machine)
    task = make_task(kind, teacher, Path(pictures))
    assert isinstance(task.config, TrainConfig)
    trainer = Trainer(fabric, task, machine, RunFolder(Path(out).with_suffix("")), resume=False)
    trainer.gradients(0, task.load(0, trainer.share))
    found = {
        name: parameter.grad.clone(memory_format=torch.contiguous_format)
        for name, parameter in task.model.named_parameters()
    }
    task.model.zero_grad()
    outcome = trainer.run()
    assert (fabric.world_size, outcome.ending) == (int(devices), "done")
    if fabric.is_global_zero:
        save_file({**found, "loss": torch.tensor(outcome.losses["total"])}, out)
    disband()


if __name__ == "__main__":
    main()
