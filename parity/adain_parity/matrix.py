"""What a parity run runs, declared in ``parity.toml``: every combination of its lists is a case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path

from adain_export import records
from adain_export.tolerances import read_toml
from adain_runtime.errors import InputError

DEFAULT = Path(__file__).with_name("parity.toml")
SCHEMA_VERSION = 1
BUILDERS = ("trt-rtx",)
"""What stands among backends and only builds: TensorRT for RTX makes engines without a GPU, and runs them with one."""

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class Limits:
    """What a case may take before it is stopped.

    Attributes:
        seconds: wall-clock time of its process.
        memory_mb: resident memory of its process, in megabytes (10^6 bytes).
    """

    seconds: float = 180.0
    memory_mb: float = 6000.0

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.memory_mb > 0):
            raise InputError(f"limits: expected more than 0 seconds and megabytes, found {self}")


@dataclass(frozen=True)
class BackendRow:
    """A backend and what it runs.

    Attributes:
        name: the backend's, or one of `BUILDERS`.
        precisions: of the bundles.
        target: what exports for it; empty where it has the backend's name.
        providers: providers, devices or compute units by the backend's own names (a builder's are compute capabilities
            such as ``8.6``); empty is its own choice.
        threads: CPU threads; None leaves the choice to the backend.
        sizes: HEIGHTxWIDTH in the place of the matrix's, for a backend that takes only some.
        styles: pictures in the place of the matrix's.
        alphas: content-style trade-offs in the place of the matrix's.
    """

    name: str
    precisions: tuple[str, ...]
    target: str = ""
    providers: tuple[str, ...] = ("",)
    threads: int | None = None
    sizes: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for axis in ("precisions", "providers"):
            _several(f"backend {self.name}: {axis}", getattr(self, axis))
        for axis in ("sizes", "styles", "alphas"):
            _distinct(f"backend {self.name}: {axis}", getattr(self, axis))
        for size in self.sizes:
            parse_size(size)
        if self.only_builds and (self.threads is not None or self.styles or self.alphas):
            raise InputError(
                f"backend {self.name}: engines are built and not run, so threads, styles and alphas say nothing"
            )

    @property
    def only_builds(self) -> bool:
        """Whether its cases are built, and not run."""
        return self.name in BUILDERS


@dataclass(frozen=True)
class Quick:
    """What ``--quick`` runs instead; an axis that is empty stays as it is.

    Attributes:
        models: see `Matrix`.
        sizes: see `Matrix`.
        contents: see `Matrix`.
        styles: see `Matrix`.
        alphas: see `Matrix`.
        backends: names of those that run; all where it is empty.
    """

    models: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()
    backends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """A declared matrix.

    Attributes:
        models: embedded networks, or checkpoints.
        sizes: HEIGHTxWIDTH in pixels.
        contents: pictures, see `adain_parity.pictures`.
        styles: pictures.
        alphas: content-style trade-offs.
        backends: what runs them.
        limits: of a case.
        calibrations: model name to its calibration file for int8; made from the package's pictures where there is none.
        quick: what ``--quick`` runs.
        schema_version: of the file.
    """

    schema_version: int
    models: tuple[str, ...]
    sizes: tuple[str, ...]
    contents: tuple[str, ...]
    styles: tuple[str, ...]
    alphas: tuple[float, ...]
    backends: tuple[BackendRow, ...]
    limits: Limits = Limits()
    calibrations: Mapping[str, str] = field(default_factory=dict)
    quick: Quick = Quick()

    def __post_init__(self) -> None:
        for axis in ("models", "sizes", "contents", "styles", "alphas", "backends"):
            _several(axis, getattr(self, axis))
        for size in (*self.sizes, *self.quick.sizes):
            parse_size(size)
        names = [row.name for row in self.backends]
        pairs = [f"{row.name} {precision}" for row in self.backends for precision in row.precisions]
        if twice := next((pair for pair in pairs if pairs.count(pair) > 1), None):
            raise InputError(
                f"backends: {twice} stands there twice; put its providers, sizes and styles into one table"
            )
        if unknown := [name for name in self.quick.backends if name not in names]:
            raise InputError(f"quick.backends: no backend {', '.join(unknown)} in this matrix, only {', '.join(names)}")

    def reduced(self) -> Matrix:
        """The matrix of ``--quick``.

        Raises:
            InputError: the matrix doesn't say what that is.
        """
        if self.quick == Quick():
            raise InputError("--quick: this matrix has no [quick] table that says what to leave out; add one")
        axes = {axis.name: getattr(self.quick, axis.name) for axis in fields(Quick)}
        chosen = axes.pop("backends")
        rows = tuple(row for row in self.backends if not chosen or row.name in chosen)
        return replace(self, backends=rows, **{name: value for name, value in axes.items() if value})

    def rows_for(self, target: str, precision: str) -> Iterator[BackendRow]:
        """What runs a bundle: of each backend the row of its precision, else the backend's first."""
        rows = [row for row in self.backends if (row.target or row.name) == target]
        for name in dict.fromkeys(row.name for row in rows):
            mine = [row for row in rows if row.name == name]
            yield next((row for row in mine if precision in row.precisions), mine[0])

    def cells(self, row: BackendRow) -> Iterator[Cell]:
        """What a backend runs of each bundle: the sizes, pictures and alphas, in the order of the file."""
        sizes, styles, alphas = row.sizes or self.sizes, row.styles or self.styles, row.alphas or self.alphas
        for size, content, style, alpha in product(sizes, self.contents, styles, alphas):
            yield Cell(*parse_size(size), content, style, alpha)


@dataclass(frozen=True)
class Cell:
    """Pictures, their size and an alpha: what the reference is computed for."""

    height: int
    width: int
    content: str
    style: str
    alpha: float


def load(path: Path = DEFAULT) -> Matrix:
    """Read a matrix.

    Raises:
        InputError: no such file, not TOML, or a field that is missing, unknown or of the wrong kind.
    """
    plain = read_toml(path)
    version = plain.get("schema_version")
    if version != SCHEMA_VERSION:
        found = "none" if version is None else repr(version)
        raise InputError(f"{path}: schema_version: expected {SCHEMA_VERSION}, found {found}")
    try:
        return records.read(Matrix, "matrix", plain)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of ``88x136``.

    Raises:
        InputError: it is no size.
    """
    found = _SIZE.fullmatch(text)
    if not found:
        raise InputError(f"sizes: expected HEIGHTxWIDTH such as 256x256, found {text!r}")
    return int(found[1]), int(found[2])


def _several(axis: str, values: tuple[object, ...]) -> None:
    if not values:
        raise InputError(f"{axis}: expected one or more, found none")
    _distinct(axis, values)


def _distinct(axis: str, values: tuple[object, ...]) -> None:
    if len(set(values)) != len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise InputError(f"{axis}: {twice!r} stands there twice")
