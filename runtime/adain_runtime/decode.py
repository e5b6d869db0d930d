"""Pixels from whatever is handed over: files, PIL images and arrays of any mode, profile and orientation.

Read it from the outside in: what was handed over, a file, a PIL image, its channels, its colours.
"""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from adain_runtime.errors import InputError

Pixels: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
"""Colours and alpha."""


def read_pixels(source: object, max_pixels: int | None, *, managed: bool = True) -> Pixels:
    """Colours [H, W, 3] uint8 in sRGB and, unless every pixel is opaque, alpha [H, W] uint8.

    Args:
        source: a path, a PIL image (its current frame), or an array [H, W], [H, W, 3] or [H, W, 4] of uint8.
        max_pixels: the largest width x height taken; None takes any.
        managed: whether an embedded ICC profile is converted to sRGB; otherwise the values stay as stored.

    Raises:
        InputError: it can't be read, isn't an image, is damaged, or is larger than ``max_pixels``.
    """
    if isinstance(source, np.ndarray):
        _require_image_array(source)
        return _pixels(Image.fromarray(np.ascontiguousarray(source)), "the array given", max_pixels, managed=managed)
    if isinstance(source, Image.Image):
        return _pixels(source, getattr(source, "filename", "") or "the image given", max_pixels, managed=managed)
    if isinstance(source, (str, os.PathLike)):
        with _opened(os.fsdecode(source), max_pixels) as image:
            return _pixels(image, os.fsdecode(source), max_pixels, managed=managed)
    kind = f"{type(source).__module__}.{type(source).__qualname__}"
    raise InputError(f"an image can't be read from a {kind}; give a path, a PIL image, or a numpy array of uint8")


def stated_size(path: str | os.PathLike[str], max_pixels: int | None) -> tuple[int, int]:
    """Height and width that an image file states, as stored, without its pixels being decoded.

    Raises:
        InputError: see ``read_pixels``.
    """
    with _opened(os.fsdecode(path), max_pixels) as image:
        return image.height, image.width


def is_one_of_many(path: str | os.PathLike[str]) -> bool:
    """Whether an image file holds more pictures of which the first alone is read: an animation, or several pages."""
    try:
        with _opened(os.fsdecode(path), None) as image:
            if image.format not in _OF_MANY:
                return False
            return bool(image.is_animated) if hasattr(image, "is_animated") else getattr(image, "n_frames", 1) > 1
    except Exception:  # noqa: BLE001 what follows a first picture that could be read may be damaged
        return False


def _require_image_array(array: NDArray[Any]) -> None:
    found = f"the array given is {list(array.shape)} {array.dtype}"
    wanted = "[height, width, 3] uint8"
    if array.size == 0:
        raise InputError(f"{found}, which has no pixels; give {wanted}")
    if array.dtype != np.uint8:
        fixes = {
            "f": "for values in [0, 1]: (array * 255).round().astype('uint8')",
            "u": "for 16-bit values: (array // 257).astype('uint8')",
            "b": "array.astype('uint8') * 255",
        }
        raise InputError(f"{found}; give {wanted}, {fixes.get(array.dtype.kind, 'converted by you')}")
    if array.ndim == 4:
        raise InputError(f"{found}; give one image, {wanted}, as in array[0]")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        turned = array.ndim == 3 and array.shape[0] in (3, 4)
        raise InputError(f"{found}; give {wanted}{', as in array.transpose(1, 2, 0)' if turned else ''}")


@contextmanager
def _opened(name: str, max_pixels: int | None) -> Iterator[Image.Image]:
    path = Path(name)
    try:
        if path.is_dir():
            raise InputError(f"{name} is a folder; give an image file in it")
        if path.exists() and not path.is_file():
            raise InputError(f"{name} is a pipe or a device; save the image to a file and give that")
        with path.open("rb") as file:
            yield _identified(file, name, max_pixels)
    except FileNotFoundError as error:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
            raise InputError(f"{name} is an address; download the image and give the file's path") from error
        raise InputError(f"{name} doesn't exist; check the path") from error
    except PermissionError as error:
        raise InputError(f"{name} can't be read: permission denied; allow reading it (chmod +r)") from error
    except OSError as error:
        raise InputError(f"{name} can't be read: {error.strerror or error}; check the path and the disk") from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{name!r} can't be read: {error}; check the path") from error


def _identified(file: io.BufferedReader, name: str, max_pixels: int | None) -> Image.Image:
    start = file.read(64)
    file.seek(0)
    if not start:
        raise InputError(f"{name} is empty (0 bytes); copy or download it again")
    try:
        with _pillow(max_pixels):
            found = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = _size_in_header(file)
        if size is None or size[0] * size[1] <= (max_pixels or 0):
            raise _hides_more(name, max_pixels) from error
        raise _too_large(name, size, max_pixels) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} {_what_it_is(start)}") from error
    except Exception as error:  # a damaged header makes a decoder raise anything
        raise _damaged(name, error) from error
    if found.format == "EPS":  # a program, which Pillow would hand to Ghostscript where that is installed
        raise InputError(f"{name} is PostScript, which can't be read here; convert it to JPEG or PNG")
    return found


def _size_in_header(file: io.BufferedReader) -> tuple[int, int] | None:
    """The size that a file over the limit states, for those formats whose opening decodes no pixels."""
    file.seek(0)
    try:
        with _pillow(None):
            return Image.open(file, formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")).size
    except UnidentifiedImageError:
        return None


def _what_it_is(start: bytes) -> str:
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"hevc"):
        return "is a HEIC photo, which can't be read here; convert it to JPEG or PNG"
    if not re.search(rb"[^\x09-\x0d\x20-\x7e]", start):
        return "is a text file, not an image; give a JPEG, PNG, WebP or TIFF"
    return "isn't an image that can be read here, or its header is damaged; give a JPEG, PNG, WebP or TIFF"


def _damaged(name: str, error: Exception) -> InputError:
    if isinstance(error, MemoryError):
        return InputError(f"{name} is too large for the memory that is free; make it smaller")
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{name} is damaged or cut short ({reason}); copy or download it again")


def _too_large(name: str, size: tuple[int, int], max_pixels: int | None) -> InputError:
    return InputError(
        f"{name} is {size[0]}x{size[1]} ({size[0] * size[1]:,} pixels), over the limit of {max_pixels:,}; "
        "make it smaller, or raise --max-pixels (max_pixels in Python)"
    )


def _hides_more(name: str, max_pixels: int | None) -> InputError:
    return InputError(
        f"{name} carries an image over the limit of {max_pixels:,} pixels inside; if you trust it, "
        "raise --max-pixels (max_pixels in Python)"
    )


_OF_MANY = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")  # not those whose further pictures are previews or layers
_PILLOW = threading.Lock()


@contextmanager
def _pillow(max_pixels: int | None) -> Iterator[None]:
    """Pillow under our limit in place of its own, saying nothing.

    Its limit and the warning filters belong to the whole process, so one thread at a time changes them, and
    puts them back. Holding ours inside the decoders too stops a small file that carries a huge one (ICO,
    TIFF).
    """
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _pixels(image: Image.Image, name: str, max_pixels: int | None, *, managed: bool) -> Pixels:
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise _too_large(name, image.size, max_pixels)
    if image.width * image.height == 0:
        raise InputError(f"{name} has no pixels ({image.width}x{image.height}); give an image")
    try:
        with _pillow(max_pixels):
            stored, deep = _stored_mode(image), _Deep.of(image)
            image.load()
            upright = _with_8_bit_key(_upright(image), stored)
            colour, alpha = _channels(upright, deep)
        rgb = _rgb(colour, _srgb_transform(colour, image.info.get("icc_profile") if managed else None))
    except InputError as error:
        raise InputError(f"{name} {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _hides_more(name, max_pixels) from error
    except Exception as error:  # a damaged file makes a decoder raise anything
        raise _damaged(name, error) from error
    return rgb, None if alpha is None or alpha.min() == 255 else alpha


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: that one writes the EXIF block anew, and fails where one tag is damaged.
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - a block that can't be parsed names no orientation; the photo is whole
        turn = None
    return image if turn is None else image.transpose(turn)


_GREY_STEPS = {"1": 255, "L;2": 85, "L;4": 17}
_DEEP = "RGB;16B"


def _stored_mode(image: Image.Image) -> str:
    """Pillow's name of how a file stores its pixels, such as ``L;4``; empty where it has been decoded before."""
    tiles = getattr(image, "tile", [])
    found = tiles[0][3] if tiles else ""
    return found if isinstance(found, str) else ""


def _with_8_bit_key(image: Image.Image, stored: str) -> Image.Image:
    """The image with its transparent colour in 8 bits: of a PNG Pillow scales the pixels and leaves that as it was."""
    key = image.info.get("transparency")
    scaled = key
    if isinstance(key, int):
        scaled = min(255, key * _GREY_STEPS[stored]) if stored in _GREY_STEPS else key  # newer Pillow scales some
    elif isinstance(key, tuple) and (stored == _DEEP or max(key) > 255):
        scaled = tuple(value >> 8 for value in key)
    if scaled == key:
        return image
    image = image.copy()
    image.info["transparency"] = scaled
    return image


@dataclass(frozen=True)
class _Deep:
    """How a TIFF's greys of more than 8 bits are to be read, which Pillow leaves to its caller."""

    bits: int
    unsigned: bool
    white_is_zero: bool

    @classmethod
    def of(cls, image: Image.Image) -> _Deep:
        tags = getattr(image, "tag_v2", {})

        def first(tag: int, default: int) -> int:
            value = tags.get(tag, default)
            value = value[0] if isinstance(value, tuple) and value else value
            return value if isinstance(value, int) else default

        return cls(
            first(TiffImagePlugin.BITSPERSAMPLE, 16),
            first(TiffImagePlugin.SAMPLEFORMAT, 1) == 1,
            bool(tags) and first(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1) == 0,
        )

    def to_8_bit(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        if values.dtype == np.int32 and self.unsigned and self.bits == 32:
            values = values.view(np.uint32)  # Pillow has no such mode
        grey = _to_8_bit(values, full=2**self.bits - 1 if self.bits < 16 else 65535)
        return 255 - grey if self.white_is_zero else grey


def _channels(image: Image.Image, deep: _Deep) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Split an image of any mode into its colours, of mode L, RGB or CMYK, and its alpha."""
    key = image.info.get("transparency")
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        hidden = values == key if isinstance(key, int) else None
        return Image.fromarray(deep.to_8_bit(values)), None if hidden is None else _opaque_but(hidden)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode != "CMYK" and image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA")
        image = image.convert("LA" if grey else "RGBA")
        return image.convert("L" if grey else "RGB"), np.array(image.getchannel("A"))
    if image.mode == "1":
        return image.convert("L"), None
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB"), None


def _opaque_but(hidden: NDArray[np.bool_]) -> NDArray[np.uint8]:
    alpha: NDArray[np.uint8] = np.where(hidden, np.uint8(0), np.uint8(255))
    return alpha


def _to_8_bit(values: NDArray[Any], *, full: int) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise InputError("holds values that are not finite; replace NaN and infinity")
    low, high = float(values.min()), float(values.max())
    span = high - low
    if values.dtype.kind == "f" and low >= 0 and high <= 255:
        low, span = 0.0, 1.0 if high <= 1 else 255.0
    elif values.dtype.kind != "f" and low >= 0 and high <= full:
        low, span = 0.0, float(full)
    scaled = (values.astype(np.float64) - low) * (255 / (span or 1.0))
    return np.rint(scaled).astype(np.uint8)


_STRIP = 1 << 21  # pixels
_PROFILE_MODES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}


def _rgb(colour: Image.Image, transform: ImageCms.ImageCmsTransform | None) -> NDArray[np.uint8]:
    """The colours as an array, taken over in strips: a conversion of the whole would be a second image in memory."""
    rgb = np.empty((colour.height, colour.width, 3), np.uint8)
    rows = max(1, _STRIP // colour.width)
    for top in range(0, colour.height, rows):
        bottom = min(colour.height, top + rows)
        strip = colour if bottom - top == colour.height else colour.crop((0, top, colour.width, bottom))
        managed = None if transform is None else ImageCms.applyTransform(strip, transform)
        rgb[top:bottom] = np.asarray(strip.convert("RGB") if managed is None else managed)
    return rgb


def _srgb_transform(colour: Image.Image, icc: object) -> ImageCms.ImageCmsTransform | None:
    """What converts to sRGB, where there is a profile that fits and changes something."""
    if not isinstance(icc, bytes) or not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if _PROFILE_MODES.get(profile.profile.xcolor_space.strip()) != colour.mode:
            return None
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            colour.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if _changes_nothing(transform, colour.mode):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError):  # broken: documented to be taken as sRGB
        return None
    return transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a profile is one of the many written forms of sRGB, which would only add rounding."""
    if mode == "CMYK":
        return False
    steps = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    probe = Image.fromarray(grid)
    moved = np.asarray(ImageCms.applyTransform(probe, transform), dtype=np.int16)
    return bool(np.abs(moved - np.asarray(probe.convert("RGB"), dtype=np.int16)).max() <= 1)
