"""What a Core ML export may be asked for, and what the options need of iOS."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast, get_args

from adain_export.calibration import Calibration
from adain_export.target import Int8, Precision, Request
from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec

Weights = Literal["none", "int8", "pal8", "pal6", "pal4"]
Shapes = Literal["fixed", "enumerated", "range"]
Io = Literal["image", "tensor"]
System = Literal["iOS16", "iOS17", "iOS18", "iOS26"]

SYSTEMS: tuple[System, ...] = get_args(System)
MACS: dict[System, str] = {"iOS16": "macOS 13", "iOS17": "macOS 14", "iOS18": "macOS 15", "iOS26": "macOS 26"}
LARGEST = 4096
"""Pixels a side: activations of a larger picture don't fit a phone."""

Size = tuple[int, int]
_SIZE = re.compile(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?")
_LABELS: dict[Weights, str] = {"none": "", "int8": "-w8", "pal8": "-pal8", "pal6": "-pal6", "pal4": "-pal4"}
_T = TypeVar("_T", bound=str)


@dataclass(frozen=True)
class CoremlRequest(Request):
    """What to export for Core ML.

    ``int8`` of the base asks for int8 activations (W8A8): its calibration's layers compute in int8, weights too.

    Attributes:
        sizes: (height, width) of pictures, in pixels. With ``range`` the first is the default, where the Neural Engine
            runs, and their smallest and largest side bound both sides.
        shapes: how several sizes are kept; None takes what the target allows: a function a size, else enumerated.
        weights: how weights are stored.
        system: the oldest system that is to run it; None takes the oldest that can.
        io: images as image buffers (8 bits, RGB) or as float arrays in [0, 1].
        allow_low_quality: keep a package that misses the tolerance.
        author: in the package's metadata.
        license: in the package's metadata.
    """

    precision: Precision = "fp16"
    parts: tuple[str, ...] = ("encoder", "stylizer")
    rewrites: tuple[str, ...] = ("fold-color",)
    sizes: tuple[Size, ...] = ((512, 512),)
    shapes: Shapes | None = None
    weights: Weights = "none"
    system: System | None = None
    io: Io = "image"
    allow_low_quality: bool = False
    author: str = "adain-edge"
    license: str = "that of the checkpoint"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("--weights", self.weights, get_args(Weights))
        one_of("--io", self.io, get_args(Io))
        if self.shapes is not None:
            one_of("--shapes", self.shapes, get_args(Shapes))
        if self.system is not None:
            one_of("--target", self.system, SYSTEMS)
        if not self.sizes:
            raise InputError("no size to export: give --size, such as --size 512x512")
        if len(set(self.sizes)) != len(self.sizes):
            raise InputError(f"a size is asked for twice: {', '.join(map(spell, self.sizes))}")
        if self.int8 is not None and self.weights not in ("none", "int8"):
            raise InputError(
                f"int8 activations compute with int8 weights, and --weights {self.weights} is a palette: leave one away"
            )

    @property
    def label(self) -> str:
        """The precision in the bundle's name, such as ``fp16``, ``fp16-w8``, ``fp16-pal6`` or ``fp16-w8a8``."""
        return self.precision + ("-w8a8" if self.int8 is not None else _LABELS[self.weights])


def labelled(
    name: str, precision: str, sizes: tuple[Size, ...], calibration: Callable[[], Calibration]
) -> CoremlRequest:
    """The request that a bundle's label names, with float arrays for images, so that no rounding hides a difference.

    Args:
        name: the model's.
        precision: such as ``fp16``, ``fp16-pal6`` or ``fp16-w8a8``.
        sizes: (height, width) of pictures.
        calibration: gives one, for int8 activations.

    Raises:
        InputError: no such label.
    """
    base, dash, stored = precision.partition("-")
    weights = next((way for way, label in _LABELS.items() if label == dash + stored), None)
    if base not in get_args(Precision) or (weights is None and stored != "w8a8"):
        labels = ", ".join(f"fp16{label}" for label in (*_LABELS.values(), "-w8a8"))
        raise InputError(f"target coreml has no precision {precision!r}; it has {labels}, and the same of fp32")
    return CoremlRequest(
        name,
        cast(Precision, base),
        sizes=tuple(sorted(sizes)),
        weights=weights or "none",
        int8=Int8(calibration()) if weights is None else None,
        io="tensor",
    )


@dataclass(frozen=True)
class Plan:
    """A request with nothing left open.

    Attributes:
        shapes: how sizes are kept.
        sizes: (height, width), the smallest first; for a range its bounds' squares.
        default: the size that a graph of several has when nobody asks.
        system: the oldest system that runs it.
        multifunction: whether one package holds a function for each part and size.
        notes: what the options brought with them, one line each.
    """

    shapes: Shapes
    sizes: tuple[Size, ...]
    default: Size
    system: System
    multifunction: bool
    notes: tuple[str, ...]

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest side of all sizes."""
        sides = [side for size in self.sizes for side in size]
        return min(sides), max(sides)


def plan(request: CoremlRequest, spec: NetworkSpec) -> Plan:
    """Settle what a request leaves open.

    Raises:
        InputError: a size that the network doesn't take, a range without an upper bound, one size to enumerate, or a
            target that is older than the options need.
    """
    for size in request.sizes:
        _check_size(size, spec)
    shapes = request.shapes or _usual_shapes(request)
    if shapes == "range" and len({side for size in request.sizes for side in size}) == 1:
        raise InputError(
            f"a range from {spell(request.sizes[0])} has no upper bound, and Core ML needs one: give --size twice or "
            "more, the default first, then the smallest and the largest"
        )
    if shapes == "enumerated" and len(request.sizes) == 1:
        raise InputError(
            f"--shapes enumerated keeps several sizes, and {spell(request.sizes[0])} is the only one: give --size "
            "twice or more, or leave --shapes away"
        )
    needs = _needs(request, shapes)
    needed, reason = max(needs, key=lambda need: SYSTEMS.index(need[0]))
    if request.system is not None and SYSTEMS.index(request.system) < SYSTEMS.index(needed):
        raise InputError(
            f"--target {request.system} is older than {reason} needs: give --target {needed} ({MACS[needed]}) or leave "
            "it away"
        )
    notes = []
    if request.system is None and needed != SYSTEMS[0]:
        notes.append(f"the target is {needed} ({MACS[needed]}), which {reason} needs; without it {SYSTEMS[0]} would do")
    if shapes == "range":
        notes.append(
            f"a range may leave the Neural Engine at other sizes than its default {spell(request.sizes[0])}; --shapes "
            "fixed stays on it, and reshapeFrequency may keep it there (docs/coreml.md)"
        )
    system = request.system or needed
    fixed_on_18 = shapes == "fixed" and SYSTEMS.index(system) >= SYSTEMS.index("iOS18")
    return Plan(shapes, tuple(sorted(request.sizes)), request.sizes[0], system, fixed_on_18, tuple(notes))


def _usual_shapes(request: CoremlRequest) -> Shapes:
    if len(request.sizes) == 1 or request.system is None:
        return "fixed"
    return "fixed" if SYSTEMS.index(request.system) >= SYSTEMS.index("iOS18") else "enumerated"


def _needs(request: CoremlRequest, shapes: Shapes) -> list[tuple[System, str]]:
    needs: list[tuple[System, str]] = [("iOS16", "an ML Program in float16")]
    if request.int8 is not None:
        needs.append(("iOS17", "int8 activations"))
    if shapes == "fixed" and len(request.sizes) > 1:
        needs.append(("iOS18", "a package with a function for each size"))
    if shapes == "enumerated" and "decoder" in request.parts:
        needs.append(("iOS18", "a decoder with enumerated sizes (three inputs change size)"))
    return needs


def parse_size(text: str) -> Size:
    """``512x768`` (height x width) or ``512`` as (height, width).

    Raises:
        InputError: something else.
    """
    found = _SIZE.fullmatch(text)
    if not found:
        raise InputError(f"--size {text}: wants HEIGHTxWIDTH in pixels, such as 512x768, or one number for a square")
    return int(found[1]), int(found[2] or found[1])


def spell(size: Size) -> str:
    """``512x768``, height first."""
    return f"{size[0]}x{size[1]}"


def one_of(option: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that an option doesn't know.

    Raises:
        InputError: names the choices.
    """
    if value not in choices:
        raise InputError(f"{option} {value}: there are {', '.join(choices)}")


def _check_size(size: Size, spec: NetworkSpec) -> None:
    stride, smallest = spec.stride, 2 * spec.stride
    most = LARGEST - LARGEST % stride
    if all(side % stride == 0 and smallest <= side <= most for side in size):
        return
    below, above = (
        tuple(min(max((side + extra) // stride * stride, smallest), most) for side in size) for extra in (0, stride - 1)
    )
    nearest = " and ".join(dict.fromkeys(f"{height}x{width}" for height, width in (below, above)))
    raise InputError(
        f"--size {spell(size)}: {spec.name} takes multiples of {stride} from {smallest} to {most}; the nearest: "
        f"{nearest}"
    )
