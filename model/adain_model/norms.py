"""The family of normalisations that AdaIN belongs to, each with its formula.

All of them are ``y = scale * (x - mean) / std + shift``. They differ in what the mean and the standard
deviation run over and in where scale and shift come from:

========================== ============================ ==========================================
norm                       statistics over              scale and shift
========================== ============================ ==========================================
batch norm                 batch, height, width         learnt, one pair a channel
instance norm              height, width                learnt, one pair a channel
conditional instance norm  height, width                learnt, one pair a channel and style
AdaIN                      height, width                measured on the style image; nothing learnt
spatial AdaIN              one region's cells           measured, one style a region
========================== ============================ ==========================================

Half-precision features are measured in float32 (300 squared is infinite in float16) and come back in their
own dtype; the statistics stay float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adain_runtime.errors import InputError
from adain_runtime.regions import FADES

_NO_REGION = 1e-12  # cells; far below any mask that changes a pixel, far above what float32 can't divide by


def channel_stats(features: Tensor, *, correction: int, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each image and channel, over height and width.

    ``mean = sum(x) / n`` and ``std = sqrt(sum((x - mean)^2) / (n - correction) + eps)`` with ``n = H * W``
    (Huang & Belongie 2017, eq. 5 and 6; the published decoder was trained with correction 1).

    Args:
        features: [N, C, H, W], floating point.
        correction: 1 for the unbiased variance, 0 for the biased one.
        eps: added to the variance.

    Returns:
        mean and std, each [N, C, 1, 1]; float32 where the features are half.

    Raises:
        InputError: there are too few cells for a variance.
    """
    _check_maps(features, correction)
    wide = _widened(features)
    mean = wide.mean(dim=(-2, -1), keepdim=True)
    variance = (wide - mean).square().mean(dim=(-2, -1), keepdim=True)
    if correction:  # so that an exported graph asks for the map's size only where it needs it
        cells = features.shape[-2] * features.shape[-1]
        variance = variance * (cells / (cells - correction))
    return mean, (variance + eps).sqrt()


def batch_norm(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over the whole batch (Ioffe & Szegedy 2015, algorithm 1).

    ``y = weight * (x - mean) / sqrt(variance + eps) + bias``; while training, mean and (biased) variance of a
    channel run over batch, height and width; at inference they are the population's, gathered while training.

    Args:
        features: [N, C, H, W].
        weight: [C], gamma.
        bias: [C], beta.
        mean: [C], the population's; without it, the batch's own.
        variance: [C], the population's; given exactly when ``mean`` is.
        eps: added to the variance.

    Returns:
        [N, C, H, W].

    Raises:
        InputError: only one of ``mean`` and ``variance`` is given.
    """
    if (mean is None) is not (variance is None):
        raise InputError("batch_norm takes a population's mean and variance together; one is missing")
    wide = _widened(features)
    if mean is None or variance is None:
        mean = wide.mean(dim=(0, 2, 3))
        variance = (wide - _per_channel(mean)).square().mean(dim=(0, 2, 3))
    scale = weight / (variance + eps).sqrt()
    return ((wide - _per_channel(mean)) * _per_channel(scale) + _per_channel(bias)).to(features.dtype)


def instance_norm(
    features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5
) -> Tensor:
    """Normalise each image and channel by itself (Ulyanov, Vedaldi & Lempitsky 2016).

    ``y = weight * (x - mean) / sqrt(variance + eps) + bias``, mean and biased variance over height and width.

    Args:
        features: [N, C, H, W].
        weight: [C] or [N, C]; 1 without it.
        bias: [C] or [N, C]; 0 without it.
        eps: added to the variance.

    Returns:
        [N, C, H, W].
    """
    mean, std = channel_stats(features, correction=0, eps=eps)
    result = (_widened(features) - mean) / std
    if weight is not None:
        result = result * _per_channel(weight)
    if bias is not None:
        result = result + _per_channel(bias)
    return result.to(features.dtype)


class ConditionalInstanceNorm(nn.Module):
    """Instance norm with one learnt affine pair a style (Dumoulin, Shlens & Kudlur 2017, eq. 5).

    ``y = weight[s] * (x - mean) / sqrt(variance + eps) + bias[s]``. F channels and S styles cost 2 F S
    parameters, where AdaIN has none; a style is a row, and a mix of rows is a mix of styles.

    Attributes:
        weight: [S, C], gamma; starts at 1.
        bias: [S, C], beta; starts at 0.
        eps: added to the variance.
    """

    def __init__(self, styles: int, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(styles, channels))
        self.bias = nn.Parameter(torch.zeros(styles, channels))
        self.eps = eps

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """Normalise, and restyle each image.

        Args:
            features: [N, C, H, W].
            style: [N] whole numbers, the style of each image; or [N, S] mixing weights.

        Returns:
            [N, C, H, W].

        Raises:
            InputError: ``style`` is neither.
        """
        styles, batch = self.weight.shape[0], features.shape[0]
        if not style.is_floating_point() and style.shape == (batch,):
            return instance_norm(features, self.weight[style], self.bias[style], eps=self.eps)
        if style.is_floating_point() and style.shape == (batch, styles):
            return instance_norm(features, style @ self.weight, style @ self.bias, eps=self.eps)
        raise InputError(
            f"conditional instance norm: style must be {[batch]} whole numbers or {[batch, styles]} mixing "
            f"weights, found {list(style.shape)} {style.dtype}"
        )


def adain(
    content: Tensor,
    style_mean: Tensor,
    style_std: Tensor,
    *,
    alpha: float | Tensor = 1.0,
    correction: int,
    eps: float,
) -> Tensor:
    """Adaptive instance normalisation (Huang & Belongie 2017, eq. 8; the trade-off is their eq. 14).

    ``t = std' * (x - mean_c) / std_c + mean'`` with ``std' = alpha * style_std + (1 - alpha) * std_c`` and
    ``mean'`` likewise. That equals ``alpha * AdaIN(x, style) + (1 - alpha) * x``, and needs no second map.

    Args:
        content: features [N, C, H, W].
        style_mean: [N or 1, C, 1, 1].
        style_std: [N or 1, C, 1, 1].
        alpha: content-style trade-off, 0 keeps the content; a number or [N, 1, 1, 1].
        correction: 1 for the content's unbiased variance, 0 for the biased one; the style's must be the same.
        eps: added to the content's variance.

    Returns:
        [N, C, H, W], in the dtype of the content.
    """
    mean, std = channel_stats(content, correction=correction, eps=eps)
    return _restyled(content, mean, std, style_mean, style_std, alpha=alpha).to(content.dtype)


def spatial_adain(
    content: Tensor,
    masks: Tensor,
    style_means: Tensor,
    style_stds: Tensor,
    *,
    alpha: float | Tensor = 1.0,
    correction: int,
    eps: float,
) -> Tensor:
    """AdaIN with one style a region (Huang & Belongie 2017, section 7.3, spatial control).

    Region k has weights ``w_k`` and ``n_k = sum(w_k)`` cells. Its content statistics are
    ``mean_k = sum(w_k x) / n_k`` and ``std_k = sqrt(sum(w_k (x - mean_k)^2) / d_k + eps)``, and

    ``t = sum_k w_k * AdaIN_k(x) / sum_k w_k``

    so that a soft edge between regions blends their affine maps; what no mask covers passes unchanged. Where masks add
    up to less than 1 the picture fades, and that is for pixels: features that faded too would fade it twice; they do
    under a thousandth, where statistics of hardly any cells say nothing. Where masks add up to more than 1 they are
    divided by their sum. ``d_k = max(n_k - correction, n_k / 2)``: that is
    ``n_k - correction`` from two cells on, and below, where an unbiased variance does not exist, it goes on
    without a jump. One mask of ones is plain AdaIN.

    Args:
        content: features [N, C, H, W].
        masks: [N or 1, K, H, W], 0 to 1, at the size of the features.
        style_means: [K, C, 1, 1], or [N, K, C, 1, 1] for styles of each image's own.
        style_stds: the same shape.
        alpha: content-style trade-off, a number or [N, 1, 1, 1].
        correction: 1 for the unbiased variance, 0 for the biased one.
        eps: added to the variance.

    Returns:
        [N, C, H, W], in the dtype of the content.

    Raises:
        InputError: the shapes do not fit one another.
    """
    batch, channels = content.shape[0], content.shape[1]
    regions = masks.shape[1] if masks.dim() == 4 else 0
    if regions == 0 or masks.shape[0] not in (1, batch) or masks.shape[-2:] != content.shape[-2:]:
        wanted = f"[{batch} or 1, K, {content.shape[-2]}, {content.shape[-1]}]"
        raise InputError(
            f"spatial AdaIN: masks must be {wanted}, found {list(masks.shape)}; resize them to the features"
        )
    for name, value in (("style_means", style_means), ("style_stds", style_stds)):
        if value.shape not in ((regions, channels, 1, 1), (batch, regions, channels, 1, 1)):
            wanted = f"{[regions, channels, 1, 1]} or {[batch, regions, channels, 1, 1]}"
            raise InputError(f"spatial AdaIN: {name} must be {wanted}, found {list(value.shape)}")

    wide = _widened(content)
    weights = masks.to(wide.dtype).clamp_min(0.0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1.0)
    covered = weights.sum(dim=1, keepdim=True)
    shares = weights / covered.clamp_min(FADES)
    result = wide * (1.0 - shares.sum(dim=1, keepdim=True))
    for region in range(regions):
        weight = weights[:, region : region + 1]
        mean, std = _region_stats(wide, weight, correction=correction, eps=eps)
        styled = _restyled(
            wide, mean, std, style_means[..., region, :, :, :], style_stds[..., region, :, :, :], alpha=alpha
        )
        result = result + shares[:, region : region + 1] * styled
    return result.to(content.dtype)


def _region_stats(features: Tensor, weight: Tensor, *, correction: int, eps: float) -> tuple[Tensor, Tensor]:
    cells = weight.sum(dim=(-2, -1), keepdim=True).clamp_min(_NO_REGION)
    mean = (weight * features).sum(dim=(-2, -1), keepdim=True) / cells
    divisor = torch.maximum(cells - correction, cells / 2)
    variance = (weight * (features - mean).square()).sum(dim=(-2, -1), keepdim=True) / divisor
    return mean, (variance + eps).sqrt()


def _restyled(
    content: Tensor,
    mean: Tensor,
    std: Tensor,
    style_mean: Tensor,
    style_std: Tensor,
    *,
    alpha: float | Tensor,
) -> Tensor:
    new_std = alpha * style_std + (1.0 - alpha) * std
    new_mean = alpha * style_mean + (1.0 - alpha) * mean
    return (content - mean) / std * new_std + new_mean


def _widened(features: Tensor) -> Tensor:
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def _per_channel(values: Tensor) -> Tensor:
    return values[..., None, None]


def _check_maps(features: Tensor, correction: int) -> None:
    if torch.compiler.is_compiling():  # a graph's sizes are symbols, and its caller states their range
        return
    if features.dim() != 4 or not features.is_floating_point():
        raise InputError(f"features must be [N, C, H, W] floats, found {list(features.shape)} {features.dtype}")
    height, width = features.shape[-2:]
    if height * width <= correction:
        raise InputError(f"features of {height}x{width} cells have no variance with correction {correction}")
