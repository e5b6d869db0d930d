"""How far the two halves of a network see, so that tiles with so much around them compute what the whole does.

Interval arithmetic over the layers that a spec describes, from what comes out to what goes in. The answers for VGG-19
are 32 pixels and 4 cells. Rewrites of the graphs are exact, so they see no further.
"""

from __future__ import annotations

from adain_runtime.spec import NetworkSpec


def encoder_halo(spec: NetworkSpec) -> int:
    """Feature cells around a tile, on each side, that its own cells can see: whole cells, so that strides stay aligned.

    A tile that ends at the picture's border needs none there: it pads as the whole picture does.
    """
    first, last = 0, 0
    for stage, widths in reversed(list(enumerate(spec.encoder))):
        strided = stage > 0 and spec.downsample == "stride"
        for place in reversed(range(len(widths))):
            stride = 2 if strided and place == 0 else 1
            first, last = first * stride - 1, last * stride + 1
        if stage > 0 and spec.downsample == "maxpool":
            first, last = first * 2, last * 2 + 1
    beyond = max(-first, last - (spec.stride - 1))  # pixels, on the side where more is seen
    return -(-beyond // spec.stride)


def decoder_halo(spec: NetworkSpec) -> int:
    """Feature cells around a tile, on each side, that its own pixels can see."""
    first, last = 0, spec.stride - 1
    for place, widths in reversed(list(enumerate(spec.decoder))):
        first, last = first - len(widths), last + len(widths)
        if place > 0:
            first, last = first // 2, last // 2
    return max(-first, last)


def full_size_channels(spec: NetworkSpec) -> float:
    """Channels of the network's largest map, a map at half the picture's size counted as a quarter of its channels."""
    depth = len(spec.encoder)
    stages = [*enumerate(spec.encoder), *((depth - 1 - place, widths) for place, widths in enumerate(spec.decoder))]
    return max(max(widths) * 0.25**level for level, widths in stages)
