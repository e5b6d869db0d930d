"""Frozen dataclasses as plain JSON values and back, driven by their own annotations and read strictly."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from adain_runtime.errors import InputError
from adain_runtime.spec import is_number

_R = TypeVar("_R")


def to_plain(record: object) -> dict[str, Any]:
    """A dataclass as JSON values: tuples become lists, nothing is left out."""
    plain: dict[str, Any] = _plain(asdict(record))  # type: ignore[call-overload]
    return plain


def read(kind: type[_R], where: str, value: object) -> _R:
    """A dataclass from JSON values, strictly: a field is missing (and has no default), unknown or of another kind.

    Args:
        kind: the dataclass; its fields are text, numbers, truths, literals, tuples, mappings from text, other
            dataclasses, or any of these or None.
        where: what the value is called in messages, such as ``cases[3].blame``.
        value: as `json.loads` or `tomllib.loads` gives it.

    Raises:
        InputError: what is wrong, and where.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected an object, found {_short(value)}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise InputError(f"{where}: unknown field {', '.join(unknown)}; there are {', '.join(known)}")
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in needed if name not in value]
    if missing:
        raise InputError(f"{where}: no field {', '.join(missing)}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], f"{where}.{name}", value[name]) for name in value})


def _value(hint: Any, where: str, value: object) -> Any:  # noqa: ANN401, PLR0911 the annotation is data here
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _value(next(kind for kind in inner if kind is not type(None)), where, value)
    if origin is Literal:
        if value not in inner:
            raise InputError(f"{where}: expected one of {', '.join(map(str, inner))}, found {_short(value)}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where}: expected a list, found {_short(value)}")
        if inner[-1] is not Ellipsis and len(inner) != len(value):
            raise InputError(f"{where}: expected {len(inner)} values, found {_short(value)}")
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_value(kind, f"{where}[{i}]", each) for i, (kind, each) in enumerate(zip(kinds, value)))  # noqa: B905
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected an object, found {_short(value)}")
        return {str(name): _value(inner[1], f"{where}.{name}", each) for name, each in value.items()}
    if is_dataclass(hint):
        return read(cast(type, hint), where, value)
    return _scalar(hint, where, value)


def _scalar(hint: Any, where: str, value: object) -> object:  # noqa: ANN401
    truth = isinstance(value, bool)
    if hint is bool and truth:
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is int and isinstance(value, int) and not truth:
        return value
    if hint is float and is_number(value):
        return float(cast(float, value))
    words = {bool: "true or false", str: "a text", int: "a whole number", float: "a finite number"}
    raise InputError(f"{where}: expected {words.get(hint, hint)}, found {_short(value)}")


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
