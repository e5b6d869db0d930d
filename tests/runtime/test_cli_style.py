"""``adain-style``: make, mix and look at styles."""

from __future__ import annotations

import json
from importlib.metadata import entry_points, version
from pathlib import Path

import numpy as np
import pytest

from adain_runtime.cli import style as command
from adain_runtime.style import Style, mix
from adain_runtime.stylizer import Stylizer

MAIN = "from adain_runtime.cli.style import main; main()"


@pytest.fixture
def here(tmp_path, monkeypatch, picture, write_image):
    """Two paintings, and two saved styles of three channels."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("wave.jpg", "night.png")):
        write_image(tmp_path / name, picture(30, 41, seed=seed))
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "file.txt").write_text("a file, no folder")
    saved("one.adainstyle", 1)
    saved("two.adainstyle", 2, source="")
    saved("foreign.adainstyle", 3, encoder_id="f" * 16)
    return tmp_path


def saved(name: str, value: float, encoder_id: str = "0123456789abcdef", source: str = "a painting") -> Style:
    numbers = np.full(3, value, np.float32)
    style = Style(numbers, numbers, encoder_id, source)
    style.save(name)
    return style


def test_a_painting_becomes_a_style_beside_you(here, adain_style):
    ran = adain_style("make", "wave.jpg")
    assert (ran.code, ran.err) == (0, "")
    made = Style.load("wave.adainstyle")
    with Stylizer.open("lite") as stylizer:
        assert made == stylizer.style("wave.jpg")
    assert ran.out == f"wrote wave.adainstyle (384 numbers, encoder {made.encoder_id}, from wave.jpg)\n"


def test_several_paintings_become_one_mixed_style(here, adain_style):
    ran = adain_style("make", "wave.jpg", "night.png", "-o", "both.adainstyle", "--weights", "3,1", "--style-size", 20)
    assert ran.code == 0
    with Stylizer.open("lite") as stylizer:
        styles = [stylizer.style(name, size=20) for name in ("wave.jpg", "night.png")]
    made = Style.load("both.adainstyle")
    assert made == mix(styles, [3, 1])
    assert made.source == "0.75 wave.jpg + 0.25 night.png"


def test_saved_styles_are_mixed_under_their_own_names(here, adain_style):
    assert adain_style("mix", "one.adainstyle", "two.adainstyle", "-o", "m.adainstyle", "--weights", "1,3").code == 0
    mixed = Style.load("m.adainstyle")
    assert mixed.mean.tolist() == [1.75] * 3
    assert mixed.source == "0.25 a painting + 0.75 two.adainstyle"


def test_a_mix_does_not_replace_one_of_its_own_styles(here, adain_style):
    before = Path("one.adainstyle").read_bytes()
    ran = adain_style("mix", "one.adainstyle", "two.adainstyle", "-o", "./one.adainstyle")
    assert ran.code == 2
    assert "one.adainstyle: would replace an input" in ran.one_line()
    assert Path("one.adainstyle").read_bytes() == before


def test_a_strangers_style_says_nothing_to_the_terminal(here, adain_style):
    """What it was made from is text of whoever made it, and could clear the screen."""
    numbers = np.ones(192, np.float32)
    Style(numbers, numbers, "x\x1b]0;mine\x07", "evil\x1b[2J\x9b31m").save("evil.adainstyle")
    seen = [adain_style("info", "evil.adainstyle"), adain_style("mix", "evil.adainstyle", "-o", "m.adainstyle")]
    seen.append(adain_style("mix", "evil.adainstyle", "one.adainstyle", "-o", "m.adainstyle"))
    assert [ran.code for ran in seen] == [0, 0, 2]
    for ran in seen:
        assert "?]0;mine?" in ran.out + ran.err
        assert not {"\x1b", "\x07", "\x9b"} & {*ran.out, *ran.err}


def test_shapes_alone_make_no_style(here, adain_style):
    ran = adain_style("make", "wave.jpg", "--backend", "null")
    assert ran.code == 2
    assert "computes shapes only" in ran.one_line()
    assert not Path("wave.adainstyle").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["mix", "one.adainstyle", "-o", "m.adainstyle"], {"output": "m.adainstyle", "channels": 3}),
        (["make", "wave.jpg"], {"output": "wave.adainstyle", "channels": 192}),
        (
            ["info", "one.adainstyle"],
            {"file": "one.adainstyle", "source": "a painting", "channels": 3, "mean": [1, 1], "std": [1, 1]},
        ),
    ],
)
def test_json_prints_exactly_one_object_and_nothing_else(here, adain_style, arguments, wanted):
    ran = adain_style(*arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert len(report["encoder_id"]) == 16
    assert report | wanted == report


def test_info_shows_every_fact_once(here, adain_style):
    ran = adain_style("info", "one.adainstyle")
    assert (ran.code, ran.err) == (0, "")
    for fact in ("source", "a painting", "encoder_id", "0123456789abcdef", "channels", "1 to 1"):
        assert fact in ran.out


REFUSED = {
    "a missing painting": (["make", "gone.jpg"], ["gone.jpg", "check the path"]),
    "a text file": (["make", "text.jpg"], ["text.jpg", "text file", "give a JPEG"]),
    "a painting over the limit": (["make", "wave.jpg", "--max-pixels", "9"], ["wave.jpg", "--max-pixels"]),
    "several without a name": (["make", "wave.jpg", "night.png"], ["2 images", "-o NAME.adainstyle"]),
    "a painting whose name is too long": (
        ["make", f"{'x' * 300}.jpg", "-o", "x.adainstyle"],
        ["xxx.jpg", "check the path"],
    ),
    "another suffix": (["make", "wave.jpg", "-o", "wave.png"], ["wave.png", "NAME.adainstyle"]),
    "a place below a file": (["make", "wave.jpg", "-o", "file.txt/s.adainstyle"], ["file.txt", "choose"]),
    "wrong weights": (["make", "wave.jpg", "--weights", "1,2"], ["styles: 1, weights: 2"]),
    "no model": (["make", "wave.jpg", "--model", "gone"], ["gone", "embedded: lite"]),
    "no backend": (["make", "wave.jpg", "--backend", "nope"], ["'nope'", "installed:"]),
    "a missing style": (["mix", "gone.adainstyle", "-o", "m.adainstyle"], ["gone.adainstyle", "check the path"]),
    "an image to mix": (["mix", "wave.jpg", "-o", "m.adainstyle"], ["wave.jpg", "adain-style make"]),
    "other encoders": (
        ["mix", "one.adainstyle", "foreign.adainstyle", "-o", "m.adainstyle"],
        ["foreign.adainstyle was made by", "f" * 16, "one.adainstyle has", "0123456789abcdef", "make the style again"],
    ),
    "weights as a text": (["mix", "one.adainstyle", "-o", "m.adainstyle", "--weights", "x"], ["--weights x"]),
    "no output": (["mix", "one.adainstyle"], ["--output", "--help"]),
    "an image to look at": (["info", "wave.jpg"], ["a style is NAME.adainstyle, made with: adain-style make wave.jpg"]),
    "an output without a name": (["make", "wave.jpg", "-o", ""], ["--output is empty", "-o NAME.adainstyle"]),
    "a name that is too long": (
        ["make", "wave.jpg", "-o", f"{'x' * 300}.adainstyle"],
        ["x.adainstyle: can't be written"],
    ),
    "an unknown command": (["draw"], ["draw", "--help"]),
}


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_nothing_is_touched(here, adain_style, contents_of, case, as_json):
    arguments, named = REFUSED[case]
    before = contents_of(here)
    ran = adain_style(*arguments, *(["--json"] if as_json else []))
    assert ran.code == 2
    line = ran.one_line()
    assert line.startswith("adain-style: ")
    assert [word for word in named if word not in line] == [], line
    assert contents_of(here) == before


def test_version_names_the_distribution(adain_style):
    ran = adain_style("--version")
    assert (ran.code, ran.out) == (0, f"adain-edge {version('adain-edge')}\n")


def test_help_shows_the_commands_and_examples(python):
    ran = python(MAIN, "--help")
    assert (ran.code, ran.err) == (0, "")
    for text in ("make", "mix", "info", "Examples", "adain-style make wave.jpg"):
        assert text in ran.out


def test_a_style_made_by_the_command_is_run_by_the_other(here, adain_style, adain_run):
    assert adain_style("make", "wave.jpg", "--style-size", 20).code == 0
    assert adain_run("night.png", "wave.adainstyle", "-o", "saved.png").code == 0
    assert adain_run("night.png", "wave.jpg", "--style-size", 20, "-o", "direct.png").code == 0
    assert Path("saved.png").read_bytes() == Path("direct.png").read_bytes()


def test_a_painting_whose_name_is_no_text_still_makes_a_style(here, python):
    import os
    import sys

    if sys.platform in ("win32", "darwin"):
        pytest.skip("file names are texts here")
    painting = os.fsdecode(b"caf\xe9.png")
    Path(painting).write_bytes(Path("night.png").read_bytes())
    ran = python(MAIN, "make", painting, "-o", "cafe.adainstyle")
    assert (ran.code, ran.err) == (0, "")
    assert Style.load("cafe.adainstyle").channels == 192


def test_the_entry_point_is_the_main_that_is_tested_here():
    (entry,) = entry_points(group="console_scripts", name="adain-style")
    assert entry.load() is command.main


def test_a_quoted_glob_is_the_paintings_that_match(here, adain_style, picture, write_image):
    for name in ("m1.png", "m2.png"):
        write_image(here / "monet" / name, picture(32, 40, seed=ord(name[1])))
    assert adain_style("make", "monet/*.png", "-o", "glob.adainstyle").code == 0
    assert adain_style("make", "monet/m1.png", "monet/m2.png", "-o", "both.adainstyle").code == 0
    assert Style.load("glob.adainstyle") == Style.load("both.adainstyle")
    assert "no image matches" in adain_style("make", "monet/*.jpg", "-o", "none.adainstyle").one_line()
    assert "name it with -o" in adain_style("make", "monet/*.png").one_line()


def test_a_folder_that_is_not_there_is_made(here, adain_style):
    assert adain_style("make", "wave.jpg", "-o", "new/wave.adainstyle").code == 0
    assert adain_style("mix", "new/wave.adainstyle", "new/wave.adainstyle", "-o", "mixed/b.adainstyle").code == 0
    assert Style.load("mixed/b.adainstyle").channels == Style.load("new/wave.adainstyle").channels


def test_the_size_of_a_saved_style_can_not_be_asked_for(here, adain_style):
    assert adain_style("make", "wave.jpg", "--style-size", 16).code == 0
    ran = adain_style("make", "wave.adainstyle", "--style-size", 64, "-o", "b.adainstyle")
    assert ran.code == 2
    assert "--style-size is about images" in ran.err
    assert not Path("b.adainstyle").exists()


def test_an_option_of_another_command_is_named(here, adain_style):
    ran = adain_style("mix", "a.adainstyle", "-o", "b.adainstyle", "--style-size", 64)
    assert (ran.code, ran.out) == (2, "")
    assert "No such option: --style-size" in ran.err
    assert "; make has it (see adain-style mix --help)" in ran.err
