"""Bad input: one line on stderr that names the file and the fix, exit code 2, and nothing touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adain_runtime.cli import run as command
from adain_runtime.style import Style

PHOTO, WAVE, OLD = "photo.jpg", "wave.jpg", "out.png"


@pytest.fixture
def here(tmp_path, monkeypatch, make_bundle, edit_manifest, flip_bit, write_image, picture):
    """A folder of good and bad files, with an old output in it."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate((PHOTO, WAVE, "night.jpg", "mask.png")):
        write_image(tmp_path / name, picture(30, 41, seed=seed))
    (tmp_path / OLD).write_bytes(b"the old picture")
    (tmp_path / "text.jpg").write_text("this is no picture\n")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / PHOTO).read_bytes()[:700])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file.txt").write_text("a file, no folder")
    Image.new("1", (4000, 4000)).save(tmp_path / "bomb.png")

    ones = np.ones(192, np.float32)
    Style(ones, ones, "f" * 16, "another.jpg").save(tmp_path / "other.adainstyle")
    Style(ones[:5], ones[:5], "0123456789abcdef").save(tmp_path / "tiny.adainstyle")
    (tmp_path / "cut.adainstyle").write_bytes((tmp_path / "tiny.adainstyle").read_bytes()[:-1])

    flip_bit(make_bundle(tmp_path / "flipped") / "weights.bin")
    (make_bundle(tmp_path / "lacking") / "stylizer.graph").unlink()
    edit_manifest(make_bundle(tmp_path / "newer"), schema_version=2)
    edit_manifest(make_bundle(tmp_path / "escaping"), files={"../x": {"bytes": 0, "sha256": "0" * 64}})
    make_bundle(tmp_path / "coreml", target="coreml")
    make_bundle(tmp_path / "whole")
    return tmp_path


# Arguments after "-o out.png --backend null", and what the line must name: the thing, and the fix.
REFUSED = {
    "a missing photo": ([(gone := "gone.jpg"), WAVE], [gone, "doesn't exist", "check the path"]),
    "a missing style": ([PHOTO, "gone.jpg"], ["gone.jpg", "doesn't exist", "check the path"]),
    "a text file named jpg": (["text.jpg", WAVE], ["text.jpg", "text file", "give a JPEG"]),
    "a text file as style": ([PHOTO, "text.jpg"], ["text.jpg", "text file", "give a JPEG"]),
    "a truncated JPEG": (["cut.jpg", WAVE], ["cut.jpg", "cut short", "copy or download it again"]),
    "zero bytes": (["empty.png", WAVE], ["empty.png", "0 bytes", "copy or download it again"]),
    "a folder as style": ([PHOTO, "folder.jpg"], ["folder.jpg", "is a folder", "give an image file"]),
    "a folder without pictures": (["nothing", WAVE], ["nothing", "no images in this folder"]),
    "an address": (["https://example.org/a.jpg", WAVE], ["https://example.org/a.jpg is an address", "download"]),
    "a glob without match": (["*.webp", WAVE], ["*.webp", "no image matches", "check the pattern"]),
    "a decompression bomb": (
        ["bomb.png", WAVE, "--max-pixels", "100000"],
        ["bomb.png", "4000x4000", "limit of 100,000", "--max-pixels"],
    ),
    "a bomb as style": ([PHOTO, "bomb.png", "--max-pixels", "100000"], ["bomb.png", "--max-pixels"]),
    "a bomb as mask": (
        [PHOTO, WAVE, "--mask", "bomb.png", "--max-pixels", "100000"],
        ["bomb.png", "--max-pixels"],
    ),
    "a style of another encoder": (
        [PHOTO, "other.adainstyle"],
        ["other.adainstyle", "f" * 16, "lite-onnx-fp32", "adain-style make --model"],
    ),
    "a style of another bundle": ([PHOTO, "tiny.adainstyle"], ["tiny.adainstyle", "make the style again"]),
    "a truncated style": ([PHOTO, "cut.adainstyle"], ["cut.adainstyle", "cut short", "adain-style make"]),
    "a missing saved style": ([PHOTO, "gone.adainstyle"], ["gone.adainstyle", "check the path"]),
    "a saved style to recolour": (
        [PHOTO, "tiny.adainstyle", "--model", "whole", "--preserve-color", "match"],
        ["tiny.adainstyle", "give the image, or use luminance"],
    ),
    "a bundle with a flipped bit": ([PHOTO, WAVE, "--model", "flipped"], ["flipped/weights.bin", "export the bundle"]),
    "a bundle without a graph": ([PHOTO, WAVE, "--model", "lacking"], ["lacking/stylizer.graph", "missing", "export"]),
    "a newer schema": ([PHOTO, WAVE, "--model", "newer"], ["newer/manifest.json", "pip install --upgrade adain-edge"]),
    "a manifest that names ../x": ([PHOTO, WAVE, "--model", "escaping"], ["escaping/manifest.json", "'../x'"]),
    "a folder that is no bundle": ([PHOTO, WAVE, "--model", "nothing"], ["nothing/manifest.json", "adain-export"]),
    "a model that is nothing": ([PHOTO, WAVE, "--model", "gone"], ["gone", "embedded: lite"]),
    "a bundle of another target": (
        [PHOTO, WAVE, "--model", "coreml", "--backend", "onnx"],
        ["coreml", "runs onnx", "--list-backends"],
    ),
    "an unknown backend": ([PHOTO, WAVE, "--backend", "nope"], ["'nope'", "installed:", "onnx"]),
    "an option the backend lacks": ([PHOTO, WAVE, "--provider", "cuda"], ["backend null has no option 'provider'"]),
    "no threads": ([PHOTO, WAVE, "--threads", "0"], ["--threads", "--help"]),
    **{
        f"alpha {value}": ([PHOTO, WAVE, f"--alpha={value}"], ["alpha must be a number from 0 to 1"])
        for value in ("-1", "nan", "inf", "-inf", "1.5")
    },
    "alpha as a text": ([PHOTO, WAVE, "--alpha", "much"], ["--alpha", "--help"]),
    "too many weights": ([PHOTO, WAVE, "--weights", "1,2"], ["styles: 1, weights: 2", "one weight for each style"]),
    "too few weights": (
        [PHOTO, WAVE, "night.jpg", "--weights", "1"],
        ["styles: 2, weights: 1", "one weight for each style"],
    ),
    "negative weights": ([PHOTO, WAVE, "night.jpg", "--weights=-1,2"], ["weights", "not negative"]),
    "zero weights": ([PHOTO, WAVE, "night.jpg", "--weights", "0,0"], ["weights", "not all zero"]),
    "weights as a text": ([PHOTO, WAVE, "--weights", "some"], ["--weights some", "such as 2,1"]),
    "empty weights": ([PHOTO, WAVE, "--weights", ""], ["--weights", "such as 2,1"]),
    "weights and masks": (
        [PHOTO, WAVE, "night.jpg", "--weights", "1,1", "--mask", "mask.png"],
        ["weights and masks exclude each other"],
    ),
    "too many masks": ([PHOTO, WAVE, "--mask", "mask.png", "--mask", "mask.png"], ["masks: 2", "give 1"]),
    "a size of a saved style": (
        [PHOTO, "other.adainstyle", "--style-size", "64"],
        ["--style-size is about images", "leave it out"],
    ),
    "a missing mask": ([PHOTO, WAVE, "--mask", "gone.png"], ["gone.png", "doesn't exist"]),
    "an unknown colour option": ([PHOTO, WAVE, "--preserve-color", "sepia"], ["'sepia'", "luminance"]),
    "an unknown suffix": ([PHOTO, WAVE, "-o", "out.xyz"], ["out.xyz", ".png"]),
    "an output below a file": ([PHOTO, WAVE, "-o", "file.txt/out.png"], ["file.txt", "choose another -o"]),
    "a folder of outputs below a file": (["*.jpg", WAVE, "-o", "file.txt"], ["file.txt", "choose another -o"]),
    "an output that is the photo": ([PHOTO, WAVE, "-o", PHOTO], [PHOTO, "would replace an input"]),
    "an output that is the style": ([PHOTO, WAVE, "-o", WAVE], [WAVE, "would replace an input"]),
    "an output that is the mask": ([PHOTO, WAVE, "--mask", "mask.png", "-o", "mask.png"], ["mask.png", "replace"]),
    "an output name that is too long": ([PHOTO, WAVE, "-o", "x" * 300 + ".png"], ["File name too long"]),
    "a photo name that is too long": (["x" * 300 + ".png", WAVE], ["File name too long"]),
    "a model name that is too long": ([PHOTO, WAVE, "--model", "x" * 300], ["File name too long"]),
    "no style": ([PHOTO], ["STYLE", "--help"]),
    "an unknown option": ([PHOTO, WAVE, "--nope"], ["--nope", "--help"]),
    "a quality out of range": ([PHOTO, WAVE, "--quality", "101"], ["--quality", "--help"]),
}


def without_report(ran):
    """What was said beside the object of --json, which a photo that fails in its turn has."""
    if ran.out:
        (failed,) = json.loads(ran.out)["failed"]
        assert failed["error"] in ran.err
    return ran._replace(out="")


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_nothing_is_touched(here, adain_run, contents_of, case, as_json):
    arguments, named = REFUSED[case]
    before = contents_of(here)
    ran = adain_run("-o", OLD, "--backend", "null", *arguments, *(["--json"] if as_json else []))
    assert ran.code == 2
    line = without_report(ran).one_line()
    assert line.startswith("adain-run: ")
    assert [word for word in named if word not in line] == [], line
    assert contents_of(here) == before


def test_the_same_arguments_without_the_fault_do_write_so_that_the_refusals_mean_something(here, adain_run):
    assert adain_run("-o", OLD, "--backend", "null", PHOTO, WAVE, "--model", "whole").code == 0
    assert Path(OLD).read_bytes() != b"the old picture"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, a folder where nobody can write")
@pytest.mark.parametrize("output", ["/proc/none/out.png", "/proc/out.png"])
def test_a_folder_where_nobody_can_write_is_refused(here, adain_run, output):
    ran = adain_run(PHOTO, WAVE, "--backend", "null", "-o", output)
    assert ran.code == 2
    line = ran.one_line()
    assert "/proc" in line
    assert "choose" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(here, adain_run):
    (here / "locked").mkdir(mode=0o500)
    ran = adain_run(PHOTO, WAVE, "--backend", "null", "-o", "locked/out.png")
    assert ran.code == 2
    assert "locked" in ran.one_line()


@pytest.mark.parametrize("damage", ["flipped bit", "cut graph"])
def test_the_embedded_bundle_damaged_is_refused_by_onnx_runtimes_backend_too(
    here, adain_run, lite_copy, flip_bit, damage
):
    if damage == "flipped bit":
        flip_bit(lite_copy / "weights.bin")
    else:
        (lite_copy / "stylizer.onnx").write_bytes((lite_copy / "stylizer.onnx").read_bytes()[:100])
    ran = adain_run(PHOTO, WAVE, "--model", lite_copy, "-o", OLD)
    assert ran.code == 2
    assert str(lite_copy) in ran.one_line()
    assert Path(OLD).read_bytes() == b"the old picture"


def test_a_true_process_says_the_same_one_line(here, python):
    ran = python("from adain_runtime.cli.run import main; main()", "text.jpg", WAVE, "--json", "-o", OLD)
    assert ran.code == 2
    assert without_report(ran).one_line().startswith("adain-run: text.jpg is a text file")


def test_the_entry_point_is_the_main_that_is_tested_here():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="adain-run")
    assert entry.load() is command.main
