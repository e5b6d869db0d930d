"""Encoder, decoder and the whole network in torch, built from a spec: the reference of every backend.

Both halves are chains of small named steps in the order they run (``encoder.steps``), so that an exporter
can look at them and put a rewritten module in the place of some (``Chain.splice``). Parameters are flat:
``conv3_1.weight``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from adain_model.norms import adain, channel_stats
from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec, Padding

_PAD_MODES: dict[Padding, str] = {"reflect": "reflect", "replicate": "replicate", "zeros": "constant"}


class PaddedConv(nn.Conv2d):
    """Pad by 1, convolve 3x3 without padding of its own, and perhaps ReLU.

    Attributes:
        border: what the padding holds.
        relu: whether a ReLU follows.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, border: Padding = "reflect", relu: bool = True
    ) -> None:
        super().__init__(inputs, outputs, kernel_size=3, stride=stride)
        self.border: Padding = border
        self.relu = relu

    def forward(self, features: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        convolved = super().forward(self.padded(features))
        return functional.relu(convolved) if self.relu else convolved

    def padded(self, features: Tensor) -> Tensor:
        """[N, inputs, H, W] with its border, [N, inputs, H + 2, W + 2]."""
        return functional.pad(features, (1, 1, 1, 1), mode=_PAD_MODES[self.border])

    def extra_repr(self) -> str:
        """The convolution's own line, with border and ReLU."""
        line: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{line}, border={self.border}, relu={self.relu}"


class MaxPool(nn.Module):
    """2x2 max-pooling with stride 2 that keeps an odd edge (ceil mode)."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, ceil(H / 2), ceil(W / 2)]."""
        return functional.max_pool2d(features, kernel_size=2, stride=2, ceil_mode=True)


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by 2."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, 2H, 2W]."""
        return functional.interpolate(features, scale_factor=2.0, mode="nearest")


class Chain(nn.Module):
    """Named steps, run one after the other.

    Attributes:
        steps: the names of the child modules, in the order they run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    def append(self, name: str, module: nn.Module) -> None:
        """Add a last step."""
        self.add_module(name, module)
        self.steps.append(name)

    def named_steps(self) -> Iterator[tuple[str, nn.Module]]:
        """The steps with their names, in the order they run."""
        return ((name, self.get_submodule(name)) for name in self.steps)

    def splice(self, old: Sequence[str], name: str, module: nn.Module) -> None:
        """Put one module in the place of consecutive steps; it may take the name of one of them.

        Raises:
            ValueError: ``old`` are not consecutive steps of this chain.
        """
        start = self.steps.index(old[0]) if old and old[0] in self.steps else 0
        if not old or self.steps[start : start + len(old)] != list(old):
            raise ValueError(f"{list(old)} are not consecutive steps of {self.steps}")
        for gone in old:
            delattr(self, gone)
        self.add_module(name, module)
        self.steps[start : start + len(old)] = [name]

    def _run(self, features: Tensor) -> Tensor:
        for _, step in self.named_steps():
            features = step(features)
        return features


class Encoder(Chain):
    """Image to features: stages of 3x3 convolutions, the map halved between two stages.

    Attributes:
        spec: what it was built from.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        if spec.color_conv:
            self.append("conv0", nn.Conv2d(3, 3, kernel_size=1))
        inputs, last = 3, (len(spec.encoder), len(spec.encoder[-1]))
        for stage, widths in enumerate(spec.encoder, start=1):
            halve = stage > 1
            if halve and spec.downsample == "maxpool":
                self.append(f"pool{stage - 1}", MaxPool())
            for place, outputs in enumerate(widths, start=1):
                stride = 2 if halve and place == 1 and spec.downsample == "stride" else 1
                relu = spec.encoder_relu or (stage, place) != last
                conv = PaddedConv(inputs, outputs, stride=stride, border=spec.padding, relu=relu)
                self.append(f"conv{stage}_{place}", conv)
                inputs = outputs

    def forward(self, image: Tensor) -> Tensor:
        """Encode.

        Args:
            image: [N, 3, H, W], RGB in [0, 1].

        Returns:
            features, [N, C, H / stride, W / stride], rounded up.
        """
        return self._run(image)

    def taps(self, image: Tensor) -> list[Tensor]:
        """The activation after each stage's first convolution: relu1_1, relu2_1, ... of the style loss.

        Args:
            image: [N, 3, H, W], RGB in [0, 1].

        Returns:
            one map a stage, shallow to deep. Where a stage's first convolution has no ReLU, its plain output.
        """
        wanted = {f"conv{stage}_1" for stage in range(1, len(self.spec.encoder) + 1)}
        features, found = image, []
        for name, step in self.named_steps():
            features = step(features)
            if name in wanted:
                found.append(features)
                if len(found) == len(wanted):
                    break
        return found


class Decoder(Chain):
    """Features to image: the encoder mirrored, without normalisation, the map doubled between two stages.

    Attributes:
        spec: what it was built from.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        inputs, depth = spec.channels, len(spec.decoder)
        for stage, widths in zip(range(depth, 0, -1), spec.decoder, strict=True):
            if stage < depth:
                self.append(f"up{stage}", Upsample())
            for place, outputs in enumerate(widths, start=1):
                relu = (stage, place) != (1, len(widths))
                self.append(f"conv{stage}_{place}", PaddedConv(inputs, outputs, border=spec.padding, relu=relu))
                inputs = outputs

    def forward(self, features: Tensor) -> Tensor:
        """Decode.

        Args:
            features: [N, C, h, w].

        Returns:
            image, [N, 3, h * stride, w * stride], RGB, not clipped.
        """
        return self._run(features)


class Network(nn.Module):
    """Encoder, AdaIN, decoder.

    Attributes:
        spec: what it was built from.
        encoder: image to features.
        decoder: features to image.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.decoder = Decoder(spec)

    def stats(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each [N, C, 1, 1], with the spec's correction and eps."""
        return channel_stats(features, correction=self.spec.correction, eps=self.spec.eps)

    def forward(self, content: Tensor, style: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
        """Stylise.

        Args:
            content: [N, 3, H, W], RGB in [0, 1]; H and W are multiples of the spec's stride, two or more.
            style: [N or 1, 3, H', W'], likewise; its size may differ.
            alpha: content-style trade-off, a number or [N, 1, 1, 1]; 0 gives the content decoded.

        Returns:
            image, [N, 3, H, W], RGB, not clipped.

        Raises:
            InputError: a size that the network can't give back.
        """
        check_size(self.spec, content.shape[-2], content.shape[-1], "content")
        check_size(self.spec, style.shape[-2], style.shape[-1], "style")
        mean, std = self.stats(self.encoder(style))
        features = self.encoder(content)
        target = adain(features, mean, std, alpha=alpha, correction=self.spec.correction, eps=self.spec.eps)
        image: Tensor = self.decoder(target)
        return image


def check_size(spec: NetworkSpec, height: int, width: int, name: str) -> None:
    """Refuse an image size that has no whole number of feature cells, or fewer than two along a side.

    Raises:
        InputError: with what is wanted.
    """
    stride = spec.stride
    if height % stride or width % stride or min(height, width) < 2 * stride:
        wanted = f"multiples of {stride}, at least {2 * stride}"
        raise InputError(f"{name} is {height}x{width}, and {spec.name} takes {wanted}: pad the image, or resize it")


@torch.no_grad()
def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every convolution's weights anew (He et al. 2015, for ReLU); biases are zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
