"""What every session does alike: feeds checked against the manifest before, outputs found finite after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import numpy as np

from adain_runtime.backend import Array
from adain_runtime.bundle import Bundle
from adain_runtime.errors import BundleError, InputError, QualityError
from adain_runtime.manifest import Sizes, Tensor
from adain_runtime.pixels import takes_bytes, to_bytes, to_floats
from adain_runtime.sizes import check_size

_S = TypeVar("_S", bound="BaseSession")


class BaseSession(ABC):
    """Base of this package's sessions; a subclass says how a part is run, and which device runs it."""

    def __init__(self, bundle: Bundle, device: str) -> None:
        self._bundle = bundle
        self._device = device
        self._closed = False

    @property
    def bundle(self) -> Bundle:
        """What was opened."""
        return self._bundle

    @property
    def device(self) -> str:
        """What really runs the graphs."""
        return self._device

    def run(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a part.

        Args:
            part: ``encoder``, ``decoder`` or ``stylizer``.
            feeds: the manifest's input names to arrays of the manifest's shapes; floats of another width are cast.
                A bundle whose images are bytes takes float planes too, and then gives them.

        Returns:
            The manifest's output names to arrays, in the manifest's types; of a bundle whose images are bytes, float
            planes where no bytes were fed, and so always of its decoder.

        Raises:
            InputError: an unknown part, a missing or unknown feed, or a shape the part doesn't take.
            QualityError: an output holds a value that is not finite.
        """
        if self._closed:
            raise InputError(f"{self._bundle.path}: this session is closed")
        wanted = self._bundle.part(part)
        if not isinstance(feeds, Mapping) or not all(isinstance(values, np.ndarray) for values in feeds.values()):
            raise InputError(f"feeds must be numpy arrays by name, such as {{{wanted.inputs[0].name!r}: array}}")
        as_float = takes_bytes(wanted) and not any(values.dtype == np.uint8 for values in feeds.values())
        if as_float:
            feeds = to_bytes(wanted, feeds)
        ready = check_feeds(part, wanted.inputs, feeds, self._bundle.manifest.sizes)
        outputs = self._run(part, ready)
        self._check_outputs(part, outputs, dimensions_of(wanted.inputs, ready))
        return to_floats(outputs) if as_float else outputs

    def _check_outputs(self, part: str, outputs: Mapping[str, Array], dimensions: Mapping[str, int]) -> None:
        for tensor in self._bundle.part(part).outputs:
            values = outputs.get(tensor.name)
            wanted = f"{tensor.dtype} {list(output_shape(tensor, dimensions))}"
            found = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
            if values is None or found != wanted:
                raise BundleError(
                    f"{self._bundle.path}: {part} gave {found} for {tensor.name!r}, and its manifest says {wanted}: "
                    "the graph is not the manifest's; export it again"
                )
            if not np.isfinite(values).all():
                half = self._bundle.manifest.precision != "fp32"
                fix = "try the fp32 bundle" if half else "look at the weights: adain-model info"
                raise QualityError(
                    f"{self._bundle.path}: {part} gave values that are not finite in {tensor.name!r} on "
                    f"{self.device}; {fix}"
                )

    @abstractmethod
    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run a part on feeds that have been checked."""

    def release(self, part: str) -> None:  # noqa: B027 a backend that holds nothing for a part has nothing to do
        """Free what a part holds until it is next run."""

    def close(self) -> None:
        """Free what the session holds. Closing twice is fine."""
        self._closed = True

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_feeds(part: str, inputs: Sequence[Tensor], feeds: Mapping[str, Array], sizes: Sizes) -> dict[str, Array]:
    """Feeds in the manifest's order and types.

    Raises:
        InputError: a missing or unknown name, a type that is no float, or shapes that don't fit together.
    """
    names = [tensor.name for tensor in inputs]
    if set(feeds) != set(names):
        raise InputError(f"{part} takes {', '.join(names)}; found {', '.join(sorted(feeds)) or 'nothing'}")
    bound: dict[str, int] = {}
    for tensor in sorted(inputs, key=_broadcasts):
        _bind(f"{part} input {tensor.name!r}", tensor, feeds[tensor.name], bound)
    if "height" in bound and "width" in bound:
        check_size(part, bound["height"], bound["width"], sizes)
    return {tensor.name: _cast(part, tensor, feeds[tensor.name]) for tensor in inputs}


def output_shape(tensor: Tensor, dimensions: Mapping[str, int]) -> tuple[int, ...]:
    """An output's shape in whole numbers, from ``batch``, ``height`` and ``width``."""
    return tuple(_resolve(dimension, dimensions) for dimension in tensor.shape)


def dimensions_of(inputs: Sequence[Tensor], feeds: Mapping[str, Array]) -> dict[str, int]:
    """``batch``, ``height`` and ``width`` as the feeds' shapes say them."""
    bound: dict[str, int] = {}
    for tensor in sorted(inputs, key=_broadcasts):
        _bind(tensor.name, tensor, feeds[tensor.name], bound)
    return bound


def _broadcasts(tensor: Tensor) -> bool:
    """Whether a shape can only be checked once the others have said what height and width are."""
    return any(isinstance(axis, str) and axis.startswith("1|") for axis in tensor.shape)


def _resolve(dimension: int | str, dimensions: Mapping[str, int]) -> int:
    if isinstance(dimension, int):
        return dimension
    side, _, stride = dimension.partition("/")
    return dimensions[side] // int(stride or 1)


def _bind(where: str, tensor: Tensor, values: Array, bound: dict[str, int]) -> None:
    if values.ndim != len(tensor.shape):
        raise InputError(f"{where}: wants the shape {_spell(tensor.shape)}, found {values.shape}")
    for wanted, found in zip(tensor.shape, values.shape, strict=True):
        if isinstance(wanted, int):
            fits = found == wanted
        elif wanted.startswith("1|"):
            fits = found in (1, _resolve(wanted[2:], bound))
        else:
            side, _, stride = wanted.partition("/")
            pixels = found * int(stride or 1)
            fits = found > 0 and bound.setdefault(side, pixels) == pixels
        if not fits:
            known = ", ".join(f"{name} {size}" for name, size in bound.items())
            raise InputError(f"{where}: wants the shape {_spell(tensor.shape)} ({known}), found {values.shape}")


def _cast(part: str, tensor: Tensor, values: Array) -> Array:
    wanted = np.dtype(tensor.dtype)
    if values.dtype.kind != wanted.kind:
        raise InputError(f"{part} input {tensor.name!r}: wants {tensor.dtype}, found {values.dtype}")
    return values.astype(wanted, copy=False)


def _spell(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
