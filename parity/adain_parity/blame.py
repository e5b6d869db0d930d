"""From the numbers of a case's parts, and where need be from a curve through one of them, to what is at fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adain_export.tolerances import Limits, PartName
from adain_parity.layers import Traced
from adain_parity.results import Blame, LayerError, Part, Stage, StageError
from adain_parity.tolerance_used import share

_STATISTICS = ("mean_error", "std_error", "statistics")
Trace = Callable[[PartName], Traced]


def assign(parts: Sequence[Part], limits: Limits, trace: Trace, *, always: bool = False) -> Blame | None:
    """Which stage, and which layer of it, leaves its tolerance first.

    Each part was fed with the reference's own intermediates, so a stage is judged alone: the encoder by its features;
    AdaIN by the statistics of the part's own features and by the stylizer against the same backend's encoder and
    decoder with the reference's AdaIN between; the decoder by its image. Where every part is good no stage is blamed.

    Args:
        parts: of a case.
        limits: that they were held to.
        trace: gives the curve through a part.
        always: look into the stylizer of a good case too.

    Returns:
        None for a good case, unless ``always``.
    """
    by_name = {part.part: part for part in parts}
    stages = _stages(by_name, limits)
    failed = not all(parts)
    stage = (next((found.stage for found in stages if not found), None) or _by_failures(by_name)) if failed else None
    if stage is None:
        if not always:
            return None
        traced = trace("stylizer")
        sentence = "every part is within its tolerance" + _unseen(traced)
        return Blame(sentence, stages=stages, curve=_own_curve(traced))
    part = _where(stage, by_name)
    traced = trace(part)
    first = next((layer for layer in traced.curve if not layer), None)
    if part == "stylizer" and first is not None:
        stage = stage_of(first.layer)
    return Blame(
        _sentence(stage, part, traced, first),
        stage,
        None if first is None else first.layer,
        stages,
        _own_curve(traced),
    )


def stage_of(layer: str) -> Stage:
    """The stage that a layer belongs to."""
    half = layer.partition(".")[0]
    if half == "encoder":
        return "encoder"
    return "adain" if half == "adain" else "decoder"


def _stages(parts: dict[PartName, Part], limits: Limits) -> tuple[StageError, ...]:
    """Every stage that was run alone."""
    made = []
    encoder, decoder, stylizer = (parts.get(name) for name in ("encoder", "decoder", "stylizer"))
    if encoder is not None:
        made.append(StageError("encoder", encoder.found.relative_l2, limits.encoder.relative_l2 or limits.layer))
    alone = [
        (part.found.statistics if part is encoder else part.found.composition, limit)
        for part, limit in ((encoder, limits.encoder.statistics), (stylizer, limits.stylizer.composition))
        if part is not None and part.finite
    ]
    shares = [(error / limit, error, limit) for error, limit in alone if error is not None and limit is not None]
    if shares:
        _, error, limit = max(shares)
        made.append(StageError("adain", error, limit))
    if decoder is not None:
        made.append(StageError("decoder", decoder.found.relative_l2, _of_image(decoder, limits)))
    return tuple(made)


def _of_image(decoder: Part, limits: Limits) -> float:
    """What the decoder's image may be off by, relative L2: its own limit, else a layer's, or more where its PSNR may.

    An image of bytes is off by their rounding, which its PSNR leaves room for and a layer's limit doesn't.
    """
    error, used = decoder.found.relative_l2, share("psnr", decoder.found.psnr, limits.decoder.psnr)
    by_psnr = error / used if error is not None and used else 0.0
    return limits.decoder.relative_l2 or max(limits.layer, by_psnr)


def _by_failures(parts: dict[PartName, Part]) -> Stage | None:
    """The stage of the first part that failed by another number than its stage's own."""
    for name, part in ((name, parts.get(name)) for name in ("encoder", "decoder", "stylizer")):
        if part is None or part:
            continue
        words = [failure.partition(" ")[0] for failure in part.failures]
        if name == "encoder":
            return "adain" if all(word in _STATISTICS for word in words) else "encoder"
        return "decoder" if name == "decoder" else "adain"
    return None


def _where(stage: Stage, parts: dict[PartName, Part]) -> PartName:
    """The part whose graph is looked into for a stage."""
    encoder = parts.get("encoder")
    if stage == "adain":
        by_statistics = encoder is not None and any(f.partition(" ")[0] in _STATISTICS for f in encoder.failures)
        return "encoder" if by_statistics else "stylizer"
    return stage


def _sentence(stage: Stage, part: PartName, traced: Traced, first: LayerError | None) -> str:
    if first is not None:
        error = "not finite" if first.error is None else f"{first.error:.2g}"
        too = f", in {traced.elsewhere} too" if traced.elsewhere else ""
        return f"{stage}, from {first.layer} on in the {part}'s graph{too} ({error}, allowed {first.tolerance:g})"
    if traced.curve and traced.elsewhere:
        good = f"every layer of the {part}'s graph is good in {traced.elsewhere}"
        return f"{stage}; {good}, so it is how this backend runs it"
    if traced.curve:
        return f"{stage}; every layer of the {part}'s graph alone is good, so it is what is done around the graph"
    return f"{stage}{_unseen(traced)}"


def _own_curve(traced: Traced) -> tuple[LayerError, ...]:
    """The curve, where it is of what the backend itself computes."""
    return () if traced.elsewhere else traced.curve


def _unseen(traced: Traced) -> str:
    if traced.elsewhere:
        return f" (its layers can't be looked into; in {traced.elsewhere} they were)"
    return f" (its layers can't be looked into: {traced.unavailable})" if traced.unavailable else ""
