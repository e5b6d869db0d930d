"""The command ``fit``: what it leaves, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from adain_model import encoder_id, load_network, save_network
from adain_runtime import Style
from adain_runtime.errors import InputError
from adain_train.fit_command import fit_command
from networks import SPECS, make_network


@pytest.fixture
def student_file(tmp_path):
    save_network(make_network(SPECS["strided"], seed=8), tmp_path / "student.safetensors")
    return str(tmp_path / "student.safetensors")


@pytest.fixture
def fit(pictures, teacher_file, tmp_path, student_file, any_teacher):
    def run(*paintings, **options) -> None:
        given = {"content": pictures / "content", "reference": teacher_file, "model": student_file}
        few = {"size": 32, "style_size": 64, "steps": 4, "batch": 2}
        fit_command(list(paintings), output=tmp_path / "out", **(given | few | options))

    return run


def test_the_command_leaves_styles_that_the_network_takes_numbers_and_a_sheet(
    fit, pictures, tmp_path, student_file, capsys
):
    fit(pictures / "style" / "0.png", pictures / "style" / "1.png")
    out, network = tmp_path / "out", load_network(student_file)
    assert {path.name for path in out.iterdir()} == {"0.adainstyle", "1.adainstyle", "fit.json", "sheet.png"}
    found = json.loads((out / "fit.json").read_text())
    assert [line["file"] for line in found["styles"]] == ["0.adainstyle", "1.adainstyle"]
    assert (found["content"]["images"], found["content"]["held_out"]) == (5, 1)
    assert "on 1 contents that nothing was fitted on" in capsys.readouterr().out
    style = Style.load(out / "0.adainstyle")
    assert (style.encoder_id, style.channels) == (encoder_id(network), network.spec.channels)
    assert style.source == "0.png fitted to strided"
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size[0] > 4 * 256


def test_it_takes_what_people_type(command, any_teacher, pictures, teacher_file, tmp_path, student_file):
    given = ["--model", student_file, "--content", pictures / "content", "--reference", teacher_file]
    small = ["--size", 32, "--style-size", 64, "--steps", 2, "--batch", 2]
    code, out, err = command("fit", pictures / "style" / "0.png", *given, *small, "-o", tmp_path / "out", "--json")
    assert code == 0, err
    assert json.loads(out)["styles"][0]["file"] == "0.adainstyle"
    code, out, err = command("fit", *given, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "painting" in err.lower()


def test_json_is_what_the_file_holds(fit, pictures, tmp_path, capsys):
    fit(pictures / "style" / "0.png", as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "fit.json").read_text())


def test_paintings_that_would_overwrite_one_another_are_refused(fit, pictures, tmp_path):
    twin = tmp_path / "0.png"
    twin.write_bytes((pictures / "style" / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"both become 0\.adainstyle"):
        fit(pictures / "style" / "0.png", twin)
    assert not (tmp_path / "out").exists()


def test_a_folder_where_a_style_would_be_written_is_refused_before_the_fit(fit, pictures, tmp_path):
    (tmp_path / "out" / "0.adainstyle").mkdir(parents=True)
    with pytest.raises(InputError, match=r"0\.adainstyle: is a folder"):
        fit(pictures / "style" / "0.png")


def test_a_painting_that_cannot_be_used_is_named(fit, pictures, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png"):
        fit(pictures / "style" / "0.png", tmp_path / "nowhere.png")
    Image.fromarray(np.zeros((5, 1, 3), np.uint8)).save(tmp_path / "thin.png")
    with pytest.raises(InputError, match="1x5 is too small"):
        fit(pictures / "style" / "0.png", tmp_path / "thin.png")
    assert not (tmp_path / "out").exists()  # said before the minutes that the first one takes


def test_what_measures_must_be_vgg19(pictures, tmp_path, student_file, teacher_file):
    with pytest.raises(InputError, match=r"is no VGG-19 to relu4_1"):
        fit_command(
            [pictures / "style" / "0.png"],
            content=pictures / "content",
            reference=teacher_file,
            model=student_file,
            output=tmp_path / "out",
        )


def test_contents_of_a_size_that_the_network_does_not_take_are_refused(fit, pictures):
    with pytest.raises(InputError, match="--size: a content is 36x36, and strided takes multiples of 8"):
        fit(pictures / "style" / "0.png", size=36)
