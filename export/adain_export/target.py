"""Targets: the formats that a network is exported to. The protocol, and the registry that finds them by entry point."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast, get_args

from adain_export.calibration import Calibration
from adain_runtime.backend import Probe
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.manifest import PART_NAMES, plain_name

if TYPE_CHECKING:  # torch is imported by the first export, not by --help, list or doctor
    from adain_model.network import Network

GROUP = "adain_export.targets"
REWRITES = ("fold-color", "phase", "phase-last")
INT8_REWRITES = REWRITES[:2]
"""Those that fit a graph with layers in int8: codes are of a layer's own map, which phase-last never lays out."""

Precision = Literal["fp32", "fp16"]
Placement = Literal["after-pad", "before-pad"]
Weights = Literal["fp32", "fp16", "int8"]
IO = Literal["float", "uint8"]
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
IOS: tuple[IO, ...] = get_args(IO)
BYTES = "-uint8"
"""What a bundle's label ends with where its images are bytes."""

_STORED: dict[Weights, str] = {"fp32": "", "fp16": "-w16", "int8": "-w8"}


@dataclass(frozen=True)
class Int8:
    """Which convolutions compute in int8, and how.

    Attributes:
        calibration: ranges of what enters them, and which they are.
        placement: whether that is quantised after its padding or before it; the numbers are the same.
    """

    calibration: Calibration
    placement: Placement = "after-pad"

    def __post_init__(self) -> None:
        _known("placement", [self.placement], PLACEMENTS)

    def layers(self, parts: Collection[str]) -> tuple[str, ...]:
        """Those of its layers that a bundle of these parts has: the stylizer holds the encoder and the decoder."""
        layers = self.calibration.int8
        return layers if "stylizer" in parts else tuple(name for name in layers if name.partition(".")[0] in parts)


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes:
        name: the bundle's model name; its folder is NAME-TARGET-PRECISION.
        precision: fp32, or fp16 with float32 statistics: of all that isn't int8.
        parts: which parts, in any order.
        rewrites: exact rewrites to apply where they fit.
        int8: convolutions in int8; None leaves all of them float.
    """

    name: str
    precision: Precision = "fp32"
    parts: tuple[str, ...] = PART_NAMES
    rewrites: tuple[str, ...] = REWRITES
    int8: Int8 | None = None

    def __post_init__(self) -> None:
        plain_name(self.name)
        _known("part", self.parts, PART_NAMES)
        _known("rewrite", self.rewrites, REWRITES)
        if not self.parts:
            raise InputError(f"nothing to export: name at least one part of {', '.join(PART_NAMES)}")
        if self.precision == "fp16" and self.int8 is not None and self.int8.placement != PLACEMENTS[0]:
            raise InputError(
                f"placement {self.int8.placement} with fp16: ONNX Runtime writes biases as multiples of steps, which "
                f"float16 can't hold; take {PLACEMENTS[0]}"
            )

    @property
    def label(self) -> str:
        """The precision in the bundle's name: ``fp32``, ``fp16``, ``int8`` (the rest fp32) or ``int8-fp16``."""
        if self.int8 is None:
            return self.precision
        return "int8" if self.precision == "fp32" else f"int8-{self.precision}"

    @property
    def accuracy(self) -> str:
        """What the tolerances call it: the label, without what changes no number but the images' type."""
        return self.label


@dataclass(frozen=True)
class GraphRequest(Request):
    """What to export where the graph is made of our ONNX parts and may take bytes.

    Attributes:
        weights: how a float32 network's weights are stored; computed with in float32 all the same.
        io: images as float planes [N,3,H,W] in [0, 1], or as bytes [N,H,W,3] with the rounding in the graph.
    """

    weights: Weights = "fp32"
    io: IO = "float"

    def __post_init__(self) -> None:
        super().__post_init__()
        _known("weights", [self.weights], WEIGHTS)
        _known("io", [self.io], IOS)
        if self.weights != "fp32" and (self.precision != "fp32" or self.int8 is not None):
            raise InputError(
                f"weights {self.weights} is about a float32 network, and this one is "
                f"{'int8' if self.int8 else self.precision}; leave one of the two out"
            )

    @classmethod
    def of(cls, request: Request) -> GraphRequest:
        """The same request, with float32 weights and float images where it says nothing of them."""
        if isinstance(request, GraphRequest):
            return request
        return cls(request.name, request.precision, request.parts, request.rewrites, request.int8)

    @property
    def label(self) -> str:
        """The precision in the bundle's name: ``accuracy``, and ``-uint8`` where images are bytes."""
        return self.accuracy + (BYTES if self.io == "uint8" else "")

    @property
    def accuracy(self) -> str:
        """``fp32``, ``fp32-w16``, ``fp32-w8``, ``fp16``, ``int8`` or ``int8-fp16``."""
        return super().label + _STORED[self.weights]


class Target(Protocol):
    """A format. A protocol, so that another package can bring one by an entry point without a base class of ours."""

    @property
    def name(self) -> str:
        """The name in ``adain-export NAME``."""
        ...

    def probe(self) -> Probe:
        """Whether it can be made here. Never raises."""
        ...

    def export(self, network: Network, request: Request, out: Path) -> Bundle:
        """Write the bundle ``out/NAME-TARGET-PRECISION``, whole or not at all.

        Raises:
            InputError: a request that this target can't honour, or a folder that can't be written.
            QualityError: the written files differ from PyTorch by more than the precision allows.
            UnavailableError: a tool is not here.
        """
        ...


def target_names() -> list[str]:
    """Names of all installed targets, sorted."""
    return sorted(entry_points(group=GROUP).names)


def get_target(name: str) -> Target:
    """A target by name.

    Raises:
        InputError: no such target; the message lists them.
    """
    for entry in entry_points(group=GROUP, name=name):
        try:
            return cast(Target, entry.load())
        except Exception as error:  # noqa: BLE001 another package's module may raise anything; it is told, not hidden
            return _Broken(entry.name, f"{entry.value} can't be loaded ({type(error).__name__}: {error})")
    raise InputError(f"no target {name!r}; installed: {', '.join(target_names())}")


@dataclass(frozen=True)
class _Broken:
    """Stands in for a target whose entry point can't be loaded, so that it is listed with its reason."""

    name: str
    reason: str

    def probe(self) -> Probe:
        return Probe(False, self.reason)

    def export(self, network: Network, request: Request, output: Path) -> Bundle:  # noqa: ARG002 a target's signature
        raise UnavailableError(f"target {self.name} can't write {request.name} to {output}: {self.reason}")


def _known(what: str, names: Sequence[str], all_names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in all_names]
    if unknown:
        raise InputError(f"unknown {what} {', '.join(unknown)}; there are {', '.join(all_names)}")
