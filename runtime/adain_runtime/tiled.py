"""A picture of any size through the encoder and decoder in tiles: the whole picture's result in bounded memory.

Between the two, AdaIN's statistics are all that must be known of the whole picture, so every tile is encoded first,
their moments are merged, and then every tile is decoded. Tiles overlap by the networks' halos, so that what is kept of
each is what the whole computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adain_runtime.backend import Session, release
from adain_runtime.errors import InputError
from adain_runtime.features import Features, FileFeatures, Keeping, MemoryFeatures, RecomputedFeatures, choose_keeping
from adain_runtime.grid import Span, Tile, smallest_tile, spans, tiles
from adain_runtime.halo import decoder_halo, encoder_halo
from adain_runtime.manifest import Manifest
from adain_runtime.memory import available_memory
from adain_runtime.planes import Floats, Pixels, as_planes, padded_window
from adain_runtime.regions import cells_of_alpha
from adain_runtime.sizes import padded_sides, padded_size, spell_sizes

Progress = Callable[[int, int], None]
"""Told after each tile how many are done, and of how many."""


class Restyle(Protocol):
    """AdaIN over a picture that comes in pieces. A protocol: one style and styles by region share only this."""

    def observe(self, features: NDArray[np.floating], rows: slice, columns: slice) -> None:
        """Take in a piece of the content's features, [C,h,w], and where it lies in the map, in cells."""
        ...

    def maps(self, rows: slice, columns: slice) -> tuple[Floats, Floats]:
        """Scale and shift for a window, in cells, after all has been observed."""
        ...


def smallest_side(manifest: Manifest) -> int:
    """Pixels of the smallest tile that a network can be run in."""
    return manifest.spec.stride * _smallest_cells(manifest)


class TiledPicture:
    """One picture, cut into tiles for a session.

    Attributes:
        padded: height and width in pixels as the network sees them.
        repeated: how it is padded, see ``padded_indices``.
    """

    def __init__(self, session: Session, image: Pixels, side: int | None) -> None:
        """Plan the tiles.

        Args:
            session: runs the parts.
            image: [H,W,3] uint8.
            side: pixels of a tile's side, halo included; the tiles are as large or a little smaller. None makes one
                tile of the whole.

        Raises:
            InputError: the side is too small for the network's halo.
        """
        manifest = session.bundle.manifest
        if side is not None:
            check_side(manifest, side)
        self._session, self._image, self._stride = session, image, manifest.spec.stride
        self._unit = manifest.sizes.multiple // self._stride
        self._least = tuple(-(-side // self._stride) for side in manifest.sizes.least)
        sizes = manifest.sizes
        if side is None:
            height, width = padded_size(image.shape[0], image.shape[1], sizes)
        else:
            height, width = padded_sides(image.shape[0], image.shape[1], sizes)
        self.padded, self.repeated = (height, width), bool(sizes.exact)
        self._cells = (height // self._stride, width // self._stride)
        self._side = max(self._cells) if side is None else side // self._stride
        self._encoding = self._cut(encoder_halo(manifest.spec))
        self._decoding = self._cut(decoder_halo(manifest.spec))

    def counts(self, alpha: NDArray[np.uint8] | None) -> Floats | None:
        """How much each cell counts in statistics where the picture has transparency, see ``cells_of_alpha``."""
        return cells_of_alpha(alpha, self._stride, padded=self.padded, repeated=self.repeated)

    @property
    def steps(self) -> int:
        """Tiles to encode and to decode, together."""
        return len(self._encoding) + len(self._decoding)

    def encode(self, progress: Progress | None = None) -> Iterator[tuple[Tile, NDArray[Any]]]:
        """The features of the whole picture: each tile with what is kept of it, [C,h,w]."""
        for done, tile in enumerate(self._encoding, 1):
            features = self._encode_window((tile.rows.low, tile.rows.high), (tile.columns.low, tile.columns.high))
            yield tile, features[0, :, tile.rows.kept, tile.columns.kept]
            if progress is not None:
                progress(done, self.steps)

    def stylize(
        self, restyle: Restyle, *, keeping: Keeping | None = None, progress: Progress | None = None
    ) -> Iterator[tuple[slice, slice, Floats]]:
        """The stylised picture in pieces that cover it once: rows and columns in pixels, and planes [3,h,w] in [0, 1].

        Args:
            restyle: the style, or styles by region.
            keeping: how features are kept between the two passes; None chooses by their size and what memory is free.
            progress: told after each tile.
        """
        if len(self._encoding) == len(self._decoding) == 1:
            yield self._in_one(restyle)
            return
        features: Features | None = None
        try:
            for tile, values in self.encode(progress):
                if features is None:
                    features = self._keep(keeping, values.shape[0], values.dtype)
                restyle.observe(values, *tile.cells)
                features.put(tile.rows, tile.columns, values)
                del values  # a view of the backend's own memory, which is not given back while it is held
            assert features is not None  # noqa: S101 for the type checker: a picture has at least one tile
            if len(self._encoding) > 1 and not isinstance(features, RecomputedFeatures):
                release(self._session, "encoder")
            yield from self._decode(features, restyle, progress)
            for part in ("encoder", "decoder") if len(self._decoding) > 1 else ():  # what follows wants memory too
                release(self._session, part)
        finally:
            if features is not None:
                features.close()

    def _in_one(self, restyle: Restyle) -> tuple[slice, slice, Floats]:
        """The whole in one tile, its features handed on as the session gave them: they may still be on a device."""
        rows, columns = (slice(0, cells) for cells in self._cells)
        features = self._encode_window((0, self._cells[0]), (0, self._cells[1]))
        restyle.observe(features[0], rows, columns)
        scale, shift = restyle.maps(rows, columns)
        planes = self._session.run("decoder", {"features": features, "scale": scale, "shift": shift})["image"][0]
        return _pixels(rows, self._stride), _pixels(columns, self._stride), planes

    def _decode(
        self, features: Features, restyle: Restyle, progress: Progress | None
    ) -> Iterator[tuple[slice, slice, Floats]]:
        stride = self._stride
        for done, tile in enumerate(self._decoding, len(self._encoding) + 1):
            scale, shift = restyle.maps(
                slice(tile.rows.low, tile.rows.high), slice(tile.columns.low, tile.columns.high)
            )
            feeds = {"features": features.window(tile.rows, tile.columns), "scale": scale, "shift": shift}
            planes = self._session.run("decoder", feeds)["image"][0]
            kept = planes[:, _pixels(tile.rows.kept, stride), _pixels(tile.columns.kept, stride)]
            rows, columns = (_pixels(cells, stride) for cells in tile.cells)
            yield rows, columns, kept
            if progress is not None:
                progress(done, self.steps)

    def _keep(self, keeping: Keeping | None, channels: int, dtype: np.dtype[Any]) -> Features:
        size = channels * self._cells[0] * self._cells[1] * dtype.itemsize
        keeping = keeping or choose_keeping(size, available_memory())
        if keeping == "recompute" and self._session.bundle.manifest.sizes.maximum is None:  # its windows are larger
            return RecomputedFeatures(self._encode_again)
        make = MemoryFeatures if keeping == "memory" else FileFeatures
        return make(channels, *self._cells, dtype)

    def _encode_again(self, rows: Span, columns: Span) -> NDArray[Any]:
        """A decoder tile's window of features, encoded with a halo of its own around it."""
        halo = encoder_halo(self._session.bundle.manifest.spec)
        wide, inner = [], []
        for span, length in zip((rows, columns), self._cells, strict=True):
            low, high = max(0, span.low - halo), min(length, span.high + halo)
            high += -(high - low) % self._unit
            if high > length:
                low, high = low - (high - length), length
            wide.append((low, high))
            inner.append(slice(span.low - low, span.high - low))
        return np.ascontiguousarray(self._encode_window(*wide)[:, :, inner[0], inner[1]])

    def _encode_window(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
        top, bottom, left, right = (cell * self._stride for cell in (*rows, *columns))
        window = padded_window(self._image, (top, bottom), (left, right), repeated=self.repeated)
        return self._session.run("encoder", {"image": as_planes([window])})["features"]

    def _cut(self, halo: int) -> list[Tile]:
        rows, columns = (
            spans(length, self._side, halo, unit=self._unit, minimum=least)
            for length, least in zip(self._cells, self._least, strict=True)
        )
        return list(tiles(rows, columns))


def check_side(manifest: Manifest, side: int) -> None:
    """Refuse a tile that a network can't be run in.

    Raises:
        InputError: it is too small, or larger than the bundle takes.
    """
    if manifest.sizes.exact:
        raise InputError(
            f"tile {side}: {manifest.folder_name} takes {spell_sizes(manifest.sizes)} only, and tiles are of any size; "
            "leave --tile out"
        )
    least, most = smallest_side(manifest), manifest.sizes.most and min(manifest.sizes.most)
    if side < least:
        stride = manifest.spec.stride
        halo = max(encoder_halo(manifest.spec), decoder_halo(manifest.spec)) * stride
        raise InputError(
            f"tile {side}: too small for {manifest.folder_name}, which sees {halo} pixels beyond a tile's edges; "
            f"give {least} or more"
        )
    if most is not None and side > most:
        raise InputError(f"tile {side}: over {most}, the largest that {manifest.folder_name} takes; give that or less")


def _smallest_cells(manifest: Manifest) -> int:
    spec, sizes = manifest.spec, manifest.sizes
    return max(
        smallest_tile(halo, unit=sizes.multiple // spec.stride, minimum=-(-max(sizes.least) // spec.stride))
        for halo in (encoder_halo(spec), decoder_halo(spec))
    )


def _pixels(cells: slice, stride: int) -> slice:
    return slice(cells.start * stride, cells.stop * stride)
