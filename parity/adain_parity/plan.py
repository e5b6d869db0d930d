"""From a matrix to the list of its cases: which bundle each runs, or why it can't be run here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from adain_export.target import BYTES
from adain_export.tolerances import Limits, coreml_label, limits_of
from adain_parity.artefacts import EXPORT_LIMITS, Model, bundle_for
from adain_parity.matrix import BackendRow, Cell, Matrix, parse_size
from adain_parity.matrix import Limits as ResourceLimits
from adain_parity.pictures import find_picture
from adain_parity.results import Case
from adain_parity.sandbox import process_pool
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError
from adain_runtime.manifest import Manifest

TORCH = "torch"

Step = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What asking a backend whether it works here gave.

    Attributes:
        problem: why it doesn't; empty where it does.
        died: it crashed or hung when it was asked, which is a fault and no absence.
    """

    problem: str = ""
    died: bool = False


Probed = Callable[[str], Asked]


@dataclass(frozen=True, eq=False)
class Planned:
    """A case that is to be run.

    Attributes:
        case: as far as it is known; its verdict is ``skipped`` with a reason where it can't be run.
        model: the network.
        row: the backend and how its sessions are opened.
        artefact: a bundle's folder or a checkpoint; None for a case that can't be run.
        cell: pictures, size, alpha; no pictures where it is only built.
        limits: what it is held to.
        float_limits: what it would be held to without int8.
        sizes: HEIGHTxWIDTH that it is built for, where it is only built.
        given: the bundle that a person gave; None for one of the matrix.
        eight_bits: its images are bytes, so the reference's are rounded to bytes before they are compared.
    """

    case: Case
    model: Model
    row: BackendRow
    artefact: Path | None
    cell: Cell
    limits: Limits
    float_limits: Limits
    sizes: tuple[str, ...] = ()
    given: Path | None = None
    eight_bits: bool = False


@dataclass(frozen=True)
class _Artefact:
    """A bundle of a backend's precision, or why there is none; ``failed`` where that is a fault, not an absence."""

    path: Path | None
    reason: str = ""
    failed: bool = False


def planned(
    matrix: Matrix, models: Sequence[Model], root: Path, cache: Path, probed: Probed, *, jobs: int = 1, step: Step
) -> list[Planned]:
    """The cases of a matrix, its bundles exported.

    Args:
        matrix: declares them.
        models: its networks.
        root: where the matrix's relative paths start.
        cache: folder for bundles.
        probed: tells why a backend doesn't work here.
        jobs: exports at once.
        step: told before each export.

    Raises:
        InputError: a precision that has no tolerance, a size that a network doesn't take, or a picture or calibration
            that isn't there.
    """
    _check_given(matrix, models, root)
    wanted = [
        (row, precision, limits_of(row.name, precision, target=row.target), model)
        for row in matrix.backends
        for precision in row.precisions
        for model in models
    ]

    def artefact(row: BackendRow, precision: str, model: Model) -> _Artefact:
        if (asked := probed(row.name)).problem:
            return _Artefact(None, asked.problem, failed=asked.died)
        if row.name == TORCH:
            return _Artefact(model.checkpoint)
        step(f"exporting {model.name} for {row.target or row.name} {precision}")
        return _exported(matrix, model, row, precision, root, cache)

    with process_pool(jobs) as pool:
        made = [pool.submit(artefact, row, precision, model) for row, precision, _, model in wanted]
        cases = (
            _cases(matrix, row, precision, model, future.result(), limits)
            for future, (row, precision, limits, model) in zip(made, wanted, strict=True)
        )
        return _distinct(list(chain.from_iterable(cases)))


def _check_given(matrix: Matrix, models: Sequence[Model], root: Path) -> None:
    """Say what is wrong before the minutes that exports take."""
    from adain_model.network import check_size

    for name in (*matrix.contents, *matrix.styles):
        find_picture(name, root)
    sizes = dict.fromkeys(chain(matrix.sizes, *(row.sizes for row in matrix.backends)))
    for model in models:
        for text in sizes:
            check_size(model.network.spec, *parse_size(text), "sizes: one")
        given = matrix.calibrations.get(model.name)
        if given and not (root / given).is_file():
            raise InputError(f"calibrations: {model.name}: {root / given}: no such file")


def planned_bundles(
    matrix: Matrix, bundles: Sequence[Bundle], models: Sequence[Model], probed: Probed
) -> list[Planned]:
    """The cases of bundles that were given, on every backend of the matrix that runs their target.

    Raises:
        InputError: a bundle of a network that is not among the models, that no backend of the matrix runs, or that
            is given twice.
    """
    made: list[Planned] = []
    for bundle in bundles:
        manifest = bundle.manifest
        model = next((model for model in models if model.weights_sha256 == manifest.weights_sha256), None)
        if model is None:
            known = ", ".join(model.name for model in models)
            raise InputError(
                f"{bundle.path}: made of other weights than {known}, so there is nothing to compare it with; give "
                "its network with --checkpoint FILE.safetensors"
            )
        rows = list(matrix.rows_for(manifest.target, manifest.precision))
        if not rows:
            has = ", ".join(dict.fromkeys(row.target or row.name for row in matrix.backends))
            raise InputError(f"{bundle.path}: is for {manifest.target}, and this matrix has backends for {has}")
        for row in rows:
            asked = probed(row.name)
            artefact = _Artefact(None, asked.problem, asked.died) if asked.problem else _Artefact(bundle.path)
            accuracy = _accuracy(manifest)
            limits = limits_of(row.name, accuracy or manifest.precision, target=manifest.target)
            fitting = _of_its_sizes(row, matrix, manifest)
            cases = _cases(matrix, fitting, manifest.precision, model, artefact, limits)
            buffers = manifest.options.get("io") == "image"
            for plan in cases:
                case = replace(plan.case, accuracy=accuracy)
                made.append(replace(plan, case=case, given=bundle.path, eight_bits=plan.eight_bits or buffers))
    return _distinct(made)


def _accuracy(manifest: Manifest) -> str:
    """The tolerances' own label for a bundle; empty for what goes by its precision."""
    label = manifest.precision
    if manifest.target == "coreml":
        label = coreml_label(manifest.precision, str(manifest.options.get("io")))
    return "" if label == manifest.precision else label


def _of_its_sizes(row: BackendRow, matrix: Matrix, manifest: Manifest) -> BackendRow:
    """The row, with a bundle's own sizes where it has no other and the row has none of them."""
    exact = manifest.sizes.exact
    if not exact or any(parse_size(size) in exact for size in row.sizes or matrix.sizes):
        return row
    return replace(row, sizes=tuple(f"{height}x{width}" for height, width in exact))


def _exported(matrix: Matrix, model: Model, row: BackendRow, precision: str, root: Path, cache: Path) -> _Artefact:
    given = matrix.calibrations.get(model.name)
    calibration = root / given if given else None
    sizes = row.sizes or matrix.sizes
    limits = ResourceLimits(
        max(matrix.limits.seconds, EXPORT_LIMITS.seconds), max(matrix.limits.memory_mb, EXPORT_LIMITS.memory_mb)
    )
    exported = bundle_for(model, row.target or row.name, precision, calibration, cache, sizes=sizes, limits=limits)
    if exported.path:
        return _Artefact(Path(exported.path))
    return _Artefact(None, exported.error, failed=not exported.unavailable)


def _cases(
    matrix: Matrix, row: BackendRow, precision: str, model: Model, artefact: _Artefact, limits: Limits
) -> Iterator[Planned]:
    sizes = row.sizes or matrix.sizes
    without = limits_of(row.name, "fp16" if "fp16" in precision else "fp32", target=row.target)
    for provider in row.providers:
        for cell in [_largest(sizes)] if row.only_builds else matrix.cells(row):
            words = [model.name, row.name, precision, provider, f"{cell.height}x{cell.width}"]
            words += ["build"] if row.only_builds else [cell.content, cell.style, f"a{cell.alpha:g}"]
            case = Case(
                id="-".join(
                    re.sub(r"[^A-Za-z0-9._]", "_", Path(word).stem if "/" in word else word) for word in words if word
                ),
                backend=row.name,
                provider=provider,
                model=model.name,
                precision=precision,
                height=cell.height,
                width=cell.width,
                content=cell.content,
                style=cell.style,
                alpha=cell.alpha,
                verdict="failed" if artefact.failed else "skipped",
                reason=artefact.reason or "not run yet",
                bundle=artefact.path.name if artefact.path else "",
            )
            built_for = sizes if row.only_builds else ()
            eight_bits = precision.endswith(BYTES)
            yield Planned(case, model, row, artefact.path, cell, limits, without, built_for, eight_bits=eight_bits)


def _largest(sizes: Sequence[str]) -> Cell:
    """What engines are built up to, as a cell without pictures."""
    heights, widths = zip(*map(parse_size, sizes), strict=True)
    return Cell(max(heights), max(widths), "", "", 1.0)


def _distinct(made: list[Planned]) -> list[Planned]:
    """Cases with ids of their own, on disks that take ``Sea`` for ``sea`` too: a number behind those that share one."""
    taken = {plan.case.id.casefold() for plan in made}
    seen: set[str] = set()
    for i, plan in enumerate(made):
        if plan.case.id.casefold() in seen:
            free = next(name for times in count(2) if (name := f"{plan.case.id}.{times}").casefold() not in taken)
            made[i] = replace(plan, case=replace(plan.case, id=free))
            taken.add(free.casefold())
        seen.add(plan.case.id.casefold())
    return made
