"""The table of Core ML modes in the documentation is what was measured."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("coremltools", reason="coremltools, whose packages were measured, is not installed")

import coreml_reference
import coreml_sizes
from adain_export.tolerances import limits_of

NAMES = {"int8": "w8", "W8A8": "w8a8"}


@pytest.fixture(scope="module", params=coreml_sizes.NETWORKS)
def rows(request):
    return json.loads((coreml_sizes.RESULTS / f"coreml_{request.param}.json").read_text())["rows"]


def test_the_documentation_has_the_table_of_the_results(repository):
    assert coreml_sizes.table(coreml_sizes.RESULTS) in (repository / "docs" / "coreml.md").read_text()


def test_the_documentation_of_the_reference_has_the_table_of_the_results(repository):
    assert coreml_reference.table(coreml_sizes.RESULTS) in (repository / "docs" / "coreml-reference.md").read_text()


def test_what_the_photos_lost_is_refused_by_the_tolerance_where_it_is_under_30_db(rows):
    for name, found in rows.items():
        label = NAMES.get(name.rpartition(" ")[2], name.replace(", iOS16", "").rpartition(" ")[2])
        if found["psnr_worst"] < 30:
            assert found["check_psnr"] < limits_of("coreml", f"fp16-{label}").stylizer.psnr, name


def test_no_result_names_a_place_of_the_machine_that_made_it():
    for path in coreml_sizes.RESULTS.glob("coreml_*.json"):
        assert not any(place in path.read_text() for place in ("/work", "/tmp", "/root", "/home", "/opt"))
