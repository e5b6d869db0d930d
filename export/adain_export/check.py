"""The end of every export: the written files, run by a backend, against torch on sizes that were not traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adain_export.graphs import part_module, with_precision
from adain_export.target import Request
from adain_model.network import Network
from adain_runtime.backend import Array, Session
from adain_runtime.errors import QualityError
from adain_runtime.manifest import Parity
from adain_runtime.metrics import max_abs, psnr

SIZES = (
    (1, 64, 200),
    (1, 136, 136),
    (2, 80, 96),
)  # batch, height, width: not square, 64 px high, a batch of 2
_SEED = 20170320  # any number; the day the AdaIN paper was submitted
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Tolerance:
    """What a precision may differ from float32 torch by.

    Attributes:
        max_abs: on images in [0, 1].
        psnr: dB, on images.
        relative: largest difference of features, means and standard deviations over their largest magnitude.
    """

    max_abs: float
    psnr: float
    relative: float


# fp16: over 23 pairs of real pictures VGG-19 in half-precision torch is at worst 0.088 and 48.8 dB away, the pilot
# student better (benchmarks/results/vgg19_parity.json); the limits leave room for other weights. int8: with all but the
# first and last convolution in int8, mse ranges, the cases below had 35.0 dB, 0.17 and 0.062 at worst (lite, VGG-19).
# Stored weights, on the cases below at worst: fp16 77.7 dB and 0.0015, int8 in MNN 43.2 dB and 0.093 (both VGG-19; the
# student 44.8 dB in int8); fp16 in MNN 63 dB and 0.004 on a photo.
TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_abs=1e-4, psnr=80.0, relative=1e-4),
    "fp32-w16": Tolerance(max_abs=0.05, psnr=50.0, relative=1e-2),
    "fp32-w8": Tolerance(max_abs=0.5, psnr=25.0, relative=0.2),
    "fp16": Tolerance(max_abs=0.15, psnr=40.0, relative=2e-2),
    "int8": Tolerance(max_abs=0.5, psnr=25.0, relative=0.2),
    "int8-fp16": Tolerance(max_abs=0.5, psnr=25.0, relative=0.2),
}


# MNN's float32 with Winograd's large tiles, which it takes unless told otherwise: 0.0029 and 84 dB on a photo of 512 px
# (VGG-19), 5.8e-4 and 88 dB at worst on the cases below; the limits leave room for other weights. docs/speed.md
WINOGRAD = Tolerance(max_abs=2e-2, psnr=60.0, relative=5e-3)


def check(
    session: Session, network: Network, request: Request, runtime: str, *, tolerance: Tolerance | None = None
) -> Parity:
    """Run every part of a bundle on every size and compare.

    A CPU runtime may keep float32 between the operations of an fp16 graph, and so looks better than a device that
    computes in half. So for fp16 the parts are also run in torch with every result rounded to float16, and the worse
    of the two is what holds and what is recorded.

    Args:
        session: the written bundle, open.
        network: as it was before rewrites and precision; the reference, in float32.
        request: what was exported; its precision says which tolerance holds.
        runtime: name and version of what runs the session, for the record.
        tolerance: what it may differ by; None takes the precision's.

    Raises:
        QualityError: a difference beyond the tolerance; names part, size and both numbers.
    """
    runners: dict[str, Callable[[str, Arrays], Arrays]] = {runtime: session.run}
    allowed = tolerance or TOLERANCES[request.accuracy]
    if request.io == "uint8":  # one step where a value lies between two bytes, and that in few places
        allowed = Tolerance(allowed.max_abs + 1.01 / 255, min(allowed.psnr, 55.0), allowed.relative)
    if request.accuracy == "fp16":
        half = with_precision(network, "fp16")
        runners["torch rounding to float16"] = lambda part, feeds: in_torch(part, half, feeds)
    worst, lowest, cases = 0.0, float("inf"), []
    for part in session.bundle.manifest.parts:
        for batch, height, width in SIZES:
            case = f"{part} {batch}x3x{height}x{width}"
            feeds = _feeds(part, network, batch, height, width)
            if request.io == "uint8":
                feeds = _on_bytes(feeds)
            wanted: Arrays = in_torch(part, network, feeds)
            if request.io == "uint8":
                wanted = _on_bytes(wanted)
            for name, run in runners.items():
                difference, decibels = _compare(f"{case} in {name}", wanted, run(part, feeds), request.label, allowed)
                worst, lowest = max(worst, difference), min(lowest, decibels)
            cases.append(case)
    return Parity(
        reference=f"torch {torch.__version__} fp32",
        runtime=" and ".join(runners),
        cases=tuple(cases),
        max_abs=worst,
        psnr=lowest if np.isfinite(lowest) else None,
    )


def _on_bytes(arrays: Arrays) -> Arrays:
    """The image as bytes hold it, still in [0, 1]."""
    return {
        name: np.rint(values * np.float32(255)) / np.float32(255) if name == "image" else values
        for name, values in arrays.items()
    }


def _compare(case: str, wanted: Arrays, found: Arrays, precision: str, tolerance: Tolerance) -> tuple[float, float]:
    """Largest difference and PSNR of the image; 0 and infinity for a part that gives none."""
    difference, decibels = 0.0, float("inf")
    for name, values in wanted.items():
        if name == "image":
            difference, decibels = max_abs(values, found[name]), psnr(values, found[name])
            if not (difference <= tolerance.max_abs and decibels >= tolerance.psnr):
                raise QualityError(
                    f"{case}: the image differs from torch by {difference:.2g} ({decibels:.1f} dB), and {precision} "
                    f"allows {tolerance.max_abs:g} ({tolerance.psnr:g} dB); nothing was written"
                )
        else:
            relative = max_abs(values, found[name]) / max(float(np.abs(values).max()), 1e-12)
            if not relative <= tolerance.relative:
                raise QualityError(
                    f"{case}: {name} differs from torch by {relative:.2g} of its largest value, and {precision} allows "
                    f"{tolerance.relative:g}; nothing was written"
                )
    return difference, decibels


@torch.inference_mode()
def in_torch(part: str, network: Network, feeds: Arrays) -> dict[str, Array]:
    """A part's outputs in torch, in the network's own precision."""
    outputs = part_module(part, network)(*(torch.from_numpy(values) for values in feeds.values()))
    names = {"encoder": ("features", "mean", "std")}.get(part, ("image",))
    values: tuple[Tensor, ...] = outputs if isinstance(outputs, tuple) else (outputs,)
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def _feeds(part: str, network: Network, batch: int, height: int, width: int) -> Arrays:
    """Inputs of one size: a picture with structure at all scales, and the statistics of another."""
    rng = np.random.default_rng([_SEED, batch, height, width])
    image, other = (pink_noise(rng, batch, height, width) for _ in range(2))
    make: Mapping[str, Callable[[], Arrays]] = {
        "encoder": lambda: {"image": image},
        "decoder": lambda: _decoder_feeds(network, image, rng),
        "stylizer": lambda: _stylizer_feeds(network, image, other, rng),
    }
    return make[part]()


def _stylizer_feeds(network: Network, image: Array, other: Array, rng: np.random.Generator) -> Arrays:
    style = in_torch("encoder", network, {"image": other})
    alpha = rng.uniform(*network.spec.alpha_range, (len(image), 1, 1, 1)).astype(np.float32)
    alpha[0] = network.spec.alpha_range[1]
    return {"image": image, "mean": style["mean"], "std": style["std"], "alpha": alpha}


def _decoder_feeds(network: Network, image: Array, rng: np.random.Generator) -> Arrays:
    """Scale varies over the map and shift doesn't, so that both ways of broadcasting are run."""
    features = in_torch("encoder", network, {"image": image})["features"]
    scale = rng.uniform(0.5, 1.5, features.shape).astype(np.float32)
    shift = rng.normal(0, 0.1, (*features.shape[:2], 1, 1)).astype(np.float32)
    return {"features": features, "scale": scale, "shift": shift}


def pink_noise(rng: np.random.Generator, batch: int, height: int, width: int) -> NDArray[np.float32]:
    """[N,3,H,W] in [0, 1] with the 1/f amplitude spectrum of photographs."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    phases = rng.uniform(0, 2 * np.pi, (batch, 3, height, width // 2 + 1))
    planes = np.fft.irfft2(amplitude * np.exp(1j * phases), s=(height, width))
    low, high = planes.min((2, 3), keepdims=True), planes.max((2, 3), keepdims=True)
    image: NDArray[np.float32] = ((planes - low) / (high - low)).astype(np.float32)
    return image
