"""The command ``eval``: what it leaves, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adain_model import VGG19, encoder_id, load_network, save_network
from adain_runtime.errors import InputError
from adain_runtime.style import Style
from adain_train.data import Framing, check_folder
from adain_train.eval_command import _load, eval_command
from adain_train.squares import read_squares
from networks import SPECS, make_network


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """VGG-19 with random weights: the reference must have its shape."""
    path = tmp_path_factory.mktemp("vgg") / "vgg19.safetensors"
    save_network(make_network(VGG19), path, half=True)
    return path


def run(pictures, vgg, output, *models: str, **options) -> None:
    options = {"size": 32, "pairs": 4, "examples": 2, "steps": "2", "reference": vgg} | options
    content, style = options.pop("content", pictures / "content"), pictures / "style"
    eval_command(list(models), content=content, style=style, output=output, **options)


def test_it_takes_what_people_type(command, pictures, vgg, tmp_path, student_file):
    folders = ["--content", pictures / "content", "--style", pictures / "style", "--reference", vgg]
    small = ["--size", 32, "--pairs", 2, "--examples", 1, "--steps", "none"]
    code, out, err = command("eval", student_file, *folders, *small, "-o", tmp_path / "out", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {row["pairs"] for row in found["rows"]} == {2}
    code, out, err = command("eval", student_file, *folders, "--size", 8, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "--size" in err


@pytest.fixture
def student_file(tmp_path):
    save_network(make_network(SPECS["strided"], seed=8), tmp_path / "my student.safetensors")
    return str(tmp_path / "my student.safetensors")


def test_the_command_leaves_numbers_plots_and_a_sheet_and_prints_a_table(pictures, vgg, tmp_path, student_file, capsys):
    run(pictures, vgg, tmp_path / "out", student_file)
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["no style", "reference (vgg19)", "my student"]
    assert all(row["name"] in printed for row in found["examples"]["rows"])
    assert "4 of 25 pairs: mean ± standard error" in printed
    assert "The 2 on the sheet: mean" in printed
    assert len(found["optimisation"]["content"]) == 3
    framing = Framing(32, 32, 32)
    for kind in ("content", "style"):
        assert found["data"][kind]["sha256"] == check_folder(pictures / kind, framing).digest
    assert (found["data"]["pairs"], found["data"]["of"]) == (4, 25)
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        width, height = sheet.size
    assert width > 5 * 256
    assert height > 2 * 256
    for name in ("optimisation.png", "sizes.png", "styles.png"):
        with Image.open(tmp_path / "out" / name) as plot:
            assert plot.format == "PNG"


def test_every_pairs_scores_are_a_table_that_the_means_are_made_of(pictures, vgg, tmp_path, student_file, capsys):
    run(pictures, vgg, tmp_path / "out", student_file, pairs=5, steps="none")
    with (tmp_path / "out" / "pairs.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())["rows"]
    names = {kind: {path.name for path in (pictures / kind).iterdir()} for kind in ("content", "style")}
    assert list(dict.fromkeys(line["model"] for line in lines)) == [row["name"] for row in rows]
    for row in rows:
        own = [line for line in lines if line["model"] == row["name"]]
        assert len({(line["content_image"], line["style_image"]) for line in own}) == row["pairs"] == 5
        assert {line["content_image"] for line in own} <= names["content"]
        assert {line["style_image"] for line in own} <= names["style"]
        for measure, mean in row["mean"].items():
            assert np.mean([float(line[measure]) for line in own]) == pytest.approx(mean, rel=1e-4, abs=1e-6)
    reference, student = rows[1]["mean"], rows[2]["mean"]
    times = rows[2]["times"]
    assert times["style"] == pytest.approx(student["style"] / reference["style"])
    table = capsys.readouterr().out.partition("times the losses of reference (vgg19)")[2]
    assert f"{times['content']:.2f} ± {times['content_error']:.2f}" in table
    assert f"{times['style']:.2f} ± {times['style_error']:.2f}" in table


def test_json_is_one_object_on_stdout_and_without_steps_no_curves_are_drawn(
    pictures, vgg, tmp_path, student_file, capsys
):
    run(pictures, vgg, tmp_path / "out", student_file, as_json=True, steps="none", examples=1)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    left = {"evaluation.json", "pairs.csv", "sheet.png", "sizes.png", "styles.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == left


def test_losses_are_drawn_against_operations_where_networks_differ_in_them(pictures, tmp_path, student_file):
    save_network(make_network(VGG19).encoder, tmp_path / "judge.safetensors")  # it measures, and is no row
    save_network(make_network(SPECS["strided"], seed=9), tmp_path / "twin.safetensors")
    save_network(make_network(SPECS["pooled"]), tmp_path / "other.safetensors")
    for second, drawn in (("twin", False), ("other", True)):
        out, models = tmp_path / f"out {second}", (student_file, str(tmp_path / f"{second}.safetensors"))
        run(pictures, tmp_path / "judge.safetensors", out, *models, pairs=2, steps="none")
        rows = json.loads((out / "evaluation.json").read_text())["rows"]
        assert [row["name"] for row in rows] == ["no style", "my student", second]
        assert (len({row["macs_per_pixel"] for row in rows[1:]}) > 1) is drawn
        assert (out / "sizes.png").exists() is drawn
        assert not (out / "styles.png").exists()  # without a reference there is nothing to compare with


def test_one_network_alone_is_not_drawn_against_operations(pictures, vgg, tmp_path):
    run(pictures, vgg, tmp_path / "out", pairs=1, steps="none")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.json", "pairs.csv", "sheet.png"}


def test_an_interruption_while_a_figure_is_written_leaves_whole_files_only(
    pictures, vgg, tmp_path, student_file, monkeypatch
):
    flushed = []

    def interrupted(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 2:  # the numbers are first, and the figure next
            raise KeyboardInterrupt

    monkeypatch.setattr("adain_runtime.files.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(pictures, vgg, tmp_path / "out", student_file, pairs=1, steps="none")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]
    assert len(json.loads((tmp_path / "out" / "evaluation.json").read_text())["rows"]) == 3


def test_saved_styles_are_a_row_of_their_own(pictures, vgg, tmp_path, student_file):
    """Saved as the encoder reads them they score as the model does; saved otherwise they don't."""
    student = load_network(student_file)
    numbers = {}
    for name, square in zip(*painted(pictures), strict=True):
        with torch.no_grad():
            mean, std = (values.numpy().reshape(-1) for values in student.stats(student.encoder(square)))
        numbers[name] = mean, std
    for folder, growth in (("same", 1.0), ("louder", 1.5)):
        (tmp_path / folder).mkdir()
        for name, (mean, std) in numbers.items():
            file = tmp_path / folder / f"{name}.adainstyle"
            Style(mean, std * np.float32(growth), encoder_id(student), name).save(file)
        run(pictures, vgg, tmp_path / "out", student_file, steps="none", styles=tmp_path / folder)
        found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        rows = {row["name"]: row for row in found["rows"]}
        assert list(rows)[-2:] == ["my student", "my student, saved styles"]
        model, saved = (rows[name] for name in list(rows)[-2:])
        assert (model["mean"] == pytest.approx(saved["mean"], rel=1e-4)) is (folder == "same")
        assert (model["milliseconds"], model["macs_per_pixel"]) == (saved["milliseconds"], saved["macs_per_pixel"])
    assert found["data"]["saved_styles"].endswith("louder")


def test_saved_styles_that_do_not_fit_are_refused(pictures, vgg, tmp_path, student_file):
    with pytest.raises(InputError, match=r"no 0\.adainstyle"):
        run(pictures, vgg, tmp_path / "out", student_file, styles=tmp_path)
    for name, _ in zip(*painted(pictures), strict=True):
        Style(np.zeros(4, np.float32), np.ones(4, np.float32), "0123", name).save(tmp_path / f"{name}.adainstyle")
    with pytest.raises(InputError, match="of encoder 0123, of none of the models"):
        run(pictures, vgg, tmp_path / "out", student_file, styles=tmp_path)
    ours = encoder_id(load_network(student_file))
    for name, _ in zip(*painted(pictures), strict=True):
        Style(np.zeros(3, np.float32), np.ones(3, np.float32), ours, name).save(tmp_path / f"{name}.adainstyle")
    with pytest.raises(InputError, match=r"0\.adainstyle has 3 channels"):
        run(pictures, vgg, tmp_path / "out", student_file, styles=tmp_path)


def test_one_saved_style_does_not_serve_two_images(pictures, vgg, tmp_path, student_file):
    mine = shutil.copytree(pictures, tmp_path / "pictures")  # those of the fixture are for all tests
    shutil.copy(mine / "style" / "0.png", mine / "style" / "0.webp")
    with pytest.raises(InputError, match=r"would both have 0\.adainstyle; rename"):
        run(mine, vgg, tmp_path / "out", student_file, styles=tmp_path)


def painted(pictures) -> tuple[list[str], list[torch.Tensor]]:
    images, squares = read_squares(pictures / "style", 32)
    return [Path(name).stem for name in images.names], squares


def test_the_command_refuses_what_it_cannot_measure(pictures, vgg, tmp_path, student_file, teacher_file):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is no VGG-19 to relu4_1"):
        run(pictures, teacher_file, out)
    with pytest.raises(InputError, match=r"two models are called '.*my student'"):
        run(pictures, vgg, out, student_file, student_file)
    for steps in ("fifty", "0", "5,,6", "-1"):
        with pytest.raises(InputError, match="expected numbers of steps"):
            run(pictures, vgg, out, steps=steps)
    with pytest.raises(InputError, match="there is cpu and cuda"):
        run(pictures, vgg, out, device="tpu")
    with pytest.raises(InputError, match="no such folder"):
        run(pictures, vgg, out, content=tmp_path / "nowhere")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="can't be made"):
        run(pictures, vgg, tmp_path / "file")


def test_a_file_of_an_embedded_models_name_goes_by_its_path(vgg, tmp_path):
    save_network(make_network(SPECS["strided"], seed=8), tmp_path / "lite.safetensors")
    _, found = _load(["lite", str(tmp_path / "lite.safetensors")], vgg, torch.device("cpu"))
    assert list(found)[-2:] == ["lite", str(tmp_path / "lite")]
