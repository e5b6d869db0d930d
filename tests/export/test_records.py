"""Dataclasses from plain values, strictly, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_export import records
from adain_runtime.errors import InputError


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    size: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: str
    ratio: float
    flag: bool = False
    maybe: float | None = None
    many: tuple[Inner, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


inners = st.builds(Inner, st.sampled_from(["a", "b"]), st.tuples(st.integers(), st.integers()))
numbers = st.floats(allow_nan=False, allow_infinity=False)
outers = st.builds(
    Outer,
    st.text(),
    numbers,
    st.booleans(),
    st.none() | numbers,
    st.lists(inners, max_size=3).map(tuple),
    st.dictionaries(st.text(), st.text(), max_size=3),
)


@given(outers)
def test_what_is_written_is_read_again(record):
    assert records.read(Outer, "outer", records.to_plain(record)) == record


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "outer: expected an object, found"),
        ({"name": "x"}, "outer: no field ratio"),
        ({"name": "x", "ratio": 1, "rato": 2}, "outer: unknown field rato; there are name, ratio"),
        ({"name": 1, "ratio": 1}, "outer.name: expected a text, found 1"),
        ({"name": "x", "ratio": True}, "outer.ratio: expected a finite number, found True"),
        ({"name": "x", "ratio": float("nan")}, "outer.ratio: expected a finite number"),
        ({"name": "x", "ratio": 1, "flag": 1}, "outer.flag: expected true or false"),
        ({"name": "x", "ratio": 1, "maybe": "y"}, "outer.maybe: expected a finite number"),
        ({"name": "x", "ratio": 1, "many": {}}, "outer.many: expected a list"),
        ({"name": "x", "ratio": 1, "many": [{"kind": "c"}]}, r"outer.many\[0\].kind: expected one of a, b, found 'c'"),
        ({"name": "x", "ratio": 1, "many": [{"kind": "a", "size": [1]}]}, r"size: expected 2 values"),
        ({"name": "x", "ratio": 1, "many": [{"kind": "a", "size": [1, 2.5]}]}, r"size\[1\]: expected a whole number"),
        ({"name": "x", "ratio": 1, "named": []}, "outer.named: expected an object"),
        ({"name": "x", "ratio": 1, "named": {"a": 1}}, "outer.named.a: expected a text"),
    ],
)
def test_what_does_not_fit_is_named(value, message):
    with pytest.raises(InputError, match=message):
        records.read(Outer, "outer", value)
