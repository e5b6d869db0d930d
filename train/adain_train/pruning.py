"""A narrower network out of a wide one: channels are chosen, and those left out are put together from those kept.

For each convolution the responses of its channels are sampled over pairs of images. The channels that explain most of
what the next layer sees are kept (a pivoted Cholesky factorisation of the covariance, each channel weighed by the
norm of the weights that read it), the others are written as linear combinations of them by least squares, and these
combinations are folded into the next convolution (after He, Zhang & Sun 2017, "Channel Pruning"). Padding, nearest
upsampling and strides commute with combinations of channels, so where a channel is one exactly, nothing is lost.
What remains is a start: the network wants training afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from adain_model import Network, adain
from adain_model.network import Chain
from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec

_POSITIONS = 4096  # sampled of each layer's maps, over a chunk of images
_CHUNK = 4  # images at a time
_RIDGE = 1e-7  # of the mean variance: keeps the least squares solvable where channels repeat one another


@dataclass(frozen=True)
class Kept:
    """What is left of a layer's channels.

    Attributes:
        channels: the places of those kept, in rising order.
        rebuild: [C, kept]; all channels from those kept.
        offset: [C]; added to them.
    """

    channels: Tensor
    rebuild: Tensor
    offset: Tensor


def check_alike(start: NetworkSpec, spec: NetworkSpec) -> None:
    """Refuse networks that differ in more than their widths.

    Raises:
        InputError: names what differs.
    """
    if replace(spec, name=start.name, encoder=start.encoder, decoder=start.decoder) != start:
        raise InputError(f"{spec.name} and {start.name} differ in more than their widths, so no channels can be kept")
    for part in ("encoder", "decoder"):
        ours, theirs = getattr(spec, part), getattr(start, part)
        if [len(stage) for stage in ours] != [len(stage) for stage in theirs]:
            raise InputError(f"{spec.name}: its {part} {ours} has other convolutions than {start.name}'s {theirs}")


@torch.no_grad()
def loudness(network: Network, contents: Tensor, styles: Tensor) -> dict[str, Tensor]:
    """How much of each channel the next layer hears: its standard deviation times the norm of the weights that read it.

    Args:
        network: to measure.
        contents: [N, 3, H, W], RGB in [0, 1]; the responses are measured on them...
        styles: [N, 3, H, W], ...stylised by these.

    Returns:
        [C] by convolution, ``encoder.conv1_1`` and so on; the last has none, since its channels are the image.
    """
    moments, convs = _measure(network, contents, styles), list(convolutions(network))
    return {
        name: moments[name].covariance.diagonal().clamp_min(0).sqrt() * _reads(reader)
        for (name, _), (_, reader) in pairwise(convs)
    }


@torch.no_grad()
def narrowed(wide: Network, spec: NetworkSpec, contents: Tensor, styles: Tensor) -> Network:
    """Prune a network's channels.

    Args:
        wide: the network to begin with.
        spec: the same with fewer channels.
        contents: [N, 3, H, W], RGB in [0, 1]; the responses are measured on them...
        styles: [N, 3, H, W], ...stylised by these.

    Returns:
        a network of ``spec``, on the CPU.

    Raises:
        InputError: ``spec`` isn't the wide network with fewer channels.
    """
    check_alike(wide.spec, spec)
    made, moments = Network(spec), _measure(wide, contents, styles)
    convs = list(convolutions(wide))
    before: Kept | None = None
    for place, (name, conv) in enumerate(convs):
        small = cast(nn.Conv2d, made.get_submodule(name))
        weight, bias = conv.weight.double(), cast(Tensor, conv.bias).double()
        if before is not None:
            bias = bias + torch.einsum("oikl,i->o", weight, before.offset)
            weight = torch.einsum("oikl,ij->ojkl", weight, before.rebuild)
        if small.out_channels > conv.out_channels:
            raise InputError(f"{spec.name}: {name} is wider than {wide.spec.name}'s; pruning only takes channels away")
        if small.out_channels < conv.out_channels:
            before = _keep(moments[name], _reads(convs[place + 1][1]), small.out_channels)
            weight, bias = weight[before.channels], bias[before.channels]
        else:
            before = None
        small.weight.copy_(weight)
        cast(Tensor, small.bias).copy_(bias)
    return made


class _Moments:
    """Sums of a layer's responses and of their products."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sums = torch.zeros(channels, dtype=torch.float64)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, maps: Tensor) -> None:
        rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        rows = rows[:: max(1, len(rows) // _POSITIONS)].double().cpu()
        self.count += len(rows)
        self.sums += rows.sum(dim=0)
        self.products += rows.T @ rows

    @property
    def mean(self) -> Tensor:
        return self.sums / self.count

    @property
    def covariance(self) -> Tensor:
        return self.products / self.count - torch.outer(self.mean, self.mean)


def convolutions(network: Network) -> Iterator[tuple[str, nn.Conv2d]]:
    """A network's convolutions with their names, in the order they run."""
    for part in ("encoder", "decoder"):
        for name, step in cast(Chain, network.get_submodule(part)).named_steps():
            if isinstance(step, nn.Conv2d):
                yield f"{part}.{name}", step


def _measure(network: Network, contents: Tensor, styles: Tensor) -> dict[str, _Moments]:
    """Moments of what each convolution's reader sees: after its ReLU, and after AdaIN for the encoder's last."""
    found = {name: _Moments(conv.out_channels) for name, conv in convolutions(network)}
    spec, chunks = network.spec, range(0, len(contents), _CHUNK)
    last = f"encoder.{network.encoder.steps[-1]}"

    def run(part: str, maps: Tensor) -> Tensor:
        for name, step in cast(Chain, network.get_submodule(part)).named_steps():
            maps = step(maps)
            key = f"{part}.{name}"
            if key in found and key != last:
                found[key].add(maps)
        return maps

    for chunk in (slice(start, start + _CHUNK) for start in chunks):
        style, features = (run("encoder", images[chunk]) for images in (styles, contents))
        target = adain(features, *network.stats(style), correction=spec.correction, eps=spec.eps)
        found[last].add(target)
        found[last].add(features)  # what the decoder is given at alpha 0
        run("decoder", target)
    return found


def _reads(reader: nn.Conv2d) -> Tensor:
    """The norm of the weights that read each input channel, [inputs]."""
    return reader.weight.double().square().sum(dim=(0, 2, 3)).sqrt()


def _keep(moments: _Moments, reads: Tensor, count: int) -> Kept:
    covariance = moments.covariance
    chosen = torch.tensor(sorted(_pivots(covariance * torch.outer(reads, reads), count)))
    ridge = _RIDGE * covariance.diagonal().mean().clamp_min(1e-12)
    inner = covariance[chosen][:, chosen] + ridge * torch.eye(count, dtype=torch.float64)
    rebuild = torch.linalg.solve(inner, covariance[chosen]).T.contiguous()
    rebuild[chosen] = torch.eye(count, dtype=torch.float64)
    offset = moments.mean - rebuild @ moments.mean[chosen]
    offset[chosen] = 0
    return Kept(chosen, rebuild, offset)


def _pivots(covariance: Tensor, count: int) -> list[int]:
    """The channels that a pivoted Cholesky factorisation takes first: each explains most of what is left."""
    left = covariance.diagonal().clone()
    columns: list[Tensor] = []
    chosen: list[int] = []
    for _ in range(count):
        place = int(left.argmax())
        column = covariance[:, place] - sum((c * c[place] for c in columns), torch.zeros_like(left))
        columns.append(column / left[place].clamp_min(1e-300).sqrt())
        left = left - columns[-1].square()
        chosen.append(place)
        left[torch.tensor(chosen)] = -torch.inf
    return chosen
