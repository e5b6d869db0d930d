"""A style: 2 x C numbers that say how a painting looks, to keep, send, mix and use on any backend."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adain_runtime.arguments import a_path, real_number, several
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file

SUFFIX = ".adainstyle"
_FORMAT = 1
_METADATA = "adain_style"
_MAX_BYTES = 1 << 24  # 2 x C float32 are a few kilobytes


@dataclass(frozen=True, eq=False)
class Style:
    """Channel-wise statistics of an encoded style image, or a mix of several.

    Attributes:
        mean: [C] float32.
        std: [C] float32, not negative.
        encoder_id: the encoder that made them; they mean nothing to another.
        source: what it was made from, for people to read.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    encoder_id: str
    source: str = ""

    def __post_init__(self) -> None:
        mean, std = self.mean, self.std
        others = [type(values).__name__ for values in (mean, std) if not isinstance(values, np.ndarray)]
        if others:
            raise InputError(f"a style's mean and std must be numpy arrays [C] of float32, found {others[0]}")
        if mean.ndim != 1 or mean.shape != std.shape or not mean.size:
            raise InputError(f"a style needs mean and std of one shape [C], found {mean.shape} and {std.shape}")
        if mean.dtype != np.float32 or std.dtype != np.float32:
            raise InputError(f"a style's mean and std must be float32, found {mean.dtype} and {std.dtype}")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise InputError("a style's mean and std must be finite and its std not negative")

    @property
    def channels(self) -> int:
        """Channels C of the encoder."""
        return int(self.mean.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Style):
            return NotImplemented
        same = self.encoder_id == other.encoder_id
        return same and np.array_equal(self.mean, other.mean) and np.array_equal(self.std, other.std)

    def __repr__(self) -> str:
        return f"Style({self.channels} channels, encoder {self.encoder_id}, from {self.source or 'unnamed'!r})"

    def __hash__(self) -> int:
        return hash((self.encoder_id, (self.mean + 0.0).tobytes(), (self.std + 0.0).tobytes()))  # -0.0 equals 0.0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.adainstyle`` file: safetensors with the tensors ``mean`` and ``std``.

        Raises:
            InputError: the file can't be written, or has another suffix.
        """
        from safetensors.numpy import save

        check_suffix(a_path("a style's file", path))
        facts = {"format": _FORMAT, "encoder_id": self.encoder_id, "source": self.source}
        # one entry, since safetensors writes several in an order that changes from call to call
        metadata = {_METADATA: json.dumps(facts, sort_keys=True)}
        with replacing_file(Path(path)) as part:
            # safetensors writes the memory behind a strided array, not what the array reads
            tensors = {"mean": np.ascontiguousarray(self.mean), "std": np.ascontiguousarray(self.std)}
            part.write_bytes(save(tensors, metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Style:
        """Read a ``.adainstyle`` file.

        Raises:
            InputError: missing, damaged, of a newer format, or not a style.
        """
        path = a_path("a style's file", path)
        again = f"make it again with: adain-style make IMAGE -o {path}"
        if path.suffix != SUFFIX:
            again = f"a style is NAME{SUFFIX}, made with: adain-style make {path}"
        tensors, metadata = _read(path, again)
        if metadata.get("format") != _FORMAT:
            raise InputError(
                f"{path}: a style of format {metadata.get('format')}, and this version reads {_FORMAT}; {again}"
            )
        if set(tensors) != {"mean", "std"}:
            raise InputError(f"{path}: wants the tensors mean and std, found {sorted(tensors)}; {again}")
        for fact in ("encoder_id", "source"):
            if not isinstance(metadata.get(fact), str):
                raise InputError(f"{path}: a style without {fact!r}, or not as a text; {again}")
        try:
            return cls(tensors["mean"], tensors["std"], metadata["encoder_id"], metadata["source"])
        except InputError as error:
            raise InputError(f"{path}: {error}; {again}") from error


def check_suffix(path: Path) -> None:
    """Refuse a file that a style isn't saved as.

    Raises:
        InputError: it has another suffix.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: a style is saved as NAME{SUFFIX}")


def _read(path: Path, again: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise InputError(f"{path}: is no file; {again}")
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: too large to be a style ({path.stat().st_size:,} bytes); {again}")
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get(_METADATA, "null"))
            if not isinstance(facts, dict) or not all(isinstance(value, (int, str)) for value in facts.values()):
                raise InputError(f"{path}: safetensors, but no style; {again}")
            names = file.keys()
            others = sorted({file.get_slice(name).get_dtype() for name in names} - {"F32"})
            if others:  # looked at first: numpy has no word for some
                raise InputError(f"{path}: a style's mean and std must be float32, found {', '.join(others)}; {again}")
            return {name: file.get_tensor(name) for name in names}, facts
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}); check the path") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a style file, or cut short ({error}); {again}") from error


def mix(styles: Sequence[Style], weights: Sequence[float] | None = None) -> Style:
    """One style from several: the weighted mean of their statistics, so that (1, 0) is the first, exactly.

    Args:
        styles: at least one, all of one encoder.
        weights: one for each style, not negative, not all zero; scaled to a sum of 1. None weighs all alike.

    Raises:
        InputError: no styles, styles of different encoders, or weights that don't fit.
    """
    given: list[Style] = several("a mix's styles", styles)
    shares = shares_of(len(given), weights)
    if strange := [style for style in given if not isinstance(style, Style)]:
        raise InputError(f"a mix is of Styles, found {type(strange[0]).__name__}; Stylizer.style(...) makes one")
    first = given[0]
    for style in given[1:]:
        check_encoder(style, first.encoder_id, first.channels, "the first style")
    if len(given) == 1:
        return first

    def weighted(rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        # in float64, so that rounding does not depend on the order of the styles
        mixed: NDArray[np.float64] = np.einsum("k,kc->c", shares, np.stack(rows).astype(np.float64))
        return mixed.astype(np.float32)

    used = [(style, share) for style, share in zip(given, shares, strict=True) if share]
    source = " + ".join(f"{share:.3g} {style.source or 'style'}" for style, share in used)
    return Style(
        weighted([style.mean for style in given]),
        weighted([style.std for style in given]),
        first.encoder_id,
        source if len(used) > 1 else used[0][0].source,
    )


def shares_of(count: int, weights: Sequence[float] | None) -> NDArray[np.float64]:
    """Weights as shares of 1, float64.

    Raises:
        InputError: no styles, as many weights as not styles, or a weight that is negative or not finite, or all zero.
    """
    if count < 1:
        raise InputError("at least one style is needed")
    if weights is None:
        return np.full(count, 1 / count)
    weights = several("weights", weights)
    if len(weights) != count:
        raise InputError(f"styles: {count}, weights: {len(weights)} ({list(weights)}); give one weight for each style")
    shares = np.asarray([real_number("a weight", weight) for weight in weights], np.float64)
    with np.errstate(over="ignore"):
        total = shares.sum()
    if not np.isfinite(total) or (shares < 0).any() or not total > 0:
        raise InputError(f"weights must be finite, not negative and not all zero, found {list(weights)}")
    return np.asarray(shares / total)


def check_encoder(style: Style, encoder_id: str, channels: int, other: str) -> None:
    """Refuse a style of another encoder.

    Raises:
        InputError: the style's encoder is not the one named.
    """
    if style.encoder_id == encoder_id and style.channels != channels:
        raise InputError(
            f"style {style.source or '(unnamed)'} has {style.channels} channels and {other} has {channels}: the file "
            "was changed; make the style again (adain-style make --model)"
        )
    if style.encoder_id != encoder_id:
        raise InputError(
            f"style {style.source or '(unnamed)'} was made by encoder {style.encoder_id} and {other} has "
            f"encoder {encoder_id}: make the style again with the model that uses it (adain-style make --model)"
        )
