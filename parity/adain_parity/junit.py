"""A run as JUnit XML, in the elements that CI systems agree on: a suite a group, a test case a case of the matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from adain_parity.overview import Group, case_pictures, groups, printable, psnr_text, share_text, small_text
from adain_parity.results import Case, Run
from adain_parity.tolerance_used import case_used

_ERRORS = ("crashed", "timed out")


def junit_xml(run: Run) -> str:
    """The run as the text of a JUnit file.

    A failed case is a ``failure``, one that crashed or timed out an ``error``, and a skipped one is ``skipped``, but
    where its backend is required: then it is a ``failure`` too, and a required backend of which no case ran at all has
    a test case of its own that says so. So the file passes where the run's exit code is 0.
    """
    suites = [_suite(group, run) for group in groups(run)]
    named = {case.backend for case in run.missing}
    suites += [_absent(name, run) for name in run.absent if name not in named]
    root = ET.Element("testsuites", {"name": printable(f"adain-parity {run.matrix}"), **_totals(suites, run.seconds)})
    root.extend(suites)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(group: Group, run: Run) -> ET.Element:
    name = ".".join(filter(None, (group.model, group.backend, group.provider, group.precision, group.bundle)))
    suite = ET.Element("testsuite", {"name": printable(name), "timestamp": printable(run.when.rstrip("Z"))})
    _properties(suite, run)
    painted = Counter(map(case_pictures, group.cases))
    for case in group.cases:
        alone = painted[case_pictures(case)] == 1  # names must tell the cases of a suite apart
        title = case_pictures(case) if alone else f"{case_pictures(case)} ({case.id})"
        suite.append(_testcase(case, name, title, required=case.backend in run.required))
    _count(suite, sum(case.seconds for case in group.cases))
    return suite


def _absent(backend: str, run: Run) -> ET.Element:
    suite = ET.Element("testsuite", {"name": printable(backend), "timestamp": printable(run.when.rstrip("Z"))})
    _properties(suite, run)
    case = ET.SubElement(suite, "testcase", {"classname": printable(backend), "name": "required", "time": "0.000"})
    _outcome(case, "failure", "required", f"backend {backend} is required, and no case of it was run")
    _count(suite, 0.0)
    return suite


def _testcase(case: Case, suite: str, title: str, *, required: bool) -> ET.Element:
    names = {"classname": printable(suite), "name": printable(title)}
    made = ET.Element("testcase", {**names, "time": f"{case.seconds:.3f}"})
    if case.verdict == "skipped" and not required:
        ET.SubElement(made, "skipped", {"message": printable(case.reason)})
    elif case.verdict == "skipped":
        _outcome(made, "failure", "required", f"backend {case.backend} is required, and it was skipped: {case.reason}")
    elif case.verdict in _ERRORS:
        _outcome(made, "error", case.verdict, case.reason, case.last_words)
    elif case.bad:
        blame = case.blame.sentence if case.blame else ""
        _outcome(made, "failure", "tolerance", case.reason, *_failures(case), blame)
    if numbers := _numbers(case):
        ET.SubElement(made, "system-out").text = printable(numbers)
    return made


def _outcome(case: ET.Element, tag: str, kind: str, message: str, *lines: str) -> None:
    made = ET.SubElement(case, tag, {"message": printable(message), "type": kind})
    made.text = printable("\n".join(filter(None, (message, *lines))))


def _failures(case: Case) -> tuple[str, ...]:
    """What the reason doesn't say already."""
    return tuple(f"{p.part}: {text}" for p in case.parts for text in p.failures if text not in case.reason)


def _numbers(case: Case) -> str:
    lines = [f"case {case.id}"]
    if (used := case_used(case)) is not None:
        lines.append(f"tolerance used {share_text(used)} ({used.part} {used.metric})")
    for part in case.parts:
        if part.found.max_abs is not None:
            psnr = psnr_text(part.found.psnr, part.found.max_abs)
            lines.append(f"{part.part} psnr {psnr} max_abs {small_text(part.found.max_abs)}")
    if case.verdict == "built":
        lines.append(f"built by {case.device}: {case.reason}")
    return "\n".join(lines) if len(lines) > 1 else ""


def _properties(suite: ET.Element, run: Run) -> None:
    facts: Mapping[str, str] = {
        "command": run.command,
        "reference": f"{run.reference.backend} {run.reference.version} {run.reference.dtype} {run.reference.device}",
        "system": run.machine.system,
        "processor": run.machine.processor,
        **run.tools,
    }
    properties = ET.SubElement(suite, "properties")
    for name, value in facts.items():
        ET.SubElement(properties, "property", {"name": printable(name), "value": printable(value)})


def _count(suite: ET.Element, seconds: float) -> None:
    cases = suite.findall("testcase")
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("tests", str(len(cases)))
    suite.set("time", f"{seconds:.3f}")


def _totals(suites: list[ET.Element], seconds: float) -> dict[str, str]:
    names = ("tests", "failures", "errors", "skipped")
    return {name: str(sum(int(suite.get(name, "0")) for suite in suites)) for name in names} | {
        "time": f"{seconds:.3f}"
    }
