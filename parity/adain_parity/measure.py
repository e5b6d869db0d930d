"""From what a case's process wrote to the numbers that it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np
import torch

from adain_export.tolerances import PARTS, Limits, Metrics
from adain_model.similarity import luminance, ssim
from adain_parity.reference import Floats, Reference, Truth
from adain_parity.results import NOT_FINITE, Part, PartName
from adain_runtime.metrics import cosine, max_abs, psnr, relative_l2

_SMALLEST_SSIM = 11  # pixels: the side of its window
_LEAST_LOSS = 1e-12  # below, a loss is rounding and its ratio says nothing


def measure(
    found: Mapping[str, Floats],
    errors: Mapping[str, str],
    seconds: Mapping[str, float],
    limits: Limits,
    truth: Truth,
    reference: Reference,
    *,
    asked: Collection[str] = PARTS,
) -> tuple[Part, ...]:
    """Every part that ran, or should have, against the reference.

    Args:
        found: outputs by ``part.name``, as `adain_parity.worker` writes them.
        errors: what a part raised in the place of outputs.
        seconds: wall-clock time of each part.
        limits: of the backend's precision.
        truth: what was fed, and what should come out.
        reference: for its statistics and losses.
        asked: parts that were run: one of which nothing came out has failed.
    """
    measured: dict[PartName, Metrics | None] = {}
    for part, measurer in _MEASURERS.items():
        mine = {name.partition(".")[2]: values for name, values in found.items() if name.startswith(f"{part}.")}
        if part in errors or not (mine or part in asked):
            continue
        problem = _misshapen(mine, _wanted(part, truth)) if mine else "gave nothing"
        if problem:
            errors = {**errors, part: problem}
        else:
            finite = all(np.isfinite(values).all() for values in mine.values())
            measured[part] = measurer(mine, truth, reference) if finite else None
    made = []
    for part in PARTS:
        if part in errors:
            empty = Part(part, Metrics(), limits.part(part), finite=False, failures=(errors[part],))
            made.append(replace(empty, seconds=seconds.get(part)))
        elif part in measured:
            metrics = measured[part]
            failures = (NOT_FINITE,) if metrics is None else metrics.beyond(limits.part(part))
            made.append(
                Part(part, metrics or Metrics(), limits.part(part), metrics is not None, failures, seconds.get(part))
            )
    return tuple(made)


def _wanted(part: PartName, truth: Truth) -> dict[str, Floats]:
    """What a part must give, by the names of its outputs."""
    if part == "encoder":
        return {**truth.encoded, **{f"style_{name}": values for name, values in truth.style_encoded.items()}}
    return {"image": truth.decoded if part == "decoder" else truth.stylized}


def _misshapen(found: Mapping[str, Floats], wanted: Mapping[str, Floats]) -> str:
    """Which output is missing or of another shape; empty where all are right."""
    for name, values in wanted.items():
        shape = list(found[name].shape) if name in found else None
        if shape != list(values.shape):
            return f"gave {name} {shape}, and {list(values.shape)} is wanted" if shape else f"gave no {name}"
    return ""


def _encoder(found: Mapping[str, Floats], truth: Truth, reference: Reference) -> Metrics:
    """The worse of the content and the style picture."""
    both = [
        _encoded({name: found[prefix + name] for name in ("features", "mean", "std")}, wanted, reference)
        for prefix, wanted in (("", truth.encoded), ("style_", truth.style_encoded))
    ]
    worst = {name: max(getattr(m, name) for m in both) for name in ("mean_error", "std_error", "relative_l2")}
    return Metrics(
        **worst, cosine=_lowest(*(m.cosine for m in both)), statistics=max(m.statistics or 0.0 for m in both)
    )


def _encoded(found: Mapping[str, Floats], wanted: Mapping[str, Floats], reference: Reference) -> Metrics:
    own_mean, own_std = reference.statistics(found["features"])
    return Metrics(
        mean_error=relative_l2(wanted["mean"], found["mean"]),
        std_error=relative_l2(wanted["std"], found["std"]),
        relative_l2=relative_l2(wanted["features"], found["features"]),
        cosine=_number(cosine(wanted["features"], found["features"])),
        statistics=max(relative_l2(own_mean, found["mean"]), relative_l2(own_std, found["std"])),
    )


def _decoder(found: Mapping[str, Floats], truth: Truth, _: Reference) -> Metrics:
    return _image(truth.decoded, found["image"])


def _stylizer(found: Mapping[str, Floats], truth: Truth, reference: Reference) -> Metrics:
    image = found["image"]
    wanted = reference.losses(truth.stylized, truth)
    content, style = (
        (loss - least) / max(least, _LEAST_LOSS)
        for loss, least in zip(reference.losses(image, truth), wanted, strict=True)
    )
    composed = found.get("composed")
    return replace(
        _image(truth.stylized, image),
        content_loss=content,
        style_loss=style,
        composition=None if composed is None else relative_l2(composed, image),
    )


def _image(wanted: Floats, found: Floats) -> Metrics:
    decibels = psnr(wanted, found)
    similar = None
    if min(wanted.shape[-2:]) >= _SMALLEST_SSIM:
        pair = (luminance(torch.from_numpy(np.asarray(values, np.float64))) for values in (wanted, found))
        similar = float(ssim(*pair))
    return Metrics(
        max_abs=max_abs(wanted, found),
        mean_abs=float(np.abs(wanted.astype(np.float64) - found).mean()),
        psnr=decibels if np.isfinite(decibels) else None,
        ssim=similar,
        relative_l2=relative_l2(wanted, found),
    )


def _number(angle: float) -> float:
    """A cosine; features of no length have no angle, and are like nothing."""
    return angle if np.isfinite(angle) else 0.0


def _lowest(*values: float | None) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return min(known, default=None)


_MEASURERS: Mapping[PartName, Callable[[Mapping[str, Floats], Truth, Reference], Metrics]] = {
    "encoder": _encoder,
    "decoder": _decoder,
    "stylizer": _stylizer,
}
