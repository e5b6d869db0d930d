"""What the cases of one network are compared with: computed once, kept, and passed to their processes by file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np

from adain_export.tolerances import PartName
from adain_parity.matrix import Cell
from adain_parity.pictures import find_picture, to_image
from adain_parity.reference import Floats, Reference, Truth

STYLE = "style."
"""What the names of the encoder's layers on the style picture begin with, in a file of layers."""


class Truths:
    """The truths of a network's cells. Safe to ask from several threads.

    Attributes:
        reference: computes them.
    """

    def __init__(self, reference: Reference, root: Path, work: Path) -> None:
        """Keep the files in a folder.

        Args:
            reference: computes the truths.
            root: where pictures with relative paths are.
            work: folder for the files.
        """
        self.reference = reference
        self._root, self._work, self._lock = root, work, Lock()
        self._made: dict[Cell, tuple[Truth, Path]] = {}
        self._layers: dict[tuple[Cell, PartName], Path] = {}

    def of(self, cell: Cell) -> Truth:
        """A cell's truth."""
        return self._get(cell)[0]

    def feeds_file(self, cell: Cell) -> Path:
        """The NPZ file of what a cell's parts are fed with."""
        return self._get(cell)[1]

    def layers_file(self, cell: Cell, part: PartName) -> Path:
        """The NPZ file of every layer of a part on its feeds, in order; the encoder's on the style picture too."""
        truth, feeds_file = self._get(cell)
        with self._lock:
            if (cell, part) not in self._layers:
                file = feeds_file.with_name(f"layers-{part}-{feeds_file.name}")
                feeds = {"encoder": {"image": truth.image}, "decoder": truth.decoder_feeds}.get(
                    part, truth.stylizer_feeds
                )
                layers = {name: v.astype(np.float32) for name, v in self.reference.layers(part, feeds)}
                if part == "encoder":
                    other = self.reference.layers(part, {"image": truth.style_image})
                    layers |= {STYLE + name: v.astype(np.float32) for name, v in other}
                with file.open("wb") as stream:
                    _save(stream, layers)
                self._layers[cell, part] = file
            return self._layers[cell, part]

    def _get(self, cell: Cell) -> tuple[Truth, Path]:
        with self._lock:
            if cell not in self._made:
                content, style = (
                    to_image(find_picture(name, self._root).pixels(cell.height, cell.width))
                    for name in (cell.content, cell.style)
                )
                truth = self.reference.truth(content, style, cell.alpha)
                file = self._work / f"{len(self._made)}.npz"
                with file.open("wb") as stream:
                    _save(stream, truth.feeds())
                self._made[cell] = truth, file
            return self._made[cell]


def _save(stream: IO[bytes], arrays: Mapping[str, Floats]) -> None:
    np.savez(stream, **arrays)  # type: ignore[arg-type]
