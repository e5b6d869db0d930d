"""Error by depth: every layer of a backend's part against the same layer of the reference, fed with the same arrays.

A session that can be looked into offers ``layers(part, feeds)``; for bundles of ONNX graphs there is a way without it
(`adain_parity.onnx_layers`). Nothing else is asked of a backend.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from adain_export import records
from adain_parity.results import LayerError
from adain_runtime.backend import Array, Session
from adain_runtime.errors import QualityError, UnavailableError
from adain_runtime.metrics import relative_l2

if TYPE_CHECKING:
    from adain_parity.worker import Job
    from adain_runtime.spec import NetworkSpec


_LOOKED_INTO_ON = "CPUExecutionProvider"  # where `adain_parity.onnx_layers` runs graphs


@runtime_checkable
class Traceable(Protocol):
    """A session that can be looked into. A protocol, so that another package's session offers it by a method alone."""

    def layers(self, part: str, feeds: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """Run a part and give what its layers compute, in the order they run.

        Args:
            part: ``encoder``, ``decoder`` or ``stylizer``.
            feeds: as of `Session.run`.

        Returns:
            pairs of name and array. A name that the network has, such as ``encoder.conv3_1`` for the output of that
            convolution behind its ReLU (behind the upsampling it computes too, where that was rewritten), is held
            against that layer. Any other name is free: a layer of the network that is not among the names is
            looked for among those by shape and likeness, in order.
        """
        ...


@dataclass(frozen=True)
class Traced:
    """What tracing a part gave.

    Attributes:
        curve: error by depth; empty where the session can't be looked into.
        unavailable: why it is empty.
        elsewhere: what ran the graph in the session's place, where that can't be looked into itself.
    """

    curve: tuple[LayerError, ...] = ()
    unavailable: str = ""
    elsewhere: str = ""


def traced(job: Job) -> Traced:
    """The curve of a job's part; of an encoder on the style picture where it is good on the content.

    What is wrong in a layer need not show on a picture that leaves its channels dark. Layers before the first int8 one
    are held tighter than the rest, and an encoder's statistics are taken on its own features: so a fault in them
    shows beneath the error of int8.
    """
    from adain_parity.truths import STYLE
    from adain_parity.worker import open_session

    with np.load(job.feeds, allow_pickle=False) as file:
        feeds = {name.partition(".")[2]: file[name] for name in file.files if name.startswith(f"{job.part}.")}
    with np.load(job.wanted, allow_pickle=False) as file:
        wanted = {name: file[name] for name in file.files}
    style = {"image": feeds.pop("style_image")} if "style_image" in feeds else None
    on_style = [(name.removeprefix(STYLE), values) for name, values in wanted.items() if name.startswith(STYLE)]
    on_content = [(name, values) for name, values in wanted.items() if not name.startswith(STYLE)]
    try:
        with open_session(job, job.provider) as session:
            made = _looked_into(session, job, feeds, on_content)
            if style is not None and on_style and all(made):
                other = _looked_into(session, job, style, on_style)
                made = made if all(other) else other
            own = isinstance(session, Traceable) or session.device == _LOOKED_INTO_ON
    except UnavailableError as error:
        return Traced(unavailable=str(error))
    return Traced(curve=made, elsewhere="" if own else "ONNX Runtime on the CPU")


def _looked_into(
    session: Session, job: Job, feeds: Mapping[str, Array], wanted: Sequence[tuple[str, Array]]
) -> tuple[LayerError, ...]:
    points = curve(wanted, list(layers_of(session, job.part, feeds)), job.tolerance)
    points = held_as_float(points, session.bundle.manifest.int8, job.float_tolerance)
    if job.part != "encoder":
        return points
    try:
        errors = statistics_alone(session.run("encoder", feeds), session.bundle.manifest.spec)
    except QualityError:  # not finite, which the points say too
        return points
    return tuple(
        replace(point, error=errors[point.layer], tolerance=job.statistics) if point.layer in errors else point
        for point in points
    )


def held_as_float(points: Sequence[LayerError], int8: Sequence[str], tolerance: float) -> tuple[LayerError, ...]:
    """The points, those before the first int8 layer with a tolerance of their own; all where none is int8."""
    first = next((i for i, point in enumerate(points) if point.layer in int8), 0)
    return (*(replace(point, tolerance=tolerance) for point in points[:first]), *points[first:])


def statistics_alone(outputs: Mapping[str, Array], spec: NetworkSpec) -> dict[str, float]:
    """Errors of an encoder's mean and standard deviation against the network's formula on its own features.

    Args:
        outputs: of the encoder part.
        spec: the network's.

    Returns:
        layer to relative L2 error.
    """
    features = outputs["features"].astype(np.float64)
    mean = features.mean((2, 3), keepdims=True)
    std = np.sqrt(features.var((2, 3), ddof=spec.correction, keepdims=True) + spec.eps)
    return {"adain.mean": relative_l2(mean, outputs["mean"]), "adain.std": relative_l2(std, outputs["std"])}


def layers_of(session: Session, part: str, feeds: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """What a session's layers compute.

    Raises:
        UnavailableError: it can't be looked into.
    """
    if isinstance(session, Traceable):
        return session.layers(part, feeds)
    if session.bundle.manifest.target == "onnx":
        from adain_parity.onnx_layers import layers

        return layers(session.bundle, part, feeds)
    raise UnavailableError(f"a session of {type(session).__name__} has no layers(part, feeds) to look into it by")


def curve(
    wanted: Sequence[tuple[str, Array]], found: Sequence[tuple[str, Array]], tolerance: float
) -> tuple[LayerError, ...]:
    """Error by depth: each of the reference's layers against the one of that name, else the likest of its shape.

    Args:
        wanted: the reference's layers, in order.
        found: the backend's, in order.
        tolerance: the largest relative L2 error that is good.
    """
    made: list[LayerError] = []
    guessed: set[str] = set()
    last = 0
    names = [name for name, _ in found]
    for depth, (name, values) in enumerate(wanted):
        here = names.index(name) if name in names else _likest(values, found, last)
        if here is None:
            continue
        if name not in names:
            guessed.add(name)
        last = max(last, here)
        error = _error(values, found[here][1])
        made.append(LayerError(name, depth, error if np.isfinite(error) else None, tolerance))
    # an error goes on through what comes after it: a likest one that is off before a good layer is another quantity
    good = max((point.depth for point in made if point), default=-1)
    return tuple(point for point in made if point or point.layer not in guessed or point.depth > good)


def _likest(wanted: Array, found: Sequence[tuple[str, Array]], first: int) -> int | None:
    places = [i for i in range(first, len(found)) if found[i][1].size == wanted.size]
    errors = [_error(wanted, found[i][1]) for i in places]
    ranked = sorted(zip(errors, places, strict=True), key=lambda pair: (not np.isfinite(pair[0]), pair[0], pair[1]))
    return ranked[0][1] if ranked else None


def _error(wanted: Array, found: Array) -> float:
    if wanted.shape != found.shape:
        if wanted.size != found.size:
            return float("inf")  # a layer of this name and another shape
        found = found.reshape(wanted.shape)
    return relative_l2(wanted, found)


def read_traced(path: Path) -> Traced:
    """What a process of kind ``trace`` wrote."""
    return records.read(Traced, path.name, json.loads(path.read_text(encoding="utf-8")))
