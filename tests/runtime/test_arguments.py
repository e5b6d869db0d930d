"""What the Python API says when it is given another kind of thing than it takes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adain_runtime as adain
from adain_runtime.arguments import a_path, real_number, several, whole_number
from adain_runtime.backend import open_bundle
from adain_runtime.errors import InputError
from adain_runtime.image import load_image
from adain_runtime.style import Style
from adain_runtime.style_cache import StyleCache, warn
from adain_runtime.stylizer import Stylizer
from pictures import one_line

TILES = "give auto, off, or the pixels of a tile's side, such as 512"
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
        ({"style_size": True}, "style size must be a whole number, found True (bool)"),
        ({"alpha": 10**400}, "alpha must be a number, found 1000000000000000000000000000000000000... (int)"),
        ({"weights": {2, 1}}, "weights must be a list, found {1, 2} (set)"),
        ({"weights": {1: 2}}, "weights must be a list, found {1: 2} (dict)"),
        ({"tile": 72.5}, f"tile must be a whole number, found 72.5 (float); {TILES}"),
        ({"tile": np.array([72, 72])}, f"tile must be a whole number, found array([72, 72]) (ndarray); {TILES}"),
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
        lambda: adain.mix(None),
        lambda: adain.mix(Style(np.ones(2, np.float32), np.ones(2, np.float32), "x")),
        lambda: adain.Stylizer.open("lite", provider=5),
    ],
)
def test_the_other_doors_do_too(call):
    with pytest.raises(InputError, match=r"must be|a mix is of Styles") as error:
        call()
    one_line(error)


def test_photos_and_styles_that_are_none_are_named(stylizer):
    photo = load_image(GREY)
    with pytest.raises(InputError, match=r"photos must be of Photo, found str; load_image makes one"):
        stylizer.stylize(["photo.jpg"], [stylizer.style(GREY)])
    with pytest.raises(InputError, match=r"styles must be of Style, found str; Stylizer\.prepare makes one"):
        stylizer.stylize([photo], ["wave.jpg"])


def test_a_size_that_is_none_is_refused_though_its_style_was_kept(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    cache = StyleCache(tmp_path / "cache", warn)
    with Stylizer(open_bundle("lite", backend="null"), cache) as stylizer:
        stylizer.style(tmp_path / "grey.png", size=77)
        with pytest.raises(InputError, match="size must be a whole number, found '77'"):
            stylizer.style(tmp_path / "grey.png", size="77")


@pytest.mark.parametrize("feeds", [None, [1], {"image": None}, {"image": [[1]]}])
def test_a_session_takes_arrays_by_name(stylizer, feeds):
    with pytest.raises(InputError, match=r"arrays by name, such as \{'image': array\}"):
        stylizer.session.run("encoder", feeds)


def test_numbers_of_numpy_and_paths_are_taken_as_what_they_are():
    assert whole_number("size", np.int64(3)) == 3
    assert real_number("alpha", np.float32(0.5)) == 0.5
    assert a_path("a model", Path("x")) == Path("x")
    assert several("weights", np.array([2, 1])) == several("weights", (2, 1)) == [2, 1]
    assert several("weights", (share for share in (2, 1))) == [2, 1]
    assert stylized_size(np.int64(16)) == (21, 16)
    assert stylized_size(np.int64(16), alpha=Decimal("0.5"), tile=np.int64(320)) == (21, 16)
    assert stylized_size(np.int64(16), styles=[GREY, GREY], weights=(share for share in (2, 1))) == (21, 16)
    style = Style(np.ones(2, np.float32), np.ones(2, np.float32), "x")
    assert adain.mix(style for _ in range(2)) == style


def stylized_size(size, styles=GREY, **more):
    with adain.Stylizer.open("lite", backend="null", cache=False) as opened:
        return opened(GREY, styles, size=size, **{"alpha": np.float64(1)} | more).size
