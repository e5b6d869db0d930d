"""Configs as people write and read them, the schedules, and specs from the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from adain_model import LITE, VGG19
from adain_runtime.errors import InputError
from adain_train.config import DecoderConfig, Machine, StudentConfig, as_plain, differences, to_toml, with_settings
from adain_train.data import Framing
from adain_train.presets import DECODERS, STUDENTS, student_spec
from adain_train.schedule import MovingAverage, learning_rate


def test_the_papers_rate_decays_with_the_step():
    config = DecoderConfig()
    assert [learning_rate(config, step) for step in (0, 20_000)] == [1e-4, pytest.approx(5e-5)]


def test_the_cosine_rises_falls_and_ends_at_its_floor():
    config = StudentConfig(steps=1000, lr=1.0, warmup=10, lr_floor=0.1)
    rates = [learning_rate(config, step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=1e-2)
    assert rates[500] == pytest.approx(0.55)
    assert rates[1000] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_moving_average_is_written_out():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    average = MovingAverage(module, decay=0.5)
    wanted = 2.0
    for step, value in enumerate((4.0, -3.0, 10.0)):
        nn.init.constant_(module.weight, value)
        average.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(wanted)


def test_an_average_without_decay_is_the_module():
    module = nn.Linear(3, 2)
    average = MovingAverage(module, decay=0.0)
    nn.init.normal_(module.weight)
    average.update(module, 99)
    assert torch.equal(average.module.weight, module.weight)


def test_settings_reach_any_field_in_its_own_kind():
    config = with_settings(StudentConfig(), ["ema=0.5", "weights.style=20", "framing.flip=false", "seed=9"])
    assert (config.ema, config.weights.style, config.framing.flip, config.seed) == (0.5, 20.0, False, 9)


def test_settings_that_need_each_other_are_taken_together_in_any_order():
    settings = ["framing.crop=256", "framing.shorter_min=300", "framing.shorter_max=400"]
    small = StudentConfig(framing=Framing(crop=128, shorter_min=128, shorter_max=256))
    found = [with_settings(small, order).framing for order in (settings, settings[::-1])]
    assert found == [Framing(crop=256, shorter_min=300, shorter_max=400)] * 2


def test_a_run_ends_at_until_or_at_its_steps():
    config = StudentConfig(steps=10)
    assert [Machine(until=until).last(config) for until in (0, 4, 40)] == [10, 4, 10]


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("ema", "NAME=VALUE"),
        ("emma=1", "there is no emma"),
        ("seed=0.5", "a whole number"),
        ("lr=fast", "a number"),
        ("framing.flip=1", "true or false"),
        ("weights=3", "a group"),
        ("ema.style=3", "no group"),
        ("weights.styl=3", "there is no styl"),
        ("lr=nan", "lr is nan"),
    ],
)
def test_settings_that_can_not_be_are_named(setting, text):
    with pytest.raises(InputError, match=text):
        with_settings(StudentConfig(), [setting])


def test_differences_name_nested_fields():
    config = StudentConfig()
    other = with_settings(config, ["weights.style=20"])
    assert differences(as_plain(other), as_plain(config)) == ["weights.style: asked 20.0, was 10.0"]
    assert differences(as_plain(config), as_plain(config)) == []


def test_a_config_is_toml_that_reads_back():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")
    plain = {"train": as_plain(StudentConfig()), "machine": as_plain(Machine()), "sources": {"content images": "ab"}}
    found = tomllib.loads(to_toml(plain))
    assert found["train"] == plain["train"]
    assert found["machine"] == {name: value for name, value in plain["machine"].items() if value is not None}
    assert found["sources"] == {"content images": "ab"}


def test_every_preset_is_a_config():
    assert set(DECODERS) == set(STUDENTS) == {"cpu", "gpu"}
    paper = DECODERS["gpu"]
    assert (paper.batch, paper.framing.crop, paper.framing.shorter_min, paper.lr, paper.decay) == (
        8,
        256,
        512,
        1e-4,
        5e-5,
    )
    assert (paper.weights.content, paper.weights.style, paper.schedule) == (1.0, 10.0, "paper")


def test_widths_make_a_spec_with_the_decoder_mirrored():
    spec = student_spec(None, "8/16,16/32,32/64,64", None, "stride", "tiny")
    assert spec.encoder == ((8,), (16, 16), (32, 32), (64, 64))
    assert spec.decoder == ((64, 32), (32, 16), (16, 8), (8, 3))
    assert spec.name == "tiny"
    given = student_spec(None, "8/16,16/32,32/64,64", "32/32,16/16,8/3", "maxpool", None)
    assert (given.decoder, given.downsample) == (((32,), (32, 16), (16, 8), (3,)), "maxpool")


def test_what_widths_do_not_say_is_the_bases():
    spec = student_spec(None, "8,8/16,16/32,32,32,32/64", None, None, "slim", VGG19)
    assert replace(spec, name="vgg19", encoder=VGG19.encoder, decoder=VGG19.decoder) == VGG19
    assert spec.decoder == ((32,), (32, 32, 32, 16), (16, 8), (8, 3))
    assert student_spec(None, None, None, None, "mine", VGG19) == replace(VGG19, name="mine")


def test_a_spec_comes_by_name_or_from_a_file(tmp_path):
    assert student_spec(None, None, None, None, None) == student_spec("lite", None, None, None, None) == LITE
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(replace(LITE, name="mine").to_json()))
    assert student_spec(str(path), None, None, None, None).name == "mine"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere.json", None, None, None), "nowhere.json"),
        ((None, "8/x", None, "stride"), "expected widths"),
        ((None, "8/16", None, "conv"), "--downsample conv"),
        (("lite", "8/16", None, "stride"), "give one of them"),
        ((None, None, "8/3", "stride"), "--decoder-widths without --encoder-widths"),
        (("lite", None, None, "stride"), "--downsample without --encoder-widths"),
        ((None, "8/16", "8/8/3", "stride"), "2 encoder stages against 3"),
    ],
)
def test_specs_that_can_not_be_are_named(arguments, text):
    with pytest.raises(InputError, match=text):
        student_spec(*arguments, None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"precision": "8"}, "--precision"), ({"devices": 0}, "devices"), ({"minutes": 0.0}, "minutes")],
)
def test_machines_that_can_not_be_are_named(changes, text):
    with pytest.raises(InputError, match=text):
        Machine(**changes)
