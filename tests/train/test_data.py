"""Folders of images: what is taken, what is left out, and crops that depend on nothing but seed and position."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from adain_runtime.errors import InputError
from adain_train.data import Framing, Stream, check_folder, prefetch, shuffled
from pictures import noise, one_line

FRAMING = Framing(crop=16, shorter_min=16, shorter_max=24)


def save(path, height, width, seed=0):
    Image.fromarray(noise(height, width, seed=seed)).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.png", 20 + number, 40, seed=number)
    return tmp_path


def test_broken_and_small_images_are_skipped_counted_and_reported(folder):
    (folder / "broken.jpg").write_bytes(b"not a picture")
    save(folder / "tiny.png", 7, 50)
    (folder / "notes.txt").write_text("none of ours")
    (folder / "below").mkdir()
    found = check_folder(folder, FRAMING)
    assert found.names == ("0.png", "1.png", "2.png", "3.png")
    assert [name for name, _ in found.skipped] == ["broken.jpg", "tiny.png"]
    report = found.report()
    assert "4 images, 2 skipped" in report
    assert "broken.jpg" in report
    assert "50x7 is too small" in report


def test_an_image_that_changed_or_went_changes_the_digest(folder):
    before = check_folder(folder, FRAMING).digest
    assert check_folder(folder, FRAMING, workers=3).digest == before
    save(folder / "0.png", 20, 40, seed=9)
    changed = check_folder(folder, FRAMING).digest
    (folder / "1.png").unlink()
    assert len({before, changed, check_folder(folder, FRAMING).digest}) == 3


def test_a_missing_folder_an_empty_one_and_one_of_broken_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        check_folder(tmp_path / "none", FRAMING)
    with pytest.raises(InputError, match="no image in it"):
        check_folder(tmp_path, FRAMING)
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of its 1 images can be used \(broken.png") as error:
        check_folder(tmp_path, FRAMING)
    one_line(error)


def test_images_in_memory_give_the_crops_of_images_on_disk(folder):
    kept, read = (Stream(check_folder(folder, FRAMING, cache=cache), seed=1, key=0) for cache in (True, False))
    assert np.array_equal(kept.crops(range(9)), read.crops(range(9)))


def test_a_crop_depends_on_seed_key_and_position_alone(folder):
    images = check_folder(folder, FRAMING, cache=True)
    crops = [Stream(images, seed, key).crop(place) for seed, key, place in ((1, 0, 5), (2, 0, 5), (1, 1, 5), (1, 0, 6))]
    assert len({crop.tobytes() for crop in crops}) == 4
    assert np.array_equal(Stream(images, 1, 0).crop(5), crops[0])


def test_every_round_has_each_image_once_in_an_order_of_its_own():
    rounds = [[shuffled(n * 50 + place, 50, seed=4, key=2) for place in range(50)] for n in range(3)]
    assert all(sorted(order) == list(range(50)) for order in rounds)
    assert len({tuple(order) for order in rounds}) == 3


def test_an_image_as_large_as_the_framing_wants_is_cropped_and_not_resampled(tmp_path):
    picture = noise(32, 48, seed=2)
    Image.fromarray(picture).save(tmp_path / "a.png")
    stream = Stream(check_folder(tmp_path, Framing(16, 32, 32, flip=False), cache=True), seed=0, key=0)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (16, 16), axis=(0, 1))
    for place in range(8):
        assert (windows == stream.crop(place)[None, None]).all(axis=(2, 3, 4)).any()


def test_half_of_the_crops_are_mirrored(tmp_path):
    ramp = np.repeat(np.arange(16, dtype=np.uint8)[None, :, None] * 10, 16, axis=0).repeat(3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    stream = Stream(check_folder(tmp_path, Framing(16, 16, 16), cache=True), seed=0, key=0)
    mirrored = sum(int(stream.crop(place)[0, 0, 0] > 100) for place in range(200))
    assert 70 < mirrored < 130


def test_a_small_source_keeps_its_size_and_grows_only_to_the_crop(tmp_path):
    Image.fromarray(noise(12, 12)).save(tmp_path / "small.png")
    Image.fromarray(noise(20, 20)).save(tmp_path / "middle.png")
    images = check_folder(tmp_path, Framing(16, 512, 512))
    assert Stream(images, 0, 0).crops(range(2)).shape == (2, 3, 16, 16)
    assert images.image(0).shape == (20, 20, 3)


def test_a_large_source_is_made_smaller_once(tmp_path):
    Image.fromarray(noise(100, 150)).save(tmp_path / "large.png")
    assert check_folder(tmp_path, FRAMING, cache=True).image(0).shape == (24, 36, 3)


def test_a_downsized_crop_keeps_what_it_shows(tmp_path):
    Image.fromarray(np.full((90, 70, 3), 77, np.uint8)).save(tmp_path / "flat.png")
    crops = Stream(check_folder(tmp_path, Framing(16, 16, 60), cache=True), seed=0, key=0).crops(range(20))
    assert (crops == 77).all()


@pytest.mark.parametrize("sizes", [(0, 16, 16), (16, 8, 32), (16, 32, 24)])
def test_framings_that_have_no_room_are_refused(sizes):
    with pytest.raises(InputError, match=r"crops of 0|crop 16, shorter_min 8|shorter_min 32, shorter_max 24"):
        Framing(*sizes)


def jittered(folder, jitter):
    framing = Framing(crop=16, shorter_min=16, shorter_max=24, jitter=jitter)
    return Stream(check_folder(folder, framing), seed=5, key=0)


def test_jitter_changes_colours_and_no_shapes(folder):
    plain, strayed = (jittered(folder, jitter).crops(range(8)) for jitter in (0.0, 0.3))
    assert np.array_equal(strayed, jittered(folder, 0.3).crops(range(8)))
    for before, after in zip(plain, strayed, strict=True):
        assert np.abs(before.astype(int) - after).mean() > 3
        light = [crop.astype(float).mean(axis=0).ravel() for crop in (before, after)]
        assert np.corrcoef(*light)[0, 1] > 0.85  # less than 1, since what leaves 0 to 255 is cut


def test_jitter_leaves_grey_grey(tmp_path):
    grey = noise(24, 24)[..., :1].repeat(3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for crop in jittered(tmp_path, 0.8).crops(range(6)):
        assert np.ptp(crop.astype(int), axis=0).max() <= 1


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan")])
def test_colours_can_not_stray_further_than_all_the_way(jitter):
    with pytest.raises(InputError, match="0 to 1"):
        Framing(jitter=jitter)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_prefetched_batches_come_in_order_whatever_the_workers(workers):
    assert list(prefetch(lambda step: step * step, range(3, 40), workers=workers)) == [n * n for n in range(3, 40)]


def test_a_worker_that_fails_fails_the_training_and_leaves_no_thread():
    def make(step):
        if step == 3:
            raise InputError("gone")
        return step

    with pytest.raises(InputError, match="gone"):
        list(prefetch(make, range(10), workers=2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adain-data")]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their file systems take no such names")
def test_a_name_that_is_no_utf_8_is_a_name(folder):
    save(os.fsencode(folder) + b"/caf\xe9.png", 20, 40)
    found = check_folder(folder, FRAMING)
    assert len(found.names) == 5
    assert len(found.digest) == 64
