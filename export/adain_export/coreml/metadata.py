"""What Xcode shows of a package: author, licence, version, and every input and output in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from adain_export.coreml.request import CoremlRequest

if TYPE_CHECKING:
    from adain_model.network import Network

PREFIX = "adain."
"""Of the user-defined keys."""


def describe(spec: Any, request: CoremlRequest, network: Network, described: Mapping[str, str]) -> None:  # noqa: ANN401
    """Write the metadata into a ``coremltools.proto.Model_pb2.Model``.

    There is no preview type: Xcode's list has none that takes a photo and two lists of numbers.
    """
    low, high = network.spec.alpha_range
    metadata = spec.description.metadata
    metadata.shortDescription = (
        f"AdaIN style transfer ({network.spec.name}): a style is {network.spec.channels} means and as many standard "
        "deviations, made once by the encoder; the stylizer gives a photo that style."
    )
    metadata.author, metadata.license = request.author, request.license
    metadata.versionString = version("adain-edge")
    for key, value in described.items():
        metadata.userDefined[PREFIX + key] = value
    texts = _texts(request, network, low, high)
    for feature in _features(spec.description):
        feature.shortDescription = texts[feature.name]


def _features(description: Any) -> Iterable[Any]:  # noqa: ANN401
    for holder in (description, *description.functions):
        yield from holder.input
        yield from holder.output


def _texts(request: CoremlRequest, network: Network, low: float, high: float) -> dict[str, str]:
    stride, channels = network.spec.stride, network.spec.channels
    kind = (
        "an RGB image, 8 bits a channel"
        if request.io == "image"
        else "an array [1, 3, height, width], RGB in this order, 0 (black) to 1 (white)"
    )
    cells = f"[1, {channels}, height/{stride}, width/{stride}]"
    return {
        "image": f"The picture: {kind}; sides are multiples of {stride}.",
        "stylized": f"The stylised picture: {kind}, of the input's size.",
        "features": f"The encoder's feature maps, {cells}.",
        "mean": f"Mean of each of the style's {channels} channels: what the encoder gives for a style image.",
        "std": f"Standard deviation of each of the style's {channels} channels, 0 or more.",
        "alpha": f"Content-style trade-off from {low:g} (the photo as the network redraws it) to {high:g} (all style).",
        "scale": f"What features are multiplied with, {cells}.",
        "shift": f"What is then added to them, {cells}.",
    }
