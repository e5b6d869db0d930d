"""Image sizes: which a bundle's graphs take, and which of them a picture is padded to."""

from __future__ import annotations

from adain_runtime.errors import InputError
from adain_runtime.manifest import Sizes


def spell_sizes(sizes: Sizes) -> str:
    """The sizes in words, such as ``256x256 or 512x512 (height x width)``."""
    if sizes.exact:
        shown = [f"{height}x{width}" for height, width in sizes.exact]
        return " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown) + " (height x width)"
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
    for side, pixels in (("height", height), ("width", width)):
        if pixels % sizes.multiple or pixels < sizes.minimum:
            raise InputError(
                f"{where}: {side} {pixels} must be a multiple of {sizes.multiple} and at least {sizes.minimum}"
            )
        if sizes.maximum is not None and pixels > sizes.maximum:
            raise InputError(
                f"{where}: {side} {pixels} is over {sizes.maximum}, the largest that this bundle takes; make it smaller"
            )


def padded_size(height: int, width: int, sizes: Sizes) -> tuple[int, int]:
    """The height and width that a picture is padded to: the smallest that holds it.

    Raises:
        InputError: the picture is larger than every size; names them and the ``--size`` that makes it fit.
    """
    if not sizes.exact:
        padded = (padded_side(height, sizes.multiple, sizes.minimum), padded_side(width, sizes.multiple, sizes.minimum))
        if sizes.maximum is None or max(padded) <= sizes.maximum:
            return padded
    else:
        holding = [size for size in sizes.exact if size[0] >= height and size[1] >= width]
        if holding:
            return min(holding, key=lambda size: (size[0] * size[1], size))
    raise InputError(
        f"a picture of {height}x{width} (height x width) is larger than this bundle takes, which is "
        f"{spell_sizes(sizes)}: add --size {largest_shorter_side(height, width, sizes)}, or export a larger one"
    )


def padded_side(pixels: int, multiple: int, minimum: int) -> int:
    """The next multiple that is at least ``minimum``."""
    return -(-max(minimum, pixels) // multiple) * multiple


def largest_shorter_side(height: int, width: int, sizes: Sizes) -> int:
    """The longest that a picture's shorter side may be made for the picture to fit; its shape stays.

    At least 1; for a bundle without a largest size, the shorter side as it is.
    """
    short, long = sorted((height, width))
    limits = sizes.exact or (((sizes.maximum, sizes.maximum),) if sizes.maximum else ())
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
