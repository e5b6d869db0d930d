"""calibration.json: the range of what enters every convolution, which every int8 export reads.

The file belongs to one checkpoint, says what it was made from, and holds the ranges of four methods, so that another
can be taken without collecting again. Same pairs, same seed: same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adain_export import strict_json
from adain_export.improvements import Improvements
from adain_export.layer_range import Codes, LayerRange, Method, method_named
from adain_export.origin import Origin
from adain_export.searched import Searched
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file

if TYPE_CHECKING:  # torch is wanted by `check` alone
    from adain_model.network import Network

SCHEMA_VERSION = 1
_FIELDS = (
    "schema_version",
    "network",
    "weights_sha256",
    "encoder_id",
    "method",
    "int8",
    "search",
    "layers",
    "improvements",
    "origin",
)
_LIST_OF_NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")  # on one line: a layer may have hundreds
_EMBEDDED = Path(__file__).parent / "calibrations"
_AGAIN = "collect it again: adain-calib collect CHECKPOINT"


@dataclass(frozen=True)
class Calibration:
    """The ranges of a network's activations.

    Attributes:
        network: the spec's name.
        weights_sha256: digest of the checkpoint's tensors.
        encoder_id: names its encoder.
        method: whose ranges are taken unless another is asked for.
        origin: how it was made.
        layers: layer name, such as ``decoder.conv3_4``, to what enters it; every 3x3 convolution of the network, in
            the order they run.
        int8: the layers that are to compute in int8, in the same order; the others stay float.
        search: how these were found; None where nobody searched.
        improvements: what is done to the weights first; the ranges are those of the network after it.
    """

    network: str
    weights_sha256: str
    encoder_id: str
    method: Method
    origin: Origin
    layers: Mapping[str, LayerRange]
    int8: tuple[str, ...]
    search: Searched | None = None
    improvements: Improvements = field(default_factory=Improvements)

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes: what a manifest's ``calibration`` quotes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def ranges(self, method: Method | None = None) -> dict[str, float]:
        """Layer name to range, of the calibration's own method or of another."""
        return {name: layer.ranges[method or self.method] for name, layer in self.layers.items()}

    def codes(self, method: Method | None = None) -> dict[str, Codes]:
        """Layer name to the codes of what enters it, by the calibration's own method or by another."""
        return {name: layer.codes(method or self.method) for name, layer in self.layers.items()}

    def with_method(self, method: Method) -> Calibration:
        """The same with another method's ranges as its own.

        What belongs to the old ones goes: what a search found, and the correction of what they take from the biases.
        """
        if method == self.method:
            return self
        return replace(self, method=method, search=None, improvements=replace(self.improvements, bias={}))

    def prepared(self, network: Network) -> Network:
        """A copy of the calibration's network with the weights that are to become codes.

        Args:
            network: as its checkpoint has it, before any rewrite.

        Raises:
            InputError: the calibration was made for another checkpoint.
        """
        self.check(network)
        return self.improvements.applied(network, self.int8)

    def check(self, network: Network) -> None:
        """Refuse a calibration that was made for another checkpoint.

        Args:
            network: as its checkpoint has it, before any rewrite.

        Raises:
            InputError: the weights, the encoder or the layers are not the network's.
        """
        from adain_model.checkpoint import encoder_id, weights_sha256

        name, digest = network.spec.name, weights_sha256(network)
        if self.weights_sha256 != digest:
            raise InputError(
                f"the calibration was made for {self.network} with the weights {self.weights_sha256[:16]}, and this is "
                f"{name} with {digest[:16]}; give the checkpoint that it was made for, or {_AGAIN}"
            )
        if (self.network, self.encoder_id) != (name, encoder_id(network)):
            raise InputError(
                f"the calibration names {self.network} and encoder {self.encoder_id}, and the weights that it names "
                f"belong to {name} and encoder {encoder_id(network)}: it was changed by hand; {_AGAIN}"
            )
        wanted = layer_names(network)
        if sorted(self.layers) == sorted(wanted) and tuple(self.layers) != tuple(wanted):
            raise InputError(
                "the calibration's layers are in another order than the network's, as where a tool sorted the file's "
                "keys; bring the file back as it was written"
            )
        if unknown := [layer for layer in self.layers if layer not in wanted]:
            raise InputError(f"the calibration has {', '.join(unknown[:3])}, and {name} has no such layer; {_AGAIN}")
        if missing := [layer for layer in wanted if layer not in self.layers]:
            raise InputError(f"the calibration has no {', '.join(missing[:3])}, a layer of {name}; {_AGAIN}")
        able = layers_after_relu(network)
        if wrong := [name for name, layer in self.layers.items() if layer.shifted and name not in able]:
            raise InputError(f"layers.{wrong[0]}: its codes are shifted, and no ReLU of {name} is before it; {_AGAIN}")
        self.improvements.check(network)
        share = int8_macs(network, self.int8)
        if self.search is not None and self.search.int8_macs != share:
            raise InputError(
                f"the calibration's search put {self.search.int8_macs:.2%} of the multiply-accumulates in int8, and "
                f"its list has {share:.2%}: where the list was changed by hand, set search to null"
            )

    def to_json(self) -> str:
        """The calibration as JSON text, byte for byte the same for equal calibrations."""
        plain = {
            "schema_version": SCHEMA_VERSION,
            "network": self.network,
            "weights_sha256": self.weights_sha256,
            "encoder_id": self.encoder_id,
            "method": self.method,
            "int8": list(self.int8),
            "search": None if self.search is None else self.search.to_json(),
            "layers": {name: layer.to_json(self.method) for name, layer in self.layers.items()},
            "improvements": self.improvements.to_json(),
            "origin": self.origin.to_json(),
        }
        text = json.dumps(plain, indent=2, allow_nan=False) + "\n"
        return _LIST_OF_NUMBERS.sub(lambda found: " ".join(found[0].split()), text)

    @classmethod
    def from_json(cls, plain: object) -> Calibration:
        """Read a calibration.

        Args:
            plain: what ``json.loads`` gives.

        Raises:
            InputError: a field is missing, unknown or out of its range, or the numbers contradict one another.
        """
        strict_json.version("calibration", strict_json.object_of("calibration", plain), SCHEMA_VERSION)
        values = strict_json.fields_of("calibration", plain, _FIELDS)
        method = method_named("method", values["method"])
        layers = strict_json.object_of("layers", values["layers"])
        if not layers:
            raise InputError("layers: there are none")
        int8 = values["int8"]
        if not isinstance(int8, list) or int8 != [name for name in layers if name in int8]:
            raise InputError(
                f"int8: expected some of the layers, each once and in their order, found {int8}; "
                "where a tool sorted the file's keys, bring it back as it was written"
            )
        return cls(
            network=strict_json.text("network", values["network"]),
            weights_sha256=strict_json.hexadecimal("weights_sha256", values["weights_sha256"]),
            encoder_id=strict_json.hexadecimal("encoder_id", values["encoder_id"], 16),
            method=method,
            origin=Origin.from_json("origin", values["origin"]),
            layers={name: LayerRange.from_json(f"layers.{name}", plain, method) for name, plain in layers.items()},
            int8=tuple(int8),
            improvements=Improvements.from_json("improvements", values["improvements"], layers),
            search=None if values["search"] is None else Searched.from_json("search", values["search"]),
        )

    def save(self, path: Path) -> None:
        """Write the file; one that stands there is replaced when the new one is whole.

        Raises:
            InputError: it can't be written.
        """
        with replacing_file(path) as part:
            part.write_bytes(self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a file.

        Raises:
            InputError: it is missing, no JSON, or no sound calibration.
        """
        plain = strict_json.read_object(path, _AGAIN)
        try:
            return cls.from_json(plain)
        except InputError as error:
            raise InputError(f"{path}: {error}; {_AGAIN}") from error


def embedded_calibration(network: Network) -> Calibration:
    """What the package carries for a network of its own.

    Raises:
        InputError: it has none for these weights.
    """
    from adain_model.checkpoint import weights_sha256

    file, digest = _EMBEDDED / f"{network.spec.name}.json", weights_sha256(network)
    if file.is_file() and (found := Calibration.load(file)).weights_sha256 == digest:
        return found
    raise InputError(
        f"int8 needs the range of what enters each convolution, and the package has none for {network.spec.name} with "
        f"the weights {digest[:16]}: adain-calib collect CHECKPOINT --content PHOTOS --style PAINTINGS measures it, "
        "and --calibration FILE.json gives it"
    )


def inner_layers(layers: Sequence[str]) -> tuple[str, ...]:
    """All but the first and the last layer of a network: these two see pixels, where a step of a code shows."""
    return tuple(layers)[1:-1]


def int8_macs(network: Network, layers: Sequence[str]) -> float:
    """The share of a network's multiply-accumulates that layers have, 0 to 1, to six digits."""
    from adain_model.cost import mac_shares

    shares = mac_shares(network)
    return round(sum(shares[layer] for layer in layers), 6)


def layer_names(network: Network) -> tuple[str, ...]:
    """The 3x3 convolutions of a network, in the order they run: the layers that a calibration has.

    The learnt colour convolution is none of them: export folds it away.
    """
    from adain_model.network import PaddedConv

    parts = {"encoder": network.encoder, "decoder": network.decoder}
    return tuple(
        f"{part}.{name}"
        for part, chain in parts.items()
        for name, step in chain.named_steps()
        if isinstance(step, PaddedConv)
    )


def layers_after_relu(network: Network) -> frozenset[str]:
    """The layers whose codes can be shifted: what enters them came out of a ReLU, and their padding repeats it."""
    from adain_model.network import MaxPool, PaddedConv, Upsample

    found = set()
    for part, chain in (("encoder", network.encoder), ("decoder", network.decoder)):
        after_relu = False
        for name, step in chain.named_steps():
            if isinstance(step, PaddedConv):
                if after_relu and step.border != "zeros":
                    found.add(f"{part}.{name}")
                after_relu = step.relu
            elif not isinstance(step, MaxPool | Upsample):
                after_relu = False
    return frozenset(found)
