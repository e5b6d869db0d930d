"""The JUnit file: what CI systems read of it, and that it passes just where the run does."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_parity.junit import junit_xml
from runs import CRASHED, FAILED, SKIPPED, a_case, a_run, every_verdict

# The order and the attributes that the strictest of the common schemas (Ant's) takes.
SUITE = ["properties", "testcase"]
OUTCOMES = {"error", "failure", "skipped", "system-out"}


def suites(run):
    return list(ET.fromstring(junit_xml(run)))


def test_the_file_has_the_elements_that_consumers_agree_on():
    text = junit_xml(every_verdict())
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ')
    root = ET.fromstring(text)
    for suite in root:
        assert list(dict.fromkeys(child.tag for child in suite)) == SUITE
        assert set(suite.attrib) == {"name", "timestamp", "tests", "failures", "errors", "skipped", "time"}
        assert suite.get("timestamp") == "2026-01-02T03:04:05"
        assert all(set(each.attrib) == {"name", "value"} for each in suite.find("properties"))
        for case in suite.findall("testcase"):
            assert set(case.attrib) == {"classname", "name", "time"}
            assert {child.tag for child in case} <= OUTCOMES
            float(case.get("time"))


def test_the_counts_are_those_of_what_is_in_it():
    root = ET.fromstring(junit_xml(every_verdict()))
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(root.get(name)) == len(root.findall(f".//{tag}")) == sum(int(suite.get(name)) for suite in root)
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("6", "2", "2", "1")


def test_a_failure_says_why_and_where_and_an_error_has_the_last_words():
    root = ET.fromstring(junit_xml(a_run(FAILED, CRASHED)))
    failure, error = root.find(".//failure"), root.find(".//error")
    assert (failure.get("type"), failure.get("message")) == ("tolerance", FAILED.reason)
    assert FAILED.blame.sentence in failure.text
    assert (error.get("type"), error.get("message")) == ("crashed", CRASHED.reason)
    assert "Segmentation fault & more" in error.text


def test_a_skipped_case_fails_just_where_its_backend_is_required():
    assert ET.fromstring(junit_xml(a_run(SKIPPED))).find(".//skipped").get("message") == SKIPPED.reason
    required = ET.fromstring(junit_xml(a_run(SKIPPED, required=("trt",))))
    assert required.find(".//skipped") is None
    assert SKIPPED.reason in required.find(".//failure").get("message")


def test_a_required_backend_without_a_case_is_a_failure_of_its_own():
    root = ET.fromstring(junit_xml(a_run(a_case(), required=("mnn", "onnx"))))
    assert [case.get("classname") for case in root.iter("testcase") if case.find("failure") is not None] == ["mnn"]


@pytest.mark.parametrize("required", [(), ("trt",), ("onnx",), ("absent",)])
@pytest.mark.parametrize("cases", [(), (a_case(),), (a_case(), FAILED), (SKIPPED,), (a_case(), SKIPPED), (CRASHED,)])
def test_the_file_passes_just_where_the_run_does(cases, required):
    run = a_run(*cases, required=required)
    root = ET.fromstring(junit_xml(run))
    assert (int(root.get("failures")) + int(root.get("errors")) == 0) == (run.exit_code == 0)


def test_no_two_test_cases_have_the_same_name():
    twice = a_run(a_case("a"), a_case("a.2"), a_case("b", style="night"))
    names = [(case.get("classname"), case.get("name")) for case in ET.fromstring(junit_xml(twice)).iter("testcase")]
    assert len(set(names)) == 3
    assert ("lite.onnx.fp32", "48x64, chelsea after night, alpha 1") in names


@given(st.text(), st.text())
def test_whatever_a_backend_says_the_file_can_be_read(reason, words):
    run = a_run(replace(CRASHED, reason=reason, last_words=words, style=reason))
    assert ET.fromstring(junit_xml(run).encode("utf-8")).find(".//error") is not None
