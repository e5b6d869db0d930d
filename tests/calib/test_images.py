"""Folders for a calibration: what is taken, what is refused by name, and what the network gets to see."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from adain_calib import images
from adain_calib.images import SMALLEST, find_again, open_folder
from adain_runtime.errors import InputError
from pictures import save_picture


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    return made


def test_a_folder_is_its_images_by_name_with_their_digests(pictures, folder):
    shutil.copytree(pictures / "content", folder, dirs_exist_ok=True)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    found = open_folder(folder, most=9, seed=0)
    assert [file.name for file in found.files] == ["content0.png", "content1.png", "content2.png"]
    assert find_again(folder, found.files) == found


def test_of_a_large_folder_as_many_are_drawn_as_can_be_used_the_same_each_time(pictures):
    found = open_folder(pictures / "content", most=2, seed=1)
    assert len(found.files) == 2
    assert found == open_folder(pictures / "content", most=2, seed=1)
    chosen = {open_folder(pictures / "content", most=2, seed=seed).files for seed in range(12)}
    assert len(chosen) == 3


def test_an_image_that_is_there_twice_is_taken_once_and_said(pictures, folder):
    shutil.copytree(pictures / "content", folder, dirs_exist_ok=True)
    shutil.copy(folder / "content1.png", folder / "zz.png")
    found = open_folder(folder, most=9, seed=0)
    assert len(found.files) == 3
    assert found.twins == ("zz.png",)


def test_known_images_are_left_out_before_any_are_drawn(pictures):
    known = open_folder(pictures / "content", most=9, seed=0).files[:2]
    digests = {file.sha256 for file in known}
    found = open_folder(pictures / "content", most=1, seed=0, known=digests.__contains__)
    assert [file.name for file in found.files] == ["content2.png"]
    assert found.known == ("content0.png", "content1.png")
    assert found.notes() == [
        f"{pictures / 'content'}: 2 left out that the calibration saw (content0.png, content1.png)"
    ]
    none = open_folder(pictures / "content", most=9, seed=0, known=lambda _: True)
    assert (none.files, len(none.known)) == ((), 3)


@pytest.mark.parametrize("size", [(SMALLEST - 1, 200), (200, SMALLEST - 1), (1, 1)])
def test_an_image_under_64_pixels_is_refused_by_name(folder, size):
    save_picture(folder / "good.png", 64, 64, 0)
    save_picture(folder / "small.png", *size, 0)
    with pytest.raises(InputError, match=rf"small\.png: {size[0]}x{size[1]}, too small.*64 pixels"):
        open_folder(folder, most=9, seed=0)


def test_what_holds_no_image_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no images in this folder"):
        open_folder(folder, most=9, seed=0)
    with pytest.raises(InputError, match="no such folder"):
        open_folder(tmp_path / "nowhere", most=9, seed=0)
    (folder / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg .*take it out of the folder"):
        open_folder(folder, most=9, seed=0)


def test_pictures_of_kinds_that_are_not_read_are_told(pictures, folder):
    shutil.copytree(pictures / "content", folder, dirs_exist_ok=True)
    for name in ("a.heic", "b.HEIC", "c.cr2"):
        (folder / name).write_bytes(b"0")
    found = open_folder(folder, most=9, seed=0)
    assert len(found.files) == 3
    (note,) = found.notes()
    assert note.startswith(f"{folder}: ")
    assert "2 .heic" in note
    assert "1 .cr2" in note
    assert "convert them first" in note


def test_an_image_of_more_pixels_than_are_decoded_is_refused_before_any_work(folder, monkeypatch):
    save_picture(folder / "a.png", 64, 64, 0)
    save_picture(folder / "wide.png", 100, 101, 0)
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    with pytest.raises(InputError, match=r"wide\.png: 100x101, more than 10,000 pixels; make it smaller, or take"):
        open_folder(folder, most=9, seed=0)


def test_an_image_that_was_changed_or_moved_is_refused_by_name(pictures, folder):
    shutil.copytree(pictures / "content", folder, dirs_exist_ok=True)
    files = open_folder(folder, most=9, seed=0).files
    save_picture(folder / "content1.png", 64, 64, 99)
    with pytest.raises(InputError, match=r"content1\.png: changed since"):
        find_again(folder, files)
    (folder / "content1.png").unlink()
    with pytest.raises(InputError, match=r"content1\.png: not there"):
        find_again(folder, files)
    with pytest.raises(InputError, match="no such folder"):
        find_again(folder / "deeper", files)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((300, 200), (128, 192)),  # shorter side 128
        ((100, 70), (64, 96)),  # not enlarged; the middle of both sides
        ((2000, 100), (96, 400)),  # a panorama: four times the shorter side
        ((64, 64), (64, 64)),
    ],
)
def test_an_image_is_reduced_and_its_middle_kept(folder, size, shape):
    save_picture(folder / "image.png", *size, 0)
    planes = open_folder(folder, most=1, seed=0).planes(0, size=128, stride=8)
    assert planes.shape == (1, 3, *shape)
    assert planes.dtype == np.float32
    assert planes.min() >= 0
    assert planes.max() <= 1


def test_the_middle_is_the_middle(folder):
    pixels = np.zeros((64, 70, 3), np.uint8)
    pixels[:, 3:67] = 255
    Image.fromarray(pixels).save(folder / "image.png")
    assert (open_folder(folder, most=1, seed=0).planes(0, size=64, stride=8) == 1).all()


def test_a_stride_beyond_the_image_pads_it(folder):
    save_picture(folder / "image.png", 100, 70, 0)
    assert open_folder(folder, most=1, seed=0).planes(0, size=256, stride=128).shape == (1, 3, 256, 256)
