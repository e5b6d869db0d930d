"""The networks that are known by name, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec

VGG19 = NetworkSpec(
    name="vgg19",
    encoder=((64, 64), (128, 128), (256, 256, 256, 256), (512,)),
    decoder=((256,), (256, 256, 256, 128), (128, 64), (64, 3)),
    downsample="maxpool",
    color_conv=True,
    encoder_relu=True,
    correction=1,
)
"""Huang & Belongie 2017: the normalised VGG-19 to relu4_1 and its mirror, as pytorch-AdaIN publishes them."""

LITE = NetworkSpec(
    name="lite",
    encoder=((16,), (32, 16), (48, 64), (144, 192)),
    decoder=((96,), (64, 80, 48), (48, 16), (16, 3)),
    downsample="stride",
    color_conv=False,
    encoder_relu=False,
    correction=0,
)
"""The student that a phone runs: a sixteenth of VGG-19's multiplications, its encoder trained too."""

SPECS: Mapping[str, NetworkSpec] = MappingProxyType({spec.name: spec for spec in (VGG19, LITE)})


def named_spec(source: str) -> NetworkSpec:
    """A spec by its name, or from a JSON file as ``NetworkSpec.to_json`` writes it.

    Raises:
        InputError: none has this name, and it is no file of a spec.
    """
    if source in SPECS:
        return SPECS[source]
    try:
        return NetworkSpec.from_json(json.loads(Path(source).read_text(encoding="utf-8")))
    except OSError as error:
        known = ", ".join(SPECS)
        found = f"no network of this name, and as a file: {error.strerror or error}"
        raise InputError(f"--spec {source}: {found}; there is {known}, or give a JSON file of a spec") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--spec {source}: not JSON ({error})") from error
