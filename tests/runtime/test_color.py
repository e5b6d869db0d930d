from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adain_runtime.color import _BLOCK, color_transform, match_color, transfer_luminance
from adain_runtime.errors import InputError

# FCC YIQ: the luminance row is BT.601's, the chroma rows sum to 0.
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])

images = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda hw: arrays(np.uint8, (*hw, 3)))


def noise(height, width, low=0, high=256, seed=0):
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)


def correlated(height, width, centre, mixing, seed):
    """Colours with a full covariance that stay away from 0 and 255, so that nothing is clipped."""
    values = np.random.default_rng(seed).uniform(-1, 1, (height, width, 3)) @ np.array(mixing).T + centre
    assert values.min() > 0
    assert values.max() < 255
    return np.rint(values).astype(np.uint8)


def moments(image):
    flat = image.reshape(-1, 3).astype(np.float64)
    return flat.mean(axis=0), np.cov(flat, rowvar=False, bias=True)


STYLE = correlated(40, 50, (150, 90, 100), [[30, 5, 0], [10, 25, 4], [3, -8, 20]], seed=1)
CONTENT = correlated(30, 37, (110, 130, 120), [[22, 0, 3], [18, 9, 0], [15, 4, 8]], seed=2)


class TestTransferLuminance:
    @given(st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(lambda hw: arrays(np.uint8, (2, *hw, 3))))
    def test_it_is_the_written_out_formula_exactly(self, pair):
        stylized, content = pair
        out = transfer_luminance(stylized, content)
        for at in np.ndindex(*content.shape[:2]):
            y_s, y_c = (
                sum(Fraction(w, 1000) * int(v) for w, v in zip((299, 587, 114), image[at], strict=True))
                for image in (stylized, content)
            )
            wanted = [min(255, max(0, floor(int(c) + y_s - y_c + Fraction(1, 2)))) for c in content[at]]
            assert out[at].tolist() == wanted

    def test_going_through_yiq_and_back_in_float64_gives_the_same_to_half_a_step(self):
        stylized, content = noise(20, 30, 100, 156, seed=3), noise(20, 30, 100, 156, seed=4)
        yiq = content @ YIQ.T
        yiq[..., 0] = (stylized @ YIQ.T)[..., 0]
        back = yiq @ np.linalg.inv(YIQ).T
        assert back.min() > 0  # nothing is clipped here
        assert back.max() < 255
        assert np.abs(transfer_luminance(stylized, content) - back).max() <= 0.5 + 1e-9

    @given(images)
    def test_an_image_keeps_itself(self, image):
        assert np.array_equal(transfer_luminance(image, image), image)

    def test_a_grey_content_takes_the_luminance_and_stays_grey(self):
        content = np.full((4, 5, 3), 77, dtype=np.uint8)
        out = transfer_luminance(noise(4, 5), content)
        assert (out == out[..., :1]).all()
        assert np.abs(out[..., 0] - (noise(4, 5) @ YIQ[0])).max() <= 0.5 + 1e-9

    def test_what_overflows_is_clipped_and_does_not_wrap(self):
        white, red = np.full((1, 1, 3), 255, dtype=np.uint8), np.array([[[255, 0, 0]]], dtype=np.uint8)
        assert transfer_luminance(white, red).tolist() == [[[255, 179, 179]]]  # 255 * (1 - 0.299) = 178.755
        assert transfer_luminance(np.zeros_like(white), red).tolist() == [[[179, 0, 0]]]  # 255 * 0.701

    def test_inputs_stay_as_they_were_even_when_they_are_views(self):
        both = noise(6, 8)
        before = both.copy()
        stylized, content = both[:, ::2], both[::-1, 1::2]
        out = transfer_luminance(stylized, content)
        assert np.array_equal(both, before)
        assert np.array_equal(out, transfer_luminance(stylized.copy(), content.copy()))

    def test_sizes_that_differ_are_refused_with_both_sizes(self):
        with pytest.raises(InputError, match=r"stylized is 5x4 and content 4x5; resize"):
            transfer_luminance(noise(4, 5), noise(5, 4))


class TestColorTransform:
    def test_mean_and_covariance_become_the_content_s(self):
        transform = color_transform(STYLE, CONTENT)
        mean, covariance = moments(STYLE)
        wanted_mean, wanted_covariance = moments(CONTENT)
        np.testing.assert_allclose(transform.matrix @ mean + transform.offset, wanted_mean, rtol=1e-12)
        np.testing.assert_allclose(
            transform.matrix @ covariance @ transform.matrix.T, wanted_covariance, rtol=1e-9, atol=1e-9
        )

    def test_the_matrix_is_the_product_of_the_symmetric_square_roots(self):
        def root(matrix, power):
            values, axes = np.linalg.eigh(matrix)
            return axes @ np.diag(values**power) @ axes.T

        wanted = root(moments(CONTENT)[1], 0.5) @ root(moments(STYLE)[1], -0.5)
        np.testing.assert_allclose(color_transform(STYLE, CONTENT).matrix, wanted, rtol=1e-9, atol=1e-11)

    def test_matching_an_image_to_itself_changes_nothing(self):
        np.testing.assert_allclose(color_transform(STYLE, STYLE).matrix, np.eye(3), atol=1e-10)
        assert np.array_equal(match_color(STYLE, STYLE), STYLE)

    @given(images, images)
    def test_any_two_images_give_finite_numbers_and_the_content_s_mean(self, style, content):
        transform = color_transform(style, content)
        assert np.isfinite(transform.matrix).all()
        mean = transform.matrix @ moments_of_any(style) + transform.offset
        np.testing.assert_allclose(mean, moments_of_any(content), rtol=1e-9, atol=1e-7)

    @given(images, images)
    def test_no_direction_gets_more_spread_than_the_content_has(self, style, content):
        matrix = color_transform(style, content).matrix
        flat = style.reshape(-1, 3).astype(np.float64)
        flat -= flat.mean(axis=0)
        target = content.reshape(-1, 3).astype(np.float64)
        target -= target.mean(axis=0)
        excess = target.T @ target / len(target) - matrix @ (flat.T @ flat / len(flat)) @ matrix.T
        assert np.linalg.eigvalsh(excess).min() > -1e-6

    def test_a_one_colour_style_has_no_directions_at_all(self):
        flat = np.full((3, 4, 3), (10, 200, 30), dtype=np.uint8)
        transform = color_transform(flat, CONTENT)
        assert not transform.matrix.any()
        np.testing.assert_allclose(transform.offset, moments(CONTENT)[0], rtol=1e-12)

    def test_a_grey_style_keeps_its_one_direction(self):
        grey = np.repeat(noise(20, 20)[..., :1], 3, axis=2)
        assert np.linalg.matrix_rank(color_transform(grey, CONTENT).matrix) == 1

    def test_rounding_noise_in_the_chroma_of_a_grey_style_is_not_blown_up(self):
        grey = np.repeat(noise(40, 40, 50, 200)[..., :1], 3, axis=2)
        speckled = grey.copy()
        speckled[::7, ::5, 0] += 1  # variance of the chroma about 0.03: below the 1/12 of rounding
        difference = match_color(grey, CONTENT).astype(int) - match_color(speckled, CONTENT)
        assert np.abs(difference).max() <= 2


def moments_of_any(image):
    return image.reshape(-1, 3).mean(axis=0, dtype=np.float64)


class TestMatchColor:
    def test_the_image_has_the_content_s_colours_but_for_rounding(self):
        mean, covariance = moments(match_color(STYLE, CONTENT))
        wanted_mean, wanted_covariance = moments(CONTENT)
        assert np.abs(mean - wanted_mean).max() < 0.1
        # Rounding adds 1/12 to each variance; the rest is chance over 2,000 pixels.
        assert np.abs(covariance - wanted_covariance - np.eye(3) / 12).max() < 1

    def test_a_one_colour_content_gives_one_colour(self):
        content = np.full((2, 2, 3), (1, 2, 250), dtype=np.uint8)
        assert np.array_equal(match_color(STYLE, content), np.full_like(STYLE, (1, 2, 250)))

    def test_a_grey_content_gives_grey(self):
        out = match_color(STYLE, np.repeat(CONTENT[..., :1], 3, axis=2)).astype(int)
        assert np.ptp(out, axis=2).max() <= 1

    def test_what_overflows_is_clipped_and_does_not_wrap(self):
        dark = np.zeros((10, 10, 3), dtype=np.uint8)
        dark[0, 0] = 200  # one highlight: far outside once the spread is the content's
        out = match_color(dark, noise(10, 10))
        assert out[0, 0].tolist() == [255, 255, 255]

    def test_work_in_blocks_is_the_work_on_the_whole(self):
        style = noise(3, _BLOCK // 2, seed=5)  # one block and a half
        transform = color_transform(style, CONTENT)
        whole = style.astype(np.float64) @ transform.matrix.T + transform.offset
        # Products in blocks of another size may differ in the last bit: exact but at a tie of the rounding.
        assert np.abs(transform(style) - np.clip(whole, 0, 255)).max() <= 0.5 + 1e-9
        np.testing.assert_allclose(transform.matrix @ moments(style)[0] + transform.offset, moments(CONTENT)[0])

    def test_views_in_any_memory_order_are_taken(self):
        turned = STYLE.transpose(1, 0, 2)[::-1]
        assert np.array_equal(match_color(turned, CONTENT), match_color(turned.copy(order="C"), CONTENT))

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((2, 2, 3)),
            np.zeros((2, 2), np.uint8),
            np.zeros((2, 2, 4), np.uint8),
            np.zeros((0, 2, 3), np.uint8),
        ],
        ids=["float", "grey", "alpha", "empty"],
    )
    def test_arrays_that_are_not_rgb_are_refused_by_name(self, array):
        with pytest.raises(InputError, match=r"style is \[.*give \[height, width, 3\] uint8"):
            match_color(array, CONTENT)
        with pytest.raises(InputError, match=r"content is"):
            match_color(STYLE, array)
