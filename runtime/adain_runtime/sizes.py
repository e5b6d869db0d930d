"""Image sizes: which a bundle's graphs take, and which of them a picture is padded to."""

from __future__ import annotations

from adain_runtime.errors import InputError
from adain_runtime.manifest import Sizes


def spell_sizes(sizes: Sizes) -> str:
    """The sizes in words, such as ``256x256 or 512x512 (height x width)``."""
    if sizes.exact:
        shown = [f"{height}x{width}" for height, width in sizes.exact]
        return " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown) + " (height x width)"
    if sizes.heights or sizes.widths:
        (low, high), (narrow, wide) = zip(sizes.least, sizes.most or (), strict=True)
        return f"multiples of {sizes.multiple}, {low} to {high} high and {narrow} to {wide} wide"
    upper = "" if sizes.maximum is None else f", at most {sizes.maximum}"
    return f"multiples of {sizes.multiple}, at least {sizes.minimum}{upper}"


def check_size(where: str, height: int, width: int, sizes: Sizes) -> None:
    """Refuse an image size that the graphs don't take.

    Raises:
        InputError: names what they take.
    """
    if sizes.exact and (height, width) not in sizes.exact:
        raise InputError(
            f"{where}: {height}x{width} is not among the sizes of this bundle, which takes {spell_sizes(sizes)}"
        )
    for axis, (side, pixels) in enumerate((("height", height), ("width", width))):
        least, most = sizes.least[axis], sizes.most and sizes.most[axis]
        if pixels % sizes.multiple or pixels < least:
            raise InputError(f"{where}: {side} {pixels} must be a multiple of {sizes.multiple} and at least {least}")
        if most is not None and pixels > most:
            raise InputError(
                f"{where}: {side} {pixels} is over {most}, the largest that this bundle takes; make it smaller"
            )


def padded_size(height: int, width: int, sizes: Sizes) -> tuple[int, int]:
    """The height and width that a picture is padded to: the smallest that holds it.

    Raises:
        InputError: the picture is larger than every size; names them and the ``--size`` that makes it fit.
    """
    if not sizes.exact:
        padded = padded_sides(height, width, sizes)
        if fits(padded, sizes):
            return padded
    else:
        holding = [size for size in sizes.exact if size[0] >= height and size[1] >= width]
        if holding:
            return min(holding, key=lambda size: (size[0] * size[1], size))
    raise InputError(
        f"a picture of {height}x{width} (height x width) is larger than this bundle takes, which is "
        f"{spell_sizes(sizes)}: add --size {largest_shorter_side(height, width, sizes)}, or export a larger one"
    )


def padded_sides(height: int, width: int, sizes: Sizes) -> tuple[int, int]:
    """The next multiples that are at least what the bundle takes, however large."""
    least = sizes.least
    return padded_side(height, sizes.multiple, least[0]), padded_side(width, sizes.multiple, least[1])


def padded_side(pixels: int, multiple: int, minimum: int) -> int:
    """The next multiple that is at least ``minimum``."""
    return -(-max(minimum, pixels) // multiple) * multiple


def fits(padded: tuple[int, int], sizes: Sizes) -> bool:
    """Whether the graphs take so high and wide a picture."""
    return sizes.most is None or (padded[0] <= sizes.most[0] and padded[1] <= sizes.most[1])


def largest_shorter_side(height: int, width: int, sizes: Sizes) -> int:
    """The longest that a picture's shorter side may be made for the picture to fit; its shape stays.

    At least 1; for a bundle without a largest size, the shorter side as it is.
    """
    short, long = sorted((height, width))
    limits = sizes.exact or ((sizes.most,) if sizes.most else ())
    if not limits:
        return short
    best = 1
    for limit in limits:
        most_short, most_long = limit if height <= width else limit[::-1]
        made = min(most_short, most_long * short // long + 1)
        while made > 1 and (long * made * 2 + short) // (short * 2) > most_long:  # as image.resize_shorter rounds
            made -= 1
        best = max(best, made)
    return best
