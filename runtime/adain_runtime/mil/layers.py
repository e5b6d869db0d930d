"""Which values of a function are the layers of its network: by the names of the convolutions' weights."""

from __future__ import annotations

import re
from collections.abc import Sequence

from adain_runtime.mil.plan import Name, Step

_WEIGHT = re.compile(r"(encoder|decoder)_(conv\d+_\d+)_weight")
_ACTIVATION = "relu"


def layer_names(steps: Sequence[Step]) -> dict[str, str]:
    """Names of values to the network's names for them, such as ``encoder.conv3_1``.

    A layer is a convolution with the ReLU that alone reads it; what stands between (a quantised copy, a padding) isn't.

    Args:
        steps: of a function, in order.
    """
    found: dict[str, str] = {}
    for step in steps:
        output = step.operation.outputs[0].name
        weight = step.given.get("weight", ("",))[0]
        if step.operation.kind == "conv" and isinstance(weight, Name) and (name := _WEIGHT.match(weight)):
            found[output] = f"{name[1]}.{name[2]}"
        elif step.operation.kind == _ACTIVATION and isinstance(read := step.given["x"][0], Name) and read in found:
            found[output] = found.pop(read.name)
    return found
