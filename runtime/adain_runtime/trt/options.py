"""What an engine is built for: sizes, batches and the builder's settings. Standard library only; kits carry it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Flavor = Literal["trt", "rtx"]
FLAVORS: tuple[Flavor, ...] = get_args(Flavor)
RTX_CAPABILITIES = ("8.6", "8.9", "12.0")  # Ampere, Ada and Blackwell cards; what TensorRT for RTX builds for unasked
_OPT_LEVELS = range(6)
_KINDS = {"workspace": int, "opt_level": int, "hw_compat": bool, "version_compatible": bool}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
Size = tuple[int, int]
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class BuildError(Exception):
    """What stops a build: one line that names the thing, what was found, and the fix.

    Attributes:
        exit_code: 2 for bad input, 3 for something that is not available here, 1 for a build that failed.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Profile:
    """The image sizes and batches that an engine takes; TensorRT calls it an optimisation profile.

    Attributes:
        min: least height and width, in pixels.
        opt: those that kernels are chosen for.
        max: the largest; device memory grows with it.
        batch: least, usual and most images a call.
    """

    min: Size = (64, 64)
    opt: Size = (512, 512)
    max: Size = (1024, 1024)
    batch: tuple[int, int, int] = (1, 1, 1)

    def __post_init__(self) -> None:
        for axis, side in enumerate(("height", "width")):
            least, usual, most = self.min[axis], self.opt[axis], self.max[axis]
            if not 0 < least <= usual <= most:
                raise BuildError(f"the profile's {side} must rise from --min by --opt to --max: {self}; give all three")
        least, usual, most = self.batch
        if not 0 < least <= usual <= most:
            raise BuildError(f"the profile's batch must rise: {least},{usual},{most}")

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {h}x{w}" for name, (h, w) in zip(("min", "opt", "max"), self._sizes, strict=True))
        least, _, most = self.batch
        return f"{sizes}, batch {least}{f' to {most}' if most > least else ''}"

    @property
    def _sizes(self) -> tuple[Size, Size, Size]:
        return self.min, self.opt, self.max

    def check(self, multiple: int, minimum: int) -> None:
        """Refuse sizes that a network doesn't take.

        Raises:
            BuildError: a side that is no multiple, or under the minimum.
        """
        for name, size in zip(("--min", "--opt", "--max"), self._sizes, strict=True):
            if any(side % multiple or side < minimum for side in size):
                raise BuildError(
                    f"{name} {size[0]}x{size[1]}: both sides must be multiples of {multiple} and at least {minimum}"
                )

    def shapes(self, dimensions: Sequence[int | str]) -> Shapes:
        """Least, usual and largest shape of an input, from its dimensions in a manifest.

        ``1|height/8`` broadcasts: it is 1 at least.
        """
        least, usual, most = (
            tuple(self._axis(dimension, place) for dimension in dimensions) for place in range(len(self._sizes))
        )
        return least, usual, most

    def _axis(self, dimension: int | str, place: int) -> int:
        if isinstance(dimension, int):
            return dimension
        if dimension == "batch":
            return self.batch[place]
        free, _, word = dimension.rpartition("|")
        if free and place == 0:
            return 1
        side, _, stride = word.partition("/")
        return self._sizes[place][("height", "width").index(side)] // int(stride or 1)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Profile:
        """From what ``asdict`` gives; raises KeyError, TypeError or ValueError for anything else."""
        sizes = {name: _whole(plain[name], 2) for name in ("min", "opt", "max")}
        return cls(**sizes, batch=_whole(plain["batch"], 3))


@dataclass(frozen=True)
class Options:
    """How engines are built.

    Attributes:
        profile: sizes and batches.
        flavor: TensorRT, or TensorRT for RTX.
        workspace: most bytes of scratch memory; None leaves it to TensorRT.
        opt_level: 0 (quick) to 5 (tries everything); None is TensorRT's own.
        hw_compat: let the engine run on every GPU from compute capability 8.0 on; slower. TensorRT only.
        version_compatible: let later versions of the same major TensorRT load it. TensorRT only.
        compute_capabilities: what to build for, such as ``8.6``. TensorRT for RTX only.
    """

    profile: Profile = Profile()
    flavor: Flavor = "trt"
    workspace: int | None = None
    opt_level: int | None = None
    hw_compat: bool = False
    version_compatible: bool = False
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.flavor not in FLAVORS:
            raise BuildError(f"unknown flavor {self.flavor!r}; there are {', '.join(FLAVORS)}")
        if self.opt_level is not None and self.opt_level not in _OPT_LEVELS:
            raise BuildError(f"--opt-level {self.opt_level}: wants 0 to {_OPT_LEVELS[-1]}")
        if self.workspace is not None and self.workspace < 1:
            raise BuildError(f"--workspace {self.workspace}: wants at least a byte; leave it out for no limit")
        if self.flavor == "trt" and self.compute_capabilities:
            raise BuildError(
                "--compute-capability is for --flavor rtx: TensorRT builds for the GPU that it runs on"
                " (--hw-compat for every one from 8.0 on)"
            )
        if self.flavor == "rtx" and (self.hw_compat or self.version_compatible):
            raise BuildError("--hw-compat and --version-compatible are for --flavor trt: take --compute-capability")
        wrong = [name for name in self.compute_capabilities if not re.fullmatch(r"\d{1,2}\.\d", name)]
        if wrong:
            raise BuildError(f"--compute-capability {','.join(wrong)}: wants numbers such as 8.6,8.9,12.0")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities to build for: those asked for, else the usual cards; none for TensorRT."""
        return self.compute_capabilities or (RTX_CAPABILITIES if self.flavor == "rtx" else ())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` gives equal options back."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: object) -> Options:
        """Read options.

        Raises:
            BuildError: a field is missing, unknown, or of the wrong kind.
        """
        if not isinstance(plain, Mapping):
            raise BuildError(f"build options: expected an object, found {plain!r}")
        try:
            values = dict(plain)
            values["profile"] = Profile.from_json(values["profile"])
            values["compute_capabilities"] = tuple(map(str, values["compute_capabilities"]))
            for name, kind in _KINDS.items():
                values[name] = _of_kind(name, values[name], kind)
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise BuildError(f"build options: {error}; write the kit again: adain-export trt --kit") from error


def parse_size(option: str, text: str) -> Size:
    """``720x1280`` as (height, width); ``512`` as both.

    Raises:
        BuildError: anything else.
    """
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if found is None:
        raise BuildError(f"{option} {text}: wants HEIGHTxWIDTH in pixels, such as 720x1280")
    return int(found[1]), int(found[2] or found[1])


def parse_batch(text: str) -> tuple[int, int, int]:
    """``8`` as 1 to 8, best at 1; ``1,4,8`` as it says.

    Raises:
        BuildError: anything else.
    """
    found = re.fullmatch(r"(?:(\d{1,4}),(\d{1,4}),)?(\d{1,4})", text)
    if found is None:
        raise BuildError(f"--batch {text}: wants the most images a call, or LEAST,USUAL,MOST such as 1,4,8")
    return int(found[1] or 1), int(found[2] or 1), int(found[3])


def parse_bytes(text: str) -> int:
    """``512M`` or ``2G`` as bytes.

    Raises:
        BuildError: anything else.
    """
    found = re.fullmatch(r"(\d{1,15})([KMG]?)i?B?", text, re.IGNORECASE)
    if found is None:
        raise BuildError(f"--workspace {text}: wants bytes, or a number with K, M or G, such as 2G")
    return int(found[1]) * _UNITS[found[2].upper()]


def parse_capabilities(text: str) -> tuple[str, ...]:
    """``8.6,8.9`` as ("8.6", "8.9"), each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _of_kind(name: str, value: object, kind: type) -> object:
    if type(value) is not kind and not (value is None and kind is int):
        raise TypeError(f"{name} is {value!r}")
    return value


def _whole(values: object, length: int) -> Any:  # noqa: ANN401 a tuple of that many
    if (
        not isinstance(values, (list, tuple))
        or len(values) != length
        or any(type(value) is not int for value in values)
    ):
        raise ValueError(f"expected {length} whole numbers, found {values!r}")
    return tuple(values)
