"""Whether a kit's golden inputs are within a profile. Standard library only; kits carry it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from adain_runtime.trt.options import BuildError, Profile

GOLDEN = "golden.safetensors"


def golden_shapes(kit: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name, such as ``encoder.in.image``, to shape; nothing for an ONNX bundle, which has no golden outputs.

    Raises:
        BuildError: the file is damaged.
    """
    path = kit / GOLDEN
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, OverflowError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{path}: damaged ({error}); copy the kit again") from error


def golden_misfit(
    shapes: Mapping[str, Sequence[int]], inputs: Mapping[str, Sequence[int | str]], profile: Profile
) -> str | None:
    """Why engines of a profile can't be compared with golden outputs, and what to do; None where they can.

    Args:
        shapes: see `golden_shapes`.
        inputs: name, as there, to dimensions, as a manifest has them.
        profile: what the engines are for.
    """
    for name, dimensions in inputs.items():
        least, _, most = profile.shapes(dimensions)
        shape = shapes.get(name, least)
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            sizes = (profile.min, profile.opt, profile.max)
            asked = " ".join(f"--{way} {h}x{w}" for way, (h, w) in zip(("min", "opt", "max"), sizes, strict=True))
            return (
                f"the golden outputs don't fit this profile ({profile}): {name} in {GOLDEN} is "
                f"{'x'.join(map(str, shape))}, so nothing compares these engines with PyTorch; build for sizes and "
                "batches that hold it, or write a kit for these: adain-export trt --kit "
                f"{asked} --batch {','.join(map(str, profile.batch))}"
            )
    return None
