"""The losses of the paper (Huang & Belongie 2017, sections 5 and 6), and the options beside them.

Every loss is a mean over the batch and all elements, so that its size depends on neither, computed in float32
where the maps are half precision. What a style loss compares of a map is its *summary*: mean and standard
deviation of each channel, or its Gram matrix. Summaries of a style image can be made once and kept, which
spares the network a pass; ``mean_std_loss`` and ``gram_loss`` make both sides from maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from adain_model import VGG19, Encoder, channel_stats, instance_norm
from adain_runtime.errors import InputError

StyleKind: TypeAlias = Literal["mean_std", "gram"]
Summary: TypeAlias = tuple[Tensor, ...]
"""What a style loss compares of one tap: (mean, std), each [N, C, 1, 1]; or (Gram matrix [N, C, C],)."""


@dataclass(frozen=True)
class Weights:
    """What each loss counts in the total; 0 leaves it out.

    Attributes:
        content: distance of the output's features from the AdaIN target.
        style: distance of the output's summaries from the style's; the paper's lambda.
        tv: total variation of the output, against noise.
        identity_pixels: an image restyled by itself comes back, in pixels (Park & Lee 2019, L_identity1).
        identity_features: the same in the features of all taps (L_identity2).
        style_kind: what a style is: ``mean_std`` (the paper's) or ``gram`` (Gatys, Ecker & Bethge 2016).
    """

    content: float = 1.0
    style: float = 10.0
    tv: float = 0.0
    identity_pixels: float = 0.0
    identity_features: float = 0.0
    style_kind: StyleKind = "mean_std"

    def __post_init__(self) -> None:
        if self.style_kind not in get_args(StyleKind):
            raise InputError(f"style loss {self.style_kind!r}: there is {' and '.join(get_args(StyleKind))}")
        for name, value in self.terms().items():
            if not 0 <= value < float("inf"):
                raise InputError(f"the weight of the {name} loss is {value}; give 0 or a positive number")

    def terms(self) -> dict[str, float]:
        """The weight of every loss by its name."""
        return {name: value for name, value in asdict(self).items() if name != "style_kind"}

    @property
    def identity(self) -> bool:
        """Whether an image restyled by itself is asked for."""
        return self.identity_pixels > 0 or self.identity_features > 0


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared error between the output's features and the AdaIN target (eq. 12).

    Args:
        features: [N, C, H, W].
        target: the same shape.

    Returns:
        a scalar.

    Raises:
        InputError: the shapes differ.
    """
    return _mse(features, target)


def mean_std_loss(
    found_taps: Sequence[Tensor], wanted_taps: Sequence[Tensor], *, correction: int = 0, eps: float = 1e-5
) -> Tensor:
    """Sum over taps of the MSE between means and of that between standard deviations (eq. 13).

    Args:
        found_taps: the output's maps, shallow to deep, each [N, C, H, W].
        wanted_taps: the style's, of the same batch and channels; their sizes may differ.
        correction: 0 for the biased variance, 1 for the unbiased one.
        eps: added to the variance.

    Returns:
        a scalar.

    Raises:
        InputError: other taps, or other channels.
    """
    found = summarize(found_taps, "mean_std", correction=correction, eps=eps)
    return summary_loss(found, summarize(wanted_taps, "mean_std", correction=correction, eps=eps))


def gram_loss(found_taps: Sequence[Tensor], wanted_taps: Sequence[Tensor]) -> Tensor:
    """Sum over taps of the MSE between Gram matrices, each divided by the cells of its own map.

    Args:
        found_taps: the output's maps, each [N, C, H, W].
        wanted_taps: the style's, of the same batch and channels; their sizes may differ.

    Returns:
        a scalar.

    Raises:
        InputError: other taps, or other channels.
    """
    return summary_loss(summarize(found_taps, "gram"), summarize(wanted_taps, "gram"))


def summarize(
    taps: Sequence[Tensor], kind: StyleKind = "mean_std", *, correction: int = 0, eps: float = 1e-5
) -> list[Summary]:
    """What a style loss compares, for each tap; ``correction`` and ``eps`` are those of the standard deviation.

    Args:
        taps: maps, each [N, C, H, W].
        kind: ``mean_std`` or ``gram``, where ``G = F F^T / (H W)``.
        correction: 0 for the biased variance, 1 for the unbiased one.
        eps: added to the variance.
    """
    if kind == "mean_std":
        return [_stats(tap, correction, eps) for tap in taps]
    return [(_gram(tap),) for tap in taps]


def summary_loss(found: Sequence[Summary], wanted: Sequence[Summary]) -> Tensor:
    """Sum over taps and their statistics of the mean squared error; `mean_std_loss` and `gram_loss` are this.

    Raises:
        InputError: other taps, or other channels.
    """
    if len(found) != len(wanted) or not found:
        raise InputError(f"the style loss compares {len(found)} taps with {len(wanted)}; give as many of both")
    errors = [_mse(f, w) for ours, theirs in zip(found, wanted, strict=True) for f, w in zip(ours, theirs, strict=True)]
    return torch.stack(errors).sum()


def similarity_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error between the self-similarities of two encodings of the same images, of any two widths.

    A self-similarity is the cosine between the features of every two cells, each channel normalised over the cells
    first, as AdaIN normalises it: so it compares what AdaIN leaves of a content, and no projection from one network's
    channels to the other's must be learnt (after Tung & Mori 2019, "Similarity-preserving knowledge distillation").

    Args:
        found: [N, C, H, W], with a gradient or without.
        wanted: [N, C', H, W].

    Returns:
        a scalar, 0 to 4.

    Raises:
        InputError: other images or cells.
    """
    return _mse(_self_similarity(found), _self_similarity(wanted))


def clipped(image: Tensor) -> Tensor:
    """An image as it is shown, clipped to [0, 1], with a gradient inside that range and where a step leads back to it.

    ``clamp`` has none outside, so a pixel that has left the range could never return.

    Args:
        image: any shape.
    """
    shown: Tensor = _Clipped.apply(image)
    return shown


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of horizontal neighbours plus that of vertical ones.

    Args:
        image: [N, 3, H, W], two pixels a side or more.
    """
    wide = _wide(image)
    across = (wide[..., 1:] - wide[..., :-1]).abs().mean()
    return across + (wide[..., 1:, :] - wide[..., :-1, :]).abs().mean()


def total(losses: Mapping[str, Tensor], weights: Weights) -> Tensor:
    """The weighted sum of named losses; a name that the weights don't know is an error (KeyError)."""
    terms = weights.terms()
    return torch.stack([terms[name] * value for name, value in losses.items()]).sum()


class Perceptual(nn.Module):
    """A frozen VGG-19 encoder that measures images; its weights get no gradient, images may.

    Attributes:
        encoder: the network; its spec's variance (``correction``) and ``eps`` are those of the statistics.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Perceptual:  # noqa: ARG002 torch calls it so
        """Stay as it is: the loss network is never trained."""
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """As `taps`: what ``compile()`` compiles."""
        return self.encoder.taps(image)

    def taps(self, image: Tensor) -> list[Tensor]:
        """relu1_1, relu2_1, relu3_1 and relu4_1 of an image [N, 3, H, W], RGB in [0, 1]; the last is the content."""
        found: list[Tensor] = self(image)
        return found

    def summarize(self, taps: Sequence[Tensor], kind: StyleKind = "mean_std") -> list[Summary]:
        """What the style loss compares of taps, with the encoder's variance and eps."""
        return summarize(taps, kind, correction=self.encoder.spec.correction, eps=self.encoder.spec.eps)

    def losses(
        self,
        output_image: Tensor,
        target_features: Tensor,
        style_taps: Sequence[Tensor] | Sequence[Summary],
        *,
        style_kind: StyleKind = "mean_std",
    ) -> dict[str, Tensor]:
        """The paper's two losses of an image.

        Args:
            output_image: [N, 3, H, W], not clipped.
            target_features: the AdaIN target t, [N, C, H/8, W/8].
            style_taps: the style's taps, or their summaries of this kind.
            style_kind: what the style loss compares.

        Returns:
            ``content`` and ``style``, scalars.
        """
        found = self.taps(output_image)
        wanted = [
            self.summarize([tap], style_kind)[0] if isinstance(tap, Tensor) else tap  # a summary that was kept
            for tap in style_taps
        ]
        return {
            "content": content_loss(found[-1], target_features),
            "style": summary_loss(self.summarize(found, style_kind), wanted),
        }

    def identity_losses(self, restored: Tensor, image: Tensor) -> dict[str, Tensor]:
        """How well an image that was restyled by itself came back: ``identity_pixels`` and ``identity_features``."""
        with torch.no_grad():
            wanted = self.taps(image)
        pairs = zip(self.taps(restored), wanted, strict=True)
        features = torch.stack([_mse(found, tap) for found, tap in pairs]).sum()
        return {"identity_pixels": _mse(restored, image), "identity_features": features}


def require_vgg19(encoder: Encoder, path: Path) -> None:
    """Refuse an encoder that losses are not measured by.

    Raises:
        InputError: it isn't VGG-19 to relu4_1.
    """
    if encoder.spec.encoder != VGG19.encoder:
        raise InputError(
            f"{path}: the encoder of {encoder.spec.name!r} is no VGG-19 to relu4_1, and losses are measured by "
            "one; `adain-model import --encoder vgg_normalised.pth -o FILE` makes it"
        )


def _stats(tap: Tensor, correction: int, eps: float) -> Summary:
    if not (torch.is_grad_enabled() and tap.requires_grad):
        return channel_stats(tap, correction=correction, eps=eps)
    mean, std = _ChannelStats.apply(_wide(tap), correction, eps)
    return mean, std


class _ChannelStats(torch.autograd.Function):
    """`channel_stats` with its gradient in one pass over the map, ``a x + b``, where autograd takes eight.

    In a profile on two CPU cores those passes were about a sixth of VGG-19's part of a step. With n cells and gradients
    g_mean and g_std: ``dL/dx = g_mean / n + g_std (x - mean) / (std (n - correction))``.
    """

    @staticmethod
    def forward(ctx: Any, tap: Tensor, correction: int, eps: float) -> tuple[Tensor, Tensor]:  # noqa: ANN401 torch's
        mean, std = channel_stats(tap, correction=correction, eps=eps)
        ctx.save_for_backward(tap, mean, std)
        ctx.correction = correction
        return mean, std

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 torch's
        (tap, mean, std), (to_mean, to_std) = ctx.saved_tensors, gradients
        cells = tap.shape[-2] * tap.shape[-1]
        scale = to_std / (std * (cells - ctx.correction))
        return torch.addcmul(to_mean / cells - scale * mean, tap, scale), None, None


class _Clipped(torch.autograd.Function):
    """`clipped`: a step goes against the gradient, so one that is positive leads a pixel over 1 back."""

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:  # noqa: ANN401 torch's
        ctx.save_for_backward(image)
        return image.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401 torch's
        (image,) = ctx.saved_tensors
        helps: Tensor = ((image >= 0) | (gradient < 0)) & ((image <= 1) | (gradient > 0))
        return gradient * helps


def _gram(tap: Tensor) -> Tensor:
    with torch.autocast(tap.device.type, enabled=False):  # a sum over thousands of cells is none for half precision
        flat = _wide(tap).flatten(2)
        return flat @ flat.transpose(1, 2) / flat.shape[2]


def _self_similarity(tap: Tensor) -> Tensor:
    """[N, C, H, W] to [N, H W, H W], -1 to 1."""
    with torch.autocast(tap.device.type, enabled=False):
        cells = functional.normalize(instance_norm(_wide(tap)).flatten(2), dim=1)
        return cells.transpose(1, 2) @ cells


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _mse(found: Tensor, wanted: Tensor) -> Tensor:
    if found.shape != wanted.shape:
        raise InputError(f"a loss compares {list(found.shape)} with {list(wanted.shape)}; give equal shapes")
    return functional.mse_loss(_wide(found), _wide(wanted))
