"""A run's folder: its config, log, scalars, sample grids, checkpoint, and in the end the weights and their card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import adain_model
from adain_model import Network
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.files import replacing_file, sha256_file
from adain_runtime.image import Photo, save_image
from adain_runtime.results import command_line
from adain_train.config import Machine, TrainConfig, as_plain, to_toml
from adain_train.data import Pixels

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunFolder:
    """Where a run lives.

    Attributes:
        path: the folder.
        command: what the model card quotes.
    """

    def __init__(self, path: Path, command: str | None = None) -> None:
        self.path = path
        self.command = command or command_line()
        self._scalars: SummaryWriter | None = None

    @property
    def checkpoint(self) -> Path:
        """The state to resume from."""
        return self.path / "checkpoint.pt"

    @property
    def journal(self) -> Path:
        """The log: one JSON object a line."""
        return self.path / "log.jsonl"

    def weights(self, config: TrainConfig) -> Path:
        """The trained network."""
        return self.path / f"{config.name}.safetensors"

    def check_free(self, *, resume: bool) -> None:
        """Refuse a folder that holds a run which is not to be resumed, before the work begins.

        Raises:
            InputError: it does.
        """
        if self.checkpoint.exists() and not resume:
            raise InputError(
                f"{self.path}: holds a run already; add --resume to go on with it, or choose another folder"
            )

    def begin(self, config: TrainConfig, machine: Machine, sources: Mapping[str, str], *, step: int) -> None:
        """Open the folder, and drop what its log says of later steps: they will be taken again.

        Args:
            config: what is trained.
            machine: and how.
            sources: digests of what it is made from.
            step: steps done.

        Raises:
            InputError: it can't be written.
            UnavailableError: tensorboard is missing.
        """
        writer = _summary_writer()
        try:
            (self.path / "samples").mkdir(parents=True, exist_ok=True)
            lines = [line for line in self._lines() if line["step"] <= step]
            self._write(self.journal.name, "".join(json.dumps(line) + "\n" for line in lines))
            tables = {"train": as_plain(config), "sources": dict(sources), "machine": as_plain(machine)}
            self._write("config.toml", f"# {' '.join(self.command.split())}\n{to_toml(tables)}")
            self._scalars = writer(str(self.path / "tensorboard"), purge_step=step + 1)
        except OSError as error:
            raise InputError(f"can't write {self.path}: {error.strerror or error}; choose another folder") from error

    def log(self, step: int, losses: Mapping[str, float], *, rate: float, seconds: float) -> None:
        """Add a line to the log, and its numbers to TensorBoard.

        Raises:
            InputError: it can't be written.
        """
        line = {"step": step, "seconds": round(seconds, 1), "lr": rate, **losses}
        try:
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(f"can't write {self.journal}: {error.strerror or error}; is the disk full?") from error
        if self._scalars is not None:
            for name, value in {**losses, "lr": rate}.items():
                self._scalars.add_scalar(name, value, step)

    def last_losses(self) -> dict[str, float]:
        """The losses of the log's last line; empty without one."""
        lines = self._lines()
        return {k: v for k, v in lines[-1].items() if k not in {"step", "seconds", "lr"}} if lines else {}

    def sample(self, step: int, grid: Pixels) -> None:
        """Keep a grid of samples as a PNG, and in TensorBoard."""
        save_image(Photo(grid), self.path / "samples" / f"step_{step:07d}.png")
        if self._scalars is not None:
            self._scalars.add_image("samples", grid, step, dataformats="HWC")

    def finish(
        self,
        config: TrainConfig,
        network: Network,
        sources: Mapping[str, str],
        losses: Mapping[str, float],
        step: int,
        seconds: float,
    ) -> None:
        """Write the weights and their model card.

        Raises:
            InputError: they can't be written, or are not finite.
        """
        path = self.weights(config)
        adain_model.save_network(network, path)
        found = adain_model.layer_costs(network, 512, 512)
        pixel = sum(adain_model.macs(found, part) for part in ("encoder", "decoder")) / 512**2
        rows = {
            "command": f"`{self.command}`",
            "steps": f"{step:,} of {config.steps:,}",
            "seed": str(config.seed),
            "time": f"{seconds / 3600:.2f} hours",
            "torch": f"{torch.__version__}, {torch.get_num_threads()} CPU threads",
            "parameters": f"{sum(layer.parameters for layer in found):,}",
            "multiply-accumulates a pixel": f"{pixel:,.0f}",
            **{f"last {name} loss": f"{value:.5g}" for name, value in losses.items()},
            **{f"sha256 of {name}": digest for name, digest in sources.items()},
            f"sha256 of {path.name}": sha256_file(path),
        }
        card = [f"# {config.name}", "", f"Trained by adain-train; the config is in config.toml. {_ADVICE}", ""]
        card += ["| what | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]
        self._write("README.md", "\n".join(card))

    def close(self) -> None:
        """Flush TensorBoard's file."""
        if self._scalars is not None:
            self._scalars.close()
            self._scalars = None

    def _lines(self) -> list[dict[str, Any]]:
        try:
            text = self.journal.read_text(encoding="utf-8")
            lines = text.splitlines()
            if lines and not text.endswith("\n") and lines[-1].startswith(_LINE[: len(lines[-1])]):
                del lines[-1]  # torn by a full disk or a power cut
            return [line for line in map(json.loads, lines) if line["step"] >= 0]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.journal}: not a log of ours ({error}); move it away") from error

    def _write(self, name: str, text: str) -> None:
        with replacing_file(self.path / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8


_LINE = '{"step": '  # what every line of the log begins with
_ADVICE = "`adain-train eval` measures it on images that it was not trained on; the losses here are of its last steps."


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UnavailableError("tensorboard is not installed: pip install tensorboard") from error
    return SummaryWriter
