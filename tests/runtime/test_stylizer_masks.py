"""Masks: each style in its region, computed from its region, and the photo exactly where no mask is."""

from __future__ import annotations

import numpy as np
import pytest

from adain_runtime.errors import InputError
from adain_runtime.image import Photo


def pixels(image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def apart(a, b) -> int:
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


@pytest.fixture(scope="module")
def photo(picture):
    return picture(51, 203, seed=1)


@pytest.fixture(scope="module")
def styles(stylizer, picture, noise):
    images = [picture(40, 48, seed=2), noise(64, 32, seed=3) // 3, 255 - picture(32, 32, seed=4) // 4]
    return [stylizer.style(image) for image in images]


@pytest.fixture(scope="module")
def left():
    """White on the left half, black on the right."""
    mask = np.zeros((51, 203), np.float32)
    mask[:, :100] = 1
    return mask


def test_one_white_mask_is_no_mask(stylizer, styles, photo):
    white = np.ones(photo.shape[:2], np.float32)
    for alpha in (0, 0.6, 1):
        masked = stylizer(photo, styles[0], masks=[white], alpha=alpha)
        assert apart(masked, stylizer(photo, styles[0], alpha=alpha)) <= 1


def test_a_black_mask_leaves_the_photo_exactly(stylizer, styles, photo):
    black = np.zeros(photo.shape[:2], np.float32)
    np.testing.assert_array_equal(pixels(stylizer(photo, styles[0], masks=[black])), photo)


def test_half_white_and_half_black_stylises_the_white_half_and_keeps_the_other_exactly(stylizer, styles, photo, left):
    made = pixels(stylizer(photo, styles[0], masks=[left]))
    np.testing.assert_array_equal(made[:, 100:], photo[:, 100:])
    assert np.abs(made[:, :100].astype(int) - photo[:, :100]).mean() > 10


def test_a_mask_fewer_gives_the_last_style_what_is_left(stylizer, styles, photo, left):
    implied = stylizer(photo, styles[:2], masks=[left])
    assert apart(implied, stylizer(photo, styles[:2], masks=[left, 1 - left])) == 0


def test_a_style_does_not_reach_far_into_the_others_region(stylizer, styles, photo, left):
    one = pixels(stylizer(photo, [styles[0], styles[1]], masks=[left]))
    other = pixels(stylizer(photo, [styles[0], styles[2]], masks=[left]))
    assert apart(one[:, :48], other[:, :48]) <= 1
    assert apart(one[:, 110:], other[:, 110:]) > 20


def test_a_regions_statistics_are_its_own(stylizer, styles, photo, left):
    changed = photo.copy()
    changed[:, 160:] = 255 - changed[:, 160:]
    one = pixels(stylizer(photo, styles[:2], masks=[left]))
    other = pixels(stylizer(changed, styles[:2], masks=[left]))
    assert apart(one[:, :48], other[:, :48]) <= 1
    unmasked = [pixels(stylizer(each, styles[0])) for each in (photo, changed)]
    assert apart(unmasked[0][:, :48], unmasked[1][:, :48]) > 1


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_grey_mask_gives_its_share_of_the_style_and_the_rest_of_the_photo(stylizer, styles, photo, share):
    grey = np.full(photo.shape[:2], share, np.float32)
    made = pixels(stylizer(photo, styles[0], masks=[grey])).astype(float)
    whole = pixels(stylizer(photo, styles[0])).astype(float)
    assert np.abs(made - (share * whole + (1 - share) * photo)).max() <= 1.5


def test_masks_of_another_size_are_fitted_to_the_photo(stylizer, styles, photo):
    white = np.full((5, 9), 255, np.uint8)
    assert apart(stylizer(photo, styles[0], masks=[white]), stylizer(photo, styles[0])) <= 1


def test_masks_keep_transparency_and_colour_as_other_pictures_do(stylizer, styles, photo, left):
    opacity = np.full(photo.shape[:2], 77, np.uint8)
    plain = pixels(stylizer(photo, styles[0], masks=[left]))
    (made,) = stylizer.stylize([Photo(photo, opacity)], styles[:1], masks=[left])
    np.testing.assert_array_equal(made.alpha, opacity)
    np.testing.assert_array_equal(made.rgb, plain)
    kept = pixels(stylizer(photo, styles[0], masks=[left], preserve_color="luminance"))
    np.testing.assert_array_equal(kept[:, 100:], photo[:, 100:])


def test_a_batch_with_masks_is_its_pictures_one_by_one(stylizer, styles, photo, picture, left):
    photos = [Photo(photo), Photo(picture(51, 203, seed=8))]
    together = stylizer.stylize(photos, styles[:2], masks=[left], batch_size=2)
    for one, made in zip(photos, together, strict=True):
        (alone,) = stylizer.stylize([one], styles[:2], masks=[left])
        np.testing.assert_array_equal(made.rgb, alone.rgb)


def test_weights_and_masks_exclude_each_other(null_stylizer, photo, left):
    with pytest.raises(InputError, match="weights and masks exclude each other"):
        null_stylizer(photo, [photo, photo], weights=[1, 1], masks=[left])


def test_masks_that_do_not_fit_the_styles_or_the_photo_are_refused(null_stylizer, photo, left):
    with pytest.raises(InputError, match="styles: 1, masks: 2"):
        null_stylizer(photo, photo, masks=[left, left])
    with pytest.raises(InputError, match="mask 1: wants the content's shape"):
        null_stylizer.stylize([Photo(photo)], [null_stylizer.style(photo)], masks=[left[:40]])
