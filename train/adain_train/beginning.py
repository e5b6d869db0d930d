"""A network begun as another of its kind: channels go where it is narrower, and fresh ones join where it is wider.

A fresh channel has random weights in and zeros out, so that the function stays what it was and the gradient has
something to work with from the first step. The same wakes channels that have fallen silent, as long trainings leave
them: those that the next layer hardly hears are pruned first, and fresh ones take their places. (Sokar et al. 2023,
"The Dormant Neuron Phenomenon", recycle them so within a run.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from adain_model import Network
from adain_runtime.spec import NetworkSpec
from adain_train.pruning import check_alike, convolutions, loudness, narrowed

Stages = tuple[tuple[int, ...], ...]


@torch.no_grad()
def begun_as(
    start: Network, spec: NetworkSpec, contents: Tensor, styles: Tensor, *, revive: float = 0.0, seed: int = 0
) -> Network:
    """A network that does what another does, in other widths.

    Args:
        start: the network to begin as.
        spec: the same kind of network: as many stages and convolutions, of any widths.
        contents: [N, 3, H, W], RGB in [0, 1]; channels are measured on them...
        styles: [N, 3, H, W], ...stylised by these.
        revive: channels whose `loudness` is under this share of their layer's loudest begin anew; 0 leaves them.
        seed: of the fresh channels' weights.

    Returns:
        a network of ``spec``, on the CPU.

    Raises:
        InputError: ``spec`` is another kind of network.
    """
    check_alike(start.spec, spec)
    kept = _narrower(_audible(start, contents, styles, revive) if revive else start.spec, spec)
    narrow = start if kept == start.spec else narrowed(start, kept, contents, styles)
    return _widened(narrow, spec, torch.Generator().manual_seed(seed))


def _audible(network: Network, contents: Tensor, styles: Tensor, share: float) -> NetworkSpec:
    """The network's spec, each layer as wide as its channels that are heard."""
    heard = {
        name: max(1, int((loud >= share * loud.max()).sum()))
        for name, loud in loudness(network, contents, styles).items()
    }
    # the colour convolution has three channels, which no spec writes down
    widths = [heard.get(name, conv.out_channels) for name, conv in convolutions(network) if name != "encoder.conv0"]
    deep = sum(len(stage) for stage in network.spec.encoder)
    encoder, decoder = _staged(widths[:deep], network.spec.encoder), _staged(widths[deep:], network.spec.decoder)
    return replace(network.spec, encoder=encoder, decoder=decoder)


def _staged(widths: list[int], stages: Stages) -> Stages:
    left = iter(widths)
    return tuple(tuple(next(left) for _ in stage) for stage in stages)


def _narrower(one: NetworkSpec, other: NetworkSpec) -> NetworkSpec:
    """The first, each layer as narrow as the narrower of both."""

    def less(ours: Stages, theirs: Stages) -> Stages:
        return tuple(tuple(map(min, a, b)) for a, b in zip(ours, theirs, strict=True))

    return replace(one, encoder=less(one.encoder, other.encoder), decoder=less(one.decoder, other.decoder))


def _widened(narrow: Network, spec: NetworkSpec, generator: torch.Generator) -> Network:
    """Fresh channels behind those of each layer.

    Their filters are as long as the layer's others, and sum to zero: what enters is mostly not negative, and one of a
    negative sum would give nothing after its ReLU.
    """
    made = Network(spec)
    for (_, small), (_, wide) in zip(convolutions(narrow), convolutions(made), strict=True):
        weight, bias = small.weight, cast(Tensor, small.bias)
        outputs, inputs = weight.shape[:2]
        nn.init.normal_(wide.weight, generator=generator)
        wide.weight.sub_(wide.weight.mean(dim=(1, 2, 3), keepdim=True))
        wide.weight.mul_(_length(weight).median() / _length(wide.weight)[:, None, None, None])
        wide.weight[:outputs, inputs:] = 0
        wide.weight[:outputs, :inputs] = weight
        nn.init.zeros_(cast(Tensor, wide.bias))[:outputs] = bias
    return made


def _length(weight: Tensor) -> Tensor:
    length: Tensor = weight.flatten(1).norm(dim=1)
    return length
