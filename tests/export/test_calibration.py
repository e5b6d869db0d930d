"""calibration.json: the same when it comes back, refused when it is nonsense or another checkpoint's."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_export.calibration import Calibration, inner_layers, int8_macs, layer_names
from adain_export.layer_range import FALLBACK, METHODS, LayerRange, as_float32, codes_over
from adain_export.searched import Searched
from adain_model.checkpoint import encoder_id, weights_sha256
from adain_runtime.errors import InputError
from calibrations import ORIGIN, SHA
from networks import SPECS, make_network


def layer(largest=1.7, minimum=-0.3):
    ranges = {method: as_float32(largest * share) for method, share in zip(METHODS, (1, 0.9, 0.8, 0.7), strict=True)}
    return LayerRange(as_float32(minimum), as_float32(largest), ranges, SHA)


@pytest.fixture
def calibration(strided):
    layers = {name: layer(0.1 + place) for place, name in enumerate(layer_names(strided))}
    return Calibration(
        "strided", weights_sha256(strided), encoder_id(strided), "mse", ORIGIN, layers, inner_layers(list(layers))
    )


@pytest.fixture
def path(calibration, tmp_path):
    calibration.save(tmp_path / "calibration.json")
    return tmp_path / "calibration.json"


def test_it_comes_back_from_its_file_and_its_digest_is_the_files(calibration, path):
    found = Calibration.load(path)
    assert found == calibration
    assert list(found.layers) == list(calibration.layers)
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    found.save(path)
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_layers_are_the_3x3_convolutions_in_their_order(pooled):
    names = layer_names(pooled)
    assert names[:3] == ("encoder.conv1_1", "encoder.conv1_2", "encoder.conv2_1")
    assert names[-2:] == ("decoder.conv1_1", "decoder.conv1_2")
    assert "encoder.conv0" not in names


def test_the_first_and_the_last_layer_stay_float(calibration, strided):
    assert calibration.int8 == layer_names(strided)[1:-1]
    fewer = replace(calibration, int8=calibration.int8[:2])
    assert Calibration.from_json(json.loads(fewer.to_json())) == fewer
    assert fewer.digest != calibration.digest


def test_ranges_and_scales_are_those_of_a_method(calibration):
    name = "decoder.conv3_1"
    ranges = calibration.layers[name].ranges
    assert calibration.ranges()[name] == ranges["mse"]
    assert calibration.ranges("entropy")[name] == ranges["entropy"]
    shifted = calibration.layers[name].shifted
    assert calibration.codes("minmax")[name] == codes_over(ranges["minmax"], shifted=shifted)
    searched = replace(calibration, search=found())
    assert searched.with_method("mse") == searched
    assert searched.with_method("entropy").search is None  # it was found with other ranges
    other = calibration.with_method("percentile")
    assert other.codes()[name] == calibration.codes("percentile")[name]
    assert other.digest != calibration.digest


@given(st.floats(width=32, min_value=2.0**-90, allow_infinity=False))
def test_a_step_is_the_float32_of_range_over_its_steps_and_survives_the_file(range_):
    for shifted, steps in ((False, 127), (True, 255)):
        step = codes_over(as_float32(range_), shifted=shifted).step
        assert np.float32(step) == np.float32(range_) / np.float32(steps)
        assert np.float32(json.loads(json.dumps(step))) == np.float32(step)


def test_numbers_are_written_as_short_as_float32_allows():
    assert repr(as_float32(np.float32(0.1))) == "0.1"
    assert repr(codes_over(1.0).step) == "0.007874016"


def test_it_fits_its_checkpoint_and_no_other(calibration, strided, pooled):
    calibration.check(strided)
    with pytest.raises(InputError, match=r"made for strided with the weights [0-9a-f]{16}, and this is pooled"):
        calibration.check(pooled)
    with pytest.raises(InputError, match="made for strided with the weights"):
        calibration.check(make_network(SPECS["strided"], seed=1))


def test_a_file_whose_layers_or_encoder_are_not_the_checkpoints_is_refused(calibration, strided):
    layers = dict(calibration.layers)
    first = layers.pop("encoder.conv1_1")
    with pytest.raises(InputError, match=r"has no encoder\.conv1_1, a layer of strided"):
        replace(calibration, layers=layers).check(strided)
    with pytest.raises(InputError, match=r"has encoder\.conv9_9, and strided has no such layer"):
        replace(calibration, layers=dict(calibration.layers) | {"encoder.conv9_9": first}).check(strided)
    for change in ({"encoder_id": "0" * 16}, {"network": "vgg19"}):
        with pytest.raises(InputError, match="changed by hand"):
            replace(calibration, **change).check(strided)


def found(share=0.9):
    return Searched(35.0, 35.25, 30.5, 0.97, share, SHA, 24)


def test_what_a_search_found_comes_back_and_is_that_of_the_list(calibration, strided):
    share = int8_macs(strided, calibration.int8)
    searched = replace(calibration, search=found(share))
    assert Calibration.from_json(json.loads(searched.to_json())) == searched
    searched.check(strided)
    fewer = replace(searched, int8=calibration.int8[1:])
    with pytest.raises(InputError, match=r"search put \d\d\.\d+% .* its list has \d\d\.\d+%: .* set search to null"):
        fewer.check(strided)
    replace(fewer, search=None).check(strided)


SEARCH = found().to_json()
LAYER = ("layers", "decoder.conv3_1")
NONSENSE = [
    (("schema_version",), 2, "newer than this version reads"),
    (("schema_version",), "1", "schema_version: expected a whole number"),
    (("method",), None, "no field method"),
    (("method",), "best", "no method 'best'"),
    (("method",), [], "no method"),
    (("surplus",), 1, "unknown field surplus"),
    (("weights_sha256",), SHA[:-1], "weights_sha256: expected 64 hexadecimal"),
    (("weights_sha256",), SHA.upper(), "weights_sha256: expected 64 hexadecimal"),
    (("encoder_id",), 7, "encoder_id: expected 16 hexadecimal"),
    (("network",), "", "network: expected a text"),
    (("layers",), {}, "layers: there are none"),
    (("layers",), [], "layers: expected an object"),
    (("origin", "pairs"), "x", "origin.pairs"),
    (("origin", "samples"), 0, "origin.samples: expected a whole number, at least 1"),
    (("origin", "percentile"), 0, "origin.percentile"),
    (("origin", "tools", "numpy"), 2.0, "origin.tools.numpy: expected a text"),
    ((*LAYER, "min"), None, r"layers\.decoder\.conv3_1: no field min"),
    ((*LAYER, "min"), 99.0, "min 99.0 is over max"),
    ((*LAYER, "max"), "1", "max: expected a finite number"),
    ((*LAYER, "max"), 1e39, "that float32 holds"),
    ((*LAYER, "histogram"), "abc", "histogram: expected 64"),
    ((*LAYER, "scale"), 0.0, "scale: expected 0.0"),
    ((*LAYER, "range"), 0.25, "range: expected"),
    ((*LAYER, "ranges", "entropy"), None, "no field entropy"),
    ((*LAYER, "ranges", "entropy"), -1.0, r"ranges\.entropy: expected a positive number"),
    ((*LAYER, "ranges", "entropy"), 0, r"ranges\.entropy: expected a positive number"),
    ((*LAYER, "ranges", "entropy"), float("nan"), r"ranges\.entropy: expected a finite number"),
    ((*LAYER, "ranges", "entropy"), float("inf"), r"ranges\.entropy: expected a finite number"),
    ((*LAYER, "ranges", "entropy"), 10**400, r"ranges\.entropy: expected a finite number"),
    ((*LAYER, "ranges", "entropy"), True, r"ranges\.entropy: expected a finite number"),
    ((*LAYER, "ranges", "entropy"), 1e-44, r"ranges\.entropy: expected a positive number"),
    ((*LAYER, "ranges", "entropy"), 50.0, r"of at most .*, the largest value seen"),
    (("origin", "images"), [], "origin.images: expected one or more, sorted"),
    (("origin", "images"), [SHA[:16], SHA[:16]], "origin.images: expected one or more, sorted, each once"),
    (("origin", "images"), ["x"], "origin.images: expected 16 hexadecimal"),
    (("search",), 35, "search: expected an object"),
    (("search",), {"target_psnr": 35}, "search: no field int8_macs"),
    (("search",), SEARCH | {"psnr": 34.9}, "search: expected a target over 0 that psnr reaches"),
    (("search",), SEARCH | {"worst_psnr": 35.3}, "no better worst_psnr"),
    (("search",), SEARCH | {"target_psnr": -1}, "search: expected a target over 0"),
    (("search",), SEARCH | {"int8_macs": 1.5}, "search.int8_macs: expected a share"),
    (("search",), SEARCH | {"ssim": float("nan")}, "search.ssim: expected a finite number"),
    (("search",), SEARCH | {"pairs": "x"}, "search.pairs: expected 64 hexadecimal"),
    (("search",), SEARCH | {"samples": 0}, "search.samples: expected a whole number"),
    (("int8",), None, "int8"),
    (("int8",), "all", "int8: expected some of the layers"),
    (("int8",), ["decoder.conv9_9"], "int8: expected some of the layers"),
    (("int8",), ["decoder.conv3_1", "encoder.conv2_1"], "in their order.*where a tool sorted the file's keys"),
]


@pytest.mark.parametrize(("where", "value", "said"), NONSENSE)
def test_a_file_edited_into_nonsense_is_refused_and_names_the_file_and_the_field(path, where, value, said):
    plain = json.loads(path.read_text())
    *parents, last = where
    place = plain
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    path.write_text(json.dumps(plain))
    with pytest.raises(InputError, match=rf"calibration\.json: .*{said}.*collect it again"):
        Calibration.load(path)


def test_layers_in_another_order_than_the_networks_are_refused(calibration, strided):
    """As where a tool sorted the file's keys: the first and the last layer would be others."""
    turned = replace(calibration, layers=dict(sorted(calibration.layers.items())))
    assert turned == calibration
    with pytest.raises(InputError, match=r"another order than the network's.*bring the file back"):
        turned.check(strided)


def test_a_layer_of_zeros_has_the_fallback(path):
    plain = json.loads(path.read_text())
    zeros = {
        "min": 0.0,
        "max": 0.0,
        "range": FALLBACK,
        "scale": codes_over(FALLBACK).step,
        "shifted": False,
        "histogram": SHA,
    }
    plain["layers"]["decoder.conv3_1"] = zeros | {"ranges": dict.fromkeys(METHODS, FALLBACK)}
    path.write_text(json.dumps(plain))
    assert Calibration.load(path).ranges()["decoder.conv3_1"] == FALLBACK


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ('{"network": "a", "network": "b"}', "'network' stands there twice"),
        ("[" * 100_000, "not JSON"),
        ("{}", "schema_version"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, text, said):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"calibration\.json: .*{said}"):
        Calibration.load(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Calibration.load(tmp_path / "none.json")
    with pytest.raises(InputError, match="is no file"):
        Calibration.load(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="is no file"):
        Calibration.load(tmp_path / "pipe.json")
