"""Which windows a picture is computed in, and which part of each is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adain_runtime.errors import InputError


@dataclass(frozen=True)
class Span:
    """One side of a tile, in feature cells: what is kept of it, and what is computed to keep it.

    Attributes:
        start: first cell that is kept.
        stop: end of what is kept.
        low: first cell that is computed.
        high: end of what is computed.
    """

    start: int
    stop: int
    low: int
    high: int

    @property
    def kept(self) -> slice:
        """What is kept, in the window's own cells."""
        return slice(self.start - self.low, self.stop - self.low)


@dataclass(frozen=True)
class Tile:
    """A window of the feature map, and the part of it that is kept."""

    rows: Span
    columns: Span

    @property
    def cells(self) -> tuple[slice, slice]:
        """Rows and columns that are kept, in cells of the whole map."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)


def smallest_tile(halo: int, *, unit: int, minimum: int) -> int:
    """The smallest tile, in cells, that keeps anything: a cell with its halo, as a length that the graphs take."""
    return -(-max(2 * halo + 1, minimum) // unit) * unit


def spans(length: int, tile: int, halo: int, *, unit: int = 1, minimum: int = 1) -> list[Span]:
    """Cut a side into windows of one size that overlap as far as a halo asks; what they keep covers each cell once.

    As few windows as the tile allows, and then as small as that number allows, so that little is computed twice and a
    backend meets one shape.

    Args:
        length: cells of the side, a multiple of ``unit``.
        tile: the largest window, in cells.
        halo: cells that must be computed around what is kept, except at the ends of the side.
        unit: the windows' length is a multiple of this.
        minimum: the smallest window.

    Raises:
        InputError: the tile keeps nothing.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    least = smallest_tile(halo, unit=unit, minimum=minimum)
    tile -= tile % unit
    if tile < least:
        raise InputError(f"a tile of {tile} cells is smaller than {least}, a cell with a halo of {halo} around it")
    count = -(-(length - 2 * halo) // (tile - 2 * halo))
    size = -(-max(-(-(length - 2 * halo) // count) + 2 * halo, minimum) // unit) * unit
    lows = [number * (length - size) // (count - 1) for number in range(count)]
    cuts = [0, *(low + halo for low in lows[1:]), length]
    return [Span(cuts[i], cuts[i + 1], low, low + size) for i, low in enumerate(lows)]


def tiles(rows: Sequence[Span], columns: Sequence[Span]) -> Iterator[Tile]:
    """All tiles, row by row."""
    return (Tile(row, column) for row in rows for column in columns)
