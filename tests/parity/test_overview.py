"""What a run says in a few lines: how much of a tolerance is used, what is worst, and the headline."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_parity.overview import (
    counts,
    duration_text,
    groups,
    headline,
    not_passed,
    printable,
    psnr_text,
    share_text,
    worst_first,
)
from adain_parity.results import Metrics
from adain_parity.tolerance_used import METRICS, Used, case_used, part_used, share
from runs import CRASHED, ENCODER, FAILED, LATE, NAN, SKIPPED, a_case, a_run, every_verdict, stylizer


@pytest.mark.parametrize(
    ("metric", "found", "limit", "wanted"),
    [
        ("max_abs", 5e-5, 1e-4, 0.5),
        ("psnr", 80.0, 80.0, 1.0),
        ("psnr", 100.0, 80.0, 0.1),
        ("ssim", 0.98, 0.96, 0.5),
        ("cosine", 1.0000001, 0.999, 0.0),
        ("content_loss", -0.2, 0.1, 2.0),
        ("max_abs", 0.0, 0.0, 0.0),
        ("max_abs", 1e-9, 0.0, inf),
        ("max_abs", None, 1.0, None),
        ("max_abs", 1.0, None, None),
    ],
)
def test_the_share_of_a_tolerance_is_one_at_the_limit(metric, found, limit, wanted):
    assert share(metric, found, limit) == (None if wanted is None else pytest.approx(wanted))


@given(st.sampled_from(METRICS), st.floats(1e-6, 0.9), st.floats(1e-6, 0.9))
def test_a_share_is_beyond_one_just_where_the_measurement_is_beyond_its_limit(metric, found, limit):
    beyond = bool(Metrics(**{metric: found}).beyond(Metrics(**{metric: limit})))
    assert (share(metric, found, limit) > 1 + 1e-12) == beyond or found == pytest.approx(limit)


def test_decibels_beyond_all_reason_are_a_number():
    assert isfinite(share("psnr", -1e5, 80.0))


def test_a_case_is_as_near_to_its_limit_as_the_nearest_of_its_numbers():
    used = case_used(a_case(parts=(ENCODER, stylizer(9e-5, 100))))
    assert (used.part, used.metric) == ("stylizer", "max_abs")
    assert used.share == pytest.approx(0.9)
    assert case_used(SKIPPED) is None
    assert case_used(NAN) == Used(inf, "stylizer", "finite")
    assert part_used(stylizer(9e-5, 100), Metrics(max_abs=9e-4)).share == pytest.approx(0.1)


def test_the_worst_cases_come_first():
    near = a_case("near", parts=(stylizer(9e-5),))
    run = a_run(SKIPPED, a_case(), near, FAILED, NAN, LATE, CRASHED)
    assert [case.id for case in worst_first(run)] == ["crashed", "late", "nan", "failed", "near", "a", "skipped"]
    assert [group.kind for group in groups(run)] == ["fp32", "fp16", "fp16", "int8", "fp32", "fp32"]
    required = replace(run, required=("trt",))
    assert [case.id for case in worst_first(required)].index("skipped") == 4
    assert [case.id for case in not_passed(run)] == ["crashed", "late", "nan", "failed"]
    assert [case.id for case in not_passed(required)] == ["crashed", "late", "nan", "failed", "skipped"]


def test_a_group_shows_the_worst_of_its_cases_and_two_bundles_of_one_precision_apart():
    cases = (a_case("a"), a_case("b", parts=(stylizer(9e-5, 81),)), a_case("c", bundle="lite-searched"))
    found = groups(a_run(*cases))
    assert [group.kind for group in found] == ["fp32 (lite-onnx-fp32)", "fp32 (lite-searched)"]
    assert (found[0].psnr, found[0].max_abs, found[0].passed) == (81, 9e-5, 2)


@pytest.mark.parametrize(
    ("cases", "required", "wanted"),
    [
        ((a_case(), SKIPPED), (), "The one case holds against PyTorch; 1 skipped"),
        ((a_case("a"), a_case("b")), (), "All 2 cases hold against PyTorch"),
        ((a_case(), FAILED), (), "1 of 2 cases does not hold against PyTorch"),
        ((FAILED, CRASHED, SKIPPED), (), "2 of 2 cases do not hold against PyTorch"),
        ((a_case(), SKIPPED), ("trt",), "Required and not here: trt was not compared with PyTorch"),
        (
            (a_case(), SKIPPED, a_case("ran", backend="trt")),
            ("trt",),
            "1 case of a required backend was skipped",
        ),
        ((SKIPPED,), (), "Nothing was compared: every case was skipped"),
        ((), (), "Nothing was compared: no cases"),
    ],
)
def test_the_headline_is_the_verdict(cases, required, wanted):
    assert headline(a_run(*cases, required=required)) == wanted


def test_every_verdict_is_counted():
    found = counts(every_verdict().cases)
    assert found == {"passed": 1, "failed": 2, "skipped": 1, "crashed": 1, "timed out": 1, "built": 0}


def test_numbers_read():
    assert [share_text(Used(x, "stylizer", "psnr")) for x in (0.426, 9.98, 9.999, 2500, inf)] == [
        *("43%", "998%", "10x", "2500x", "beyond"),
    ]
    assert share_text(None) == "-"
    assert (psnr_text(48.31, 0.1), psnr_text(None, 0.0), psnr_text(None, None)) == ("48.3", "exact", "-")
    assert [duration_text(x) for x in (0.82, 42.4, 252)] == ["0.8 s", "42 s", "4 min 12 s"]


def test_the_last_words_of_a_process_lose_what_only_a_terminal_understands():
    assert printable("\x1b[1;31mred\x1b[0m\r\nnext\x00\x07\n") == "red\nnext"
    assert printable("50%\rdone \x1b]0;title\x07now") == "50%\ndone now"
    assert printable("\ud800\ufffe é 漢") == " é 漢"
