"""The three parts as torch modules, in fp32 or with half-precision weights and activations."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adain_export.target import IO, Precision
from adain_model.network import Network
from adain_runtime.errors import InputError


class EncoderPart(nn.Module):
    """Image to features and their statistics."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N,3,H,W] float32 in [0,1] to features [N,C,h,w], mean and std [N,C,1,1] float32."""
        features = self.network.encoder(image.to(_dtype(self.network)))
        return (features, *self.network.stats(features))


class DecoderPart(nn.Module):
    """Features under one affine map to an image."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """``decoder(features * scale + shift)`` clipped to [0,1]; the map is applied in float32."""
        return _decode(self.network, features, scale, shift)


class StylizerPart(nn.Module):
    """Encoder, AdaIN with alpha, and decoder in one graph."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mean: Tensor, std: Tensor, alpha: Tensor) -> Tensor:
        """Image [N,3,H,W] under a style's mean and std [N,C,1,1] and alpha [N,1,1,1] to an image in [0,1].

        The affine form of AdaIN: at alpha 0, scale is 1 and shift is 0 exactly.
        """
        features = self.network.encoder(image.to(_dtype(self.network)))
        content_mean, content_std = self.network.stats(features)
        scale = (1 - alpha) + alpha * (std / content_std)
        shift = alpha * mean + (1 - alpha) * content_mean - scale * content_mean
        return _decode(self.network, features, scale, shift)


class EncoderBytes(EncoderPart):
    """The encoder of an image as bytes."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N,H,W,3] uint8 to features, mean and std."""
        return super().forward(_planes(image))


class DecoderBytes(DecoderPart):
    """The decoder to an image as bytes."""

    def forward(self, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """An image [N,H,W,3] uint8."""
        return _bytes(super().forward(features, scale, shift))


class StylizerBytes(StylizerPart):
    """The stylizer from bytes to bytes."""

    def forward(self, image: Tensor, mean: Tensor, std: Tensor, alpha: Tensor) -> Tensor:
        """[N,H,W,3] uint8 to the same."""
        return _bytes(super().forward(_planes(image), mean, std, alpha))


_MODULES: Mapping[tuple[str, IO], type[nn.Module]] = {
    ("encoder", "float"): EncoderPart,
    ("decoder", "float"): DecoderPart,
    ("stylizer", "float"): StylizerPart,
    ("encoder", "uint8"): EncoderBytes,
    ("decoder", "uint8"): DecoderBytes,
    ("stylizer", "uint8"): StylizerBytes,
}


def part_module(name: str, network: Network, io: IO = "float") -> nn.Module:
    """A part's module; its weights are the network's own."""
    return _MODULES[name, io](network).eval()


def _planes(image: Tensor) -> Tensor:
    return image.permute(0, 3, 1, 2).float() / 255


def _bytes(image: Tensor) -> Tensor:
    """Rounded to even as NumPy's rint does, so that a graph and the runtime give the same bytes."""
    return (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def with_precision(network: Network, precision: Precision) -> Network:
    """A copy of a network for one precision; statistics, the affine map and the clip stay float32 in the parts.

    Raises:
        InputError: a weight is beyond what float16 holds.
    """
    made = copy.deepcopy(network)
    if precision == "fp16":
        made = made.half()
        for name, value in made.state_dict().items():
            if not torch.isfinite(value).all():
                raise InputError(f"{network.spec.name}: {name} has weights over 65504, too large for fp16; use fp32")
    return made


def _dtype(network: Network) -> torch.dtype:
    return next(network.parameters()).dtype


def _decode(network: Network, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    target = features.float() * scale + shift
    decoded: Tensor = network.decoder(target.to(_dtype(network)))
    return decoded.float().clamp(0, 1)
