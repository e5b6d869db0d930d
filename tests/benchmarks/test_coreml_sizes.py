"""The table of Core ML modes in the documentation is what was measured."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("coremltools", reason="coremltools, whose packages were measured, is not installed")

import coreml_reference
import coreml_sizes
from adain_export.tolerances import limits_of


@pytest.fixture(scope="module", params=coreml_sizes.NETWORKS)
def rows(request):
    return json.loads((coreml_sizes.RESULTS / f"coreml_{request.param}.json").read_text())["rows"]


def test_the_documentation_has_the_table_of_the_results(repository):
    assert coreml_sizes.table(coreml_sizes.RESULTS) in (repository / "docs" / "coreml.md").read_text()


def test_the_documentation_of_the_reference_has_the_table_of_the_results(repository):
    assert coreml_reference.table(coreml_sizes.RESULTS) in (repository / "docs" / "coreml-reference.md").read_text()


def test_every_mode_was_measured_that_an_export_has(rows):
    modes = ("fp32", "fp16", "two sizes", "fixed", "enumerated", "range", "int8", "pal8", "pal6", "pal4", "W8A8")
    assert [mode for mode in modes if not any(mode in name for name in rows)] == []


def test_what_leaves_a_photo_under_30_db_is_refused_by_its_tolerance_and_nothing_else(rows):
    labels = {
        "weights int8": "fp16-w8",
        "pal8": "fp16-pal8",
        "pal6": "fp16-pal6",
        "pal4": "fp16-pal4",
        "W8A8": "fp16-w8a8",
    }
    for name, found in rows.items():
        label = next((label for mode, label in labels.items() if mode in name), None)
        if label is not None:
            refused = found["check_psnr"] < limits_of("coreml", label).stylizer.psnr
            assert refused is (found["psnr_worst"] < 30) is ("pal4" in name), name


def test_no_result_names_a_place_of_the_machine_that_made_it():
    for path in coreml_sizes.RESULTS.glob("coreml_*.json"):
        assert not any(place in path.read_text() for place in ("/work", "/tmp", "/root", "/home", "/opt"))
