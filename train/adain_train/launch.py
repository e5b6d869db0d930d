"""Processes and devices: how Lightning Fabric is set up, and left again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from adain_runtime.errors import InputError, UnavailableError
from adain_train.config import Machine

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_INSTALL = "pip install torch lightning-fabric tensorboard"


def launch(machine: Machine) -> Fabric:
    """Lightning Fabric, launched: from here on, every process runs the same lines.

    Raises:
        UnavailableError: Fabric, or the accelerator, is not here.
        InputError: no such accelerator or strategy.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.utilities.exceptions import MisconfigurationException
    except ImportError as error:
        raise UnavailableError(f"lightning-fabric is not installed, and training runs on it: {_INSTALL}") from error
    if machine.strategy != "auto" and not machine.strategy.startswith("ddp"):
        raise InputError(f"--strategy {machine.strategy}: there is auto and ddp; others cut batches or weights up")
    try:
        fabric = Fabric(
            accelerator=machine.accelerator,
            strategy=machine.strategy,
            devices=machine.devices,
            num_nodes=machine.nodes,
            precision=machine.precision,
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise UnavailableError(
            f"accelerator {machine.accelerator} with {machine.devices} device(s) is not available here "
            f"({' '.join(str(error).split())}); choose another --accelerator, such as cpu"
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(f"--accelerator {machine.accelerator} --strategy {machine.strategy}: {error}") from error
    try:
        fabric.launch()
    except (ValueError, TypeError) as error:  # other numbers than torchrun's, or a strategy that starts no script again
        said = " ".join(str(error).split())
        raise InputError(f"--devices {machine.devices} --strategy {machine.strategy}: {said}") from error
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise UnavailableError(
            f"the {machine.devices * machine.nodes} processes don't come together ({said})"
        ) from error
    if machine.precision == "16-mixed" and fabric.device.type == "cpu":  # Fabric would take bfloat16 without a word
        raise InputError("--precision 16-mixed wants a GPU; a CPU has 32-true and bf16-mixed")
    return fabric


def disband() -> None:
    """Leave the process group of a launch over several processes: one that still stands may crash the exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
