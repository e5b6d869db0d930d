"""A bundle's manifest: what the files are, what they compute, and how well. `manifest.schema.json` is its schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar, get_args

from adain_runtime.errors import BundleError, InputError
from adain_runtime.spec import NetworkSpec, is_number

SCHEMA_VERSION = 1
PART_NAMES = ("encoder", "decoder", "stylizer")
DType = Literal["float32", "float16", "uint8"]

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DEEPEST = 8  # folders and the name in a file's path; a Core ML package needs five
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIMENSION = re.compile(r"batch|height|width|(1\|)?(height|width)/[1-9][0-9]*")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Tensor:
    """An input or output of a part.

    A dimension is a whole number, or one of the words ``batch``, ``height``, ``width`` (pixels, dynamic),
    ``height/S``, ``width/S`` (feature cells at stride S), or ``1|height/S`` (either; it broadcasts).
    """

    name: str
    dtype: DType
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Function:
    """An entry point of a file that holds several: its name there, and the image size in pixels that it takes."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class Part:
    """One graph of a bundle: the file that holds it, and what it takes and gives.

    Inputs go by their names. Outputs go by their order: formats want all names of a graph to be unique, and the
    stylizer takes an ``image`` and gives one.

    Attributes:
        file: one of the bundle's files, or a folder of some of them, such as a Core ML package.
        inputs: what it takes.
        outputs: what it gives.
        functions: one for each of the bundle's exact sizes, where the file holds a graph a size; none where the file's
            only graph takes them all.
    """

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    functions: tuple[Function, ...] = ()


@dataclass(frozen=True)
class FileEntry:
    """A file of a bundle: its size in bytes and the SHA-256 of its content, hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Sizes:
    """Image sizes that the graphs take: H and W multiples of ``multiple``, from ``minimum`` to ``maximum`` pixels.

    Attributes:
        multiple: of H and of W.
        minimum: the smallest side.
        maximum: the largest side; None where there is no limit.
        exact: the only (height, width) that there are, the smallest first; none where every size within the rest is.
        heights: the least and the largest height, where ``minimum`` and ``maximum`` aren't it; None where they are.
        widths: likewise.
    """

    multiple: int = 8
    minimum: int = 16
    maximum: int | None = None
    exact: tuple[tuple[int, int], ...] = ()
    heights: tuple[int, int] | None = None
    widths: tuple[int, int] | None = None

    @property
    def least(self) -> tuple[int, int]:
        """The least height and width."""
        return (self.heights or (self.minimum, 0))[0], (self.widths or (self.minimum, 0))[0]

    @property
    def most(self) -> tuple[int, int] | None:
        """The largest height and width; None where there is no limit."""
        if self.maximum is None:
            return None
        return (self.heights or (0, self.maximum))[1], (self.widths or (0, self.maximum))[1]


@dataclass(frozen=True)
class Parity:
    """How far the written files are from PyTorch in float32: the worst over ``cases`` images that were not traced.

    Attributes:
        reference: what it was compared with.
        runtime: what ran the files.
        cases: shapes compared, such as ``stylizer 1x3x64x200``.
        max_abs: largest absolute difference of an image in [0, 1]; None where no image was compared.
        psnr: lowest peak signal-to-noise ratio in dB, peak 1; None when every image is equal to the last bit, and where
            none was compared.
        features: relative L2 error of the encoder's features, where no image was compared; else None.
    """

    reference: str
    runtime: str
    cases: tuple[str, ...]
    max_abs: float | None
    psnr: float | None
    features: float | None = None

    @classmethod
    def worst(
        cls,
        reference: str,
        runtime: str,
        cases: tuple[str, ...],
        *,
        images: Sequence[tuple[float, float]],
        features: Sequence[float],
    ) -> Parity:
        """The worst of the (largest difference, PSNR) of images; where there is no image, of the features' error."""
        if not images:
            return cls(reference, runtime, cases, None, None, max(features))
        lowest = min(decibels for _, decibels in images)
        largest = max(difference for difference, _ in images)
        return cls(reference, runtime, cases, largest, lowest if math.isfinite(lowest) else None)


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime needs to know about a bundle before it opens a graph.

    Attributes:
        name: the model's name; the bundle's folder is ``NAME-TARGET-PRECISION``.
        target: the format, such as ``onnx``.
        precision: ``fp32``, ``fp16``, ``int8`` (the rest float32) or ``int8-fp16``.
        spec: the network.
        weights_sha256: digest of the checkpoint's tensors.
        encoder_id: which encoder the bundle's styles belong to; equal for every export of one checkpoint.
        parts: part name to graph.
        files: every file of the bundle but the manifest.
        sizes: image sizes that the graphs take.
        rewrites: exact rewrites that were applied to the graphs.
        tools: name to version of what made the files.
        parity: how the files compare with PyTorch; None where nothing could run them.
        calibration: digest of the calibration that gave the int8 ranges; None without one.
        int8: layers of the network whose convolutions compute in int8, such as ``encoder.conv2_1``.
        options: what the target was asked for beyond these, in its own words, such as ``io`` to ``image``.
    """

    name: str
    target: str
    precision: str
    spec: NetworkSpec
    weights_sha256: str
    encoder_id: str
    parts: Mapping[str, Part]
    files: Mapping[str, FileEntry]
    sizes: Sizes = Sizes()
    rewrites: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    parity: Parity | None = None
    calibration: str | None = None
    int8: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def folder_name(self) -> str:
        """The bundle's folder: ``NAME-TARGET-PRECISION``."""
        return f"{self.name}-{self.target}-{self.precision}"

    def to_json(self) -> str:
        """The manifest as JSON text, byte for byte the same for equal manifests."""
        plain = asdict(self) | {"spec": self.spec.to_json()}
        sizes = ((plain["sizes"], name) for name in ("exact", "heights", "widths"))
        for holder, name in ((plain, "options"), *sizes, *((p, "functions") for p in _parts(plain))):
            if not holder[name]:  # left out where there are none: the manifests of other targets stay as they were
                del holder[name]
        if self.parity is not None and self.parity.features is None:
            del plain["parity"]["features"]
        return json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest.

        Raises:
            BundleError: not JSON, of a newer schema, or a field is missing, unknown or out of its range.
        """
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"not a manifest: it is no JSON ({error})") from error
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise BundleError("not a manifest: it has no schema_version")
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"manifest schema {version} is newer than this version reads ({SCHEMA_VERSION}): "
                "pip install --upgrade adain-edge"
            )
        try:
            return _manifest(plain)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            detail = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise BundleError(f"damaged manifest: {detail}; export the bundle again") from error


def _parts(plain: dict[str, Any]) -> list[dict[str, Any]]:
    return list(plain["parts"].values())


def _manifest(plain: dict[str, Any]) -> Manifest:
    values = dict(plain)
    values["spec"] = NetworkSpec.from_json(values["spec"])
    values["parts"] = {_part_name(name): _part(part) for name, part in values["parts"].items()}
    values["files"] = {plain_path(name): _file(entry) for name, entry in values["files"].items()}
    values["sizes"] = _sizes(values["sizes"])
    values["rewrites"] = _tuple_of(_text, values["rewrites"])
    values["int8"] = _tuple_of(_text, values["int8"])
    values["options"] = {_text(name): _text(option) for name, option in values.get("options", {}).items()}
    values["tools"] = {_text(name): _text(tool) for name, tool in values["tools"].items()}
    values["parity"] = None if values["parity"] is None else _parity(values["parity"])
    for name in ("name", "target", "precision"):
        plain_name(values[name])
    _matching(_SHA256, values["weights_sha256"])
    _matching(re.compile(r"[0-9a-f]{16}"), values["encoder_id"])
    if values["calibration"] is not None:
        _matching(_SHA256, values["calibration"])
    if not values["parts"]:
        raise ValueError("it has no parts")
    for name, part in values["parts"].items():
        if not any(file == part.file or file.startswith(f"{part.file}/") for file in values["files"]):
            raise ValueError(f"part {name} names {part.file}, which is not among the files")
        if part.functions and {(f.height, f.width) for f in part.functions} != set(values["sizes"].exact):
            raise ValueError(f"part {name}: its functions don't have the bundle's exact sizes, one each")
    return Manifest(**values)


def _matching(pattern: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{value!r} does not match {pattern.pattern}")
    return value


def plain_name(value: object) -> str:
    """A name that can't leave its folder.

    Raises:
        InputError: anything but letters, digits, ``.``, ``_`` and ``-``, or a leading ``.`` or ``-``.
    """
    if not isinstance(value, str) or not _PLAIN_NAME.fullmatch(value):
        raise InputError(f"{value!r} is not a plain name (letters, digits, '.', '_' and '-' only, no folder)")
    return value


def plain_path(value: object) -> str:
    """A path below its folder, with ``/`` between its names: each of them a plain name.

    Raises:
        InputError: an absolute path, ``..``, a backslash, a hidden or empty name, or more folders than a package has.
    """
    names = value.split("/") if isinstance(value, str) else [value]
    if len(names) > _DEEPEST:
        raise InputError(f"{value!r} lies deeper than {_DEEPEST} names")
    try:
        return "/".join(map(plain_name, names))
    except InputError as error:
        raise InputError(f"{value!r} is not a plain name, or plain names with '/' between ({error})") from error


def _part_name(value: str) -> str:
    if value not in PART_NAMES:
        raise ValueError(f"unknown part {value!r}; the parts are {', '.join(PART_NAMES)}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r}")
    return value


def _whole(value: object, *, at_least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"expected a whole number of at least {at_least}, found {value!r}")
    return value


def _tuple_of(make: Callable[[Any], _T], values: object) -> tuple[_T, ...]:
    if not isinstance(values, list):
        raise TypeError(f"expected a list, found {values!r}")
    return tuple(make(value) for value in values)


def _dimension(value: object) -> int | str:
    return _matching(_DIMENSION, value) if isinstance(value, str) else _whole(value, at_least=1)


def _tensor(plain: dict[str, Any]) -> Tensor:
    tensor = Tensor(**plain | {"shape": _tuple_of(_dimension, plain["shape"])})
    if tensor.dtype not in get_args(DType):
        raise ValueError(f"tensor {tensor.name!r} has the unknown type {tensor.dtype!r}")
    _text(tensor.name)
    return tensor


def _part(plain: dict[str, Any]) -> Part:
    tensors = {name: _tuple_of(_tensor, plain[name]) for name in ("inputs", "outputs")}
    part = Part(**plain | tensors | {"functions": _tuple_of(_function, plain.get("functions", []))})
    plain_path(part.file)
    if len({(function.height, function.width) for function in part.functions}) != len(part.functions):
        raise ValueError(f"{part.file}: two functions of one size")
    return part


def _function(plain: dict[str, Any]) -> Function:
    function = Function(**plain)
    _matching(_PLAIN_NAME, function.name)
    _whole(function.height, at_least=1)
    _whole(function.width, at_least=1)
    return function


def _file(plain: dict[str, Any]) -> FileEntry:
    entry = FileEntry(**plain)
    _whole(entry.bytes, at_least=0)
    _matching(_SHA256, entry.sha256)
    return entry


def _sizes(plain: dict[str, Any]) -> Sizes:
    sides: dict[str, Any] = {name: _pair(plain[name]) for name in ("heights", "widths") if name in plain}
    sizes = Sizes(**plain | {"exact": _tuple_of(_pair, plain.get("exact", []))} | sides)
    _whole(sizes.multiple, at_least=1)
    _whole(sizes.minimum, at_least=1)
    if sizes.maximum is not None:
        _whole(sizes.maximum, at_least=sizes.minimum)
    for side in (side for pair in sizes.exact for side in pair):
        if side % sizes.multiple or side < sizes.minimum or (sizes.maximum is not None and side > sizes.maximum):
            raise ValueError(f"the exact size {side} contradicts multiple, minimum or maximum")
    for low, high in sides.values():
        if sizes.maximum is None or not sizes.minimum <= low <= high <= sizes.maximum:
            raise ValueError(f"heights or widths from {low} to {high} contradict minimum or maximum")
    return sizes


def _pair(plain: Any) -> tuple[int, int]:  # noqa: ANN401 a JSON value
    height, width = _tuple_of(lambda side: _whole(side, at_least=1), plain)
    return height, width


def _parity(plain: dict[str, Any]) -> Parity:
    parity = Parity(**plain | {"cases": _tuple_of(_text, plain["cases"])})
    _text(parity.reference)
    _text(parity.runtime)
    if "features" in plain:
        if (parity.max_abs, parity.psnr) != (None, None):
            raise ValueError("parity: features are for where no image was compared, and max_abs or psnr is not null")
        measured = "features"
    else:
        measured = "max_abs"
    if not (is_number(plain[measured]) and plain[measured] >= 0):
        raise ValueError(f"parity: {measured} must be a number of at least 0, found {plain[measured]!r}")
    if not (parity.psnr is None or is_number(parity.psnr)):
        raise ValueError(f"parity: psnr must be a finite number or null, found {parity.psnr!r}")
    return parity
