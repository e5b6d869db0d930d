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


def test_a_strategy_that_starts_its_processes_by_itself_is_refused(machine):
    with pytest.raises(InputError, match="--strategy ddp_spawn"):
        launch(replace(machine, accelerator="cpu", devices=2, strategy="ddp_spawn"))
