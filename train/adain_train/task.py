"""What a training loop asks of the thing it trains, and how several processes share the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from adain_model import Network
from adain_train.config import TrainConfig
from adain_train.samples import Samples


@dataclass(frozen=True)
class Share:
    """Which part of every batch a process works on.

    Attributes:
        rank: of the process, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    def of(self, positions: range) -> range:
        """Its slice of a batch's positions, which their number divides (`Trainer` sees to it)."""
        size = len(positions) // self.world
        return positions[self.rank * size : (self.rank + 1) * size]


class Task(Protocol):
    """What is trained. The loop knows nothing of styles; a task knows nothing of devices, clocks and files."""

    @property
    def config(self) -> TrainConfig:
        """What the training is."""

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are trained."""

    @property
    def frozen(self) -> nn.Module:
        """The modules that only measure."""

    @property
    def measure(self) -> nn.Module:
        """The one of them that the losses call: ``--compile`` compiles it where it is."""

    @property
    def sources(self) -> Mapping[str, str]:
        """Digests of what the training is made from: data, teacher."""

    @property
    def samples(self) -> Samples:
        """The pictures that the sample grids show."""

    def load(self, step: int, share: Share) -> dict[str, Tensor]:
        """A process's part of a step's batch, on the CPU; called from worker threads."""

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Scalars by name; ``total`` is what is minimised. ``model`` is the trained module as Fabric wraps it."""

    def describe(self, step: int, share: Share) -> str:
        """The names of the images in a batch, for a person who looks for the bad one."""

    def network(self, module: nn.Module) -> Network:
        """The whole network around a trained module or its moving average."""
