"""What the commands that test a calibration share: their arguments, and a network ready to be scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from adain_calib.pairs import Pairs
from adain_calib.scoring import HeldOut, Judge, Simulator, held_out
from adain_export.calibration import Calibration
from adain_export.layer_range import METHODS, method_named
from adain_model.checkpoint import embedded_checkpoint, load_network
from adain_model.network import Network
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.results import check_folder_writable

PAIRS, SEED = 24, 0

CalibrationFile = Annotated[
    Path, typer.Argument(metavar="CALIBRATION.json", help="Of adain-calib collect.", show_default=False)
]
Checkpoint = Annotated[
    Path | None,
    typer.Argument(help="The FILE.safetensors it was made for. Default: the embedded student.", show_default=False),
]
Content = Annotated[Path, typer.Option("--content", help="Folder of photos that the calibration did not see.")]
StyleFolder = Annotated[Path, typer.Option("--style", help="Folder of paintings and textures, likewise.")]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method", help=f"Take other ranges than the calibration's own: {', '.join(METHODS)}.", show_default=False
    ),
]
Count = Annotated[int, typer.Option("--pairs", help="How many pairs to test on.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the pairs.")]


@dataclass(frozen=True)
class Tested:
    """A network, its calibration, and the pairs that it is tested on.

    Attributes:
        network: as its checkpoint has it.
        calibration: its.
        held: pairs that the calibration did not see.
        notes: what a person should know of the pairs; said already.
    """

    network: Network
    calibration: Calibration
    held: HeldOut
    notes: list[str]

    @property
    def pairs(self) -> Pairs:
        """The pairs that are tested on."""
        return self.held.pairs

    def simulator(self) -> Simulator:
        """What scores sets of int8 layers; the float network has stylised the pairs when it is there.

        Raises:
            InputError: an image that can't be read.
            QualityError: an image of the float network that is not finite.
        """
        return Simulator(self.network, self.calibration, Judge(self.network, self.held))

    def described(self) -> dict[str, Any]:
        """What was tested, on what, for a result's JSON."""
        pairs, made = self.pairs, self.calibration
        return {
            "network": made.network,
            "weights_sha256": made.weights_sha256,
            "calibration": {"sha256": made.digest, "method": made.method},
            "pairs": {"sha256": pairs.digest, "count": len(pairs.samples), "seed": pairs.seed, "size": pairs.size}
            | {"contents": len(pairs.contents), "styles": len(pairs.styles)},
            "notes": self.notes,
        }

    def where(self) -> str:
        """The pairs in a few words."""
        return f"{len(self.pairs.samples)} held-out pairs at {self.pairs.size} pixels"


def prepare(
    calibration: Path,
    checkpoint: Path | None,
    content: Path,
    style: Path,
    *,
    method: str | None,
    pairs: int,
    seed: int,
) -> Tested:
    """Read all that a test wants, and refuse what is not sound before any work.

    Raises:
        InputError: a file or a folder that is not sound, or a calibration of another checkpoint.
    """
    made = Calibration.load(calibration)
    network = load_network(checkpoint or embedded_checkpoint())
    made.check(network)
    if method is not None:
        made = made.with_method(method_named("--method", method))
    origin, alphas = made.origin, network.spec.alpha_range
    held = held_out(content, style, saw=origin.saw, size=origin.size, pairs=pairs, seed=seed, alpha_range=alphas)
    notes = held.notes()
    for note in notes:
        console.say(f"note: {note}")
    return Tested(network, made, held, notes)


def check_json_path(option: str, path: Path) -> None:
    """Refuse a path where no JSON file can be written, or surely none is meant, before the work is done.

    Raises:
        InputError: it is one.
    """
    if path.suffix != ".json" or path.is_dir():
        raise InputError(f"{option} {path}: a JSON file is written; name it {path.stem or 'calibration'}.json")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: no folder {path.parent}; make it, or choose another")
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path}: a pipe or a device; name a file")
    check_folder_writable(path.parent, f"{option} {path}")
