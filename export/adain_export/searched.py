"""How the int8 layers of a calibration were found, where a search chose them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from adain_export import strict_json
from adain_runtime.errors import InputError

_FIELDS = ("target_psnr", "psnr", "worst_psnr", "ssim", "int8_macs", "pairs", "samples")


@dataclass(frozen=True)
class Searched:
    """What a search wanted and what it found, on pairs that were not calibrated on.

    Attributes:
        target_psnr: dB, of the mean over pairs.
        psnr: what the layers reach, mean over pairs.
        worst_psnr: of the pair that lost most.
        ssim: mean over pairs.
        int8_macs: share of the network's multiply-accumulates in int8, 0 to 1.
        pairs: SHA-256 of the list of pairs.
        samples: how many pairs there were.
    """

    target_psnr: float
    psnr: float
    worst_psnr: float
    ssim: float
    int8_macs: float
    pairs: str
    samples: int

    def to_json(self) -> dict[str, object]:
        """The record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, where: str, plain: object) -> Searched:
        """Read a record.

        Raises:
            InputError: a field is missing, unknown or out of its range.
        """
        values = strict_json.fields_of(where, plain, _FIELDS)

        def number(name: str) -> float:
            return strict_json.number(f"{where}.{name}", values[name])

        made = cls(
            number("target_psnr"),
            number("psnr"),
            number("worst_psnr"),
            number("ssim"),
            number("int8_macs"),
            strict_json.hexadecimal(f"{where}.pairs", values["pairs"]),
            strict_json.whole(f"{where}.samples", values["samples"], at_least=1),
        )
        if not 0 < made.target_psnr <= made.psnr or made.worst_psnr > made.psnr:
            raise InputError(
                f"{where}: expected a target over 0 that psnr reaches, and no better worst_psnr; found "
                f"{made.target_psnr}, {made.psnr} and {made.worst_psnr}"
            )
        if not 0 < made.int8_macs <= 1:
            raise InputError(f"{where}.int8_macs: expected a share, over 0 and at most 1; found {made.int8_macs}")
        return made
