"""The network's description as data: what the weights mean, shared by checkpoints and manifests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from sys import float_info
from typing import Any, Literal, get_args

from adain_runtime.errors import InputError

Downsample = Literal["maxpool", "stride"]
Padding = Literal["reflect", "replicate", "zeros"]

_MOST_STAGES = 8
_NAME = re.compile(r"[_-]*[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class NetworkSpec:
    """An encoder, AdaIN and a decoder, described so that any backend can rebuild or check them.

    A *stage* is a run of 3x3 convolutions at one resolution; between two stages the encoder halves the map and the
    decoder doubles it (nearest neighbour). Every convolution is followed by a ReLU, except the decoder's last and,
    where ``encoder_relu`` is false, the encoder's last.

    Attributes:
        name: what people call the network, such as ``vgg19`` or ``lite``; letters, digits, ``-`` and ``_``.
        encoder: output channels of each convolution, stage by stage, shallow to deep.
        decoder: the same for the decoder, deep to shallow; the last is 3, RGB.
        downsample: ``maxpool`` (2x2, ceil mode, before a stage's first conv) or ``stride`` (that conv has stride 2).
        padding: how a 3x3 convolution pads by 1.
        color_conv: whether a learnt 1x1 convolution ``conv0`` (3 to 3 channels) stands before the first one, as in
            the normalised VGG-19; export folds it away.
        encoder_relu: whether the encoder's last convolution has a ReLU.
        correction: 1 for the unbiased variance (divide by n - 1, pytorch-AdaIN), 0 for the biased one.
        eps: added to the variance before its square root.
        alpha_range: smallest and largest content-style trade-off that the network is meant for.
    """

    name: str
    encoder: tuple[tuple[int, ...], ...]
    decoder: tuple[tuple[int, ...], ...]
    downsample: Downsample = "maxpool"
    padding: Padding = "reflect"
    color_conv: bool = False
    encoder_relu: bool = True
    correction: int = 1
    eps: float = 1e-5
    alpha_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise InputError(f"network spec {self.name!r}: {problem}")

    @property
    def channels(self) -> int:
        """Channels C of the features that AdaIN works on."""
        return self.encoder[-1][-1]

    @property
    def stride(self) -> int:
        """Pixels of image per feature cell, along one side."""
        return int(2 ** (len(self.encoder) - 1))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values; ``from_json`` gives an equal spec back."""
        plain = asdict(self)
        plain["encoder"] = [list(stage) for stage in self.encoder]
        plain["decoder"] = [list(stage) for stage in self.decoder]
        plain["alpha_range"] = list(self.alpha_range)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> NetworkSpec:
        """Rebuild a spec.

        Raises:
            InputError: a field is missing, unknown, or of the wrong kind.
        """
        names = {field.name for field in fields(cls)}
        found = sorted(plain) if isinstance(plain, Mapping) else plain
        if not isinstance(plain, Mapping) or found != sorted(names):
            raise InputError(f"network spec: expected the fields {sorted(names)}, found {found}")
        values = dict(plain)
        try:
            for name in ("encoder", "decoder"):
                values[name] = tuple(tuple(stage) for stage in values[name])
            values["alpha_range"] = tuple(values["alpha_range"])
        except TypeError as error:
            raise InputError(f"network spec: encoder, decoder and alpha_range must be lists ({error})") from error
        return cls(**values)


def is_name(value: object) -> bool:
    """Whether this is a network's name: letters, digits, ``-`` and ``_``, as files and folders are called after it."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a JSON value is a number that a float can hold: no NaN, no infinity, no 10 to the 400."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= float_info.max


def _problem(spec: NetworkSpec) -> str | None:  # noqa: PLR0911 one return a rule reads best
    if not is_name(spec.name):
        return "the name must be letters, digits, '-' and '_'"
    for part, stages in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if not stages or not all(stages) or not all(_whole(width) and width > 0 for s in stages for width in s):
            return f"{part} must be stages of positive channel counts, found {str(stages)[:200]}"
        if len(stages) > _MOST_STAGES:
            return f"{part} has {len(stages)} stages, and at most {_MOST_STAGES} make sense (a stride of 128)"
    if len(spec.encoder) != len(spec.decoder):
        return f"{len(spec.encoder)} encoder stages against {len(spec.decoder)} decoder stages: sizes would not match"
    if spec.decoder[-1][-1] != 3:
        return f"the decoder must end in 3 channels, found {spec.decoder[-1][-1]}"
    if spec.downsample not in get_args(Downsample) or spec.padding not in get_args(Padding):
        return f"unknown downsample {spec.downsample!r} or padding {spec.padding!r}"
    flags: tuple[object, ...] = (spec.color_conv, spec.encoder_relu)
    if not all(isinstance(flag, bool) for flag in flags):
        return "color_conv and encoder_relu must be true or false"
    if not _whole(spec.correction) or spec.correction not in (0, 1):
        return f"correction must be 0 (biased) or 1 (unbiased), found {spec.correction!r}"
    if not is_number(spec.eps) or spec.eps <= 0:
        return f"eps must be a positive number, found {spec.eps!r}"
    if len(spec.alpha_range) != 2 or not all(map(is_number, spec.alpha_range)):
        return f"alpha_range must be two finite numbers, found {spec.alpha_range!r}"
    if not spec.alpha_range[0] < spec.alpha_range[1]:
        return f"alpha_range must rise, found {spec.alpha_range!r}"
    return None
