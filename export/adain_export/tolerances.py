"""What a backend may differ from PyTorch by: ``tolerances.toml``, the one place that exports, demo and parity read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Literal, get_args

from adain_export import records
from adain_export.target import BYTES
from adain_runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("tolerances.toml")
ANY = "any"
PartName = Literal["encoder", "decoder", "stylizer"]
_ROUNDED = {"max_abs": 1.01 / 255, "composition": 1e-3, "content_loss": 2e-2, "style_loss": 5e-3}
"""What is added where images are bytes, as values between two of them fall either way: one step; the worst of 32 cases
of both networks in ONNX Runtime and OpenVINO was 2.0e-4, 5.4e-3 (a style of one colour) and 1.4e-3."""
_BYTES_PSNR = 55.0
_LARGEST = 1 << 20  # bytes of a TOML file that a person wrote


@dataclass(frozen=True)
class Metrics:
    """How far one part of a backend is from the reference on the same inputs, or what it may be.

    Image numbers are of images in [0, 1]. As a measurement, None is a number that this part doesn't have or that
    could not be computed because a value was not finite; as a limit, None is no limit.

    Attributes:
        max_abs: largest absolute difference of the image. Limit: at most.
        mean_abs: mean absolute difference of the image. Limit: at most.
        psnr: dB, peak 1; None also where the images are equal to the last bit (``max_abs`` is 0). Limit: at least.
        ssim: structural similarity of the luminance, at most 1; None for a side under 11 pixels. Limit: at least.
        mean_error: relative L2 error of the channels' means. Limit: at most.
        std_error: relative L2 error of the channels' standard deviations. Limit: at most.
        relative_l2: of the features, or of the image where that is what the part gives: ``|found - wanted| /
            |wanted|``. Limit: at most.
        cosine: of the features as one vector, at most 1. Limit: at least.
        statistics: the worse of mean and standard deviation against the reference's own formula on the part's own
            features, relative L2: what the statistics alone are off by, whatever the precision. Limit: at most.
        composition: the stylizer's image against the same backend's encoder and decoder with the reference's AdaIN
            between them, relative L2: what AdaIN alone is off by, whatever the precision. Limit: at most.
        content_loss: the backend's content loss minus the reference's, over the reference's, by the model's own
            encoder; signed as a measurement, its size is held to the limit. Limit: at most.
        style_loss: the same of the style loss.
    """

    max_abs: float | None = None
    mean_abs: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    mean_error: float | None = None
    std_error: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None
    statistics: float | None = None
    composition: float | None = None
    content_loss: float | None = None
    style_loss: float | None = None

    def beyond(self, limits: Metrics) -> tuple[str, ...]:
        """What of a measurement is beyond its limit, a phrase each, such as ``psnr 31.2 below 40``."""
        wanted = asdict(limits)
        found = []
        for name, value in asdict(self).items():
            limit = wanted[name]
            if value is None or limit is None:
                continue
            if name in AT_LEAST and not value >= limit:
                found.append(f"{name} {value:.4g} below {limit:g}")
            elif name not in AT_LEAST and not abs(value) <= limit:
                found.append(f"{name} {value:.3g} over {limit:g}")
        return tuple(found)


AT_LEAST = frozenset(("psnr", "ssim", "cosine"))
"""The metrics that are good when large; all others are good when small."""


@dataclass(frozen=True)
class Limits:
    """What one precision of one backend is held to.

    Attributes:
        encoder: fed with an image.
        decoder: fed with the reference's features, scale and shift.
        stylizer: fed with an image and the reference's style.
        layer: relative L2 error of any layer of the graph on the reference's input to the part.
    """

    encoder: Metrics
    decoder: Metrics
    stylizer: Metrics
    layer: float

    def part(self, name: str) -> Metrics:
        """A part's limits by the part's name."""
        found: Metrics = getattr(self, name)
        return found

    @property
    def least_psnr(self) -> float:
        """What every image must reach at least, in dB: the lower of the two parts' limits; -inf where one has none."""
        return min(-inf if part.psnr is None else part.psnr for part in (self.decoder, self.stylizer))


UNLIMITED = Limits(Metrics(), Metrics(), Metrics(), inf)
"""For who waives all limits and wants the numbers alone."""


def limits_of(
    backend: str, precision: str, table: Mapping[str, Mapping[str, Limits]] | None = None, *, target: str = ""
) -> Limits:
    """The limits of a precision: the backend's own, else those of its target, else those of ``any``.

    A label that ends with ``-uint8`` has those of what is before it, loosened by `on_bytes`.
    A label that says how weights are stored, such as ``fp16-pal6``, has its own limits or those of ``pal6``.

    Args:
        backend: its name.
        precision: a bundle's label.
        table: other limits than the package's, from `load`.
        target: what made the bundles that it runs, where that has another name.

    Raises:
        InputError: nobody has set any for this precision.
    """
    if precision.endswith(BYTES):
        return on_bytes(limits_of(backend, precision.removesuffix(BYTES), table, target=target))
    known = built_in() if table is None else table
    names = [name for name in (backend, target, ANY) if name in known]
    stored = precision.removeprefix("fp16-").removeprefix("fp32-")
    for name in names:
        for label in (precision, stored):
            if label in known[name]:
                return known[name][label]
    has = sorted({label for name in names for label in known[name]})
    raise InputError(f"no tolerance is set for {backend} {precision}, only for {', '.join(has)}: add it to {FILE.name}")


def coreml_label(precision: str, io: str) -> str:
    """What the limits of a Core ML package go by: its precision, but images of bytes round around float32 too."""
    return "fp32-8bits" if (precision, io) == ("fp32", "image") else precision


def on_bytes(limits: Limits) -> Limits:
    """Limits where images are bytes: a value between two of them may be rounded to either, and that in few places."""

    def loosened(part: Metrics) -> Metrics:
        wider = {
            name: None if (limit := getattr(part, name)) is None else limit + more for name, more in _ROUNDED.items()
        }
        return replace(part, **wider, psnr=None if part.psnr is None else min(part.psnr, _BYTES_PSNR))

    return replace(limits, decoder=loosened(limits.decoder), stylizer=loosened(limits.stylizer))


@cache
def built_in() -> Mapping[str, Mapping[str, Limits]]:
    """The package's limits: backend (or ``any``) to precision to limits."""
    return load(FILE)


def load(path: Path) -> dict[str, dict[str, Limits]]:
    """Limits from a TOML file: tables ``[BACKEND.PRECISION.PART]``, and ``layer`` in ``[BACKEND.PRECISION]``.

    Raises:
        InputError: no such file, not TOML, or a field that is missing, unknown or no number.
    """
    plain = read_toml(path)
    found: dict[str, dict[str, Limits]] = {}
    for backend, precisions in plain.items():
        if not isinstance(precisions, dict):
            raise InputError(f"{path}: {backend}: expected tables [{backend}.PRECISION.PART]")
        for precision, table in precisions.items():
            found.setdefault(backend, {})[precision] = records.read(Limits, f"{path}: {backend}.{precision}", table)
    return found


def read_toml(path: Path) -> dict[str, object]:
    """A TOML file that a person wrote.

    Raises:
        InputError: no such file, too large, or not TOML.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise InputError(f"{path}: is no file, and a TOML file is wanted")
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: too large ({path.stat().st_size:,} bytes) for a TOML file that a person wrote")
        plain: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({error}); check the path") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML ({error}); mend that line") from error
    return plain


PARTS: tuple[PartName, ...] = get_args(PartName)
