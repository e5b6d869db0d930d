"""Images in, images out: any size, exact mixes, and batches that are their pictures one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import adain_runtime as adain
from adain_runtime.color import match_color, transfer_luminance
from adain_runtime.errors import InputError
from adain_runtime.image import Photo
from adain_runtime.manifest import Sizes
from adain_runtime.planes import pad_to_fit
from adain_runtime.style import Style, mix
from adain_runtime.stylizer import Stylizer

sides = st.integers(1, 70)


def pixels(image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def apart(a, b) -> int:
    """The largest difference of two uint8 images, in steps."""
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


@pytest.fixture(scope="module")
def photo(picture):
    return picture(50, 67, seed=1)


@pytest.fixture(scope="module")
def wave(stylizer, picture):
    return stylizer.style(picture(40, 48, seed=2))


@pytest.fixture(scope="module")
def night(stylizer, noise):
    return stylizer.style(noise(64, 32, seed=3) // 3)


@settings(max_examples=60, deadline=None)
@given(sides, sides, sides, sides)
def test_a_picture_of_any_size_gives_its_size_back(null_stylizer, height, width, style_height, style_width):
    content, style = np.zeros((height, width, 3), np.uint8), np.zeros((style_height, style_width, 3), np.uint8)
    assert null_stylizer(content, style).size == (width, height)
    mask = np.ones((3, 3))
    assert null_stylizer(content, style, masks=[mask]).size == (width, height)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (7, 9), (15, 16), (16, 16), (17, 33), (65, 8)])
def test_the_network_takes_any_size_too(stylizer, wave, noise, size):
    made = stylizer(noise(*size), wave)
    assert (made.height, made.width) == size
    assert made.mode == "RGB"


@given(arrays(np.uint8, st.tuples(sides, sides, st.just(3))), st.sampled_from([1, 8, 16]), st.integers(1, 40))
def test_padding_keeps_the_picture_in_the_corner_and_fits_the_graph(image, multiple, minimum):
    padded = pad_to_fit(image, Sizes(multiple, minimum))
    height, width = image.shape[:2]
    for side, length in zip(padded.shape[:2], (height, width), strict=True):
        assert side % multiple == 0
        assert max(length, minimum) <= side < max(length, minimum) + multiple
    np.testing.assert_array_equal(padded[:height, :width], image)


def test_padding_reflects_and_repeats_the_edge_where_there_is_too_little_to_reflect():
    row = np.arange(1, 8, dtype=np.uint8)
    image = np.broadcast_to(row[None, :, None], (1, 7, 3))
    padded = pad_to_fit(np.ascontiguousarray(image), Sizes(8, 8))
    assert padded[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 6]
    assert (padded == padded[0]).all()
    assert pad_to_fit(np.ascontiguousarray(image), Sizes(16, 16))[0, :, 0].tolist() == [*range(1, 8), *[7] * 9]


def test_the_same_call_gives_the_same_picture(stylizer, wave, photo):
    assert apart(stylizer(photo, wave), stylizer(photo, wave)) == 0


def test_alpha_0_is_the_reconstruction_whatever_the_style_and_alpha_1_is_not(stylizer, wave, night, photo):
    plain = stylizer(photo, wave, alpha=0)
    assert apart(plain, stylizer(photo, night, alpha=0)) == 0
    assert apart(plain, stylizer(photo, wave, alpha=1)) > 20


def test_more_alpha_is_further_from_the_reconstruction(stylizer, night, photo):
    plain = pixels(stylizer(photo, night, alpha=0)).astype(float)
    far = [np.abs(pixels(stylizer(photo, night, alpha=a)) - plain).mean() for a in (0, 0.3, 0.6, 1)]
    assert far == sorted(far)
    assert far[0] == 0 < far[1]


@pytest.mark.parametrize("alpha", [-1, -1e-9, 1.5, float("nan"), float("inf"), float("-inf")])
def test_alpha_outside_the_models_range_is_refused(null_stylizer, photo, alpha):
    with pytest.raises(InputError, match=r"alpha must be a number from 0 to 1, found"):
        null_stylizer(photo, photo, alpha=alpha)


def test_all_the_weight_on_the_first_style_is_the_first_alone_bit_for_bit(stylizer, wave, night, photo):
    alone = stylizer(photo, wave)
    assert apart(stylizer(photo, [wave, night], weights=[1, 0]), alone) == 0
    assert apart(stylizer(photo, (night, wave), weights=[0, 3]), alone) == 0
    assert apart(stylizer(photo, [wave, night]), alone) > 0


def test_mixing_in_the_call_is_mixing_before_it(stylizer, wave, night, photo):
    mixed = stylizer(photo, mix([wave, night], [2, 1]))
    assert apart(stylizer(photo, [wave, night], weights=[2, 1]), mixed) == 0


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [-1, 2], [0, 0], [float("nan"), 1]])
def test_weights_that_do_not_fit_the_styles_are_refused(null_stylizer, photo, weights):
    with pytest.raises(InputError, match="weights"):
        null_stylizer(photo, [photo, photo], weights=weights)


def test_no_style_is_refused(null_stylizer, photo):
    with pytest.raises(InputError, match="at least one style"):
        null_stylizer(photo, [])


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (1, 300), (9, 3)])
def test_small_styles_are_styles(stylizer, photo, noise, size):
    style = stylizer.style(noise(*size))
    assert style.channels == 192
    assert stylizer(photo, style).size == (67, 50)


def test_a_large_style_is_made_smaller_first_and_a_small_one_left_alone(stylizer, picture):
    large = picture(90, 120)
    smaller = np.asarray(Image.fromarray(large).resize((40, 30), Image.Resampling.LANCZOS))
    assert stylizer.style(large, size=30) == stylizer.style(smaller)
    assert stylizer.style(large, size=500) == stylizer.style(large, size=None) != stylizer.style(smaller)


def test_a_style_comes_from_an_image_a_path_a_saved_file_or_itself(stylizer, tmp_path, picture, write_image):
    image = picture(40, 48, seed=2)
    path = write_image(tmp_path / "wave.png", image)
    style = stylizer.style(path)
    assert style == stylizer.style(image) == stylizer.style(Image.fromarray(image)) == stylizer.style(str(path))
    assert (style.source, stylizer.style(image).source) == ("wave.png", "")
    style.save(tmp_path / "wave.adainstyle")
    again = stylizer.style(tmp_path / "wave.adainstyle")
    assert again == style
    assert again.source == str(tmp_path / "wave.adainstyle")
    assert stylizer.style(style) is style


def test_a_style_of_another_encoder_is_refused(stylizer, photo, wave):
    other = Style(wave.mean, wave.std, "f" * 16, "other.jpg")
    with pytest.raises(
        InputError, match=rf"style other\.jpg was made by encoder {'f' * 16} and the model lite-onnx-fp32"
    ):
        stylizer(photo, other)
    with pytest.raises(InputError, match="make the style again"):
        stylizer.style(Style(np.ones(3, np.float32), np.ones(3, np.float32), wave.encoder_id))


def test_luminance_takes_the_pictures_brightness_and_the_photos_colours(stylizer, wave, photo):
    plain = pixels(stylizer(photo, wave))
    kept = stylizer(photo, wave, preserve_color="luminance")
    np.testing.assert_array_equal(pixels(kept), transfer_luminance(plain, photo))


def test_match_recolours_the_style_with_the_photos_colours_first(stylizer, photo, picture):
    style = picture(40, 48, seed=2)[..., ::-1] // 2
    by_hand = stylizer(photo, match_color(style, photo))
    assert apart(stylizer(photo, style, preserve_color="match"), by_hand) == 0
    assert apart(stylizer(photo, style), by_hand) > 0


def test_match_is_refused_for_a_style_without_an_image(stylizer, photo, wave, tmp_path):
    wave.save(tmp_path / "wave.adainstyle")
    for saved in (wave, tmp_path / "wave.adainstyle"):
        with pytest.raises(InputError, match="a saved style has none; give the image, or use luminance"):
            stylizer(photo, saved, preserve_color="match")
    with pytest.raises(InputError, match="prepare"):
        stylizer.stylize([Photo(photo)], [wave], preserve_color="match")


def test_an_unknown_way_to_preserve_colour_is_refused(null_stylizer, photo):
    with pytest.raises(InputError, match=r"one of none, luminance, match, found 'sepia'"):
        null_stylizer(photo, photo, preserve_color="sepia")


@pytest.mark.parametrize("color", ["none", "luminance", "match"])
def test_a_batch_of_several_is_its_pictures_one_by_one_in_their_order(stylizer, picture, color):
    sizes = [(40, 56), (24, 24), (40, 56), (40, 56), (33, 24)]
    photos = [Photo(picture(*size, seed=seed)) for seed, size in enumerate(sizes)]
    styles = [stylizer.prepare(picture(32, 32, seed=9), preserve_color=color)]
    together = stylizer.stylize(photos, styles, preserve_color=color, batch_size=2)
    for one, made in zip(photos, together, strict=True):
        (alone,) = stylizer.stylize([one], styles, preserve_color=color)
        assert made.rgb.shape == one.rgb.shape
        assert apart(made.rgb, alone.rgb) <= 1


class Counting:
    """A session that notes the batch of every run."""

    def __init__(self, session):
        self.session, self.bundle, self.device, self.batches = session, session.bundle, session.device, []

    def run(self, part, feeds):
        self.batches.append((part, len(next(iter(feeds.values())))))
        return self.session.run(part, feeds)


def test_photos_of_one_size_run_together_up_to_the_batch_size(null_stylizer, noise):
    counting = Counting(null_stylizer.session)
    photos = [Photo(noise(*size)) for size in [(20, 30), (16, 16), (20, 30), (20, 30)]]
    style = null_stylizer.style(noise(16, 16))
    Stylizer(counting).stylize(photos, [style], batch_size=2)
    assert counting.batches == [("stylizer", 2), ("stylizer", 1), ("stylizer", 1)]
    with pytest.raises(InputError, match="batch size must be at least 1, found 0"):
        null_stylizer.stylize(photos, [style], batch_size=0)


def test_transparency_is_kept_and_an_opaque_picture_has_none(stylizer, wave, picture, noise):
    rgba = np.dstack([picture(30, 40), noise(30, 40, channels=1)])
    made = stylizer(rgba, wave)
    assert made.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(made)[..., 3], rgba[..., 3])
    rgba[..., 3] = 255
    assert stylizer(rgba, wave).mode == "RGB"


def test_size_sets_the_shorter_side(null_stylizer, photo):
    assert null_stylizer(photo, photo, size=25).size == (34, 25)
    assert null_stylizer(photo, photo, size=100).size == (134, 100)


def test_a_picture_over_max_pixels_is_refused_as_content_and_as_style(null_stylizer, photo):
    small = photo[:4, :4]
    for content, style in ((photo, small), (small, photo)):
        with pytest.raises(InputError, match=r"67x50 .*over the limit of 100"):
            null_stylizer(content, style, max_pixels=100)


def test_a_stylizer_closes_its_session(photo):
    with adain.Stylizer.open("lite", backend="null") as opened:
        assert opened.spec.name == "lite"
    with pytest.raises(InputError, match="closed"):
        opened(photo, photo)
