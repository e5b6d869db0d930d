"""Building: options, the one-file builder of a kit, builders that are killed or stopped, and what they refuse."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_cuda
from adain_runtime.bundle import Bundle
from adain_runtime.results import spell_command
from adain_runtime.trt import amalgam, build
from adain_runtime.trt.build import build_bundle, kit_options
from adain_runtime.trt.builder import build_engine
from adain_runtime.trt.library import load_library
from adain_runtime.trt.options import (
    BuildError,
    Options,
    Profile,
    parse_batch,
    parse_bytes,
    parse_capabilities,
    parse_size,
)


def ran(*command, **environment):
    """A program that has ended, with what it printed."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | environment)


PROFILE = Profile((16, 16), (32, 32), (64, 48), (1, 1, 2))
SMALL = Options(PROFILE)
SHAPES = {"image": PROFILE.shapes(("batch", 3, "height", "width"))}


def one(kit, out, options=SMALL, **more):
    return build_bundle(kit, out, options, parts=["encoder"], **more)


@pytest.mark.parametrize(("text", "size"), [("512", (512, 512)), ("720x1280", (720, 1280))])
def test_sizes_are_read(text, size):
    assert parse_size("--max", text) == size


@pytest.mark.parametrize("text", ["", "x", "512x", "-8", "8x8x8", "1e3", "５１２x", "0512345"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(BuildError, match=f"--max {text}: wants HEIGHTxWIDTH"):
        parse_size("--max", text)


def test_bytes_batches_and_capabilities_are_read():
    assert [parse_bytes(text) for text in ("7", "1k", "2G", "512MiB")] == [7, 1024, 2 << 30, 512 << 20]
    assert [parse_batch(text) for text in ("1", "8", "1,4,8")] == [(1, 1, 1), (1, 1, 8), (1, 4, 8)]
    assert parse_capabilities("8.6, 8.9,8.6") == ("8.6", "8.9")
    for parse, text in ((parse_bytes, "lots"), (parse_batch, "1,2"), (parse_batch, "many")):
        with pytest.raises(BuildError, match=text):
            parse(text)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Profile(min=(128, 64), opt=(64, 64)), "height must rise from --min by --opt to --max: min 128x64"),
        (lambda: Profile(max=(512, 256)), "width must rise"),
        (lambda: Profile(batch=(4, 1, 8)), "batch must rise: 4,1,8"),
        (lambda: Profile(min=(0, 64)), "height must rise"),
        (lambda: Profile((60, 64)).check(8, 16), "--min 60x64: both sides must be multiples of 8 and at least 16"),
        (lambda: Profile((8, 64)).check(8, 16), "--min 8x64"),
        (lambda: Options(opt_level=6), "--opt-level 6: wants 0 to 5"),
        (lambda: Options(workspace=0), "--workspace 0"),
        (lambda: Options(flavor="cuda"), "unknown flavor 'cuda'; there are trt, rtx"),
        (lambda: Options(compute_capabilities=("8.6",)), "--compute-capability is for --flavor rtx"),
        (lambda: Options(flavor="rtx", hw_compat=True), "--hw-compat and --version-compatible are for --flavor trt"),
        (lambda: Options(flavor="rtx", compute_capabilities=("sm86",)), "--compute-capability sm86: wants numbers"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, said):
    with pytest.raises(BuildError, match=said):
        make()


SIDES = st.lists(st.integers(2, 200).map(lambda cells: 8 * cells), min_size=3, max_size=3).map(sorted)


@given(heights=SIDES, widths=SIDES, batch=st.lists(st.integers(1, 64), min_size=3, max_size=3).map(sorted))
def test_a_profiles_shapes_rise_and_options_survive_json(heights, widths, batch):
    profile = Profile(*zip(heights, widths, strict=True), tuple(batch))
    least, usual, most = profile.shapes(("batch", 3, "height", "1|width/8"))
    assert all(a <= b <= c for a, b, c in zip(least, usual, most, strict=True))
    assert (least[3], most[3]) == (1, widths[2] // 8)
    options = Options(profile, "rtx", 1 << 30, 2, compute_capabilities=("8.6",))
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    "changes",
    [{"profile": {}}, {"profile": None}, {"workspace": "2G"}, {"opt_level": True}, {"hw_compat": 1}, {"speed": 9}],
)
def test_options_of_a_damaged_kit_are_refused(changes):
    with pytest.raises(BuildError, match="build options: "):
        Options.from_json(Options().to_json() | changes)


def test_the_kits_builder_is_one_file_of_the_standard_library(kit):
    text = (kit / "build.py").read_text()
    assert text == amalgam.standalone_builder()
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    done = ran(sys.executable, "-I", "-S", kit / "build.py", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--compute-capability" in done.stdout


def test_the_kits_builder_says_what_is_missing(kit):
    done = ran(sys.executable, "-I", "-S", kit / "build.py")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("build.py: TensorRT is not installed; pip install tensorrt-cu13")


def test_the_kits_builder_says_what_is_wrong_with_its_command_line_in_one_line(kit):
    done = ran(sys.executable, "-I", "-S", kit / "build.py", "--opt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "build.py: argument --opt: expected one argument (see build.py --help)\n"


def test_a_tensorrt_that_is_too_old_is_told(kit, tmp_path, tensorrt, monkeypatch):
    tensorrt.install(monkeypatch, "8.6.2")
    with pytest.raises(BuildError, match=r"TensorRT 8\.6\.2 is too old: 10 or later is wanted") as caught:
        load_library("trt")
    assert caught.value.exit_code == 3


def test_the_kits_builder_writes_what_the_package_writes(kit, tmp_path, tensorrt):
    options = kit_options(kit)
    ours = build_bundle(kit, tmp_path / "ours", options)
    text = (kit / "build.py").read_text().replace("def _load() -> Any:", "def _unused() -> Any:")
    alone = tmp_path / "alone.py"  # the GPU is simulated, and so libcudart has to be
    alone.write_text(
        text.replace("def _candidates()", "def _load():\n    import fake_cuda\n"
                     "    return fake_cuda.Libcudart(fake_cuda.DEVICE)\n\n\ndef _candidates()")
    )  # fmt: skip
    done = ran(sys.executable, alone, kit, "-o", tmp_path / "their engines")
    assert (done.returncode, done.stderr) == (0, "")
    theirs = tmp_path / "their engines" / ours.name
    assert f"next: adain-run PHOTO STYLE --backend trt --model {spell_command([str(theirs)])}" in done.stdout
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == {
        path.name: path.read_bytes() for path in ours.iterdir()
    }
    assert Bundle.open(theirs).manifest.sizes.minimum == 16


def test_a_builder_that_is_killed_is_an_error_and_leaves_nothing(kit, tmp_path, tensorrt, monkeypatch):
    monkeypatch.setenv("FAKE_TRT_KILLED", str(int(signal.SIGKILL)))
    with pytest.raises(
        BuildError, match=r"encoder: the builder was killed \(SIGKILL\), .*memory.*--workspace"
    ) as caught:
        one(kit, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_a_build_that_is_interrupted_stops_its_builder_and_leaves_nothing(kit, tmp_path, tensorrt):
    class StopError(Exception):
        pass

    def listener(part, phase, done, steps):
        assert (part, steps) == ("encoder", 3)
        assert phase == "Tactics"
        raise StopError

    with pytest.raises(StopError):
        one(kit, tmp_path / "out", listener=listener)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_builder_that_is_told_to_stop_does_so_between_two_steps(kit, tmp_path, tensorrt):
    heard = []

    def report(phase, done, steps):
        heard.append((phase, done, steps))
        return len(heard) < 2

    with pytest.raises(BuildError, match="built no engine"):
        build_engine(load_library("trt"), kit / "encoder.onnx", SHAPES, SMALL, report=report)
    assert heard == [("Tactics", 0, 3), ("Building", 1, 3)]


def test_progress_reaches_the_listener(kit, tmp_path, tensorrt):
    heard = []
    one(kit, tmp_path, listener=lambda *words: heard.append(words))
    assert heard[-1] == ("encoder", "Building", 3, 3)


def test_a_timing_cache_is_read_and_renewed_and_a_foreign_one_refused(kit, tmp_path, tensorrt):
    cache = tmp_path / "timing.cache"
    for times in (1, 2):
        one(kit, tmp_path / "out", timing_cache=cache)
        assert cache.read_bytes() == b"+timed" * times
    cache.write_bytes(b"foreign")
    with pytest.raises(BuildError, match="refuses the timing cache: it is of another version or GPU"):
        one(kit, tmp_path / "out", timing_cache=cache)


@pytest.mark.parametrize("place", ["missing/timing.cache", "."])
def test_a_timing_cache_that_can_not_be_written_is_refused_before_anything_is_built(kit, tmp_path, tensorrt, place):
    cache = tmp_path / place
    with pytest.raises(BuildError, match=f"--timing-cache {re.escape(str(cache))}: can't be written"):
        one(kit, tmp_path / "out", timing_cache=cache)
    assert not (tmp_path / "out").exists()


def test_an_output_that_can_not_be_written_is_told(kit, tmp_path, tensorrt):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BuildError, match=r"can't write .*strided-trt-fp16: Not a directory; choose another folder"):
            one(kit, out)


def test_a_workspace_beyond_the_devices_memory_is_refused_with_both(kit, tmp_path, tensorrt, device):
    device.total = 8 << 30
    with pytest.raises(BuildError, match=r"--workspace 17,179,869,184 bytes: this device has 8,589,934,592"):
        one(kit, tmp_path, Options(PROFILE, workspace=16 << 30))


def test_a_workspace_that_is_too_small_is_tensorrts_own_error(kit, tmp_path, tensorrt):
    with pytest.raises(BuildError, match=r"built no engine \(\[fake\].*could not find any implementation"):
        one(kit, tmp_path, Options(PROFILE, workspace=1))


def test_a_driver_that_does_not_come_up_is_told(kit, tmp_path, tensorrt, monkeypatch):
    monkeypatch.setenv("FAKE_TRT_NO_CUDA", "1")
    with pytest.raises(BuildError, match=r"encoder: TensorRT 10\.3\.0 doesn't start here \(.*error: 35\)") as caught:
        one(kit, tmp_path)
    assert caught.value.exit_code == 3


def test_without_a_gpu_tensorrt_builds_nothing(kit, tmp_path, tensorrt, device):
    device.devices = 0
    with pytest.raises(BuildError, match=r"cudaErrorNoDevice.*builds for the GPU that it runs on") as caught:
        one(kit, tmp_path)
    assert caught.value.exit_code == 3


def test_a_kit_that_was_changed_on_its_way_is_refused(kit, tmp_path, tensorrt):
    data = bytearray((kit / "weights.bin").read_bytes())
    data[7] ^= 1
    (kit / "weights.bin").write_bytes(data)
    with pytest.raises(BuildError, match=r"weights\.bin: its content is not what the manifest says"):
        one(kit, tmp_path)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [("{", "damaged"), ("[]", "damaged"), ('{"target": "coreml"}', "is for coreml"), ('{"target": "onnx"}', "damaged")],
)
def test_what_is_no_kit_is_refused(tmp_path, manifest, said):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(BuildError, match=said):
        one(tmp_path, tmp_path / "out")
    with pytest.raises(BuildError, match="No such file"):
        one(tmp_path / "none", tmp_path / "out")


def test_a_folder_that_is_no_bundle_is_not_replaced(kit, tmp_path, tensorrt):
    mine = tmp_path / "out" / "strided-trt-fp16"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(BuildError, match="is no bundle, so it is not replaced"):
        one(kit, tmp_path / "out")
    assert (mine / "thesis.txt").exists()


def test_a_part_that_the_kit_has_not_is_refused(kit, tmp_path, tensorrt):
    with pytest.raises(BuildError, match="has no part head, only"):
        build_bundle(kit, tmp_path, SMALL, parts=["head"])


def test_the_command_line_changes_what_the_kit_asks_for(kit):
    given_line = build.arguments_parser().parse_args(
        ["--max", "96x128", "--batch", "4", "--workspace", "1G", "--hw-compat"]
    )
    changed = build.options_of(given_line, kit_options(kit))
    assert changed == Options(Profile((16, 16), (32, 32), (96, 128), (1, 1, 4)), workspace=1 << 30, hw_compat=True)


def test_build_sh_names_every_shape_and_runs_trtexec(kit, tmp_path):
    trtexec = tmp_path / "trtexec"
    trtexec.write_text('#!/bin/sh\ncase "$1" in --help) echo "  --stronglyTyped  x";; *) echo "$@";; esac\n')
    trtexec.chmod(0o755)
    done = ran("sh", kit / "build.sh", tmp_path / "engines", TRTEXEC=str(trtexec))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "--onnx=encoder.onnx --stronglyTyped --minShapes=image:1x3x16x16 --optShapes=image:1x3x32x32"
    )
    assert "--maxShapes=features:2x10x8x6,scale:2x10x8x6,shift:2x10x8x6" in lines[1]
    assert "scale:1x10x1x1" in lines[1]
    done = ran("sh", kit / "build.sh", TRTEXEC="none")
    assert done.returncode == 3
    assert "no trtexec here" in done.stderr


def test_a_stopped_child_ends_with_its_signal(kit, tmp_path, tensorrt):
    """As a terminal's Ctrl-C, which reaches the builder too."""
    task = {
        "onnx": str(kit / "encoder.onnx"),
        "engine": str(tmp_path / "engine"),
        "shapes": SHAPES,
        "options": SMALL.to_json(),
        "timing_cache": None,
    }
    command, sent = [sys.executable, "-m", "adain_runtime.trt.build", "--task", json.dumps(task)], tmp_path / "sent"
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"FAKE_TRT_WAIT": str(sent)}) as child:
        first = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        sent.touch()
        child.stdout.read()
    assert first["phase"] == "Tactics"
    assert child.returncode == 128 + signal.SIGINT
    assert not (tmp_path / "engine").exists()


def test_a_device_that_does_not_answer_is_told(kit, tmp_path, tensorrt, device):
    device.failing["cudaMemGetInfo"] = fake_cuda.INVALID
    with pytest.raises(BuildError, match=r"the GPU doesn't answer \(cudaMemGetInfo.*who else uses it") as caught:
        one(kit, tmp_path, Options(PROFILE, workspace=1 << 30))
    assert caught.value.exit_code == 3


def test_the_engines_before_come_back_where_new_ones_can_not_take_their_place(kit, tmp_path, tensorrt, monkeypatch):
    folder = one(kit, tmp_path)
    before = (folder / "manifest.json").read_bytes()
    rename = Path.rename

    def interrupted(self, target):
        if target == folder and self.name == folder.name:  # the new one, on its way in
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one(kit, tmp_path)
    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.name, kit.name])
