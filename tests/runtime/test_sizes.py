"""Sizes: what a bundle takes, what a picture is padded to, and how small it must be made to fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_runtime.errors import InputError
from adain_runtime.image import Photo, resize_shorter
from adain_runtime.manifest import Sizes
from adain_runtime.planes import planes_for
from adain_runtime.sizes import check_size, largest_shorter_side, padded_size, spell_sizes

UNLIKE = Sizes(minimum=16, maximum=1024, heights=(16, 720), widths=(64, 1024))
TWO = Sizes(exact=((256, 256), (512, 384)))
RANGE = Sizes(minimum=64, maximum=512)
sides = st.integers(1, 3000)


def test_sizes_are_spelt_with_what_comes_first():
    assert spell_sizes(TWO) == "256x256 or 512x384 (height x width)"
    assert spell_sizes(Sizes(exact=((64, 80),))) == "64x80 (height x width)"
    assert spell_sizes(RANGE) == "multiples of 8, at least 64, at most 512"
    assert spell_sizes(UNLIKE) == "multiples of 8, 16 to 720 high and 64 to 1024 wide"


@pytest.mark.parametrize(
    ("size", "sizes", "said"),
    [
        ((130, 130), TWO, "encoder: 130x130 is not among the sizes of this bundle, which takes 256x256 or 512x384"),
        ((384, 512), TWO, "384x512 is not among"),
        ((130, 128), Sizes(), "height 130 must be a multiple of 8 and at least 16"),
        ((128, 8), Sizes(), "width 8 must be a multiple of 8 and at least 16"),
        ((128, 520), RANGE, "width 520 is over 512"),
        ((728, 128), UNLIKE, "height 728 is over 720"),
        ((128, 56), UNLIKE, "width 56 must be a multiple of 8 and at least 64"),
    ],
)
def test_a_size_that_the_graphs_do_not_take_is_refused_with_those_they_take(size, sizes, said):
    with pytest.raises(InputError, match=said):
        check_size("encoder", *size, sizes)


@pytest.mark.parametrize(
    ("size", "padded"),
    [((200, 200), (256, 256)), ((256, 256), (256, 256)), ((257, 1), (512, 384)), ((1, 1), (256, 256))],
)
def test_a_picture_is_padded_to_the_smallest_size_that_holds_it(size, padded):
    assert padded_size(*size, TWO) == padded


@given(sides, sides, st.sampled_from([TWO, RANGE, UNLIKE, Sizes(maximum=1024)]))
def test_a_picture_that_is_too_large_is_told_the_size_that_fits_and_it_does(height, width, sizes):
    shorter = largest_shorter_side(height, width, sizes)
    if height <= 200 and width <= 200:
        check_size("image", *padded_size(height, width, sizes), sizes)
    elif max(height, width) > 1024:
        with pytest.raises(InputError, match=f"add --size {shorter}, or export a larger one"):
            padded_size(height, width, sizes)
    if max(height, width) / min(height, width) <= 250:  # beyond, no shorter side makes it fit
        small = resize_shorter(Photo(np.zeros((height, width, 3), np.uint8)), shorter, enlarge=False)
        found = padded_size(small.height, small.width, sizes)
        assert found[0] >= small.height
        assert found[1] >= small.width


@given(sides, sides)
def test_the_size_that_is_suggested_is_the_largest_that_fits(height, width):
    shorter = largest_shorter_side(height, width, TWO)
    short, long = sorted((height, width))
    larger = (shorter + 1, (long * (shorter + 1) * 2 + short) // (short * 2))
    fits = any(
        larger[0] <= most[0 if height <= width else 1] and larger[1] <= most[1 if height <= width else 0]
        for most in TWO.exact
    )
    assert not fits


def test_a_small_picture_is_reflected_as_often_as_an_exact_size_takes():
    rows = np.arange(3, dtype=np.uint8)[:, None, None].repeat(3, 1).repeat(3, 2)
    planes = planes_for([rows], Sizes(exact=((16, 16),)))
    assert planes.shape == (1, 3, 16, 16)
    assert np.rint(planes[0, 0, :9, 0] * 255).tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]
