"""Whether a picture is computed whole or in tiles, and in how large ones."""

from __future__ import annotations

from math import isqrt
from typing import Literal, TypeAlias

from adain_runtime.arguments import whole_number
from adain_runtime.errors import InputError
from adain_runtime.manifest import Manifest
from adain_runtime.memory import WORKING, available_memory, bytes_per_pixel, spell_bytes
from adain_runtime.sizes import fits, padded_sides
from adain_runtime.tiled import check_side, smallest_side

Tiling: TypeAlias = Literal["auto", "off"] | int
"""``auto`` takes tiles where a picture as a whole would want too much memory, ``off`` never does, and a number is the
side of the largest tile in pixels, halo included."""

LARGEST_TILE = 1024  # beyond, less than a tenth of the work is in the overlaps
_STEP = 64
_MOST_DIGITS = 9


def parse_tiling(text: str) -> Tiling:
    """``auto``, ``off`` or a number of pixels.

    Raises:
        InputError: something else.
    """
    if text in ("auto", "off"):
        return "auto" if text == "auto" else "off"
    if not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise InputError(f"tile {text}: give auto, off, or the pixels of a tile's side, such as 512")
    return int(text)


def check_tiling(manifest: Manifest, tile: object) -> None:
    """Refuse a tiling that a network can't be run with.

    Raises:
        InputError: neither ``auto``, ``off`` nor a number of pixels, a number that is too small, or a bundle without
            the decoder that tiles want.
    """
    if isinstance(tile, str) and tile in ("auto", "off"):
        return
    try:
        side = whole_number("tile", tile)
    except InputError as error:
        raise InputError(f"{error}; give auto, off, or the pixels of a tile's side, such as 512") from error
    check_side(manifest, side)
    check_decoder(manifest, f"tile {tile}")


def check_decoder(manifest: Manifest, what: str) -> None:
    """Refuse what wants encoder and decoder apart where there is a stylizer alone.

    Raises:
        InputError: the bundle has no decoder.
    """
    if "decoder" not in manifest.parts:
        raise InputError(
            f"{what}: {manifest.folder_name} has no decoder, which this wants; export it again with "
            "--parts encoder,stylizer,decoder"
        )


def choose_side(
    manifest: Manifest,
    height: int,
    width: int,
    tile: Tiling,
    *,
    together: int = 1,
    decode: bool = True,
    free: int | None = None,
) -> int | None:
    """Pixels of a tile's side for a picture, or None where it is run as a whole.

    Args:
        manifest: the bundle that runs it.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        tile: what was asked for.
        together: pictures of this size that would run at once.
        decode: False where the encoder is all that is run.
        free: bytes that are; None asks the system.

    Raises:
        InputError: ``off`` or no decoder, and the estimate is over the memory that is free.
    """
    sizes = manifest.sizes
    if sizes.exact:  # a whole picture is all that its graphs take
        return None
    sides = padded_sides(height, width, sizes)
    need = together * sides[0] * sides[1] * bytes_per_pixel(manifest.spec)
    available = available_memory() if free is None else free
    whole = decode and "decoder" not in manifest.parts  # tiles are decoded one by one
    if tile == "off" or (tile == "auto" and whole):
        if available is not None and need > available:
            many = f" {together} at once" if together > 1 else ""
            tiles = (
                "export it with --parts encoder,stylizer,decoder"
                if whole
                else "leave out --tile off (tile='off' in Python)"
            )
            raise InputError(
                f"a {width}x{height} picture as a whole{many} takes about {spell_bytes(need)} with "
                f"{manifest.folder_name}, and {spell_bytes(available)} are free; {tiles}, or make it smaller (--size)"
            )
        return None
    if tile != "auto":
        return tile if max(sides) > tile else None
    if fits(sides, sizes) and need <= working_memory(available):
        return None
    most = sizes.most and min(sizes.most)
    if most is not None and most < smallest_side(manifest):
        raise InputError(
            f"{manifest.folder_name} takes pictures of {most} pixels a side, too few for tiles of a "
            f"{width}x{height} one: make that smaller (--size)"
        )
    side = min(LARGEST_TILE, isqrt(working_memory(available) // bytes_per_pixel(manifest.spec)))
    side = max(smallest_side(manifest), side - side % _STEP)
    return side if most is None else min(side, most)


def pictures_at_once(manifest: Manifest, height: int, width: int) -> int:
    """How many pictures of a size ``auto`` runs together; at least one."""
    return max(1, working_memory(available_memory()) // (height * width * bytes_per_pixel(manifest.spec)))


def working_memory(available: int | None) -> int:
    """Bytes that ``auto`` lets the network's maps take: half of what is free, and never more than 1 GiB."""
    return WORKING if available is None else min(WORKING, available // 2)
