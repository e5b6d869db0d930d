"""Configs that suit a machine, and network specs from the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast, get_args

from adain_model import LITE
from adain_model.specs import named_spec
from adain_runtime.errors import InputError
from adain_runtime.spec import Downsample, NetworkSpec
from adain_train.config import DecoderConfig, StudentConfig
from adain_train.data import Framing

Preset = Literal["cpu", "gpu"]

_SMALL = Framing(crop=128, shorter_min=128, shorter_max=256)
DECODERS: dict[str, DecoderConfig] = {
    "gpu": DecoderConfig(),
    "cpu": DecoderConfig(framing=_SMALL, steps=20_000),
}
"""``gpu`` is the paper's; ``cpu`` is a quarter of its pixels."""

STUDENTS: dict[str, StudentConfig] = {
    "gpu": StudentConfig(framing=Framing(crop=256, shorter_min=256, shorter_max=512)),
    "cpu": StudentConfig(framing=_SMALL, kept_crops=4000, kept_pairs=6000, perceptual_batch=4),
}
"""``gpu`` makes targets of fresh crops in every step; ``cpu`` keeps the targets of some."""


def preset(name: str, kind: dict[str, DecoderConfig] | dict[str, StudentConfig]) -> DecoderConfig | StudentConfig:
    """A preset by name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in kind:
        raise InputError(f"--preset {name}: there is {' and '.join(kind)}")
    return kind[name]


def student_spec(
    source: str | None,
    encoder: str | None,
    decoder: str | None,
    downsample: str | None,
    name: str | None,
    base: NetworkSpec = LITE,
) -> NetworkSpec:
    """The student's network.

    Args:
        source: a name known to the model room, a JSON file of a spec, or None for ``base``.
        encoder: widths, such as ``16/32,16/48,64/144,192``: stages between slashes, shallow to deep.
        decoder: the same, deep to shallow; None is the encoder mirrored.
        downsample: ``stride`` or ``maxpool``, for a spec of widths; None is the base's.
        name: what the network is called; None is the spec's own, or ``student`` for a spec of widths.
        base: gives what widths don't say.

    Raises:
        InputError: no such spec, or widths that don't fit one another.
    """
    if encoder is None and decoder is not None:
        raise InputError("--decoder-widths without --encoder-widths: give both, or a --spec")
    if encoder is not None:
        if source is not None:
            raise InputError("--spec and --encoder-widths both say what the network is; give one of them")
        stages = _stages("--encoder-widths", encoder)
        if downsample is not None and downsample not in get_args(Downsample):
            raise InputError(f"--downsample {downsample}: there is {' and '.join(get_args(Downsample))}")
        return replace(
            base,
            name=name or "student",
            encoder=stages,
            decoder=_stages("--decoder-widths", decoder) if decoder is not None else _mirrored(stages),
            downsample=cast(Downsample, downsample) if downsample else base.downsample,
        )
    if downsample is not None:
        raise InputError("--downsample without --encoder-widths: a spec says how its maps are halved")
    spec = named_spec(source) if source is not None else base
    return replace(spec, name=name) if name else spec


def _stages(option: str, text: str) -> tuple[tuple[int, ...], ...]:
    try:
        return tuple(tuple(int(width) for width in stage.split(",")) for stage in text.split("/"))
    except ValueError as error:
        raise InputError(f"{option} {text}: expected widths such as 16/32,16/48,64/144,192") from error


def _mirrored(stages: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """Each stage's convolutions the other way round; the last of a stage already has the next one's width.

    At the image's own size there is one before the last even where the encoder has a single one.
    """
    made = []
    for place in range(len(stages) - 1, -1, -1):
        after = 3 if place == 0 else stages[place - 1][-1]
        inner = stages[place][1:] or (stages[place] if place == 0 else ())
        made.append((*reversed(inner), after))
    return tuple(made)
