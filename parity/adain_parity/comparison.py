"""Pictures by every backend from every bundle, each held against the torch reference on the same arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from types import TracebackType

import numpy as np
from PIL.Image import Image

from adain_export.tolerances import Metrics, limits_of
from adain_runtime.backend import Array, Backend, Options, Session, backend_names, get_backend
from adain_runtime.bundle import Bundle
from adain_runtime.errors import BundleError, InputError, QualityError, UnavailableError
from adain_runtime.image import Photo, to_pil
from adain_runtime.metrics import max_abs, psnr
from adain_runtime.style import Style
from adain_runtime.stylizer import Stylizer

REFERENCE = "torch"
SHAPES_ONLY = "null"
UNTIMED = frozenset({"coreml-reference"})  # its time would be read as Core ML's
TIMED_RUNS = 5
_PART = "stylizer"

Report = Callable[[int, int, str], None]
"""Told after every step: steps done, steps in all, and which runner took it."""


@dataclass(frozen=True)
class LeftOut:
    """A backend that took no part, and why."""

    backend: str
    reason: str


@dataclass(frozen=True)
class Row:
    """A bundle on a backend: the worst over all pictures, and the time of one of them.

    Attributes:
        backend: the backend's name.
        precision: the bundle's.
        device: what really ran it.
        model_bytes: all files of the bundle together.
        height: pixels of the timed image, as the graph sees it.
        width: the same.
        milliseconds: median over ``TIMED_RUNS`` of the ``stylizer`` part; None where it was not timed.
        psnr: lowest, in dB; infinite where every value equals the reference's, None where a value is not finite.
        max_abs: largest, on images in [0, 1]; None where a value is not finite.
        failure: why it is not good enough; empty where it is.
    """

    backend: str
    precision: str
    device: str
    model_bytes: int
    height: int
    width: int
    milliseconds: float | None
    psnr: float | None
    max_abs: float | None
    failure: str = ""

    @property
    def is_reference(self) -> bool:
        """Whether the others are compared with this one."""
        return self.backend == REFERENCE

    @property
    def label(self) -> str:
        """``onnx fp16``."""
        return f"{self.backend} {self.precision}"

    def __bool__(self) -> bool:
        return not self.failure


@dataclass(frozen=True, eq=False)
class Comparison:
    """What every runner made, and how far it is from the reference.

    Attributes:
        rows: one for each runner, the reference first.
        left_out: backends that took no part.
        shown: the row that made ``pictures``: the first that is good and not the reference, else the reference.
        pictures: ``pictures[content][style]``, each of its content's size.
    """

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    shown: Row
    pictures: tuple[tuple[Image, ...], ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that are not good enough."""
        return tuple(row for row in self.rows if not row)


def compare(
    bundles: Sequence[Bundle],
    contents: Sequence[Photo],
    styles: Sequence[Photo],
    *,
    report: Report = lambda *_: None,
) -> Comparison:
    """Paint every content after every style with every bundle on every backend that takes it.

    The reference encodes the styles once, and every backend gets the same image, mean, std and alpha. What is compared
    are the floats that the ``stylizer`` part gives: rounding to 8 bits would hide differences.

    Args:
        bundles: what was exported, and the checkpoint as backend ``torch`` describes it.
        contents: at least one; each at its own size.
        styles: at least one.
        report: told after every step.

    Raises:
        InputError: no contents or no styles; or a backend refuses a bundle of its own target.
        UnavailableError: the reference runs nothing here.
    """
    if not contents or not styles:
        raise InputError(f"{len(contents)} contents and {len(styles)} styles: at least one of each is needed")
    with ExitStack() as stack:
        runners, left_out = _open_runners(bundles, stack)
        reference = runners[0]
        encoded = [Stylizer(reference.tap).style(style.rgb) for style in styles]
        steps = (len(contents) * len(styles) + 1) * len(runners)
        done = 0
        for content in contents:
            for style in encoded:
                for runner in runners:
                    runner.paint(content, style, reference.tap)
                    done += 1
                    report(done, steps, runner.label)
        feeds = reference.first_feeds
        rows = []
        for runner in runners:
            rows.append(runner.row(feeds, timed=_time(runner, feeds)))
            done += 1
            report(done, steps, runner.label)
    best = next((i for i, row in enumerate(rows) if row and not row.is_reference), 0)
    painted, across = runners[best].pictures, len(styles)
    grid = tuple(tuple(painted[first : first + across]) for first in range(0, len(painted), across))
    return Comparison(tuple(rows), tuple(left_out), rows[best], grid)


class _Tap:
    """A session that remembers what went into the stylizer and what came out, as floats."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.feeds: Mapping[str, Array] = {}
        self.image: Array = np.empty(0)

    @property
    def bundle(self) -> Bundle:
        return self.session.bundle

    @property
    def device(self) -> str:
        return self.session.device

    def run(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = self.session.run(part, feeds)
        if part == _PART:
            if not np.isfinite(outputs["image"]).all():  # another package's session may not look
                raise QualityError(f"{self.bundle.path}: {part} gave values that are not finite on {self.device}")
            self.feeds, self.image = feeds, outputs["image"]
        return outputs

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> _Tap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class _Runner:
    """An open bundle on a backend, and what is known of it so far."""

    backend: str
    tap: _Tap
    pictures: list[Image] = field(default_factory=list)
    first_feeds: Mapping[str, Array] = field(default_factory=dict)
    psnr: float = float("inf")
    max_abs: float = 0.0
    broken: str = ""

    @property
    def label(self) -> str:
        return f"{self.backend} {self.tap.bundle.manifest.precision}"

    def paint(self, content: Photo, style: Style, reference: _Tap) -> None:
        """Make a picture and compare it, unless an earlier one was not finite."""
        if self.broken:
            return
        try:
            picture = Stylizer(self.tap).stylize([content], [style], tile="off")[0]  # tiles are no run of the stylizer
        except QualityError as error:
            if self.tap is reference:
                raise
            self.broken = str(error)
            return
        if self.tap.image.shape != reference.image.shape:
            found, wanted = self.tap.image.shape, reference.image.shape
            raise InputError(f"{self.label}: its graph was fed {found} where the reference was fed {wanted}")
        self.pictures.append(to_pil(picture))
        self.first_feeds = self.first_feeds or self.tap.feeds
        self.psnr = min(self.psnr, psnr(reference.image, self.tap.image))
        self.max_abs = max(self.max_abs, max_abs(reference.image, self.tap.image))

    def row(self, feeds: Mapping[str, Array], *, timed: float | None) -> Row:
        manifest = self.tap.bundle.manifest
        height, width = feeds["image"].shape[2:]
        return Row(
            backend=self.backend,
            precision=manifest.precision,
            device=self.tap.device,
            model_bytes=sum(entry.bytes for entry in manifest.files.values()),
            height=height,
            width=width,
            milliseconds=timed,
            psnr=None if self.broken else self.psnr,
            max_abs=None if self.broken else self.max_abs,
            failure=self.broken
            or verdict(self.backend, manifest.precision, self.psnr, self.max_abs, target=manifest.target),
        )


def verdict(backend: str, precision: str, decibels: float, difference: float, *, target: str = "") -> str:
    """Why a backend's numbers in a precision of a target are not good enough; empty where they are."""
    try:
        limits = limits_of(backend, precision, target=target).stylizer
    except InputError as error:
        return str(error)
    return ", ".join(Metrics(max_abs=difference, psnr=decibels).beyond(limits))


def _open_runners(bundles: Sequence[Bundle], stack: ExitStack) -> tuple[list[_Runner], list[LeftOut]]:
    """Every pair of a backend that works here and a bundle that it takes, the reference first."""
    runners: list[_Runner] = []
    left_out: list[LeftOut] = []
    for name in backend_names():
        backend = get_backend(name)
        probe = backend.probe()
        if name == SHAPES_ONLY:
            left_out.append(LeftOut(name, "computes shapes only, so there is nothing to compare"))
        elif not probe:
            left_out.append(LeftOut(name, probe.detail + (f"; {probe.fix}" if probe.fix else "")))
        else:
            opened, reasons = _open_all(backend, bundles, stack)
            runners += opened
            left_out += [LeftOut(name, reason) for reason in reasons]
    runners.sort(key=lambda runner: runner.backend != REFERENCE)
    if not runners or runners[0].backend != REFERENCE:
        why = next((entry.reason for entry in left_out if entry.backend == REFERENCE), "it is not installed")
        raise UnavailableError(f"backend {REFERENCE}, which all others are compared with, has nothing to run: {why}")
    return runners, left_out


def _open_all(backend: Backend, bundles: Sequence[Bundle], stack: ExitStack) -> tuple[list[_Runner], list[str]]:
    opened: list[_Runner] = []
    reasons: list[str] = []
    for bundle in bundles:
        try:
            session = backend.open(bundle, Options())
        except BundleError:
            raise
        except InputError:  # a backend says so where a bundle was made for another
            if bundle.manifest.target == backend.name:
                raise
        except UnavailableError as error:
            reasons.append(str(error))
        else:
            opened.append(_Runner(backend.name, _Tap(stack.enter_context(session))))
    if not opened and not reasons:
        targets = ", ".join(sorted({bundle.manifest.target for bundle in bundles}))
        reasons.append(f"takes none of the bundles made here ({targets})")
    return opened, reasons


def _time(runner: _Runner, feeds: Mapping[str, Array]) -> float | None:
    """Median milliseconds of the stylizer part, after a run that doesn't count; None where a time would say nothing."""
    if runner.broken or runner.backend in UNTIMED:
        return None
    seconds = []
    for _ in range(1 + TIMED_RUNS):
        start = perf_counter()
        runner.tap.session.run(_PART, feeds)
        seconds.append(perf_counter() - start)
    return 1000 * median(seconds[1:])
