"""Limits proposed from runs: the worst of every number, with a margin, as TOML that loads as tolerances."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_export.tolerances import Metrics, limits_of, load
from adain_parity.calibrate import left_out, limit_of, proposal, worst_of
from adain_parity.results import Blame, Case, LayerError, Machine, Part, Reference, Run
from adain_runtime.errors import InputError

CASE = Case("a", "onnx", "", "lite", "fp32", 64, 48, "cat", "flat", 1.0, "passed")


def case(name, psnr, statistics=1e-7):
    parts = (
        Part("encoder", Metrics(relative_l2=2e-5, cosine=0.99, statistics=statistics), Metrics(), finite=True),
        Part("decoder", Metrics(max_abs=1e-5, psnr=psnr), Metrics(), finite=True),
        Part("stylizer", Metrics(max_abs=3e-5, psnr=psnr, style_loss=-0.02), Metrics(), finite=True),
    )
    curve = (LayerError("encoder.conv1_1", 0, 1e-6, 1), LayerError("encoder.conv2_1", 1, 5e-6, 1))
    return replace(CASE, id=name, parts=parts, blame=Blame("good", curve=curve))


def run_of(*cases):
    machine, reference = Machine("Linux", "cpu", 2), Reference("torch", "2", "float32", "cpu")
    return Run("2026-01-02T03:04:05Z", "adain-parity run", "default", machine, {}, reference, cases)


def test_the_worst_is_the_lowest_psnr_and_the_largest_difference_whatever_its_sign():
    found = worst_of([run_of(case("a", 50.0), case("b", 40.0)), run_of(case("c", 45.0))])
    parts = found["onnx", "fp32"]
    assert (parts["stylizer"]["psnr"].value, parts["stylizer"]["psnr"].case) == (40.0, "b")
    assert parts["stylizer"]["style_loss"].value == -0.02
    assert parts["layer"]["layer"].value == 5e-6


def test_a_proposal_loads_as_tolerances_and_every_case_that_it_comes_from_passes(tmp_path):
    run = run_of(case("a", 50.0), case("b", 40.0))
    path = tmp_path / "tolerances.toml"
    path.write_text(proposal(worst_of([run])), encoding="utf-8")
    limits = load(path)["onnx"]["fp32"]
    for part in (part for case in run.cases for part in case.parts):
        assert part.found.beyond(limits.part(part.part)) == ()
    assert limits.layer == 2e-5
    assert limits.stylizer.psnr == 27
    assert "40 in b" in path.read_text(encoding="utf-8")


@given(st.sampled_from(["max_abs", "psnr", "cosine", "statistics", "style_loss"]), st.floats(1e-9, 0.999))
def test_what_was_measured_is_always_within_its_own_limit(metric, value):
    worst = Metrics(**{metric: value})
    assert worst.beyond(Metrics(**{metric: limit_of(metric, value)})) == ()


def test_every_table_of_a_proposal_is_one_that_a_look_up_reads(tmp_path):
    """Of a Core ML package with images of bytes that is not its precision's."""
    cases = [
        case("onnx", 50.0),
        replace(case("tensor", 90.0), backend="coreml-reference"),
        replace(case("image", 70.0), backend="coreml-reference", accuracy="fp32-8bits"),
        replace(case("bytes", 20.0), precision="fp32-uint8"),
    ]
    path = tmp_path / "tolerances.toml"
    path.write_text(proposal(worst_of([run_of(*cases)])), encoding="utf-8")
    table = load(path)
    assert {name: list(labels) for name, labels in table.items()} == {
        "onnx": ["fp32"],
        "coreml-reference": ["fp32", "fp32-8bits"],
    }
    found = {each.id: limits_of(each.backend, each.accuracy or each.precision, table) for each in cases}
    assert found["onnx"].stylizer.psnr == 37
    assert (found["tensor"].stylizer.psnr, found["image"].stylizer.psnr) == (77, 57)


def test_cases_of_bytes_alone_calibrate_nothing_and_the_message_says_why():
    run = run_of(replace(case("a", 60.0), precision="int8-uint8"), replace(case("b", 60.0), precision="int8-uint8"))
    with pytest.raises(InputError, match=r"onnx int8-uint8 left out \(2 cases\): its limits are those of int8"):
        worst_of([run])
    assert len(left_out([run, run_of(case("c", 50.0))])) == 1


def test_cases_without_numbers_calibrate_nothing():
    with pytest.raises(InputError, match="no case of these runs has numbers"):
        worst_of([run_of(replace(CASE, verdict="crashed"))])
