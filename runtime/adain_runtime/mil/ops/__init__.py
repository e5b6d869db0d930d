"""What each operation of an ML Program computes, in numpy; one family a file.

An operation is a function whose parameters are named as MIL names them, those with defaults optional. It gets arrays
of the declared types (a text for a string) and gives an array of any wider type, or a tuple where the operation has
several results; the executor rounds to the declared type. A parameter ``accumulate`` receives how sums are kept.

Source: the operations' docstrings in coremltools 9.0 (converters/mil/mil/ops/defs, iOS15 to iOS18).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adain_runtime.mil.ops import (
    activations,
    compressed,
    convolution,
    elementwise,
    layout,
    normalisation,
    padding,
    pooling,
    reductions,
    shapes,
)

LISTS = frozenset({"values"})
"""Parameters that take a list of values, even of one."""


@dataclass(frozen=True)
class Op:
    """An operation that can be executed.

    Attributes:
        compute: the function.
        parameters: names of all its parameters.
        required: names of those that have no default.
        accumulates: whether it wants to know how sums are kept.
    """

    compute: Callable[..., Any]
    parameters: frozenset[str]
    required: frozenset[str]
    accumulates: bool


def _op(compute: Callable[..., Any]) -> Op:
    parameters = dict(inspect.signature(compute).parameters)
    accumulates = parameters.pop("accumulate", None) is not None
    required = {name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}
    return Op(compute, frozenset(parameters), frozenset(required), accumulates)


_FAMILIES = (
    activations,
    compressed,
    convolution,
    elementwise,
    layout,
    normalisation,
    padding,
    pooling,
    reductions,
    shapes,
)
OPS: Mapping[str, Op] = {kind: _op(compute) for family in _FAMILIES for kind, compute in family.OPS.items()}
"""Every operation that the reference executes, by its type."""
