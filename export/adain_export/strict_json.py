"""JSON files that people may edit, read strictly: what is missing, unknown or of the wrong kind is refused by name.

Every function takes ``where``, what the value is called in the file, such as ``layers.encoder.conv1_1.min``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from adain_runtime.errors import InputError
from adain_runtime.spec import is_number

_LARGEST = 1 << 26  # bytes; a calibration is a few kilobytes, a list of pairs a few hundred


def read_object(path: Path, fix: str) -> dict[str, object]:
    """The one object that a JSON file holds.

    Args:
        path: the file.
        fix: what a person does about a file that isn't there or is no JSON.

    Raises:
        InputError: no such file, no file, too large, not JSON, not an object, or a field that stands there twice.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise InputError(f"{path}: is no file; {fix}")
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: too large ({path.stat().st_size:,} bytes); {fix}")
        plain = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_twins)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {fix}") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}); {fix}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); {fix}") from error
    if not isinstance(plain, dict):
        raise InputError(f"{path}: expected an object, found {_short(plain)}; {fix}")
    return plain


def fields_of(where: str, value: object, names: Collection[str]) -> dict[str, object]:
    """An object with exactly these fields.

    Raises:
        InputError: no object, or a field that is missing or unknown.
    """
    found = object_of(where, value)
    missing, unknown = sorted(set(names) - found.keys()), sorted(found.keys() - set(names))
    if missing:
        raise InputError(f"{where}: no field {', '.join(missing)}")
    if unknown:
        raise InputError(f"{where}: unknown field {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    return found


def object_of(where: str, value: object) -> dict[str, object]:
    """An object, whatever its fields.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {_short(value)}")
    return value


def list_of(where: str, value: object) -> list[object]:
    """A list.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, found {_short(value)}")
    return value


def text(where: str, value: object) -> str:
    """A text that is not empty.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: expected a text, found {_short(value)}")
    return value


def hexadecimal(where: str, value: object, digits: int = 64) -> str:
    """Lower-case hexadecimal digits; 64 of them are a SHA-256.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise InputError(f"{where}: expected {digits} hexadecimal digits, found {_short(value)}")
    return value


def whole(where: str, value: object, *, at_least: int = 0, below: int | None = None) -> int:
    """A whole number.

    Raises:
        InputError: it is none, or out of its range.
    """
    fits = isinstance(value, int) and not isinstance(value, bool)
    if not fits or value < at_least or (below is not None and value >= below):  # type: ignore[operator]
        limit = f"at least {at_least}" + ("" if below is None else f" and below {below}")
        raise InputError(f"{where}: expected a whole number, {limit}; found {_short(value)}")
    return value  # type: ignore[return-value]


def boolean(where: str, value: object) -> bool:
    """True or false.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, bool):
        raise InputError(f"{where}: expected true or false, found {_short(value)}")
    return value


def number(where: str, value: object) -> float:
    """A finite number.

    Raises:
        InputError: it is none.
    """
    if not is_number(value):
        raise InputError(f"{where}: expected a finite number, found {_short(value)}")
    return float(value)  # type: ignore[arg-type]


def version(where: str, plain: dict[str, object], newest: int) -> None:
    """Refuse a file without ``schema_version``, or of one that a newer adain-edge writes.

    Raises:
        InputError: it is one.
    """
    found = whole(f"{where}.schema_version", plain.get("schema_version"), at_least=1)
    if found > newest:
        raise InputError(
            f"{where}: schema {found} is newer than this version reads ({newest}): pip install --upgrade adain-edge"
        )


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return made


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
