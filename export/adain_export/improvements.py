"""What a calibration changes in the weights before they become codes: scales that moved, and corrected biases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adain_export import strict_json
from adain_runtime.errors import InputError

if TYPE_CHECKING:  # torch is wanted where a network is at hand
    from adain_model.network import Network

_FIELDS = ("equalisation", "bias")
_LARGEST = 16  # of an exponent: `adain_export.equalise.LARGEST`, without its torch


@dataclass(frozen=True)
class Improvements:
    """Changes to weights; none by default.

    Attributes:
        equalisation: layer name to exponents of two, one for each channel that it gives; the next layer takes them back
            (`adain_export.equalise`). The ranges of a calibration are those of the equalised network.
        bias: layer name to what is added to its bias, one number for each channel that it gives, where the layer is
            int8: the mean of what rounding takes away.
    """

    equalisation: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    bias: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def applied(self, network: Network, int8: Collection[str]) -> Network:
        """A copy of a network whose weights are ready to become codes.

        Args:
            network: as its checkpoint has it.
            int8: the layers that are to be int8, whose biases are corrected.
        """
        import torch

        from adain_export.equalise import equalised

        made = equalised(network, self.equalisation)
        for layer in int8:
            if layer in self.bias:
                made.get_parameter(f"{layer}.bias").data += torch.tensor(self.bias[layer])
        return made

    def check(self, network: Network) -> None:
        """Refuse what does not fit a network.

        Raises:
            InputError: a layer whose scales can't move, or not as many numbers as a layer has channels.
        """
        from adain_export.equalise import couples

        movable = [couple.name for couple in couples(network)]
        if stuck := [layer for layer in self.equalisation if layer not in movable]:
            raise InputError(f"equalisation: nothing moves from {', '.join(stuck[:3])}; there are {', '.join(movable)}")
        for what, layers in (("equalisation", self.equalisation), ("bias", self.bias)):
            for layer, numbers in layers.items():
                channels = network.get_parameter(f"{layer}.weight").shape[0]
                if len(numbers) != channels:
                    raise InputError(f"{what}.{layer}: expected {channels} numbers, found {len(numbers)}")

    def to_json(self) -> dict[str, object]:
        """The changes as JSON values."""
        return {name: {layer: list(values) for layer, values in getattr(self, name).items()} for name in _FIELDS}

    @classmethod
    def from_json(cls, where: str, plain: object, layers: Collection[str]) -> Improvements:
        """Read changes.

        Args:
            where: what they are called in the file.
            plain: what `to_json` gave.
            layers: the calibration's.

        Raises:
            InputError: a field is missing or unknown, a layer is none of these, or a number is out of its range.
        """
        values = strict_json.fields_of(where, plain, _FIELDS)
        found: dict[str, dict[str, list[object]]] = {}
        for name in _FIELDS:
            lists = strict_json.object_of(f"{where}.{name}", values[name])
            if strangers := [layer for layer in lists if layer not in layers]:
                raise InputError(f"{where}.{name}: {', '.join(strangers[:3])} is no layer of this calibration")
            found[name] = {layer: strict_json.list_of(f"{where}.{name}.{layer}", some) for layer, some in lists.items()}
        return cls(
            {
                layer: tuple(_exponent(f"{where}.equalisation.{layer}", value) for value in some)
                for layer, some in found["equalisation"].items()
            },
            {
                layer: tuple(strict_json.number(f"{where}.bias.{layer}", value) for value in some)
                for layer, some in found["bias"].items()
            },
        )


def _exponent(where: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST:
        raise InputError(f"{where}: expected whole numbers from -{_LARGEST} to {_LARGEST}, found {value!r}")
    return value
