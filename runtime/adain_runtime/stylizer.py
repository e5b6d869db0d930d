"""Images in, images out: padding, alpha, mixing, masks and colour around the three parts of a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from adain_runtime.backend import Session, open_bundle
from adain_runtime.color import match_color, transfer_luminance
from adain_runtime.errors import InputError
from adain_runtime.image import ImageLike, Photo, load_image, load_mask, resize_shorter, to_pil
from adain_runtime.regions import Floats, cell_masks, check_mask_count, region_maps, region_masks
from adain_runtime.spec import NetworkSpec
from adain_runtime.style import SUFFIX, Style, check_encoder, mix, shares_of

if TYPE_CHECKING:
    from PIL.Image import Image

PreserveColor = Literal["none", "luminance", "match"]
StyleLike = Style | ImageLike  # a Style, an image, or the path of an image or of a .adainstyle file
MAX_PIXELS = 100_000_000
STYLE_SIZE = 512
EMBEDDED_MODEL = "lite"

_Pixels = NDArray[np.uint8]
_S = TypeVar("_S", bound="Stylizer")


class Stylizer:
    """Stylises pictures of any size with an open bundle. A context manager; it closes the session that it is given."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @classmethod
    def open(
        cls: type[_S],
        model: str | os.PathLike[str] = EMBEDDED_MODEL,
        *,
        backend: str = "onnx",
        threads: int | None = None,
        provider: str | None = None,
        allow_fallback: bool = False,
        exact: bool = False,
    ) -> _S:
        """Open an embedded model by name, or a bundle folder.

        Raises:
            InputError: no such model or backend.
            UnavailableError: the backend or provider doesn't work here.
        """
        return cls(
            open_bundle(
                model,
                backend=backend,
                threads=threads,
                provider=provider,
                allow_fallback=allow_fallback,
                exact=exact,
            )
        )

    @property
    def spec(self) -> NetworkSpec:
        """The network that runs."""
        return self.session.bundle.manifest.spec

    def style(self, source: StyleLike, *, size: int | None = STYLE_SIZE, max_pixels: int | None = MAX_PIXELS) -> Style:
        """A style from an image, or one that was saved.

        Args:
            source: an image, its path, the path of a ``.adainstyle`` file, or a Style, which is checked and returned.
            size: a larger image is first made smaller until its shorter side is this many pixels: the scale of brush
                strokes follows it. None takes the image as it is.
            max_pixels: the largest image to open.

        Raises:
            InputError: the image can't be read, or the style belongs to another encoder.
        """
        made = self.prepare(source, preserve_color="none", size=size, max_pixels=max_pixels)
        assert isinstance(made, Style)  # noqa: S101 for the type checker: only "match" keeps the image
        return made

    def prepare(
        self,
        source: StyleLike,
        *,
        preserve_color: PreserveColor = "none",
        size: int | None = STYLE_SIZE,
        max_pixels: int | None = MAX_PIXELS,
    ) -> Style | Photo:
        """What ``stylize`` needs of a style, made once for many contents: its numbers, or its image for ``match``.

        Raises:
            InputError: see ``style``; or a saved style together with ``match``, which recolours the style's image.
        """
        name = Path(source).name if isinstance(source, (str, os.PathLike)) else ""
        if isinstance(source, (str, os.PathLike)) and name.endswith(SUFFIX):
            source = replace(Style.load(source), source=os.fspath(source))
        if isinstance(source, Style):
            manifest = self.session.bundle.manifest
            where = f"the model {manifest.folder_name}"
            check_encoder(source, manifest.encoder_id, self.spec.channels, where)
            if preserve_color == "match":
                raise InputError(
                    f"style {source.source or '(unnamed)'}: preserve-color match recolours the style's image, and a "
                    "saved style has none; give the image, or use luminance"
                )
            return source
        photo = load_image(source, max_pixels=max_pixels)
        if size is not None:
            photo = resize_shorter(photo, size, enlarge=False)
        if preserve_color == "match":
            return photo
        return self._encode(photo, name)

    def __call__(
        self,
        content: ImageLike,
        styles: StyleLike | Sequence[StyleLike],
        *,
        weights: Sequence[float] | None = None,
        alpha: float = 1.0,
        masks: Sequence[ImageLike] = (),
        preserve_color: PreserveColor = "none",
        size: int | None = None,
        style_size: int | None = STYLE_SIZE,
        max_pixels: int | None = MAX_PIXELS,
    ) -> Image:
        """Stylise one image.

        Args:
            content: path, PIL image, or [H,W,3] uint8.
            styles: one style or several; each a Style, an image, or a path.
            weights: how much of each style, scaled to a sum of 1; None mixes them alike. Not together with masks.
            alpha: content-style trade-off, within the model's range (0 gives the plain reconstruction).
            masks: one for each style (white where it goes; unmasked parts stay the photo), or one fewer (the last
                style takes what is left).
            preserve_color: ``luminance`` keeps the content's chroma, ``match`` first gives the style image the
                content's colours (Gatys et al. 2016); ``match`` needs styles that are images.
            size: resize the content until its shorter side is this many pixels; None keeps its size.
            style_size: see ``style``.
            max_pixels: the largest image to open.

        Returns:
            A PIL image of the content's size, RGB, or RGBA where the content has transparency.

        Raises:
            InputError: anything that can't be taken as it is; the message names it and the fix.
            QualityError: the backend gave values that are not finite.
        """
        photo = load_image(content, max_pixels=max_pixels)
        if size is not None:
            photo = resize_shorter(photo, size, enlarge=True, max_pixels=max_pixels)
        height, width = photo.rgb.shape[:2]
        prepared = [
            self.prepare(style, preserve_color=preserve_color, size=style_size, max_pixels=max_pixels)
            for style in _as_list(styles)
        ]
        return to_pil(
            self.stylize(
                [photo],
                prepared,
                weights=weights,
                alpha=alpha,
                masks=[load_mask(mask, size=(height, width), max_pixels=max_pixels) for mask in masks],
                preserve_color=preserve_color,
            )[0]
        )

    def stylize(
        self,
        photos: Sequence[Photo],
        styles: Sequence[Style | Photo],
        *,
        weights: Sequence[float] | None = None,
        alpha: float = 1.0,
        masks: Sequence[Floats] = (),
        preserve_color: PreserveColor = "none",
        batch_size: int = 1,
    ) -> list[Photo]:
        """Stylise decoded photos alike; those of one size run together, up to ``batch_size`` at a time.

        ``styles`` come from ``prepare``. The other arguments are those of a call on one image; masks are [H,W]
        float32 in [0, 1], and every photo must be of their size.
        """
        self.check(len(styles), weights, alpha, preserve_color, batch_size, masks=len(masks))
        if preserve_color == "match":
            per_photo = [[self._matched(style, photo) for style in styles] for photo in photos]
        else:
            shared = [style if isinstance(style, Style) else self._encode(style) for style in styles]
            per_photo = [shared] * len(photos)
        results: list[Photo | None] = [None] * len(photos)
        for group in _groups(photos, 1 if masks else batch_size):
            if masks:
                pixels = [self._regions(photos[i].rgb, per_photo[i], masks, alpha) for i in group]
            else:
                mixed = [mix(per_photo[i], weights) for i in group]
                pixels = self._whole([photos[i].rgb for i in group], mixed, alpha)
            for i, rgb in zip(group, pixels, strict=True):
                kept = transfer_luminance(rgb, photos[i].rgb) if preserve_color == "luminance" else rgb
                results[i] = replace(photos[i], rgb=kept)
        return [photo for photo in results if photo is not None]

    def check(
        self,
        styles: int,
        weights: Sequence[float] | None = None,
        alpha: float = 1.0,
        preserve_color: str = "none",
        batch_size: int = 1,
        *,
        masks: int = 0,
    ) -> None:
        """Refuse settings that don't fit this model or each other, before any work is done.

        Raises:
            InputError: see the arguments of a call.
        """
        shares_of(styles, weights)
        low, high = self.spec.alpha_range
        if not (isfinite(alpha) and low <= alpha <= high):
            raise InputError(f"alpha must be a number from {low:g} to {high:g}, found {alpha}")
        if preserve_color not in get_args(PreserveColor):
            choices = ", ".join(get_args(PreserveColor))
            raise InputError(f"preserve-color must be one of {choices}, found {preserve_color!r}")
        if masks and weights is not None:
            raise InputError("weights and masks exclude each other: a mask says where a style goes, and how much")
        if masks:
            check_mask_count(masks, styles)
        if batch_size < 1:
            raise InputError(f"batch size must be at least 1, found {batch_size}")

    def _matched(self, style: Style | Photo, photo: Photo) -> Style:
        if isinstance(style, Style):
            raise InputError("preserve-color match needs styles from prepare(..., preserve_color='match')")
        return self._encode(replace(style, rgb=match_color(style.rgb, photo.rgb)))

    def _encode(self, photo: Photo, name: str = "") -> Style:
        manifest = self.session.bundle.manifest
        planes = to_planes([photo.rgb], manifest.sizes.multiple, manifest.sizes.minimum)
        out = self.session.run("encoder", {"image": planes})
        mean, std = (out[key].astype(np.float32).reshape(-1) for key in ("mean", "std"))
        return Style(mean, std, manifest.encoder_id, name)

    def _whole(self, images: list[_Pixels], styles: list[Style], alpha: float) -> list[_Pixels]:
        sizes = self.session.bundle.manifest.sizes
        feeds = {
            "image": to_planes(images, sizes.multiple, sizes.minimum),
            "mean": np.stack([style.mean for style in styles])[:, :, None, None],
            "std": np.stack([style.std for style in styles])[:, :, None, None],
            "alpha": np.full((len(images), 1, 1, 1), alpha, np.float32),
        }
        return _pixels(self.session.run("stylizer", feeds)["image"], *images[0].shape[:2])

    def _regions(self, image: _Pixels, styles: list[Style], masks: Sequence[Floats], alpha: float) -> _Pixels:
        sizes = self.session.bundle.manifest.sizes
        height, width = image.shape[:2]
        regions = region_masks(masks, len(styles), height, width)
        planes = to_planes([image], sizes.multiple, sizes.minimum)
        features = self.session.run("encoder", {"image": planes})["features"]
        below, right = planes.shape[2] - height, planes.shape[3] - width
        padded = np.pad(regions, ((0, 0), (0, below), (0, right)), mode="edge")
        scale, shift = region_maps(
            features[0].astype(np.float32),
            cell_masks(padded, self.spec.stride),
            styles,
            alpha,
            correction=self.spec.correction,
            eps=self.spec.eps,
        )
        decoded = self.session.run("decoder", {"features": features, "scale": scale, "shift": shift})["image"]
        stylized = _pixels(decoded, height, width)[0]
        covered = regions.sum(0)[..., None]
        blended: _Pixels = np.rint(covered * stylized + (1 - covered) * image).astype(np.uint8)
        return blended

    def close(self) -> None:
        """Close the session."""
        self.session.close()

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pad_to_fit(image: _Pixels, multiple: int, minimum: int) -> _Pixels:
    """[H,W,3] padded below and to the right to multiples of ``multiple``, at least ``minimum``.

    Reflected, or the edge repeated where a side has too little to reflect.
    """
    for axis in (0, 1):
        length = image.shape[axis]
        missing = -(-max(minimum, length) // multiple) * multiple - length
        if missing:
            widths = [(0, missing if a == axis else 0) for a in range(3)]
            image = np.pad(image, widths, mode="reflect" if missing < length else "edge")
    return image


def to_planes(images: list[_Pixels], multiple: int, minimum: int) -> Floats:
    """Images of one size as [N,3,H,W] float32 in [0, 1], padded."""
    padded = [pad_to_fit(image, multiple, minimum).transpose(2, 0, 1) for image in images]
    planes = np.empty((len(padded), *padded[0].shape), np.float32)
    for i, image in enumerate(padded):
        np.divide(image, np.float32(255), out=planes[i])
    return planes


def _pixels(planes: NDArray[np.floating], height: int, width: int) -> list[_Pixels]:
    """[N,3,H',W'] in [0, 1] as N images [height,width,3] uint8."""
    cropped = planes[:, :, :height, :width].astype(np.float32, copy=False).clip(0, 1)
    return list(np.ascontiguousarray(np.rint(cropped * np.float32(255)).astype(np.uint8).transpose(0, 2, 3, 1)))


def _groups(photos: Sequence[Photo], batch_size: int) -> Iterator[list[int]]:
    """Indices of photos of one size, in runs of at most ``batch_size``."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for i, photo in enumerate(photos):
        by_size.setdefault(photo.rgb.shape, []).append(i)
    for indices in by_size.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]


def _as_list(styles: StyleLike | Sequence[StyleLike]) -> list[StyleLike]:
    return list(styles) if isinstance(styles, (list, tuple)) else [cast(StyleLike, styles)]
