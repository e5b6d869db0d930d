"""Images in and out: whatever is handed over becomes upright sRGB, and is written whole or not at all."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adain_runtime.arguments import whole_number
from adain_runtime.decode import read_pixels
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file
from adain_runtime.transparency import cover_hidden, over

_MOST_PIXELS = 1 << 31  # that an image is ever enlarged to

ImageLike: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""A file, a PIL image, or an array [H, W], [H, W, 3] or [H, W, 4] of uint8 in sRGB."""


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright image in sRGB.

    Attributes:
        rgb: colours [H, W, 3], uint8.
        alpha: opacity [H, W], uint8, 255 is opaque; None when every pixel is.

    Raises:
        InputError: an array of another shape or dtype.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        require_rgb("rgb", self.rgb)
        alpha = self.alpha
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != self.rgb.shape[:2]):
            wanted = list(self.rgb.shape[:2])
            raise InputError(f"alpha is {list(alpha.shape)} {alpha.dtype}; give {wanted} uint8, as large as rgb")

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.rgb.shape[1])


@dataclass(frozen=True)
class _Format:
    """How one kind of file is written."""

    name: str  # Pillow's
    alpha: bool
    options: dict[str, Any]
    longest_side: int | None = None  # what the format itself can hold
    lossy: bool = False


# zlib's run-length strategy (3) writes a stylised photo in two thirds of the time of level 3 and in fewer bytes.
_JPEG = _Format("JPEG", alpha=False, options={"subsampling": "4:4:4"}, longest_side=65500, lossy=True)
_TIFF = _Format("TIFF", alpha=True, options={"compression": "tiff_adobe_deflate"})
_FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": _Format("PNG", alpha=True, options={"compress_level": 3, "compress_type": 3}),
    ".webp": _Format("WEBP", alpha=True, options={}, longest_side=16383, lossy=True),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _Format("BMP", alpha=False, options={}),
}

WRITABLE = tuple(_FORMATS)
"""Suffixes that `save_image` can write."""

KEEPS_ALPHA = frozenset(suffix for suffix, written in _FORMATS.items() if written.alpha)
"""Suffixes whose files keep transparency; the others are flattened on white."""


def load_image(source: ImageLike, *, max_pixels: int | None = 100_000_000) -> Photo:
    """Read an image as a person sees it: upright, in sRGB, its first frame.

    EXIF orientation is applied. An embedded ICC profile is converted to sRGB (relative colorimetric with
    black point compensation); a profile that is broken or of another colour space is passed over, as if the
    image were sRGB. 16-bit greys are divided by 257. Integers beyond 16 bits and floats beyond [0, 255] are
    stretched from their smallest to their largest; floats within [0, 1] are multiplied by 255. Of RGB, Pillow itself
    keeps the upper 8 of 16 bits.

    Under transparent pixels (an alpha under 15) lie colours that nobody sees: they give way to those of what is
    visible near by (`transparency.cover_hidden`), so that neither they nor the edge of a cut-out come into a
    style's statistics or leave a fringe on a photo. An image that is transparent all over keeps its colours.

    Args:
        source: a file, a PIL image (its current frame), or an array [H, W], [H, W, 3] or [H, W, 4] of uint8.
        max_pixels: the largest width x height taken, looked at before the pixels are decoded; None takes any.

    Raises:
        InputError: it can't be read, isn't an image, is damaged, or is larger than ``max_pixels``.
    """
    rgb, alpha = read_pixels(source, None if max_pixels is None else whole_number("max_pixels", max_pixels))
    return Photo(rgb if alpha is None else cover_hidden(rgb, alpha), alpha)


def load_mask(
    source: ImageLike | NDArray[Any], *, size: tuple[int, int], max_pixels: int | None = 100_000_000
) -> NDArray[np.float32]:
    """Read a mask [H, W], float32 in [0, 1], where 1 (white) is inside.

    The mask is the luminance (ITU-R BT.601) of the values as stored, without colour management, times the
    alpha; or the alpha alone where all that is visible has one colour, as in a cut-out. A mask of another
    size is resized: bilinear when it grows, by the triangle filter over all pixels when it shrinks.

    Args:
        source: any image `load_image` takes, or an array [H, W] of bool, or of floats in [0, 1].
        size: (H, W) of the mask to return.
        max_pixels: as in `load_image`.

    Raises:
        InputError: as `load_image`; also floats outside [0, 1].
    """
    height, width = size
    if isinstance(source, np.ndarray) and source.ndim == 2 and source.size and source.dtype.kind in "bf":
        if not ((source >= 0) & (source <= 1)).all():  # NaN is neither
            raise InputError("the mask array holds values outside [0, 1]; divide it by its largest value")
        mask: NDArray[np.float32] = source.astype(np.float32)
    else:
        mask = _mask_of(*read_pixels(source, max_pixels, managed=False))
    if mask.shape == (height, width):
        return mask
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR)
    bounded: NDArray[np.float32] = np.clip(np.asarray(resized), 0, 1)
    return bounded


def save_image(photo: Photo | Image.Image, path: Path, *, quality: int = 95) -> None:
    """Write an image in the format that the suffix names; the old file stays until the new one is whole.

    The file is sRGB, upright, without metadata. Transparency is kept where the format can (`KEEPS_ALPHA`),
    and flattened on white where it can't; `flattens` tells beforehand.

    Args:
        photo: what to write.
        path: where; its suffix is one of `WRITABLE`.
        quality: 1 to 100, for JPEG (written without chroma subsampling) and WebP.

    Raises:
        InputError: an unknown suffix, a size that the format can't hold, or a file that can't be written.
    """
    path = Path(path)
    written = _format_of(path)
    if not 1 <= quality <= 100:
        raise InputError(f"quality {quality} is out of range; give 1 to 100")
    if isinstance(photo, Image.Image):
        photo = Photo(*read_pixels(photo, None))
    check_size(path, photo.height, photo.width)
    if photo.alpha is not None and not written.alpha:
        photo = Photo(over(photo.rgb, photo.alpha, (255, 255, 255)))
    options = {**written.options, "quality": quality} if written.lossy else written.options
    encoded = io.BytesIO()  # in memory, so that whatever fails below is the disk, and says so
    try:
        to_pil(photo).save(encoded, written.name, **options)
    except (OSError, ValueError, MemoryError) as error:
        what = f"a {photo.width}x{photo.height} image can't be encoded as {written.name}"
        raise InputError(f"{path}: {what} ({error or 'out of memory'}); make it smaller (--size)") from error
    content = encoded.getvalue()  # no view of the buffer: a failed write's traceback would keep it open
    with replacing_file(path) as part:
        part.write_bytes(content)


def flattens(path: Path, photo: Photo | Image.Image) -> bool:
    """Whether writing this image to this path loses its transparency.

    Raises:
        InputError: a suffix that can't be written.
    """
    if _format_of(Path(path)).alpha:
        return False
    alpha = read_pixels(photo, None)[1] if isinstance(photo, Image.Image) else photo.alpha
    return alpha is not None


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse a size that `save_image` would refuse for its suffix, before the work is done.

    Raises:
        InputError: the format can't hold it.
    """
    written = _format_of(Path(path))
    if written.longest_side is not None and max(width, height) > written.longest_side:
        raise InputError(
            f"can't write {path}: {width}x{height}, and {written.name} holds at most {written.longest_side} pixels a "
            "side; write a .png or .tif"
        )


def check_writable(path: Path) -> None:
    """Refuse a path that `save_image` would refuse for its suffix, before the work is done.

    Raises:
        InputError: a suffix that can't be written.
    """
    _format_of(Path(path))


def to_pil(photo: Photo) -> Image.Image:
    """The photo as a PIL image of mode RGB, or RGBA where it has transparency."""
    image = Image.fromarray(photo.rgb)
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(photo.alpha))
    return image


def resize_shorter(photo: Photo, shorter: int, *, enlarge: bool, max_pixels: int | None = None) -> Photo:
    """Resize so that the shorter side has so many pixels, the aspect kept, with Lanczos' filter.

    Args:
        photo: what to resize.
        shorter: pixels of the shorter side, at least 1.
        enlarge: whether a smaller image grows; otherwise it is returned as it is.
        max_pixels: the largest image to make.

    Raises:
        InputError: ``shorter`` is below 1, or the result would be over ``max_pixels``.
    """
    if whole_number("size", shorter) < 1:
        raise InputError(f"a shorter side of {shorter} pixels can't be made; give 1 or more")
    now = min(photo.height, photo.width)
    if now == shorter or (now < shorter and not enlarge):
        return photo
    size = tuple((side * shorter * 2 + now) // (now * 2) for side in (photo.width, photo.height))  # halves go up
    if max_pixels is not None and size[0] * size[1] > max_pixels:
        raise InputError(
            f"a {photo.width}x{photo.height} image at a shorter side of {shorter} would be {size[0]}x{size[1]}, over "
            f"the limit of {max_pixels:,} pixels; give a smaller --size or a larger --max-pixels"
        )

    if size[0] * size[1] > _MOST_PIXELS:
        raise InputError(f"an image of {size[0]}x{size[1]} is more than can be made; give a smaller size")

    def resize(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.array(Image.fromarray(array).resize((size[0], size[1]), Image.Resampling.LANCZOS))

    return Photo(resize(photo.rgb), None if photo.alpha is None else resize(photo.alpha))


def require_rgb(name: str, array: NDArray[Any]) -> None:
    """Raise unless an array is [H, W, 3] uint8 with at least one pixel.

    Raises:
        InputError: it isn't.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InputError(f"{name} is {list(array.shape)} {array.dtype}; give [height, width, 3] uint8")


def _mask_of(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    luminance: NDArray[np.float32] = np.asarray(Image.fromarray(rgb).convert("L"), dtype=np.float32)
    luminance = luminance / np.float32(255)
    if alpha is None:
        if 0 < luminance.max() <= 1.5 / 255:
            raise InputError(
                "the mask holds values of 0 and 1 only, of 255, so next to nothing is inside: scale it by 255"
            )
        return luminance
    opacity: NDArray[np.float32] = alpha.astype(np.float32) / np.float32(255)
    visible = rgb[alpha > 0]
    one_colour = bool((visible == visible[:1]).all())
    return opacity if one_colour else luminance * opacity


def _format_of(path: Path) -> _Format:
    written = _FORMATS.get(path.suffix.lower())
    if written is None:
        found = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        folder = "" if path.suffix else "; for many photos, quote the glob or end the folder's name with a slash"
        raise InputError(f"{path} has {found}; give one that can be written: {', '.join(WRITABLE)}{folder}")
    return written
