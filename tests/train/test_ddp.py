"""Two processes, each with half of the batch, take the step that one takes with all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PROGRAM = Path(__file__).with_name("ddp_gradients.py")


def run(*arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed")
@pytest.mark.parametrize("kind", ["decoder", "student"])
def test_gradients_of_two_processes_are_those_of_one(kind, teacher_file, pictures, tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    run(PROGRAM, kind, teacher_file, pictures, one, "auto", 1)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    run(*torchrun, PROGRAM, kind, teacher_file, pictures, two, "ddp", 2)
    wanted, found = load_file(one), load_file(two)
    assert wanted.keys() == found.keys()
    assert max(gradient.abs().max() for name, gradient in wanted.items() if name != "loss") > 1e-3
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
