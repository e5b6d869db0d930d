"""What a network costs, layer by layer: parameters and multiply-accumulates at an image size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from torch import nn

from adain_model.network import Chain, Encoder, MaxPool, Network, Upsample, check_size

COLOR_CONV = "encoder.conv0"
"""The layer that every export folds into the next; the totals leave its operations out."""


@dataclass(frozen=True)
class LayerCost:
    """One convolution.

    Attributes:
        name: such as ``encoder.conv3_1``.
        kernel: its side, in cells.
        stride: its step, in cells.
        inputs: channels in.
        outputs: channels out.
        parameters: weights and biases.
        macs: multiply-accumulates for one image, biases not counted.
    """

    name: str
    kernel: int
    stride: int
    inputs: int
    outputs: int
    parameters: int
    macs: int


def layer_costs(module: Network | Encoder, height: int, width: int) -> tuple[LayerCost, ...]:
    """Every convolution in the order it runs, for an image of this size.

    Raises:
        InputError: a size that the network does not take.
    """
    check_size(module.spec, height, width, "size")
    if isinstance(module, Encoder):
        return tuple(_walk("encoder", module, height, width))
    stride = module.spec.stride
    encoder = _walk("encoder", module.encoder, height, width)
    return (*encoder, *_walk("decoder", module.decoder, height // stride, width // stride))


def macs(found: Sequence[LayerCost], part: str) -> int:
    """Multiply-accumulates of ``encoder`` or ``decoder`` as exported: ``conv0`` is folded away."""
    return sum(layer.macs for layer in found if layer.name.startswith(f"{part}.") and layer.name != COLOR_CONV)


def mac_shares(network: Network) -> dict[str, float]:
    """Each layer's share of a network's multiply-accumulates as exported, in the order they run; they sum to 1.

    At every size that the network takes they are the same.
    """
    side = 2 * network.spec.stride
    found = [layer for layer in layer_costs(network, side, side) if layer.name != COLOR_CONV]
    total = sum(layer.macs for layer in found)
    return {layer.name: layer.macs / total for layer in found}


def _walk(part: str, chain: Chain, height: int, width: int) -> Iterator[LayerCost]:
    for name, step in chain.named_steps():
        if isinstance(step, nn.Conv2d):
            kernel, stride = step.kernel_size[0], step.stride[0]
            height, width = -(-height // stride), -(-width // stride)
            weights = prod(step.weight.shape)
            yield LayerCost(
                name=f"{part}.{name}",
                kernel=kernel,
                stride=stride,
                inputs=step.in_channels,
                outputs=step.out_channels,
                parameters=weights + (step.out_channels if step.bias is not None else 0),
                macs=weights * height * width,
            )
        elif isinstance(step, MaxPool):
            height, width = -(-height // 2), -(-width // 2)
        elif isinstance(step, Upsample):
            height, width = 2 * height, 2 * width
        else:
            raise TypeError(f"{part}.{name}: the cost of {type(step).__name__} is not known")
