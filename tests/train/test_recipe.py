"""Recipes: several runs as one file, which come to the weights that their commands come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adain_model import LITE, embedded_checkpoint, load_network, weights_sha256
from adain_runtime.errors import InputError
from adain_runtime.files import sha256_file
from adain_train.recipe import read_recipe

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
SHARED = """
[machine]
accelerator = "cpu"
workers = 0

[train]
batch = 2
kept_crops = 0
kept_pairs = 0
framing.crop = 16
framing.shorter_min = 16
framing.shorter_max = 24
"""
TWO = (
    SHARED
    + """
[[stage]]
name = "1-rough"
content = "photos"
style = "art"
train = { steps = 4, lr = 1e-3, perceptual_from = 1.0 }
machine = { until = 3 }

[[stage]]
name = "2-fine"
content = "art"
style = "art"
train = { steps = 2, seed = 1, framing = { crop = 24, shorter_max = 32, shorter_min = 24 } }
"""
)


@pytest.fixture
def recipe(tmp_path):
    """Write a recipe; gives its path."""

    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def small_spec(tmp_path, student_config):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(student_config.spec.to_json()))
    return path


@pytest.fixture
def run(any_teacher, command, recipe, teacher_file, pictures, small_spec):
    """Run a recipe's text into a folder."""

    def start(text, output, *more):
        data = ["--data", f"photos={pictures / 'content'}", "--data", f"art={pictures / 'style'}"]
        given = ["--teacher", teacher_file, *data, "--spec", small_spec, "-o", output, *more]
        return command("recipe", recipe(text), *given)

    return start


def test_a_recipe_gives_the_weights_of_its_commands(run, command, teacher_file, pictures, small_spec, tmp_path):
    code, out, _ = run(TWO, tmp_path / "run", "--json")
    assert code == 0
    told = json.loads(out)
    assert [(row["stage"], row["step"], row["steps"]) for row in told["stages"]] == [
        ("1-rough", 3, 4),
        ("2-fine", 2, 2),
    ]
    common = ["student", "--teacher", teacher_file, "--style", pictures / "style", "--batch", "2", "--workers", "0"]
    common += ["--accelerator", "cpu", "--spec", small_spec, "--set", "kept_crops=0", "--set", "kept_pairs=0"]
    frame = ("--set framing.crop={0} --set framing.shorter_min={0} --set framing.shorter_max={1}").format
    first = [*common, "--content", pictures / "content", "--steps", "4", "--lr", "1e-3", "--until", "3"]
    assert command(*first, "--set", "perceptual_from=1", *frame(16, 24).split(), "-o", tmp_path / "a")[0] == 0
    begun = tmp_path / "a" / "small.safetensors"
    common += ["--set", "perceptual_batch=4"]  # the preset's, which --batch takes the place of
    second = [*common, "--content", pictures / "style", "--steps", "2", "--seed", "1", "--init", begun]
    assert command(*second, *frame(24, 32).split(), "-o", tmp_path / "b")[0] == 0
    for stage, folder in (("1-rough", "a"), ("2-fine", "b")):
        names = (tmp_path / "run" / stage, tmp_path / folder)
        ours, theirs = ((path / "small.safetensors").read_bytes() for path in names)
        assert ours == theirs
    assert told["stages"][1]["sha256"] in (tmp_path / "run" / "README.md").read_text()


def test_a_recipe_in_pieces_gives_the_same_weights(run, tmp_path):
    assert run(TWO, tmp_path / "whole")[0] == 0
    for _ in range(6):
        code, out, err = run(TWO, tmp_path / "pieces", "--minutes", "1e-9", "--resume")
        assert code == 0
    assert "2-fine" in out
    assert "next: adain-train eval" in err
    whole, pieces = ((tmp_path / kind / "2-fine" / "small.safetensors").read_bytes() for kind in ("whole", "pieces"))
    assert whole == pieces


def test_a_stage_that_was_begun_otherwise_is_refused(run, tmp_path):
    assert run(TWO, tmp_path / "run")[0] == 0
    code, _, err = run(TWO.replace("lr = 1e-3", "lr = 1e-2"), tmp_path / "run", "--resume")
    assert code == 2
    assert "lr: asked 0.01, was 0.001" in err
    (tmp_path / "run" / "1-rough" / "checkpoint.pt").unlink()
    assert run(TWO, tmp_path / "run")[0] == 2  # the second stage holds a run


def test_stages_that_are_done_are_of_the_same_beginning_and_teacher(run, tmp_path, teacher_file):
    assert run(TWO, tmp_path / "run")[0] == 0
    begun = tmp_path / "run" / "2-fine" / "small.safetensors"
    code, _, err = run(TWO, tmp_path / "run", "--resume", "--init", begun)
    assert code == 2
    assert "sources.init: asked " in err
    code, _, err = run(TWO, tmp_path / "run", "--resume", "--teacher", begun)
    assert code == 2
    assert "sources.teacher: asked " in err
    assert run(TWO, tmp_path / "init", "--init", begun)[0] == 0
    code, _, err = run(TWO, tmp_path / "init", "--resume")
    assert code == 2
    assert "sources.init: asked nothing" in err


def test_minutes_are_said_once(run, tmp_path):
    code, _, err = run(TWO, tmp_path / "run", "--machine", "minutes=60")
    assert code == 2
    assert "--machine minutes=60: --minutes says that" in err


def test_what_all_stages_share_is_a_group(recipe):
    with pytest.raises(InputError, match="sources is no group"):
        read_recipe(recipe("sources = 5\n" + TWO))


def test_other_sources_than_the_recipes_are_refused_before_a_step(run, tmp_path):
    text = TWO + f'sources = {{ teacher = "{"0" * 64}" }}\n'
    code, _, err = run(text, tmp_path / "run")
    assert code == 2
    assert "stage 2-fine: the recipe was taken with another teacher" in err
    assert not (tmp_path / "run" / "2-fine").exists()


def test_other_sources_are_refused_before_the_targets_that_take_minutes(run, tmp_path):
    kept = TWO.replace("kept_crops = 0", "kept_crops = 4").replace("kept_pairs = 0", "kept_pairs = 2")
    code, _, err = run(f'[sources]\n"style images" = "{"0" * 64}"\n' + kept, tmp_path / "run")
    assert code == 2
    assert "stage 1-rough: the recipe was taken with another style images" in err
    assert list((tmp_path / "run").glob("targets-*")) == []


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ('content = "art"', 'content = "sea"', "stage 2-fine takes sea; give --data sea=DIR"),
        ("steps = 2", "stepss = 2", "stage 2-fine: train.stepss: there is no stepss"),
        ("steps = 2", "steps = 'two'", "train.steps=two: expected a whole number"),
        ("steps = 2", "minutes = 2", "there is no minutes"),
        ("until = 3", "minutes = 3", "machine.minutes is the command's to say"),
        ("steps = 2", "steps = 2, x = 1", "there is no x"),
        ('name = "2-fine"', 'name = "2-fine"\nsources = { teacher = 123 }', "sources.teacher is missing, unknown"),
        ("[machine]", "[sources]\nteacher = 123\n\n[machine]", "sources.teacher is no digest"),
        ("steps = 2", "steps = 2024-01-01", "train.steps: 2024-01-01 is no text, number or truth"),
        ('name = "2-fine"', 'name = "1-rough"', "two stages of one name"),
        ('name = "2-fine"', 'name = "../2"', "no folder's name"),
        ('name = "2-fine"', "", "name is missing"),
        ("[[stage]]", "[[stages]]", "found stages"),
        ("[train]", "[train", "no recipe can be read"),
        ("framing = { crop = 24, shorter_max = 32, shorter_min = 24 }", "framing = 24", "it is a group"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_one_line(run, tmp_path, before, after, text):
    assert before in TWO
    code, out, err = run(TWO.replace(before, after), tmp_path / "run")
    assert (code, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_recipe_of_the_embedded_student_begins_as_the_file_beside_it():
    (stage,) = read_recipe(RECIPES / "lite.toml")
    config, machine = stage.config(LITE), stage.on([], None)
    assert (machine.last(config), config.steps, config.seed) == (5_000, 5_000, 10)
    assert config.measure_clipped
    assert (machine.accelerator, machine.precision) == ("cpu", "32-true")  # a CPU repeats itself bit for bit
    assert stage.sources["init"] == weights_sha256(load_network(RECIPES / "lite-start.safetensors"))


def test_its_card_has_the_digests_of_the_recipe_and_of_the_weights():
    card = (embedded_checkpoint().parent / "README.md").read_text()
    (stage,) = read_recipe(RECIPES / "lite.toml")
    assert [digest for digest in stage.sources.values() if digest not in card] == []
    assert sha256_file(embedded_checkpoint()) in card
    assert weights_sha256(load_network(embedded_checkpoint())) in card


def test_the_recipes_of_what_it_began_with_can_be_read():
    for name, steps, seed in (("lite-crafts", 4_600, 9), ("lite-more", 5_000, 8), ("lite-shown", 4_600, 7)):
        (stage,) = read_recipe(RECIPES / f"{name}.toml")
        config, machine = stage.config(LITE), stage.on([], None)
        assert (machine.last(config), config.seed, config.measure_clipped) == (steps, seed, True)
    (longer,) = read_recipe(RECIPES / "lite-longer.toml")
    config, machine = longer.config(LITE), longer.on([], None)
    assert (machine.last(config), config.seed, config.measure_clipped) == (11_000, 6, False)
    (narrower,) = read_recipe(RECIPES / "lite-narrower.toml")
    config, machine = narrower.config(LITE), narrower.on([], None)
    assert (machine.last(config), config.revive, machine.precision) == (13_000, 0.01, "bf16-mixed")
    stages = read_recipe(RECIPES / "lite-wide.toml")
    configs = [stage.config(LITE) for stage in stages]
    assert [(config.steps, stage.on([], None).last(config)) for stage, config in zip(stages, configs, strict=True)] == [
        (10_000, 10_000),
        (12_000, 10_005),
        (3_500, 1_000),
        (2_400, 847),
        (1_400, 1_400),
        (9_600, 8_500),
        (7_600, 7_000),
    ]
    assert configs[-1].weights.content == 12
    assert stages[1].on(["accelerator=cpu"], None).accelerator == "cpu"
    with pytest.raises(InputError, match="abacus"):
        stages[1].on(["abacus=cpu"], None)
