"""What each part takes and gives: the same names, shapes and types on every backend."""

from __future__ import annotations

from typing import Literal

from adain_runtime.manifest import DType, Part, Tensor
from adain_runtime.spec import NetworkSpec


def part_interface(
    name: str, spec: NetworkSpec, file: str, *, features: DType = "float32", io: Literal["float", "uint8"] = "float"
) -> Part:
    """A part's inputs and outputs with dynamic batch, height and width.

    Args:
        name: ``encoder``, ``decoder`` or ``stylizer``.
        spec: the network; gives the channels C and the stride.
        file: the file that holds the graph.
        features: type of the feature maps; everything else is float32.
        io: images as float planes in [0, 1], or as bytes of interleaved pixels.
    """
    channels, stride = spec.channels, spec.stride
    image = {
        "float": Tensor("image", "float32", ("batch", 3, "height", "width")),
        "uint8": Tensor("image", "uint8", ("batch", "height", "width", 3)),
    }[io]
    maps = Tensor("features", features, ("batch", channels, f"height/{stride}", f"width/{stride}"))
    mean, std = (Tensor(which, "float32", ("batch", channels, 1, 1)) for which in ("mean", "std"))
    spread = ("batch", channels, f"1|height/{stride}", f"1|width/{stride}")
    scale, shift = (Tensor(which, "float32", spread) for which in ("scale", "shift"))
    alpha = Tensor("alpha", "float32", ("batch", 1, 1, 1))
    inputs, outputs = {
        "encoder": ((image,), (maps, mean, std)),
        "decoder": ((maps, scale, shift), (image,)),
        "stylizer": ((image, mean, std, alpha), (image,)),
    }[name]
    return Part(file, inputs, outputs)
