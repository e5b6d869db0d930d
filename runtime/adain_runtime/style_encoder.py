"""Styles from images: encoded once and kept where they are files, or left images where they are recoloured first."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from adain_runtime.arguments import whole_number
from adain_runtime.backend import Session
from adain_runtime.errors import InputError
from adain_runtime.image import ImageLike, Photo, load_image, resize_shorter
from adain_runtime.moments import Moments
from adain_runtime.planes import planes_for
from adain_runtime.sizes import largest_shorter_side
from adain_runtime.style import SUFFIX, Style, check_encoder
from adain_runtime.style_cache import StyleCache
from adain_runtime.tiled import TiledPicture
from adain_runtime.tiling import choose_side

StyleLike = Style | ImageLike  # a Style, an image, or the path of an image or of a .adainstyle file


_COUNTS = re.compile(r" \(\d.*\)")  # what Core ML's device says of its operations, once something has run


class StyleEncoder:
    """Makes styles with the encoder of an open bundle.

    Args:
        session: an open bundle.
        cache: where styles made from image files are kept.
    """

    def __init__(self, session: Session, cache: StyleCache) -> None:
        self._session, self._cache = session, cache

    def prepare(self, source: StyleLike, recolour: bool, size: int | None, max_pixels: int | None) -> Style | Photo:
        """A style's numbers, or its image where it is to be recoloured after each content first.

        Raises:
            InputError: the image can't be read, the style belongs to another encoder, or is to be recoloured and
                has no image.
        """
        for argument, number in (("size", size), ("max_pixels", max_pixels)):
            if number is not None:
                whole_number(argument, number)
        name = Path(source).name if isinstance(source, (str, os.PathLike)) else ""
        if isinstance(source, (str, os.PathLike)) and name.endswith(SUFFIX):
            source = replace(Style.load(source), source=os.fspath(source))
        if isinstance(source, Style):
            manifest = self._session.bundle.manifest
            where = f"the model {manifest.folder_name}"
            check_encoder(source, manifest.encoder_id, manifest.spec.channels, where)
            if recolour:
                raise InputError(
                    f"style {source.source or '(unnamed)'}: preserve-color match recolours the style's image, and a "
                    "saved style has none; give the image, or use luminance"
                )
            return source
        key = None
        if not recolour and isinstance(source, (str, os.PathLike)):
            key = self._cache.key(Path(source), *self._facts(), size, max_pixels)
            if (kept := self._cache.load(key, self._session.bundle.manifest.encoder_id, name)) is not None:
                return kept
        photo = load_image(source, max_pixels=max_pixels)
        if size is not None:
            photo = resize_shorter(photo, size, enlarge=False)
        if recolour:
            return photo
        device = self._session.device
        style = self.encode(photo, name)
        if self._session.device.startswith(device):  # it may say more by now; another is a fallback, known only now
            self._cache.keep(key, style)
        return style

    def _facts(self) -> tuple[object, ...]:
        """What a style's last digits depend on beside the image: the encoder, its precision and what runs it."""
        manifest = self._session.bundle.manifest
        encoder = sorted(entry.sha256 for entry in manifest.files.values())
        device = _COUNTS.sub("", self._session.device)
        return (manifest.encoder_id, manifest.target, manifest.precision, device, *encoder)

    def encode(self, photo: Photo, name: str = "") -> Style:
        """The statistics of an image's features where it shows; of a large one in tiles, which gives the same."""
        manifest = self._session.bundle.manifest
        if manifest.sizes.exact:
            fitting = largest_shorter_side(photo.height, photo.width, manifest.sizes)
            photo = resize_shorter(photo, min(fitting, photo.height, photo.width), enlarge=False)
        side = choose_side(manifest, photo.height, photo.width, "auto", decode=False)
        if side is not None or photo.alpha is not None:
            picture, moments = TiledPicture(self._session, photo.rgb, side), Moments.nothing(manifest.spec.channels)
            counts = picture.counts(photo.alpha)
            for tile, features in picture.encode():
                moments = moments.merged(Moments.of(features, None if counts is None else counts[tile.cells]))
            spread = moments.std(correction=manifest.spec.correction, eps=manifest.spec.eps)
            return Style(moments.mean.astype(np.float32), spread.astype(np.float32), manifest.encoder_id, name)
        planes = planes_for([photo.rgb], manifest.sizes)
        out = self._session.run("encoder", {"image": planes})
        mean, std = (out[key].astype(np.float32).reshape(-1) for key in ("mean", "std"))
        return Style(mean, std, manifest.encoder_id, name)
