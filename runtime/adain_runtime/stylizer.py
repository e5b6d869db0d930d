"""Images in, images out: padding, alpha, mixing, masks and colour around the three parts of a bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import isfinite
from sys import maxsize
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, cast, get_args

import numpy as np

from adain_runtime.arguments import real_number, several, whole_number
from adain_runtime.backend import Session, Sharing, open_bundle, release
from adain_runtime.cache import cache_folder
from adain_runtime.color import match_color, transfer_luminance
from adain_runtime.decode import stated_size
from adain_runtime.errors import InputError
from adain_runtime.image import ImageLike, Photo, load_image, load_mask, resize_shorter, to_pil
from adain_runtime.memory import available_memory
from adain_runtime.moments import Moments
from adain_runtime.planes import Floats, Pixels, planes_for, to_pixels
from adain_runtime.regions import (
    OneStyle,
    Regions,
    affine,
    cells_of_regions,
    check_mask_count,
    check_masks,
    region_masks,
)
from adain_runtime.spec import NetworkSpec
from adain_runtime.style import Style, mix, shares_of
from adain_runtime.style_cache import FOLDER, StyleCache, warn
from adain_runtime.style_encoder import StyleEncoder, StyleLike
from adain_runtime.tiled import Progress, TiledPicture
from adain_runtime.tiling import Tiling, check_decoder, check_tiling, choose_side, pictures_at_once

if TYPE_CHECKING:
    from PIL.Image import Image

PreserveColor = Literal["none", "luminance", "match"]
MAX_PIXELS = 100_000_000
STYLE_SIZE = 512
EMBEDDED_MODEL = "lite"

_S = TypeVar("_S", bound="Stylizer")


class Stylizer:
    """Stylises pictures of any size with an open bundle. A context manager; it closes the session that it is given."""

    def __init__(self, session: Session, cache: StyleCache | None = None) -> None:
        """Take over a session.

        Args:
            session: an open bundle.
            cache: where styles made from image files are kept; None keeps none.
        """
        self.session = session
        self._cache = cache or StyleCache(None, warn)
        self._encoder = StyleEncoder(session, self._cache)
        self._free_at_first = available_memory()

    @classmethod
    def open(
        cls: type[_S],
        model: str | os.PathLike[str] = EMBEDDED_MODEL,
        *,
        backend: str = "onnx",
        threads: int | None = None,
        provider: str | None = None,
        allow_fallback: bool = False,
        rebuild: bool = False,
        exact: bool = False,
        cache: bool = True,
        tell: Callable[[str], None] = warn,
    ) -> _S:
        """Open an embedded model by name, or a bundle folder.

        Args:
            model: an embedded model's name, or a bundle's folder.
            backend: what runs it.
            threads: see ``Options``, as the next two.
            provider: the device.
            allow_fallback: accept another device.
            exact: keep all of float32 where the backend has a faster way that loses some.
            rebuild: build an engine anew where it is not of this machine, on backends that can.
            cache: keep the statistics of styles that are files in the platform's cache folder (``ADAIN_CACHE`` names
                another, or says ``off``).
            tell: takes a line about what went wrong and stopped nothing, such as a cache that can't be written; by
                default a ``RuntimeWarning``.

        Raises:
            InputError: no such model or backend.
            UnavailableError: the backend or provider doesn't work here.
        """
        session = open_bundle(
            model,
            backend=backend,
            threads=threads,
            provider=provider,
            allow_fallback=allow_fallback,
            rebuild=rebuild,
            exact=exact,
        )
        return cls(session, StyleCache(cache_folder(FOLDER) if cache else None, tell))

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
        return self._encoder.prepare(source, preserve_color == "match", size, max_pixels)

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
        tile: Tiling = "auto",
        progress: Progress | None = None,
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
            tile: ``auto`` computes a picture in tiles where it would take too much memory as a whole, ``off`` never
                does, a number is the side of the largest tile in pixels. The picture is the same: docs/large-images.md.
            progress: told after each tile how many are done, and of how many; not called for a picture without tiles.

        Returns:
            A PIL image of the content's size, RGB, or RGBA where the content has transparency.

        Raises:
            InputError: anything that can't be taken as it is; the message names it and the fix.
            QualityError: the backend gave values that are not finite.
        """
        for name, number in (("size", size), ("style size", style_size), ("max_pixels", max_pixels)):
            if number is not None:
                whole_number(name, number)
        if isinstance(tile, str) and tile == "off" and size is None and isinstance(content, (str, os.PathLike)):
            self.check_whole(*stated_size(content, max_pixels))
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
                masks=[
                    load_mask(mask, size=(height, width), max_pixels=max_pixels) for mask in several("masks", masks)
                ],
                preserve_color=preserve_color,
                tile=tile,
                progress=progress,
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
        tile: Tiling = "auto",
        progress: Progress | None = None,
    ) -> list[Photo]:
        """Stylise decoded photos alike; those of one size run together, up to ``batch_size`` at a time.

        ``styles`` come from ``prepare``. The other arguments are those of a call on one image; masks are [H,W]
        float32 in [0, 1], and every photo must be of their size.
        """
        photos, styles, masks = several("photos", photos), several("styles", styles), several("masks", masks)
        weights = None if weights is None else several("weights", weights)
        for name, things, kinds in (("photos", photos, (Photo,)), ("styles", styles, (Style, Photo))):
            if strange := [thing for thing in things if not isinstance(thing, kinds)]:
                made = "load_image makes one" if kinds == (Photo,) else "Stylizer.prepare makes one"
                raise InputError(f"{name} must be of {kinds[0].__name__}, found {type(strange[0]).__name__}; {made}")
        self.check(len(styles), weights, alpha, preserve_color, batch_size, masks=len(masks), tile=tile)
        alpha = float(alpha)
        if preserve_color == "match":
            per_photo = [[self._matched(style, photo) for style in styles] for photo in photos]
        else:
            shared = [style if isinstance(style, Style) else self._encoder.encode(style) for style in styles]
            per_photo = [shared] * len(photos)
        results: list[Photo | None] = [None] * len(photos)
        for group, side in self._groups(photos, 1 if masks else batch_size, tile):
            alone = group[0]
            if masks:
                pixels = [self._regions(photos[alone], per_photo[alone], masks, alpha, side, progress)]
            elif side is not None:
                pixels = [self._tiled(photos[alone], mix(per_photo[alone], weights), alpha, side, progress)]
            else:
                mixed = [mix(per_photo[i], weights) for i in group]
                pixels = self._whole([photos[i] for i in group], mixed, alpha)
            for i, rgb in zip(group, pixels, strict=True):
                kept = transfer_luminance(rgb, photos[i].rgb) if preserve_color == "luminance" else rgb
                results[i] = replace(photos[i], rgb=kept)
        return [photo for photo in results if photo is not None]

    def _groups(self, photos: Sequence[Photo], batch_size: int, tile: Tiling) -> Iterator[tuple[list[int], int | None]]:
        """Indices of photos of one size that run together, at most ``batch_size``, or one alone and its tile's side."""
        manifest = self.session.bundle.manifest
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, photo in enumerate(photos):
            by_size.setdefault((photo.height, photo.width), []).append(i)
        for size, indices in by_size.items():
            together = min(batch_size, len(indices), self._largest_batch)
            if tile == "auto":
                together = min(together, pictures_at_once(manifest, *size))
            side = self._side(size, tile, together)
            step = together if side is None else 1
            for start in range(0, len(indices), step):
                yield indices[start : start + step], side

    def _side(self, size: tuple[int, int], tile: Tiling, together: int) -> int | None:
        """`choose_side`, with what the graphs hold of the picture before given back where that changes it."""
        ask = partial(choose_side, self.session.bundle.manifest, *size, tile, together=together)
        with suppress(InputError):  # what is free beside the graphs may not do
            if (side := ask()) == ask(free=self._most_free()):
                return side
        self.release()
        return ask()

    def _most_free(self) -> int | None:
        """Bytes that are free, or were before the graphs held any; None where the system doesn't tell."""
        now = available_memory()
        return None if now is None or self._free_at_first is None else max(now, self._free_at_first)

    def check(
        self,
        styles: int,
        weights: Sequence[float] | None = None,
        alpha: float = 1.0,
        preserve_color: str = "none",
        batch_size: int = 1,
        *,
        masks: int = 0,
        tile: Tiling = "auto",
    ) -> None:
        """Refuse settings that don't fit this model or each other, before any work is done.

        Raises:
            InputError: see the arguments of a call.
        """
        shares_of(styles, weights)
        low, high = self.spec.alpha_range
        alpha = real_number("alpha", alpha)
        if not (isfinite(alpha) and low <= alpha <= high):
            raise InputError(f"alpha must be a number from {low:g} to {high:g}, found {alpha}")
        if preserve_color not in get_args(PreserveColor):
            choices = ", ".join(get_args(PreserveColor))
            raise InputError(f"preserve-color must be one of {choices}, found {preserve_color!r}")
        if masks and weights is not None:
            raise InputError("weights and masks exclude each other: a mask says where a style goes, and how much")
        if masks:
            check_mask_count(masks, styles)
            check_decoder(self.session.bundle.manifest, "masks")
        if whole_number("batch size", batch_size) < 1:
            raise InputError(f"batch size must be at least 1, found {batch_size}")
        check_tiling(self.session.bundle.manifest, tile)

    @property
    def _largest_batch(self) -> int:
        """How many pictures the graphs take together; a format may fix it."""
        found = [part.inputs[0].shape[0] for part in self.session.bundle.manifest.parts.values()]
        return min((axis for axis in found if isinstance(axis, int)), default=maxsize)

    def _matched(self, style: Style | Photo, photo: Photo) -> Style:
        if isinstance(style, Style):
            raise InputError("preserve-color match needs styles from prepare(..., preserve_color='match')")
        matched = match_color(style.rgb, photo.rgb, style_alpha=style.alpha, content_alpha=photo.alpha)
        return self._encoder.encode(replace(style, rgb=matched))

    def _whole(self, photos: list[Photo], styles: list[Style], alpha: float) -> list[Pixels]:
        images = [photo.rgb for photo in photos]
        fed = [self._fed(photo, style, alpha) for photo, style in zip(photos, styles, strict=True)]
        feeds = {
            "image": planes_for(images, self.session.bundle.manifest.sizes),
            "mean": np.stack([mean for mean, _, _ in fed])[:, :, None, None],
            "std": np.stack([std for _, std, _ in fed])[:, :, None, None],
            "alpha": np.array([share for _, _, share in fed], np.float32)[:, None, None, None],
        }
        made = [np.empty_like(image, order="C") for image in images]
        for planes, pixels in zip(self.session.run("stylizer", feeds)["image"], made, strict=True):
            to_pixels(planes, pixels)
        return made

    def _fed(self, photo: Photo, style: Style, alpha: float) -> tuple[Floats, Floats, float]:
        """The style's mean and std, and alpha, as the stylizer is fed with them.

        The stylizer counts all of a content alike. For a photo with hidden parts the numbers are those by which it
        arrives at the scale and shift that the shown part asks for: ``scale = std / content_std`` and
        ``shift = mean - scale * content_mean`` solved for ``mean`` and ``std``.
        """
        if photo.alpha is None:
            return style.mean, style.std, alpha
        picture, spec = TiledPicture(self.session, photo.rgb, None), self.spec
        whole, shown = Moments.nothing(spec.channels), Moments.nothing(spec.channels)
        counts = picture.counts(photo.alpha)
        for tile, features in picture.encode():
            whole = whole.merged(Moments.of(features))
            shown = shown.merged(Moments.of(features, None if counts is None else counts[tile.cells]))
        scale, shift = affine(shown, style, alpha, correction=spec.correction, eps=spec.eps)
        mean = shift + scale * whole.mean
        std = scale * whole.std(correction=spec.correction, eps=spec.eps)
        return mean.astype(np.float32), std.astype(np.float32), 1.0

    def _tiled(self, photo: Photo, style: Style, alpha: float, side: int, progress: Progress | None) -> Pixels:
        picture, spec = TiledPicture(self.session, photo.rgb, side), self.spec
        counts = picture.counts(photo.alpha)
        restyle = OneStyle(style, alpha, correction=spec.correction, eps=spec.eps, counts=counts)
        made = np.empty_like(photo.rgb, order="C")
        for rows, columns, planes in picture.stylize(restyle, progress=progress):
            to_pixels(planes, made[rows, columns])
        return made

    def _regions(
        self,
        photo: Photo,
        styles: list[Style],
        masks: Sequence[Floats],
        alpha: float,
        side: int | None,
        progress: Progress | None,
    ) -> Pixels:
        image = photo.rgb
        check_masks(masks, len(styles), photo.height, photo.width)
        picture = TiledPicture(self.session, image, side)
        restyle = Regions(
            cells_of_regions(masks, len(styles), self.spec.stride, padded=picture.padded, repeated=picture.repeated),
            styles,
            alpha,
            correction=self.spec.correction,
            eps=self.spec.eps,
            counts=picture.counts(photo.alpha),
        )
        made = np.empty_like(image, order="C")
        for rows, columns, planes in picture.stylize(restyle, progress=progress):
            stylized, below = made[rows, columns], image[rows, columns]
            to_pixels(planes, stylized)
            there = [mask[rows, columns] for mask in masks]
            covered = region_masks(there, len(styles), *below.shape[:2]).sum(0)[..., None]
            stylized[...] = np.rint(covered * stylized + (1 - covered) * below)
        return made

    def shared(self, callers: int) -> Stylizer | None:
        """A second stylizer of the same bundle, whose ``stylize`` as many threads may call at once.

        Each has its share of the CPU's cores, which gets more pictures done than one after the other with all cores,
        and each a little later. The one who asked closes it.

        Returns:
            None where the backend, its device or the number of cores don't allow that.
        """
        session = self.session.shared(callers) if isinstance(self.session, Sharing) else None
        return None if session is None else Stylizer(session, self._cache)

    def whole_at_once(self, height: int, width: int, pictures: int, tile: Tiling = "auto") -> bool:
        """Whether so many pictures of a size fit the memory that ``auto`` takes, and none is computed in tiles."""
        manifest = self.session.bundle.manifest
        enough = pictures_at_once(manifest, height, width) >= pictures
        return enough and choose_side(manifest, height, width, tile) is None

    def check_whole(self, height: int, width: int) -> None:
        """Refuse a size that would take more memory as a whole than is free, by an estimate.

        What the graphs hold of the picture before is free for the next, so what was free at first counts too.

        Raises:
            InputError: it would; the message has both.
        """
        choose_side(self.session.bundle.manifest, height, width, "off", free=self._most_free())

    def release(self) -> None:
        """Give back the memory that graphs hold between runs, where the backend can; the next run loads them anew."""
        for part in self.session.bundle.manifest.parts:
            release(self.session, part)

    def close(self) -> None:
        """Close the session."""
        self.session.close()

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_list(styles: StyleLike | Sequence[StyleLike]) -> list[StyleLike]:
    return list(styles) if isinstance(styles, (list, tuple)) else [cast(StyleLike, styles)]
