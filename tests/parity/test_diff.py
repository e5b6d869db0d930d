"""Two runs against each other: what broke, what moved, and when that fails a build."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from adain_parity import cli
from adain_parity.diff import compare_runs
from adain_parity.results import Machine, Metrics
from adain_runtime.cli import console
from runs import CRASHED, ENCODER, FAILED, LIMITS, SKIPPED, a_case, a_run, stylizer


def at(share, **fields):
    """A passing case that uses this share of its tolerance."""
    return a_case("a", parts=(ENCODER, stylizer(1e-4 * share)), **fields)


BAD = replace(FAILED, id="a")
IDLE = replace(SKIPPED, id="a")


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (at(0.3), BAD, "broke"),
        (at(0.3), replace(CRASHED, id="a"), "broke"),
        (BAD, at(0.3), "mended"),
        (BAD, replace(CRASHED, id="a"), "failing"),
        (at(0.3), at(0.5), "worse"),
        (at(0.5), at(0.3), "better"),
        (at(0.3), at(0.35), "same"),
        (at(0.3), IDLE, "lost"),
        (BAD, IDLE, "lost"),
        (IDLE, at(0.3), "came to run"),
        (IDLE, BAD, "failing"),
        (IDLE, IDLE, "same"),
        (at(0.3), None, "gone"),
        (None, at(0.3), "new"),
    ],
)
def test_what_became_of_a_case(before, after, change):
    old, new = (a_run(*(case for case in (each,) if case is not None)) for each in (before, after))
    assert [each.change for each in compare_runs(old, new).differences] == [change]


@pytest.mark.parametrize("other", [{"content": "dog"}, {"style": "noise"}, {"alpha": 0.5}, {"height": 64}])
def test_cases_of_other_pictures_that_share_an_id_are_not_held_against_each_other(other):
    old, new = a_run(at(0.1)), a_run(at(0.9, **other))
    assert [each.change for each in compare_runs(old, new).differences] == ["new", "gone"]


def test_the_threshold_is_a_share_of_the_tolerance():
    old, new = a_run(at(0.30)), a_run(at(0.45))
    assert compare_runs(old, new, threshold=0.2).of("worse") == ()
    assert len(compare_runs(old, new, threshold=0.1).of("worse")) == 1


def test_both_runs_are_measured_by_the_limits_of_the_second():
    loose = replace(LIMITS, max_abs=1e-3)
    old = a_run(a_case("a", parts=(stylizer(5e-5, limits=loose),)))
    found = compare_runs(old, a_run(a_case("a", parts=(stylizer(5e-5),))))
    assert [each.change for each in found.differences] == ["same"]
    assert found.notes == ("other limits than before in 1 case; the shares are by those of now",)


def test_other_machines_and_versions_are_said():
    other = replace(
        a_run(at(0.3)), machine=Machine("Darwin", "another processor", 8), tools={"torch": "1.0", "mnn": "3"}
    )
    notes = compare_runs(a_run(at(0.3)), other).notes
    assert "other machines: a made-up processor before, another processor now" in notes
    assert "torch: 0.0 before, 1.0 now" in notes
    assert "mnn: not there before, 3 now" in notes


@pytest.fixture
def adain_parity(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setitem(console._state, "verbose", False)
        monkeypatch.setattr(sys, "argv", ["adain-parity", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def two(tmp_path):
    def save(old, new):
        paths = tmp_path / "before.json", tmp_path / "after.json"
        for path, run in zip(paths, (old, new), strict=True):
            run.save(path)
        return paths

    return save


def test_the_command_fails_where_something_that_passed_fails_now(adain_parity, two):
    code, out, err = adain_parity("diff", *two(a_run(at(0.3)), a_run(BAD)))
    assert code == 1
    assert "broke  lite on onnx, int8" in out
    assert BAD.reason in out
    assert err == "adain-parity: 1 case passed before and not now: a\n"


@pytest.mark.parametrize("after", [a_run(at(0.9)), a_run(IDLE), a_run(), a_run(at(0.3), FAILED)])
def test_what_else_is_worse_passes_unless_it_is_strict(adain_parity, two, after):
    files = two(a_run(at(0.3)), after)
    assert adain_parity("diff", *files)[0] == 0
    strict = after.cases[:1] != (at(0.3),)  # a new case that fails is the affair of the run
    assert adain_parity("diff", *files, "--strict")[0] == strict


def test_json_and_markdown_are_alone_on_stdout(adain_parity, two):
    files = two(a_run(at(0.3), replace(FAILED, id="b")), a_run(BAD, replace(FAILED, id="c")))
    code, out, _ = adain_parity("diff", *files, "--json")
    told = json.loads(out)
    assert code == 1
    assert told["counts"]["broke"] == told["counts"]["new"] == told["counts"]["gone"] == 1
    assert {case["id"]: case["change"] for case in told["cases"]} == {"a": "broke", "b": "gone", "c": "new"}
    assert told["cases"][0]["used_before"] == pytest.approx(0.3)
    _, out, _ = adain_parity("diff", *files, "--markdown")
    assert out.startswith("## Parity: 1 broke, 1 gone, 1 new\n")
    assert "| broke | lite on onnx, int8 |" in out
    assert "| new |" not in out
    assert "| new |" in adain_parity("diff", *files, "--markdown", "--all")[1]


def test_bad_input_is_one_line(adain_parity, two, tmp_path):
    files = two(a_run(at(0.3)), a_run())
    code, out, err = adain_parity("diff", files[0], tmp_path / "nowhere.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "nowhere.json: no such file" in err
    _, _, err = adain_parity("diff", tmp_path / "nothing", files[0])
    assert f"make it with: adain-parity run -o {tmp_path / 'nothing'}" in err
    assert adain_parity("diff", *files, "--json", "--markdown")[0] == 2
    assert adain_parity("diff", *files, "--threshold", "-1")[0] == 2


def test_infinite_shares_are_valid_json(adain_parity, two):
    finite = Metrics(max_abs=0.0)
    nothing_allowed = a_case("a", parts=(replace(stylizer(1e-5), limits=finite),))
    _, out, _ = adain_parity("diff", *two(a_run(at(0.3)), a_run(nothing_allowed)), "--json")
    assert json.loads(out)["cases"][0]["used_after"] == "inf"
