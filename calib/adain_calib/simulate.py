"""INT8 in torch, without an export: inputs and weights of chosen convolutions rounded to codes, as Q/DQ does it.

What a graph of `adain_export.quantise` computes, up to the rounding of float32: switching a layer takes no time, where
an export and a session take seconds. Searches look at many sets of layers, so they look here.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from adain_export import rewrites
from adain_export.calibration import Calibration
from adain_export.check import in_torch
from adain_export.layer_range import Codes
from adain_export.quantise import quantised_weights
from adain_export.target import INT8_REWRITES
from adain_model.network import Network
from adain_runtime.backend import Array
from adain_runtime.errors import InputError


class Rounded(nn.Module):
    """A convolution that computes with the codes of its input and weights while it is switched on.

    Attributes:
        int8: the switch.
    """

    def __init__(self, plain: nn.Module, corrected: nn.Module, codes: Codes) -> None:
        super().__init__()
        self.int8 = False
        self._codes = codes
        self._plain, self._coded = plain, corrected
        weights = self._coded.get_parameter("weight")
        of_weights, steps = quantised_weights(weights.detach().numpy())
        weights.data = torch.from_numpy(of_weights.astype(steps.dtype) * steps[:, None, None, None])

    def forward(self, features: Tensor) -> Tensor:
        """What the convolution gives; its own padding repeats codes."""
        if not self.int8:
            plain: Tensor = self._plain(features)
            return plain
        coded: Tensor = self._coded(self._rounded(features))
        return coded

    def error(self, features: Tensor) -> Tensor:
        """What rounding takes away before the ReLU, [O]: mean over batch and map of the float output less the coded."""
        plain, coded = _without_relu(self._plain), _without_relu(self._coded)
        difference: Tensor = plain(features).double() - coded(self._rounded(features))
        return difference.mean((0, 2, 3))

    def _rounded(self, features: Tensor) -> Tensor:
        codes = self._codes
        return torch.clamp(torch.round(features / codes.step), codes.least, codes.largest) * codes.step


class SimulatedNetwork:
    """A network whose convolutions can be switched to int8 one by one.

    It has the rewrites that an export applies unless told otherwise: the phase rewrite has other weights, whose codes
    are other ones.

    Attributes:
        layers: its convolutions by name, in the order they run.
    """

    def __init__(self, network: Network, calibration: Calibration) -> None:
        codes, improvements = calibration.codes(), calibration.improvements
        self._network, corrected = (improvements.applied(network, layers) for layers in ((), codes))
        for made in (self._network, corrected):
            rewrites.apply(made, INT8_REWRITES)
        self.layers: dict[str, Rounded] = {}
        for part, chain in (("encoder", self._network.encoder), ("decoder", self._network.decoder)):
            for name, step in tuple(chain.named_steps()):
                layer = f"{part}.{name}"
                if layer in codes:
                    self.layers[layer] = Rounded(step, corrected.get_submodule(layer), codes[layer])
                    chain.splice([name], name, self.layers[layer])

    def switch(self, layers: Collection[str]) -> None:
        """Compute these layers in int8, and all others in float.

        Raises:
            InputError: a layer that has no range.
        """
        if unknown := sorted(set(layers) - self.layers.keys()):
            raise InputError(
                f"{', '.join(unknown[:3])}: no such layer with a range; there are {', '.join(self.layers)}"
            )
        for name, layer in self.layers.items():
            layer.int8 = name in layers

    def run(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """A part's outputs, by name, as the session of a bundle gives them."""
        return in_torch(part, self._network, feeds)


def _without_relu(step: nn.Module) -> nn.Module:
    """The same step, on the same weights, that ends before its ReLU."""
    made = copy.copy(step)
    made.relu = False  # type: ignore[assignment]
    return made
