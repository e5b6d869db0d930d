"""Sensitivities: every layer alone, the usual sets together, and shares that add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adain_calib.scoring import Judge, Scores, Simulator
from adain_calib.sensitivity import error_shares, measure_layers, steps_of
from adain_export.calibration import int8_macs, layer_names
from adain_model.cost import mac_shares

ALL = "all but the first and the last"


@pytest.fixture(scope="module")
def score(network, calibration, held):
    return Simulator(network, calibration, Judge(network, held))


def test_every_layer_has_its_scores_alone_in_the_order_they_run(network, calibration, score):
    steps = []
    found = measure_layers(network, calibration, score, advance=lambda: steps.append(1))
    assert tuple(found.rows) == layer_names(network)
    assert [name for name, row in found.rows.items() if row.stays_float] == [
        layer_names(network)[0],
        layer_names(network)[-1],
    ]
    shares = mac_shares(network)
    for name, row in found.rows.items():
        assert row.alone == score([name])
        assert row.macs == shares[name]
    assert len(steps) == steps_of(calibration) == len(found.rows) + 1
    assert set(found.together) == {ALL}
    assert found.together[ALL].scores == score(calibration.int8)
    assert found.together[ALL].macs == int8_macs(network, calibration.int8)


def test_a_list_of_the_calibrations_own_is_scored_beside_all(network, calibration, score):
    fewer = replace(calibration, int8=calibration.int8[1:3])
    found = measure_layers(network, fewer, score)
    assert list(found.together) == [ALL, "those the calibration lists"]
    assert found.together["those the calibration lists"].scores == score(fewer.int8)
    assert list(measure_layers(network, replace(calibration, int8=()), score).together) == [ALL]


def test_shares_of_the_error_sum_to_one_over_the_layers_that_may_be_int8():
    alone = {name: Scores(psnr, (1.0, 1.0)) for name, psnr in (("a", (30, 40)), ("b", (40, 40)), ("c", (40, 30)))}
    shares = error_shares(alone, ("a", "b"))
    np.testing.assert_allclose([shares["a"], shares["b"]], [(10 / 11 + 1 / 2) / 2, (1 / 11 + 1 / 2) / 2])
    assert shares["c"] == pytest.approx((1 / 11 + 10 / 2) / 2)
