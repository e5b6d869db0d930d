"""``adain-run``: pictures where they belong, JSON alone on stdout, and one helpful line for everything bad."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adain_runtime.cli import console, run
from adain_runtime.stylizer import Stylizer

MAIN = "from adain_runtime.cli.run import main; main()"


@pytest.fixture
def pictures(tmp_path, picture, write_image):
    """photo.jpg, wave.jpg and night.png in the working folder."""
    for seed, name in enumerate(("photo.jpg", "wave.jpg", "night.png")):
        write_image(tmp_path / name, picture(30, 41, seed=seed))
    return tmp_path


def opened(path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def test_a_picture_is_written_beside_you_and_a_line_says_what_and_where(pictures, adain_run):
    ran = adain_run("photo.jpg", "wave.jpg")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("wrote photo-wave.jpg (41x30, lite-onnx-fp32 on CPUExecutionProvider, ")
    assert ran.out.count("\n") == 1
    assert opened("photo-wave.jpg").size == (41, 30)


def test_the_command_makes_what_the_call_makes(pictures, adain_run):
    (pictures / "mask.png").write_bytes(b"")
    Image.new("L", (41, 30), 200).save("mask.png")
    arguments = ["photo.jpg", "wave.jpg", "night.png", "-o", "out.png", "--alpha", 0.8, "--style-size", 20]
    with Stylizer.open("lite") as stylizer:
        for options, keywords in [
            (["--weights", "2,1"], {"weights": [2, 1]}),
            (["--preserve-color", "luminance", "--size", 24], {"preserve_color": "luminance", "size": 24}),
            (["--preserve-color", "match"], {"preserve_color": "match"}),
            (["--mask", "mask.png"], {"masks": ["mask.png"]}),
        ]:
            assert adain_run(*arguments, *options).code == 0
            called = stylizer("photo.jpg", ["wave.jpg", "night.png"], alpha=0.8, style_size=20, **keywords)
            np.testing.assert_array_equal(np.asarray(opened("out.png")), np.asarray(called))


def test_json_prints_exactly_one_object_and_nothing_else(pictures, adain_run):
    ran = adain_run("photo.jpg", "wave.jpg", "--json", "--backend", "null", "-o", "new/out.png")
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert {key: report[key] for key in ("model", "backend", "device", "failed")} == {
        "model": "lite-onnx-fp32",
        "backend": "null",
        "device": "shapes only",
        "failed": [],
    }
    (done,) = report["done"]
    assert done.pop("seconds") >= 0
    assert done == {"content": "photo.jpg", "output": "new/out.png", "width": 41, "height": 30}


def test_a_folder_becomes_a_folder_and_a_bad_picture_in_it_does_not_stop_it(pictures, adain_run, write_image, noise):
    for number, name in enumerate(("a.png", "c.jpg")):
        write_image(pictures / "in" / name, noise(10, 12, seed=number))
    (pictures / "in" / "b.jpg").write_text("a text")
    ran = adain_run("in", "wave.jpg", "--backend", "null", "-o", "out")
    assert ran.code == 2
    assert ran.out.startswith("wrote 2 pictures to out (")
    first, last = ran.err.splitlines()
    assert first.startswith("adain-run: in/b.jpg is a text file")
    assert last == "adain-run: 1 of 3 pictures failed, as said above"
    assert sorted(path.name for path in Path("out").iterdir()) == ["a-wave.png", "c-wave.jpg"]


def test_json_of_one_photo_that_fails_is_an_object_too(pictures, adain_run):
    (pictures / "bad.jpg").write_text("a text")
    ran = adain_run("bad.jpg", "wave.jpg", "--backend", "null", "--json", "-o", "out.png")
    assert ran.code == 2
    report = json.loads(ran.out)
    assert report["done"] == []
    assert report["failed"][0]["content"] == "bad.jpg"
    assert "is a text file" in report["failed"][0]["error"]
    assert ran.err == f"adain-run: {report['failed'][0]['error']}\n"


def test_tiles_are_asked_for_by_side_and_bad_ones_are_refused_in_one_line(pictures, adain_run, write_image, noise):
    write_image(pictures / "large.png", noise(150, 200))
    ran = adain_run("large.png", "wave.jpg", "--tile", "96", "--backend", "null", "-o", "tiled.png")
    assert ran.code == 0
    assert opened(pictures / "tiled.png").size == (200, 150)
    for tile, fix in (("40", "give 72 or more"), ("some", "give auto, off, or the pixels")):
        assert fix in adain_run("large.png", "wave.jpg", "--tile", tile, "--backend", "null").one_line()


def test_a_photo_too_large_for_memory_is_refused_before_it_starts(pictures, adain_run, write_image, noise, monkeypatch):
    for module in ("tiling", "stylizer"):
        monkeypatch.setattr(f"adain_runtime.{module}.available_memory", lambda: 1 << 20)
    for number in range(2):
        write_image(pictures / "in" / f"{number}.png", noise(150, 200))
    ran = adain_run("in", "wave.jpg", "--tile", "off", "--backend", "null", "-o", "out")
    assert ran.code == 2
    lines = ran.err.splitlines()
    assert lines[0].startswith("adain-run: in/0.png: a 200x150 picture as a whole takes about 10 MB")
    assert lines[-1] == "adain-run: 2 of 2 pictures failed, as said above"
    assert not (pictures / "out").exists()


def test_json_of_a_folder_tells_the_failed_from_the_done(pictures, adain_run, write_image, noise):
    write_image(pictures / "in" / "a.png", noise(10, 12))
    (pictures / "in" / "b.jpg").write_text("a text")
    ran = adain_run("in", "wave.jpg", "--backend", "null", "--json")
    assert (ran.code, ran.err) == (2, "")
    report = json.loads(ran.out)
    assert [done["output"] for done in report["done"]] == ["stylized/a-wave.png"]
    assert [failed["content"] for failed in report["failed"]] == ["in/b.jpg"]
    assert "is a text file" in report["failed"][0]["error"]


def test_a_quoted_glob_is_expanded_and_a_batch_gives_every_picture(pictures, adain_run, picture, write_image):
    for number in range(5):
        write_image(pictures / "in" / f"{number}.png", picture(20, 24 + number // 3, seed=number))
    assert adain_run("in/*.png", "wave.jpg", "-o", "one").code == 0
    assert adain_run("in/*.png", "wave.jpg", "-o", "four", "--batch", 4).code == 0
    for number in range(5):
        one, four = (np.asarray(opened(f"{folder}/{number}-wave.png"), np.int16) for folder in ("one", "four"))
        assert one.shape == (20, 24 + number // 3, 3)
        assert np.abs(one - four).max() <= 1


def test_photos_of_kinds_that_are_not_read_are_told(pictures, adain_run, write_image, noise):
    """A folder of a phone's photos would else come out as the few of them that are JPEGs, without a word."""
    write_image(pictures / "trip" / "a.png", noise(24, 32))
    for name in ("b.heic", "c.HEIC", "notes.txt"):
        (pictures / "trip" / name).write_bytes(b"?")
    ran = adain_run("trip", "wave.jpg", "-o", "out", "--backend", "null")
    assert ran.code == 0
    assert ran.err == "adain-run: 2 .heic can't be read here and are passed over: convert them first\n"
    told = json.loads(adain_run("trip", "wave.jpg", "-o", "out", "--backend", "null", "--json").out)
    assert len(told["done"]) == 1
    assert [Path(name).name for name in told["passed_over"]] == ["b.heic", "c.HEIC"]


def test_a_mask_is_fitted_to_every_photo_of_a_folder(pictures, adain_run, picture, write_image):
    for number in range(2):
        write_image(pictures / "in" / f"{number}.png", picture(16 + 8 * number, 20, seed=number))
    mask = np.zeros((4, 4, 3), np.uint8)
    write_image(pictures / "mask.png", mask)
    assert adain_run("in", "wave.jpg", "--mask", "mask.png", "--batch", 2).code == 0
    for number in range(2):
        made, photo = (np.asarray(opened(path)) for path in (f"stylized/{number}-wave.png", f"in/{number}.png"))
        np.testing.assert_array_equal(made, photo)


def test_losing_transparency_is_told_on_stderr(pictures, adain_run):
    Image.new("RGBA", (9, 9), (1, 2, 3, 100)).save("clear.png")
    ran = adain_run("clear.png", "wave.jpg", "--backend", "null", "-o", "flat.jpg")
    assert ran.code == 0
    assert ran.err == "flat.jpg: its format keeps no transparency, so it was put on white\n"
    assert adain_run("clear.png", "wave.jpg", "--backend", "null", "-o", "kept.png").err == ""
    assert opened("kept.png").mode == "RGBA"


def test_an_animation_s_other_frames_are_told_on_stderr(pictures, adain_run):
    first, second = (Image.new("RGB", (24, 16), colour) for colour in ("red", "blue"))
    first.save("moving.gif", save_all=True, append_images=[second])
    ran = adain_run("moving.gif", "wave.jpg", "--backend", "null", "-o", "out.png")
    assert ran.code == 0
    assert ran.err == "moving.gif: it holds more than one picture, and the first was stylised\n"


def test_a_name_that_would_colour_the_terminal_is_said_plainly(pictures, adain_run):
    Path("photo.jpg").rename("c\x1b[31mred.jpg")
    ran = adain_run("c\x1b[31mred.jpg", "wave.jpg", "--backend", "null")
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert "red-wave.jpg" in ran.out


def test_a_provider_that_is_not_here_exits_with_3_and_the_line_that_installs_it(pictures, adain_run):
    ran = adain_run("photo.jpg", "wave.jpg", "--provider", "quantum")
    assert ran.code == 3
    line = ran.one_line()
    assert "provider 'quantum' is not in this build" in line
    assert "pip install" in line
    assert not Path("photo-wave.jpg").exists()
    assert adain_run("photo.jpg", "wave.jpg", "--provider", "quantum", "--allow-fallback").code == 0


def test_cuda_is_refused_where_this_build_lacks_it(pictures, adain_run):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")
    ran = adain_run("photo.jpg", "wave.jpg", "--provider", "cuda")
    assert ran.code == 3
    assert "provider 'cuda'" in ran.one_line()


def test_values_that_are_not_finite_exit_with_1(pictures, adain_run, monkeypatch):
    from adain_runtime.backends.null import NullSession

    run_part = NullSession._run
    monkeypatch.setattr(
        NullSession, "_run", lambda *of: {name: values * np.nan for name, values in run_part(*of).items()}
    )
    ran = adain_run("photo.jpg", "wave.jpg", "--backend", "null")
    assert ran.code == 1
    assert "not finite" in ran.one_line()
    assert not Path("photo-wave.jpg").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_backends_are_listed_with_those_that_do_not_work(adain_run, as_json):
    ran = adain_run("--list-backends", *(["--json"] if as_json else []))
    assert (ran.code, ran.err) == (0, "")
    names = json.loads(ran.out) if as_json else ran.out
    assert all(name in names for name in ("null", "onnx", "torch"))


def test_version_names_the_distribution(adain_run):
    from importlib.metadata import version

    ran = adain_run("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"adain-edge {version('adain-edge')}\n", "")


def test_help_shows_examples_and_every_option(python):
    ran = python(MAIN, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "Examples" in ran.out
    assert "adain-run photo.jpg wave.jpg" in ran.out
    for option in ("--output", "--model", "--backend", "--provider", "--alpha", "--weights", "--mask", "--json"):
        assert option in ran.out


def test_verbose_shows_the_traceback_before_the_line(pictures, adain_run):
    ran = adain_run("photo.jpg", "wave.jpg", "--alpha", 3, "--verbose")
    assert ran.code == 2
    assert ran.err.startswith("Traceback")
    assert ran.err.splitlines()[-1].startswith("adain-run: alpha must be")


def test_a_bug_is_told_as_one_with_its_traceback_and_a_code_of_its_own(pictures, adain_run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(run, "find_contents", broken)
    ran = adain_run("photo.jpg", "wave.jpg")
    assert ran.code == console.BUG == 70
    assert "ZeroDivisionError: oh" in ran.err
    assert ran.err.splitlines()[-1] == "adain-run: this is a bug in adain-edge: please report the lines above"


def test_an_error_of_a_file_is_not_told_as_one_of_stdout(pictures, adain_run, monkeypatch):
    def broken(*_):
        raise OSError(36, "File name too long", "photo.jpg")

    monkeypatch.setattr(run, "find_contents", broken)
    ran = adain_run("photo.jpg", "wave.jpg")
    assert (ran.code, ran.one_line()) == (2, "adain-run: photo.jpg: File name too long; check the path\n")


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="needs file names that are no text")
@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_a_file_name_that_the_terminal_can_not_spell_is_no_reason_to_fail(pictures, python, encoding):
    photo = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (9, 9)).save(pictures / photo)
    ran = python(MAIN, photo, "wave.jpg", "--backend", "null", PYTHONIOENCODING=encoding)
    assert (ran.code, ran.err) == (0, "")
    assert r"wrote caf\udce9-wave.png" in ran.out
    assert (pictures / os.fsdecode(b"caf\xe9-wave.png")).exists()


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_has_gone_ends_the_command_quietly(pictures, buffered):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", MAIN, "photo.jpg", "wave.jpg", "--backend", "null"]
    environment = os.environ | {"PYTHONUNBUFFERED": "" if buffered else "1"}
    done = subprocess.run(
        command, cwd=pictures, env=environment, stdout=write, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["--list-backends"], ["--help"]])
def test_a_table_or_a_help_without_a_reader_ends_as_quietly(pictures, arguments):
    """Rich answers a reader that has gone by exit code 1, which is a quality that was not met."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=pictures,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_error_that_nobody_can_hear_keeps_its_exit_code(pictures):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "gone.jpg", "wave.jpg"], cwd=pictures, stderr=full, check=False
        )
    assert done.returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_the_run_clears_up_what_is_half_written(pictures, name):
    number = getattr(signal, name)
    program = f"""
import os, signal
from pathlib import Path
from adain_runtime.cli.style import main
signal.signal({int(number)}, signal.SIG_DFL)  # who runs the tests may ignore it, as nohup does
replace = Path.replace
Path.replace = lambda *paths: (os.kill(os.getpid(), {int(number)}), replace(*paths))
main()
"""
    command = [sys.executable, "-c", program, "make", "wave.jpg", "-o", "half.adainstyle"]
    done = subprocess.run(command, cwd=pictures, stderr=subprocess.PIPE, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (128 + number, b"")
    assert [path.name for path in pictures.iterdir() if "half" in path.name] == []


# The run waits in its second picture until the signal comes, so that nothing depends on speed.
WAITING = """
import signal, threading, time
from pathlib import Path
from adain_runtime import jobs
from adain_runtime.cli.run import main

pressed = threading.Event()

def press(*_):
    pressed.set()
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, press)
load = jobs.load_image

def load_or_wait(path, **options):
    if path.name != "0.png":  # decoded beside the first, whose end is waited for
        while not Path("out/0-wave.png").exists():
            time.sleep(0.01)
        print("waiting", flush=True)
        pressed.wait()
    return load(path, **options)

jobs.load_image = load_or_wait
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_in_a_folder_keeps_what_is_finished_and_exits_with_130(pictures, write_image, noise):
    for number in range(3):
        write_image(pictures / "in" / f"{number}.png", noise(10, 12, seed=number))
    command = [sys.executable, "-c", WAITING, "in", "wave.jpg", "--backend", "null", "-o", "out"]
    with subprocess.Popen(command, cwd=pictures, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == ["adain-run: stopped; 1 of 3 pictures are done and stay"]
    assert [path.name for path in (pictures / "out").iterdir()] == ["0-wave.png"]
    assert opened(pictures / "out" / "0-wave.png").size == (12, 10)


FULL = """
import resource, sys
from adain_runtime.cli.run import main
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="a full disk is played by RLIMIT_FSIZE, which is POSIX")
def test_a_disk_that_fills_up_keeps_the_old_picture(pictures, python, contents_of):
    (pictures / "out.png").write_bytes(b"the old picture")
    before = contents_of(pictures)
    ran = python(FULL, "photo.jpg", "wave.jpg", "--backend", "null", "-o", "out.png")
    assert ran.code == 2
    assert "can't write out.png: File too large; choose a folder that can be written" in ran.one_line()
    assert contents_of(pictures) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["photo.jpg", "wave.jpg", "--json"], ["--list-backends"], ["--help"]])
def test_a_stdout_that_takes_nothing_is_one_line_and_the_picture_stays(pictures, arguments):
    command = [sys.executable, "-c", MAIN, *arguments, "--backend", "null"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, cwd=pictures, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "adain-run: can't print the result: No space left on device; what was written to files stays"
    ]
    assert (pictures / "photo-wave.jpg").exists() is (arguments[0] == "photo.jpg")


def test_an_empty_argument_is_refused_and_not_the_working_folder(pictures, adain_run):
    ran = adain_run("", "wave.jpg")
    assert ran.code == 2
    assert "an argument is empty" in ran.one_line()


def test_tables_show_names_as_they_are(capsys):
    console.show(console.table("[bold]title", ["name"], [["pip install 'x[export]'"], ["[/a]"]]))
    shown = capsys.readouterr().out
    assert "[bold]title" in shown
    assert "pip install 'x[export]'" in shown
    assert "[/a]" in shown


def test_photos_of_a_folder_run_two_at_once_and_come_out_as_one_by_one(
    tmp_path, picture, write_image, adain_run, monkeypatch
):
    for seed in range(4):
        write_image(tmp_path / "in" / f"{seed}.png", picture(40 + seed, 56, seed=seed))
    write_image(tmp_path / "wave.png", picture(30, 41, seed=9))
    asked, shared = [], Stylizer.shared

    def told(stylizer, callers):
        asked.append(callers)
        return shared(stylizer, callers)

    monkeypatch.setattr(Stylizer, "shared", told)
    ran = adain_run("in", "wave.png", "-o", "two", "--threads", 2, "--json")
    assert (ran.code, asked) == (0, [2])
    assert json.loads(ran.out)["seconds"] > 0
    assert adain_run("in", "wave.png", "-o", "batch", "--threads", 2, "--batch", 2).code == 0
    assert adain_run("in/0.png", "wave.png", "-o", "one.png", "--threads", 2).code == 0
    assert asked == [2]
    for seed in range(4):
        name = f"{seed}-wave.png"
        two, batch = (np.asarray(opened(Path(folder) / name), np.int16) for folder in ("two", "batch"))
        assert np.abs(two - batch).max() <= 1


def test_the_graphs_of_photos_at_once_are_freed_for_one_that_has_all_cores(
    tmp_path, picture, write_image, adain_run, monkeypatch
):
    for name, height in (("a", 40), ("b", 40), ("c", 120), ("d", 40)):
        write_image(tmp_path / "in" / f"{name}.png", picture(height, 56, seed=height))
    write_image(tmp_path / "wave.png", picture(30, 41, seed=9))
    monkeypatch.setattr(Stylizer, "whole_at_once", lambda _stylizer, height, *_: height < 100)
    held, stylize = [], Stylizer.stylize

    def told(stylizer, photos, *arguments, **options):
        made = stylize(stylizer, photos, *arguments, **options)
        held.append((photos[0].height, stylizer))
        return made

    monkeypatch.setattr(Stylizer, "stylize", told)
    released, release = [], Stylizer.release
    monkeypatch.setattr(Stylizer, "release", lambda stylizer: released.append(stylizer) or release(stylizer))
    assert adain_run("in", "wave.png", "-o", "out", "--threads", 2).code == 0
    shared = {stylizer for height, stylizer in held if height == 40}
    alone = {stylizer for height, stylizer in held if height == 120}
    assert len(shared) == len(alone) == 1 != len(shared | alone)
    assert [height for height, _ in held].index(120) == 2
    assert released == [*alone] * 2 + [*shared] + [*alone]
