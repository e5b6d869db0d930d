"""Weights of few values that still give what the float weights gave: rounded one input after another.

The nearest value is the best for one weight, not for what a convolution gives. What enters it is strongly correlated
(neighbours in a picture, channels that see the same), so the error of one weight can be taken up by those that are not
rounded yet: by least squares over the outputs (Hassibi & Stork 1993; Frantar et al. 2022, "GPTQ"). What still moves an
output on average goes to its bias: a style is means and deviations, and such shifts hurt it most.

What enters is seen on the package's sample pictures, in the float network: no data is asked for, and what comes out
depends on the checkpoint alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adain_export.coreml import pictures
from adain_export.coreml.codes import Codes
from adain_export.threads import one_thread
from adain_model.network import Network, PaddedConv
from adain_model.norms import adain
from adain_runtime.errors import QualityError

SIDE = 256
"""Pixels of the square cut from the middle of each picture."""

_PLACES = 1024  # of a map, that a picture is looked at; what lies close together says the same twice
_DAMPING = 0.01  # of the mean square, added to all of them: so much noise is expected that the pictures don't show
_BLOCK = 128  # weights of an output that are rounded before the others take up their error in one product
_SEED = 0


@dataclass(frozen=True)
class Moments:
    """Of what enters a convolution, the K = 9 C values under its window.

    Attributes:
        mean: [K], float64.
        covariance: [K, K], float64.
    """

    mean: Tensor
    covariance: Tensor


def fitted(network: Network, codes_of: Callable[[NDArray[np.float32]], Codes], layers: Collection[str]) -> Network:
    """A network with some convolutions' weights rounded, and their biases moved to match.

    Args:
        network: as it is to be exported, float32.
        codes_of: weights [O, K] to the values that they may take.
        layers: the convolutions, such as ``decoder.conv3_1``.

    Returns:
        a copy.
    """
    made = copy.deepcopy(network)
    with one_thread(), torch.inference_mode():
        for name, moments in _moments(network, layers):
            if not moments.covariance.isfinite().all():
                raise QualityError(f"what enters {name} is not finite on the sample pictures: the network has diverged")
            step = made.get_submodule(name)
            weight, bias = step.get_parameter("weight"), step.get_parameter("bias")
            plain = weight.flatten(1)
            wanted = round_weights(plain.double(), moments.covariance, codes_of(plain.numpy()))
            bias.add_(((plain.double() - wanted) @ moments.mean).float())
            weight.copy_(wanted.view_as(weight))
    return made


def round_weights(weights: Tensor, covariance: Tensor, codes: Codes) -> Tensor:
    """Round weights so that the outputs over inputs of a covariance change little.

    Args:
        weights: [O, K], float64.
        covariance: of the inputs, [K, K], float64; need not have full rank.
        codes: the values that weights may take.

    Returns:
        [O, K], float64.
    """
    count = weights.shape[1]
    power = covariance.diagonal()
    damping = max(_DAMPING * power.mean().item(), torch.finfo(torch.float64).tiny)
    order = torch.argsort(power, descending=True, stable=True)  # what matters most is rounded while all can still help
    damped = covariance[order][:, order] / damping + torch.eye(count, dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    root = torch.linalg.cholesky(inverse, upper=True)
    left, made = weights[:, order].clone(), torch.empty_like(weights)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = torch.empty(len(weights), end - start, dtype=torch.float64)
        for at in range(start, end):
            index = int(order[at])
            made[:, index] = codes.rounded(left[:, at].contiguous(), index)
            error = (left[:, at] - made[:, index]) / root[at, at]
            errors[:, at - start] = error
            left[:, at:end] -= torch.outer(error, root[at, at:end])
        left[:, end:] -= errors @ root[start:end, end:]
    return made


def _moments(network: Network, layers: Collection[str]) -> Iterator[tuple[str, Moments]]:
    sums: dict[str, Tensor] = {}

    def look(name: str, step: PaddedConv, inputs: tuple[Tensor, ...]) -> None:
        """Add a one to the values, so that one product of matrices has squares, sums and count."""
        windows = _windows(step, inputs[0])
        square = (windows @ windows.T).double()
        sums[name] = sums[name] + square if name in sums else square

    hooks = [
        step.register_forward_pre_hook(partial(look, name))
        for name, step in network.named_modules()
        if name in layers and isinstance(step, PaddedConv)
    ]
    try:
        _stylise_samples(network)
    finally:
        for hook in hooks:
            hook.remove()
    while sums:
        name, square = sums.popitem()
        mean = square[-1, :-1] / square[-1, -1]
        yield name, Moments(mean, square[:-1, :-1] / square[-1, -1] - torch.outer(mean, mean))


def _windows(step: PaddedConv, features: Tensor) -> Tensor:
    """[1,C,H,W] to what is under some places of the convolution's window, [9 C + 1, places]; the last row is ones."""
    padded = step.padded(features)
    stride = step.stride[0]
    under = padded.unfold(2, 3, stride).unfold(3, 3, stride)  # a view, [1, C, h, w, 3, 3]
    height, width = under.shape[2:4]
    generator = torch.Generator().manual_seed(_SEED)
    places = torch.randperm(height * width, generator=generator)[:_PLACES].sort().values
    seen = under[0][:, places // width, places % width]  # [C, places, 3, 3]
    rows = seen.permute(0, 2, 3, 1).flatten(0, 2)
    return torch.cat([rows, torch.ones(1, rows.shape[1])])


def _stylise_samples(network: Network) -> None:
    """Encode every sample picture, and decode every photo in every style."""
    contents, styles = (
        [network.encoder(torch.from_numpy(pictures.middle(path, SIDE, SIDE))) for path in paths]
        for paths in (pictures.contents(), pictures.styles())
    )
    spec = network.spec
    for content in contents:
        for style in styles:
            network.decoder(adain(content, *network.stats(style), correction=spec.correction, eps=spec.eps))
