"""What a caller of the Python API passed, held against the kind of thing that it must be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from operator import index
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from adain_runtime.errors import InputError


def whole_number(name: str, value: object) -> int:
    """An integer of any library.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, SupportsIndex) and not isinstance(value, (bool, np.ndarray)):
        return index(value)
    raise InputError(f"{name} must be a whole number, found {_shown(value)}")


def real_number(name: str, value: object) -> float:
    """A number of any library.

    Raises:
        InputError: it is none; text is none, and neither is an array.
    """
    if isinstance(value, SupportsFloat) and not isinstance(value, (bool, np.ndarray)):
        with suppress(OverflowError):  # a whole number of hundreds of digits
            return float(value)
    raise InputError(f"{name} must be a number, found {_shown(value)}")


def a_path(name: str, value: object) -> Path:
    """A path.

    Raises:
        InputError: it is neither text nor path-like.
    """
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise InputError(f"{name} must be a path, found {_shown(value)}")


def several(name: str, value: object) -> list[Any]:
    """The members of a list, tuple, array or generator; one thing is no list of it, and a set has no order.

    Raises:
        InputError: it is none of these.
    """
    scalar = isinstance(value, np.ndarray) and value.ndim == 0
    one = isinstance(value, (str, bytes, os.PathLike))
    if isinstance(value, Iterable) and not (scalar or one or isinstance(value, (Set, Mapping))):
        return list(value)
    raise InputError(f"{name} must be a list, found {_shown(value)}")


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
