"""What a caller of the Python API passed, held against the kind of thing that it must be."""

from __future__ import annotations

import os
from collections.abc import Iterable
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
    """The members of a list, tuple or array; one thing is not taken for a list of it, nor text for its letters.

    Raises:
        InputError: it is none of these.
    """
    scalar = isinstance(value, np.ndarray) and value.ndim == 0
    if isinstance(value, Iterable) and not scalar and not isinstance(value, (str, bytes, os.PathLike)):
        return list(value)
    raise InputError(f"{name} must be a list, found {_shown(value)}")


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
