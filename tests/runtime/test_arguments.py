"""What the Python API says when it is given another kind of thing than it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import adain_runtime as adain
from adain_runtime.arguments import a_path, real_number, several, whole_number
from adain_runtime.errors import InputError
from pictures import one_line

GREY = np.full((24, 32, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def stylizer():
    with adain.Stylizer.open("lite", backend="null", cache=False) as opened:
        yield opened


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"alpha": "0.5"}, "alpha must be a number, found '0.5' (str)"),
        ({"alpha": None}, "alpha must be a number, found None (NoneType)"),
        ({"alpha": np.ones(2)}, "alpha must be a number, found array([1., 1.]) (ndarray)"),
        ({"weights": 2}, "weights must be a list, found 2 (int)"),
        ({"weights": "2,1"}, "weights must be a list, found '2,1' (str)"),
        ({"weights": ["2", "1"]}, "a weight must be a number, found '2' (str)"),
        ({"masks": "sky.png"}, "masks must be a list, found 'sky.png' (str)"),
        ({"masks": None}, "masks must be a list, found None (NoneType)"),
        ({"size": "256"}, "size must be a whole number, found '256' (str)"),
        ({"size": 256.5}, "size must be a whole number, found 256.5 (float)"),
        ({"style_size": True}, "size must be a whole number, found True (bool)"),
        ({"max_pixels": "1"}, "max_pixels must be a whole number, found '1' (str)"),
    ],
)
def test_a_call_names_what_it_was_given_and_what_it_takes(stylizer, wrong, text):
    with pytest.raises(InputError) as error:
        stylizer(GREY, [GREY, GREY], **wrong)
    assert one_line(error) == text


@pytest.mark.parametrize(
    "call",
    [
        lambda: adain.Stylizer.open(None),
        lambda: adain.Stylizer.open("lite", threads="2"),
        lambda: adain.open_bundle(3),
        lambda: adain.Style.load(None),
        lambda: adain.Style([1.0], [1.0], "x"),
        lambda: adain.mix(["wave.jpg"]),
    ],
)
def test_the_other_doors_do_too(call):
    with pytest.raises(InputError, match=r"must be|a mix is of Styles") as error:
        call()
    one_line(error)


@pytest.mark.parametrize("feeds", [None, [1], {"image": None}, {"image": [[1]]}])
def test_a_session_takes_arrays_by_name(stylizer, feeds):
    with pytest.raises(InputError, match=r"arrays by name, such as \{'image': array\}"):
        stylizer.session.run("encoder", feeds)


def test_numbers_of_numpy_and_paths_are_taken_as_what_they_are():
    assert whole_number("size", np.int64(3)) == 3
    assert real_number("alpha", np.float32(0.5)) == 0.5
    assert a_path("a model", Path("x")) == Path("x")
    assert several("weights", np.array([2, 1])) == several("weights", (2, 1)) == [2, 1]
    assert stylized_size(np.int64(16)) == (21, 16)


def stylized_size(size):
    with adain.Stylizer.open("lite", backend="null", cache=False) as opened:
        return opened(GREY, GREY, size=size, alpha=np.float64(1)).size
