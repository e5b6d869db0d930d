"""The network spec as data: it round-trips through JSON, and says what is wrong with itself."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec

widths = st.lists(st.integers(1, 4096), min_size=1, max_size=5).map(tuple)
GOOD = NetworkSpec(name="good", encoder=((4,), (8, 8)), decoder=((8, 4), (3,)))


@st.composite
def specs(draw) -> NetworkSpec:
    depth = draw(st.integers(1, 5))
    decoder = [draw(widths) for _ in range(depth)]
    decoder[-1] = (*decoder[-1], 3)
    low = draw(st.floats(-10, 10))
    return NetworkSpec(
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)),
        encoder=tuple(draw(widths) for _ in range(depth)),
        decoder=tuple(decoder),
        downsample=draw(st.sampled_from(["maxpool", "stride"])),
        padding=draw(st.sampled_from(["reflect", "replicate", "zeros"])),
        color_conv=draw(st.booleans()),
        encoder_relu=draw(st.booleans()),
        correction=draw(st.sampled_from([0, 1])),
        eps=draw(st.floats(1e-12, 1.0)),
        alpha_range=(low, low + draw(st.floats(0.1, 10))),
    )


@given(specs())
def test_a_spec_comes_back_from_json_text_equal(spec):
    again = NetworkSpec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False)))
    assert again == spec
    assert hash(again) == hash(spec)


def test_channels_and_stride_are_read_off_the_stages():
    assert (GOOD.channels, GOOD.stride) == (8, 2)
    assert NetworkSpec(name="one", encoder=((5,),), decoder=((3,),)).stride == 1


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("name", "", "the name must be"),
        ("name", "../up", "the name must be"),
        ("name", 3, "the name must be"),
        ("encoder", [], "encoder must be stages"),
        ("encoder", [[4], []], "encoder must be stages"),
        ("encoder", [[4], [0]], "encoder must be stages"),
        ("encoder", [[4], [2.5]], "encoder must be stages"),
        ("encoder", [[4], [True]], "encoder must be stages"),
        ("encoder", [4, 8], "must be lists"),
        ("encoder", [[4]], "sizes would not match"),
        ("encoder", [[1]] * 15000, "encoder has 15000 stages, and at most 8 make sense"),
        ("decoder", [[8], [4]], "must end in 3 channels"),
        ("downsample", "average", "unknown downsample 'average'"),
        ("padding", "wrap", "padding 'wrap'"),
        ("color_conv", 1, "true or false"),
        ("encoder_relu", "yes", "true or false"),
        ("correction", 2, "correction must be 0"),
        ("correction", True, "correction must be 0"),
        ("eps", 0, "eps must be a positive number"),
        ("eps", float("nan"), "eps must be a positive number"),
        ("eps", "small", "eps must be a positive number"),
        ("alpha_range", [0], "two finite numbers"),
        ("alpha_range", [0, float("inf")], "two finite numbers"),
        ("alpha_range", [1, 1], "must rise"),
        ("alpha_range", 1, "must be lists"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(field, value, named):
    with pytest.raises(InputError, match=named):
        NetworkSpec.from_json(GOOD.to_json() | {field: value})


@pytest.mark.parametrize("plain", [{}, [], None, {**GOOD.to_json(), "extra": 1}])
def test_missing_and_unknown_fields_are_refused(plain):
    with pytest.raises(InputError, match="expected the fields"):
        NetworkSpec.from_json(plain)
