"""Improvements in calibration.json: what an export does with them, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from adain_export.calibration import Calibration
from adain_export.equalise import couples
from adain_export.improvements import Improvements
from adain_runtime.errors import InputError
from calibrations import calibrated


@pytest.fixture
def improved(strided):
    made = calibrated(strided)
    bias = {"decoder.conv3_1": (0.5, -0.25, 0.125, 0.0, 1e-3, 2.0, -1.0, 0.0)}
    equalisation = {
        couple.name: tuple(i % 3 - 1 for i in range(couple.first.out_channels)) for couple in couples(strided)
    }
    return replace(made, improvements=Improvements(equalisation, bias))


def test_they_come_back_from_the_file_a_list_of_numbers_on_a_line(improved, tmp_path):
    improved.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == improved
    lines = [line.strip() for line in (tmp_path / "c.json").read_text().splitlines()]
    assert '"decoder.conv3_1": [ 0.5, -0.25, 0.125, 0.0, 0.001, 2.0, -1.0, 0.0 ]' in lines


def test_biases_are_corrected_in_the_layers_that_are_int8_alone(improved, strided):
    layer = "decoder.conv3_1"
    assert layer in improved.int8
    plain = replace(improved, improvements=replace(improved.improvements, bias={})).prepared(strided)
    corrected = improved.prepared(strided)
    added = corrected.get_parameter(f"{layer}.bias") - plain.get_parameter(f"{layer}.bias")
    torch.testing.assert_close(added, torch.tensor(improved.improvements.bias[layer]))
    fewer = replace(improved, int8=tuple(name for name in improved.int8 if name != layer))
    assert torch.equal(fewer.prepared(strided).decoder.conv3_1.bias, plain.decoder.conv3_1.bias)


def test_without_any_the_network_is_a_copy_of_itself(strided):
    made = calibrated(strided).prepared(strided)
    assert made is not strided
    assert all(torch.equal(value, strided.state_dict()[name]) for name, value in made.state_dict().items())


def test_another_method_has_no_correction_and_the_same_equalisation(improved):
    other = improved.with_method("entropy").improvements
    assert (other.bias, other.equalisation) == ({}, improved.improvements.equalisation)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"equalisation": {"encoder.conv4_2": (0,) * 10}}, r"nothing moves from encoder\.conv4_2"),
        ({"equalisation": {"decoder.conv3_1": (0,)}}, r"equalisation\.decoder\.conv3_1: expected 8 numbers, found 1"),
        ({"bias": {"decoder.conv3_1": (0.0,) * 9}}, r"bias\.decoder\.conv3_1: expected 8 numbers, found 9"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(improved, strided, change, said):
    with pytest.raises(InputError, match=said):
        replace(improved, improvements=replace(improved.improvements, **change)).check(strided)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"bias": {}}, "no field equalisation"),
        ({"equalisation": {}, "bias": {}, "more": {}}, "unknown field more"),
        ({"equalisation": [], "bias": {}}, "equalisation: expected an object"),
        ({"equalisation": {"decoder.conv9_9": [1]}, "bias": {}}, r"decoder\.conv9_9 is no layer"),
        ({"equalisation": {"decoder.conv3_1": 1}, "bias": {}}, "expected a list"),
        ({"equalisation": {"decoder.conv3_1": [1.5]}, "bias": {}}, "expected whole numbers from -16 to 16, found 1.5"),
        ({"equalisation": {"decoder.conv3_1": [17]}, "bias": {}}, "found 17"),
        ({"equalisation": {"decoder.conv3_1": [True]}, "bias": {}}, "found True"),
        ({"equalisation": {}, "bias": {"decoder.conv3_1": [float("nan")]}}, "expected a finite number"),
        ({"equalisation": {}, "bias": {"decoder.conv3_1": ["1"]}}, "expected a finite number"),
    ],
)
def test_a_file_edited_into_nonsense_is_refused(improved, plain, said):
    edited = json.loads(improved.to_json()) | {"improvements": plain}
    with pytest.raises(InputError, match=said):
        Calibration.from_json(edited)
