"""Devices that are asked for and not here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adain_runtime.errors import InputError, UnavailableError
from adain_train.launch import launch


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and the error is about its absence")
def test_an_accelerator_that_is_not_here_is_unavailable(machine):
    with pytest.raises(UnavailableError, match="--accelerator"):
        launch(replace(machine, accelerator="cuda"))


@pytest.mark.parametrize("strategy", ["dp", "fsdp", "deepspeed"])
def test_a_strategy_that_cuts_batches_or_weights_up_is_refused(machine, strategy):
    with pytest.raises(InputError, match=f"--strategy {strategy}: there is auto and ddp"):
        launch(replace(machine, accelerator="cpu", strategy=strategy))


@pytest.mark.filterwarnings("ignore")  # Fabric's, that it takes bfloat16
def test_float16_wants_a_gpu_and_is_not_bfloat16_without_a_word(machine):
    with pytest.raises(InputError, match="--precision 16-mixed wants a GPU"):
        launch(replace(machine, accelerator="cpu", precision="16-mixed"))


def test_a_strategy_that_starts_its_processes_by_itself_is_refused(machine):
    with pytest.raises(InputError, match="--strategy ddp_spawn"):
        launch(replace(machine, accelerator="cpu", devices=2, strategy="ddp_spawn"))
