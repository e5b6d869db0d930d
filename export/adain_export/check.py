"""The end of every export: the written files, run by a backend, against torch on sizes that were not traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adain_export.graphs import part_module, with_precision
from adain_export.target import Request
from adain_export.tolerances import Limits, Metrics, limits_of, on_bytes
from adain_model.network import Network
from adain_runtime.backend import Array, Session
from adain_runtime.errors import QualityError
from adain_runtime.manifest import Parity
from adain_runtime.metrics import max_abs, psnr, relative_l2

SIZES = (
    (1, 64, 200),
    (1, 136, 136),
    (2, 80, 96),
)  # batch, height, width: not square, 64 px high, a batch of 2
_SEED = 20170320  # any number; the day the AdaIN paper was submitted
Arrays = Mapping[str, Array]
Run = Callable[[str, Arrays], Arrays]
"""A part's name and inputs to its outputs."""


class Pair(NamedTuple):
    """A photo and the painting whose style it gets.

    Attributes:
        name: such as ``coffee under ramparts``.
        content: [1,3,H,W] in [0, 1].
        style: the same.
    """

    name: str
    content: Array
    style: Array


def check(
    session: Session,
    network: Network,
    request: Request,
    runtime: str,
    *,
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    limits: Limits | None = None,
    eight_bits: bool = False,
    pairs: Sequence[Pair] = (),
) -> Parity:
    """Run every part of a bundle on every size and compare.

    A CPU runtime may keep float32 between the operations of an fp16 graph, and so looks better than a device that
    computes in half. So for fp16, the float layers of int8 too, the parts are also run in torch with every result
    rounded to float16, and the worse of the two is what holds and what is recorded.

    Args:
        session: the written bundle, open.
        network: as it was before rewrites and precision; the reference, in float32.
        request: what was exported; its precision and the bundle's target say which tolerance holds.
        runtime: name and version of what runs the session, for the record.
        sizes: (batch, height, width) to run, for formats that fix them; sides that the network doesn't take are made
            larger.
        limits: what holds in the place of the precision's, for what rounds to half by itself.
        eight_bits: images are 8-bit buffers: torch gets one and its image is rounded to one before they are compared.
        pairs: pictures to stylise too, the style as the bundle itself encodes it: noise doesn't find the features
            that few photos have, and low precision is short of room for just these.

    Raises:
        QualityError: a difference beyond the tolerance; names part, size and both numbers.
    """
    stride = network.spec.stride
    sizes = [(batch, _fitting(height, stride), _fitting(width, stride)) for batch, height, width in sizes]
    runners: dict[str, Run] = {runtime: session.run}
    if request.precision == "fp16" and limits is None:
        half = with_precision(network, "fp16")
        runners["torch rounding to float16"] = _torch_run(half)
    in_float = _torch_run(network)
    held_to = limits or limits_of(session.bundle.manifest.target, request.accuracy)
    if eight_bits and limits is None:
        held_to = on_bytes(held_to)
    cases, found_of_all = [], []
    for case in _cases(session, network, sizes, pairs, eight_bits=eight_bits):
        wanted = dict(case.run(in_float))
        if eight_bits and "image" in wanted:
            wanted["image"] = to_eight_bits(wanted["image"])
        for name, run in runners.items():
            found, limit = case.run(run), held_to.part(case.part)
            found_of_all.append(_compare(f"{case.name} in {name}", case.part, wanted, found, limit))
        cases.append(case.name)
    return Parity.worst(
        f"torch {torch.__version__} fp32",
        " and ".join(runners),
        tuple(cases),
        images=[(m.max_abs, m.psnr) for m in found_of_all if m.max_abs is not None and m.psnr is not None],
        features=[m.relative_l2 for m in found_of_all if m.relative_l2 is not None],
    )


def _fitting(side: int, stride: int) -> int:
    """The next larger side that a network takes."""
    return max(2, -(-side // stride)) * stride


class _Case(NamedTuple):
    """Something to run.

    Attributes:
        name: what a record calls it.
        part: whose outputs come out.
        run: runs it by a backend.
    """

    name: str
    part: str
    run: Callable[[Run], Arrays]


def _cases(
    session: Session,
    network: Network,
    sizes: Sequence[tuple[int, int, int]],
    pairs: Sequence[Pair],
    *,
    eight_bits: bool,
) -> Iterator[_Case]:
    parts = session.bundle.manifest.parts
    for part in parts:
        for batch, height, width in sizes:
            feeds = part_feeds(part, network, batch, height, width, eight_bits=eight_bits)
            yield _Case(f"{part} {batch}x3x{height}x{width}", part, partial(_called, part, feeds))
    if "stylizer" in parts:
        encode = None if "encoder" in parts else _torch_run(network)
        for pair in pairs:
            yield _Case(f"stylizer, {pair.name}", "stylizer", partial(_stylised, pair, encode))


def _torch_run(network: Network) -> Run:
    def run(part: str, feeds: Arrays) -> Arrays:
        return in_torch(part, network, feeds)

    return run


def _called(part: str, feeds: Arrays, run: Run) -> Arrays:
    return run(part, feeds)


def _stylised(pair: Pair, encode: Run | None, run: Run) -> Arrays:
    style = (encode or run)("encoder", {"image": pair.style})
    alpha = np.ones((1, 1, 1, 1), np.float32)
    return run("stylizer", {"image": pair.content, "mean": style["mean"], "std": style["std"], "alpha": alpha})


def to_eight_bits(image: Array) -> Array:
    """An image in [0, 1] rounded to the 256 values that a byte holds."""
    rounded: NDArray[np.float32] = np.rint(np.clip(image, 0, 1) * 255).astype(np.float32) / np.float32(255)
    return rounded


def _compare(case: str, part: str, wanted: Arrays, found: Arrays, limits: Metrics) -> Metrics:
    """Largest difference and PSNR of the image, or the errors of an encoder's outputs.

    Raises:
        QualityError: they are beyond the limits, or not finite, which no manifest can record.
    """
    if part == "encoder":
        measured = Metrics(
            relative_l2=relative_l2(wanted["features"], found["features"]),
            mean_error=relative_l2(wanted["mean"], found["mean"]),
            std_error=relative_l2(wanted["std"], found["std"]),
        )
    else:
        measured = Metrics(max_abs=max_abs(wanted["image"], found["image"]), psnr=psnr(wanted["image"], found["image"]))
    if failures := measured.beyond(limits):
        raise QualityError(f"{case} differs from torch: {', '.join(failures)}; nothing was written")
    main = "features" if part == "encoder" else "image"
    if not np.isfinite(found[main]).all():
        raise QualityError(f"{case}: values of {main} are not finite; nothing was written")
    return measured


@torch.inference_mode()
def in_torch(part: str, network: Network, feeds: Arrays) -> dict[str, Array]:
    """A part's outputs in torch, in the network's own precision."""
    outputs = part_module(part, network)(*(torch.from_numpy(values) for values in feeds.values()))
    names = {"encoder": ("features", "mean", "std")}.get(part, ("image",))
    values: tuple[Tensor, ...] = outputs if isinstance(outputs, tuple) else (outputs,)
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def part_feeds(part: str, network: Network, batch: int, height: int, width: int, *, eight_bits: bool = False) -> Arrays:
    """Inputs of one size: a picture with structure at all scales, and the statistics of another."""
    rng = np.random.default_rng([_SEED, batch, height, width])
    image, other = (pink_noise(rng, batch, height, width) for _ in range(2))
    if eight_bits:
        image = to_eight_bits(image)
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
