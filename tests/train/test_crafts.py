"""Pictures as crafts would make them, and the command that draws a folder of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from adain_runtime.errors import InputError
from adain_train.crafts import CRAFTS, draw


@pytest.fixture
def picture():
    """A bright disc on a dark, reddish ground."""
    down, across = np.mgrid[0:96, 0:120]
    disc = (down - 48) ** 2 + (across - 60) ** 2 < 900
    return np.where(disc[..., None], [230, 220, 200], [90, 40, 30]).astype(np.uint8)


@pytest.mark.parametrize("kind", CRAFTS)
def test_a_number_and_a_seed_are_a_picture(picture, kind):
    drawn = draw(picture, kind, 3, seed=4)
    assert (drawn.shape, drawn.dtype) == (picture.shape, np.uint8)
    assert drawn.std() > 3  # there is something on it
    again, later, other = (draw(picture, kind, number, seed) for number, seed in ((3, 4), (4, 4), (3, 5)))
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, later)
    assert not np.array_equal(drawn, other)


@pytest.mark.parametrize("kind", CRAFTS)
def test_the_smallest_picture_and_one_of_one_colour_are_drawn(kind):
    for seed in range(4):
        assert draw(np.full((32, 45, 3), 90, np.uint8), kind, 0, seed).shape == (32, 45, 3)


@pytest.mark.parametrize(
    "kind", ["mosaic", "glass", "dots", "hatching", "graphite", "stitches", "halftone", "brushwork", "swirls", "wash"]
)
def test_the_picture_that_it_is_drawn_after_is_still_there(picture, kind):
    """Light places stay lighter than dark ones, on average over several drawings."""
    disc = picture[..., 0] > 128
    lighter = []
    for seed in range(6):
        drawn = CRAFTS[kind](np.random.default_rng(seed), picture.astype(np.float32) / 255).mean(-1)
        lighter.append(drawn[disc].mean() - drawn[~disc].mean())
    assert np.mean(lighter) > 0.1
    assert min(lighter) > -0.02


def test_lines_leave_most_of_the_paper_empty(picture):
    emptiest = []
    for seed in range(8):
        drawn = CRAFTS["lines"](np.random.default_rng(seed), picture.astype(np.float32) / 255).mean(-1)
        emptiest.append(np.quantile(drawn, 0.5) - np.quantile(drawn, 0.02))
    assert np.median(emptiest) > 0.1  # ink is much darker than the middle of all pixels, which is paper


def test_a_tiny_picture_is_refused():
    with pytest.raises(InputError, match=r"picture of 40x31: .*32 pixels"):
        draw(np.zeros((31, 40, 3), np.uint8), "lines", 0, 0)


@pytest.fixture
def folder(tmp_path, picture):
    made = tmp_path / "pictures"
    made.mkdir()
    for name, image in (("a", picture), ("b", picture[::-1]), ("wide", np.tile(picture, (1, 3, 1)))):
        Image.fromarray(np.ascontiguousarray(image)).save(made / f"{name}.png")
    (made / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return made


def test_the_command_leaves_pictures_that_a_larger_count_adds_to(command, folder, tmp_path):
    asked = ["crafts", folder, "--size", "64", "--seed", "2", "--kinds", "mosaic,hatching,graphite,mosaic"]
    code, out, err = command(*asked, "-o", tmp_path / "few", "--count", "3")
    assert (code, out) == (0, "")
    assert "1 skipped (broken.jpg" in err
    assert f"wrote 3 pictures to {tmp_path / 'few'}: 1 mosaic, 1 hatching, 1 graphite" in " ".join(err.split())
    code, out, _ = command(*asked, "-o", tmp_path / "more", "--count", "8", "--workers", "0", "--json")
    found = json.loads(out)
    assert (found["images"], found["skipped"], sum(found["drawn"].values())) == (3, 1, 8)
    assert found["drawn"]["mosaic"] == 4
    few, more = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("few", "more"))
    assert few == {name: more[name] for name in few}
    assert len(more) == 8
    for file in (tmp_path / "more").iterdir():
        with Image.open(file) as drawn:
            assert drawn.height == 64
            assert 64 <= drawn.width <= 96  # one of the three is 3.75 times as wide as high


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pictures", "-o", "pictures"], "next time would be drawn after itself"),
        (
            ["pictures", "-o", "out", "--kinds", "mosaic,origami"],
            "--kinds origami: no such kind; there are mosaic, hatching",
        ),
        (["none", "-o", "out"], "none: no such folder"),
        (["pictures", "-o", "pictures/a.png"], "can't be made"),
    ],
)
def test_what_can_not_be_drawn_is_one_line(command, folder, monkeypatch, arguments, said):
    monkeypatch.chdir(folder.parent)
    code, out, err = command("crafts", *arguments, "--count", "1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_kind_is_drawn_after_all_pictures_though_there_are_as_many_as_kinds(command, folder, tmp_path):
    out = tmp_path / "out"
    command("crafts", folder, "--size", "64", "--kinds", "dots,lines,dots", "--count", "30", "-o", out)
    widths = []
    for number in range(0, 30, 3):
        with Image.open(out / f"dots-{number:04d}.bmp") as drawn:
            widths.append(drawn.width)
    assert set(widths) == {80, 96}  # of the three pictures one is wider
