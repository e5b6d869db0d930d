"""How a calibration was made: its pairs, its images, its tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from adain_export import strict_json
from adain_runtime.errors import InputError

_FIELDS = ("pairs", "samples", "contents", "styles", "seed", "size", "percentile", "tools", "images")
IMAGE_DIGITS = 16
"""Of an image's SHA-256: so many tell images apart."""


@dataclass(frozen=True)
class Origin:
    """How a calibration was made.

    Attributes:
        pairs: SHA-256 of the list of pairs.
        samples: how many pairs there were.
        contents: how many content images.
        styles: how many style images; 0 where the contents were decoded as themselves.
        seed: that the pairs were drawn with.
        size: pixels of an image's shorter side.
        percentile: of the method of that name, in percent.
        tools: name to version of what the ranges depend on.
        images: the first digits of the SHA-256 of every image in the list, sorted: what no test may use.
    """

    pairs: str
    samples: int
    contents: int
    styles: int
    seed: int
    size: int
    percentile: float
    tools: Mapping[str, str]
    images: tuple[str, ...]

    def saw(self, sha256: str) -> bool:
        """Whether an image of this digest was calibrated on."""
        return sha256[:IMAGE_DIGITS] in self.images

    def to_json(self) -> dict[str, object]:
        """The origin as JSON values."""
        return asdict(self) | {"tools": dict(sorted(self.tools.items())), "images": list(self.images)}

    @classmethod
    def from_json(cls, where: str, plain: object) -> Origin:
        """Read an origin.

        Raises:
            InputError: a field is missing, unknown or out of its range.
        """
        values = strict_json.fields_of(where, plain, _FIELDS)
        tools = strict_json.object_of(f"{where}.tools", values["tools"])
        percentile = strict_json.number(f"{where}.percentile", values["percentile"])
        if not 0 < percentile <= 100:
            raise InputError(f"{where}.percentile: expected a percentage over 0, found {percentile}")
        images = [
            strict_json.hexadecimal(f"{where}.images", image, IMAGE_DIGITS)
            for image in strict_json.list_of(f"{where}.images", values["images"])
        ]
        if not images or images != sorted(set(images)):
            raise InputError(f"{where}.images: expected one or more, sorted, each once")

        def count(name: str, at_least: int) -> int:
            return strict_json.whole(f"{where}.{name}", values[name], at_least=at_least)

        return cls(
            pairs=strict_json.hexadecimal(f"{where}.pairs", values["pairs"]),
            samples=count("samples", 1),
            contents=count("contents", 1),
            styles=count("styles", 0),
            seed=count("seed", 0),
            size=count("size", 1),
            percentile=percentile,
            tools={name: strict_json.text(f"{where}.tools.{name}", tool) for name, tool in tools.items()},
            images=tuple(images),
        )
