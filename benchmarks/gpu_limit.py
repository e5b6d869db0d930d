"""What a device could do at best with a network: its measured rates, and the work that can't be left out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adain_model.cost import COLOR_CONV, layer_costs
from adain_model.network import Chain, MaxPool, Network, Upsample

HALF, FULL = 2, 4  # bytes of a float16 and of a float32
PHASE = 4 / 9  # what the exact phase rewrite leaves of a 3x3 convolution after nearest upsampling

Call = Callable[[], object]


@dataclass(frozen=True)
class Rates:
    """What was measured on one device.

    Attributes:
        flops: operations a second of a float16 matrix product of random values.
        copy: bytes a second, read and written, of a copy within the device's memory.
        matrix: the product's side.
        copied: bytes of the block that was copied.
    """

    flops: float
    copy: float
    matrix: int
    copied: int


@dataclass(frozen=True)
class Work:
    """What one call has to do.

    Attributes:
        flops: two a multiply-accumulate, the layers after an upsampling counted as rewritten.
        moved: bytes, read and written.
    """

    flops: float
    moved: float

    def limit(self, rates: Rates) -> float:
        """Seconds that no call can be below on a device of these rates."""
        return max(self.flops / rates.flops, self.moved / rates.copy)


def least_work(network: Network, size: int, batch: int) -> Work:
    """The least work of the stylizer for ``batch`` square images, with float16 weights and maps.

    Operations: every convolution's multiply-accumulates as ``adain_model.cost`` counts them, ``conv0`` left out (it is
    folded) and the convolution after an upsampling at 4/9 (the exact phase rewrite). Fewer are thinkable (Winograd's
    transforms), so this is the limit of direct convolution.

    Bytes: each convolution reads its input map once and writes its output map once, and reads its weights once a call.
    Upsampling and pooling are taken as free, so the input of a convolution after an upsampling is the small map, and
    the output of one before a pooling is the pooled map. Padding, statistics and AdaIN are taken as fused and free.
    Image in and image out are float32.
    """
    costs = {cost.name: cost for cost in layer_costs(network, size, size)}
    stride = network.spec.stride
    flops = moved = 0.0
    for part, chain, start in (("encoder", network.encoder, size), ("decoder", network.decoder, size // stride)):
        side, after_upsample = start, False
        for (name, step), following in zip(_steps(chain), [*_steps(chain)[1:], ("", nn.Identity())], strict=True):
            if isinstance(step, Upsample):
                after_upsample = True
                continue
            if isinstance(step, MaxPool) or f"{part}.{name}" == COLOR_CONV:
                continue
            cost = costs[f"{part}.{name}"]
            out = -(-side // cost.stride) * (2 if after_upsample else 1)
            written = -(-out // 2) if isinstance(following[1], MaxPool) else out
            flops += 2 * batch * cost.macs * (PHASE if after_upsample else 1)
            first, last = part == "encoder" and cost.inputs == 3, part == "decoder" and not following[0]
            moved += batch * cost.inputs * side**2 * (FULL if first else HALF)
            moved += batch * cost.outputs * written**2 * (FULL if last else HALF)
            moved += cost.parameters * HALF
            side, after_upsample = written, False
    return Work(flops, moved)


def measure_rates(device: torch.device, *, matrix: int = 8192, copied: int = 2**30) -> Rates:
    """Measure a device: medians of five measurements of at least 0.1 s each (CUDA)."""
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(matrix, matrix, generator=generator, device=device, dtype=torch.float16) for _ in range(2))
    product = torch.empty_like(a)
    least = 0.1 if device.type == "cuda" else 0.001
    multiply = _median_seconds(lambda: torch.mm(a, b, out=product), device, least)
    source = torch.empty(copied, dtype=torch.uint8, device=device).random_(generator=generator)
    target = torch.empty_like(source)
    copy = _median_seconds(lambda: target.copy_(source), device, least)
    return Rates(flops=2 * matrix**3 / multiply, copy=2 * copied / copy, matrix=matrix, copied=copied)


def repeats_for(call: Call, device: torch.device, least: float) -> int:
    """How many calls take at least ``least`` seconds; one to a thousand. Warms up."""
    for _ in range(3):
        call()
    once = seconds_per_call(call, 3, device)
    return max(1, min(1000, math.ceil(least / max(once, 1e-9))))


def seconds_per_call(call: Call, repeats: int, device: torch.device) -> float:
    """Mean of ``repeats`` calls in a row: by events in the current stream on CUDA, by the clock elsewhere."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats
    event: Any = torch.cuda.Event  # torch's own annotations lack it
    first, last = (event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / repeats


def _median_seconds(call: Call, device: torch.device, least: float) -> float:
    repeats = repeats_for(call, device, least)
    return sorted(seconds_per_call(call, repeats, device) for _ in range(5))[2]


def _steps(chain: Chain) -> list[tuple[str, nn.Module]]:
    return list(chain.named_steps())
