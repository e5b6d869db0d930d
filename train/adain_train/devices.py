"""The device that a measurement runs on, from the command line."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import torch
import typer

from adain_runtime.errors import InputError, UnavailableError

Device: TypeAlias = Annotated[str, typer.Option(help="cpu, or cuda.")]


def chosen_device(name: str) -> torch.device:
    """A device by name.

    Raises:
        InputError: another name than ``cpu`` and ``cuda``.
        UnavailableError: there is no such device here.
    """
    if name not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: there is cpu and cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("--device cuda: no CUDA device is here, or torch was installed without CUDA; use cpu")
    return torch.device(name)
