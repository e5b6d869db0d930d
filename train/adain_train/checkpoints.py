"""The state of a training as one file that is whole or not there."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file
from adain_train.config import differences

FORMAT_VERSION = 1


@dataclass(frozen=True)
class TrainState:
    """All that a training goes on from. Its place in the data is its step.

    Attributes:
        step: steps done.
        seconds: time spent on them, over all runs.
        identity: what is trained, plain: the config, the data's digests and the teacher's.
        model: the trained module's state.
        ema: its moving average's.
        optimizer: Adam's.
        precision: the gradient scaler's, where there is one.
        random: torch's generators, by device.
        sums: the losses since the last line of the log.
    """

    step: int
    seconds: float
    identity: dict[str, Any]
    model: dict[str, Any]
    ema: dict[str, Any]
    optimizer: dict[str, Any]
    precision: dict[str, Any]
    random: dict[str, Any]
    sums: dict[str, Any]


def save_state(state: TrainState, path: Path) -> None:
    """Write a state; the one that stood there is replaced when the new one is whole.

    Raises:
        InputError: it can't be written.
    """
    fields = {name: getattr(state, name) for name in TrainState.__dataclass_fields__}
    with replacing_file(path) as part:
        try:
            torch.save({"format_version": FORMAT_VERSION, **fields}, part)
        except RuntimeError as error:  # what torch's writer makes of a full disk
            raise InputError(f"can't write {path}: {_line(error)}; is the disk full?") from error


def load_state(path: Path) -> TrainState:
    """Read a state; tensors and plain values only, so that no code can come with it.

    Raises:
        InputError: it is missing, damaged, or none of ours.
    """
    fix = "delete it to start anew, or put a copy in its place"
    try:
        _check_sums(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, BadZipFile, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: a damaged checkpoint ({_line(error)}); {fix}") from error
    wanted = {"format_version", *TrainState.__dataclass_fields__}
    if not isinstance(found, dict) or set(found) != wanted or found.pop("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: no checkpoint of this version's adain-train; {fix}")
    return TrainState(**found)


def check_identity(asked: dict[str, Any], state: TrainState, path: Path) -> None:
    """Refuse to go on with another training than the one that was begun.

    Raises:
        InputError: names what differs.
    """
    if found := differences(asked, state.identity):
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        raise InputError(
            f"{path}: can't be resumed with another training ({'; '.join(found[:4])}{more}); give the command that "
            "began it, or another run folder"
        )


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of torch's generators that a run on this device draws from."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Go on drawing where `random_state` was taken."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _check_sums(path: Path) -> None:
    """Hold every part of a checkpoint against its CRC-32, which torch writes and doesn't look at."""
    with ZipFile(path) as parts:
        bad = parts.testzip()
    if bad is not None:
        raise BadZipFile(f"the checksum of {bad} is another")


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 120 else f"{text[:117]}..."
