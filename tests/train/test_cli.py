"""`adain-train` as people call it: what it writes, and what it says when it can't."""

from __future__ import annotations

import json

import pytest

from adain_model import load_network
from adain_train import cli

SMALL = ["framing.crop=16", "framing.shorter_min=16", "framing.shorter_max=24", "kept_crops=6", "kept_pairs=6"]


@pytest.fixture
def student(any_teacher, teacher_file, pictures, tmp_path):
    folders = ["--content", pictures / "content", "--style", pictures / "style", "-o", tmp_path / "run"]
    settings = [part for setting in SMALL for part in ("--set", setting)]
    widths = ["--encoder-widths", "4/6,6/8,8/10,10", "--name", "tiny", "--accelerator", "cpu", "--workers", "0"]
    return ["student", "--teacher", teacher_file, *folders, *settings, *widths, "--steps", "4", "--batch", "4"]


def test_a_student_is_trained_and_its_command_stands_in_the_card(command, student, tmp_path):
    code, out, err = command(*student, "--json")
    assert (code, json.loads(out)["ending"]) == (0, "done")
    assert "5 images" in err
    assert load_network(tmp_path / "run" / "tiny.safetensors").spec.encoder == ((4,), (6, 6), (8, 8), (10, 10))
    config = (tmp_path / "run" / "config.toml").read_text()
    assert "\nbatch = 4\n" in config
    assert "\nperceptual_batch = 0\n" in config  # so that it is of every step
    assert "adain-train student --teacher" in (tmp_path / "run" / "README.md").read_text()


def test_the_same_command_gives_the_same_weights_in_pieces_too(command, student, tmp_path):
    assert command(*student)[0] == 0
    whole = (tmp_path / "run" / "tiny.safetensors").read_bytes()
    pieces = [tmp_path / "pieces" if part == tmp_path / "run" else part for part in student]
    for _ in range(4):
        assert command(*pieces, "--minutes", "1e-9", "--resume")[0] == 0
    assert (tmp_path / "pieces" / "tiny.safetensors").read_bytes() == whole
    assert json.loads(command(*pieces, "--resume", "--json")[1])["step"] == 4


def test_one_folder_that_serves_as_both_is_checked_once(command, student, pictures):
    code, _, err = command(*student, "--style", pictures / "content")
    assert (code, err.count("5 images")) == (0, 1)


def test_kept_targets_are_made_once_and_shared(command, student, tmp_path):
    for run in ("a", "b"):
        parts = [tmp_path / run if part == tmp_path / "run" else part for part in student]
        assert command(*parts, "--cache-dir", tmp_path / "kept", "--set", f"lr=0.00{len(run)}")[0] == 0
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize(("kind", "option"), [("decoder", "--encoder"), ("student", "--teacher")])
def test_another_network_than_vgg19_is_refused_before_any_work(command, teacher_file, pictures, tmp_path, kind, option):
    folders = ["--content", pictures / "content", "--style", pictures / "style", "-o", tmp_path / "run"]
    code, out, err = command(kind, option, teacher_file, *folders, "--accelerator", "cpu")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "teacher.safetensors: the encoder of 'pooled' is no VGG-19" in err
    assert not (tmp_path / "run").exists()


def test_a_decoder_is_trained_for_an_encoder(any_teacher, command, teacher_file, pictures, tmp_path):
    settings = [part for setting in SMALL[:3] for part in ("--set", setting)]
    folders = ["--content", pictures / "content", "--style", pictures / "style", "-o", tmp_path]
    code, out, _ = command(
        "decoder",
        "--encoder",
        teacher_file,
        *folders,
        *settings,
        "--steps",
        "2",
        "--batch",
        "2",
        "--accelerator",
        "cpu",
    )
    assert code == 0
    assert "2 of 2 steps" in out
    trained, given = load_network(tmp_path / "decoder.safetensors"), load_network(teacher_file)
    assert all((a == b).all() for a, b in zip(trained.encoder.parameters(), given.encoder.parameters(), strict=True))


def test_a_run_that_is_there_is_refused_before_any_work(command, student):
    assert command(*student)[0] == 0
    code, out, err = command(*student)
    assert (code, out) == (2, "")
    assert "--resume" in err
    assert "images" not in err


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["--content", "nowhere"], "nowhere: no such folder"),
        (["--teacher", "nothing.safetensors"], "nothing.safetensors"),
        (["--set", "lrr=1"], "there is no lrr"),
        (["--preset", "phone"], "--preset phone"),
        (["--steps", "0"], "steps is 0"),
        (["--accelerator", "abacus"], "abacus"),
        (["--precision", "8-bit"], "--precision 8-bit"),
        (["--set", "framing.crop=20"], "framing: found crop 20, shorter_min 16"),
    ],
)
def test_bad_input_is_one_line_that_names_it(command, student, changes, text):
    code, out, err = command(*student, *changes)
    assert (code, out) == (2, "")
    assert err.startswith("adain-train: ")
    assert text in err
    assert err.count("\n") == 1


def test_without_torch_the_line_that_installs_it_is_named(command, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    code, _, err = command("student", "--teacher", "vgg19.safetensors")
    assert code == 3
    assert "pip install torch lightning-fabric" in err


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_help(command, name):
    code, out, _ = command(name, "--help")
    assert code == 0
    assert "Usage" in out
