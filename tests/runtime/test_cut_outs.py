"""Pictures with transparency: what nobody sees counts in no statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adain_runtime.color import color_transform
from adain_runtime.image import Photo, load_image
from adain_runtime.regions import cells_of_alpha
from adain_runtime.stylizer import Stylizer

SHOWN = (slice(48, 112), slice(80, 160))


@pytest.fixture
def cut_out(picture):
    """A picture of 64x80 in the middle of an empty canvas, [160,240,4]."""
    canvas = np.zeros((160, 240, 4), np.uint8)
    canvas[SHOWN] = np.dstack([picture(64, 80, seed=1), np.full((64, 80), 255, np.uint8)])
    return canvas


@pytest.fixture(scope="module")
def wave(stylizer, picture):
    return stylizer.style(picture(72, 64, seed=9))


def apart(a, b):
    return np.abs(np.asarray(a)[..., :3].astype(int) - np.asarray(b)[..., :3])


def test_a_cut_out_is_stylised_as_what_shows_of_it(stylizer, wave, cut_out):
    alone = np.asarray(stylizer(np.ascontiguousarray(cut_out[SHOWN][..., :3]), wave))
    made = np.asarray(stylizer(cut_out, wave))
    opaque = np.asarray(stylizer(load_image(cut_out).rgb, wave))  # whose statistics are those of the whole canvas
    inside = (slice(16, -16), slice(16, -16))
    near, far = (apart(found[SHOWN][inside], alone[inside]).mean() for found in (made, opaque))
    assert near < 0.5 * far


def test_a_style_is_what_shows_of_it(stylizer, cut_out):
    alone, made = stylizer.style(cut_out[SHOWN][..., :3]), stylizer.style(cut_out)
    opaque = stylizer.style(load_image(cut_out).rgb)
    near, far = (np.abs(found.std / alone.std - 1).mean() for found in (made, opaque))
    assert near < 0.5 * far


def test_tiles_make_a_cut_out_as_the_whole_does(stylizer, wave, cut_out):
    large = np.tile(cut_out, (3, 2, 1))
    large[..., 3] = np.where(large[..., 3] > 0, 255, 30)
    whole = stylizer(large, wave, tile="off")
    tiled = stylizer(large, wave, tile=352)
    assert apart(whole, tiled).max() <= 1
    np.testing.assert_array_equal(np.asarray(tiled)[..., 3], large[..., 3])


def test_a_white_mask_on_a_cut_out_is_no_mask(stylizer, wave, cut_out):
    white = np.ones(cut_out.shape[:2], np.float32)
    assert apart(stylizer(cut_out, wave, masks=[white]), stylizer(cut_out, wave)).max() <= 1


def test_a_picture_that_is_transparent_all_over_has_the_statistics_of_all_its_pixels(stylizer, wave, picture):
    hidden = np.dstack([picture(40, 56), np.zeros((40, 56), np.uint8)])
    made = stylizer(hidden, wave)
    assert made.mode == "RGBA"
    assert apart(made, stylizer(np.ascontiguousarray(hidden[..., :3]), wave)).max() <= 1
    seen, unseen = stylizer.style(hidden[..., :3]), stylizer.style(hidden)
    np.testing.assert_allclose(unseen.std, seen.std, rtol=1e-3)


class Counting:
    """A session that notes its runs."""

    def __init__(self, session, bundle=None):
        self.session, self.device, self.ran = session, session.device, []
        self.bundle = bundle or session.bundle

    def run(self, part, feeds):
        self.ran.append((part, len(next(iter(feeds.values())))))
        return self.session.run(part, feeds)


def test_a_cut_out_is_encoded_once_more_and_runs_with_others_of_its_size(null_stylizer, noise):
    counting = Counting(null_stylizer.session)
    opaque, clear = Photo(noise(24, 32)), Photo(noise(24, 32), noise(24, 32, channels=1)[..., 0])
    Stylizer(counting).stylize([opaque, clear, opaque], [null_stylizer.style(noise(16, 16))], batch_size=4)
    assert counting.ran == [("encoder", 1), ("stylizer", 3)]


def test_pictures_that_run_together_are_as_they_are_alone(stylizer, wave, cut_out, picture):
    photos = [Photo(picture(160, 240, seed=3)), load_image(cut_out), Photo(picture(160, 240, seed=4))]
    together = stylizer.stylize(photos, [wave], alpha=0.6, batch_size=3)
    for photo, made in zip(photos, together, strict=True):
        (alone,) = stylizer.stylize([photo], [wave], alpha=0.6)
        assert apart(alone.rgb, made.rgb).max() <= 1


def test_it_takes_no_decoder(stylizer, wave, cut_out):
    bundle = stylizer.session.bundle
    parts = {name: part for name, part in bundle.manifest.parts.items() if name != "decoder"}
    counting = Counting(stylizer.session, replace(bundle, manifest=replace(bundle.manifest, parts=parts)))
    (made,) = Stylizer(counting).stylize([load_image(cut_out)], [wave], alpha=0.7)
    assert counting.ran == [("encoder", 1), ("stylizer", 1)]
    assert (
        apart(made.rgb, stylizer(cut_out, wave, alpha=0.7, masks=[np.ones(cut_out.shape[:2], np.float32)])).max() <= 1
    )


def test_a_black_mask_leaves_what_shows_exactly(stylizer, wave, noise):
    clear = np.dstack([noise(40, 56), np.full((40, 56), 64, np.uint8)])
    left = stylizer(clear, wave, masks=[np.zeros((40, 56), np.float32)])
    np.testing.assert_array_equal(np.asarray(left), clear)


def test_a_cell_counts_as_much_as_its_pixels_show():
    alpha = np.zeros((16, 20), np.uint8)
    alpha[:8, :8] = 255
    alpha[:8, 8:12] = 51
    cells = cells_of_alpha(alpha, 8, padded=(16, 24), repeated=False)
    assert cells.shape == (2, 3)
    np.testing.assert_allclose(cells, [[1, 0.1, 1e-6], [1e-6, 1e-6, 1e-6]], rtol=1e-5)
    assert cells_of_alpha(None, 8, padded=(16, 24), repeated=False) is None


def test_colours_are_matched_by_what_shows(picture, noise):
    style, content = picture(30, 40, seed=5), picture(20, 50, seed=6)
    shown, seen = (np.random.default_rng(seed).random(size) < 0.4 for seed, size in ((1, (30, 40)), (2, (20, 50))))
    found = color_transform(
        style, content, style_alpha=shown * np.uint8(200), content_alpha=np.where(seen, 255, 0).astype(np.uint8)
    )
    wanted = color_transform(style[shown][None], content[seen][None])
    np.testing.assert_allclose(found.matrix, wanted.matrix, rtol=1e-9)
    np.testing.assert_allclose(found.offset, wanted.offset, rtol=1e-9, atol=1e-9)
    nothing = np.zeros((30, 40), np.uint8)
    np.testing.assert_array_equal(
        color_transform(style, content, style_alpha=nothing).matrix, color_transform(style, content).matrix
    )


def test_matching_colours_of_a_cut_out_ignores_its_canvas(stylizer, cut_out, picture):
    style = picture(48, 48, seed=8)
    opaque = stylizer(load_image(cut_out).rgb, style, preserve_color="match")
    alone = stylizer(np.ascontiguousarray(cut_out[SHOWN][..., :3]), style, preserve_color="match")
    made = stylizer(cut_out, style, preserve_color="match")
    near, far = (apart(np.asarray(found)[SHOWN], alone).mean() for found in (made, opaque))
    assert near < 0.7 * far
