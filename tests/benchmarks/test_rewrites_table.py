"""The table of rewrites in the documentation is what was measured."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="torch, whose graphs were measured, is not installed")

import rewrites


def test_the_documentation_has_the_table_of_the_result(repository):
    rows = json.loads(rewrites.RESULT.read_text())["rows"]
    assert len(rows) == len(rewrites.CASES) * len(rewrites.BACKENDS)
    assert rewrites.table(rows) in (repository / "docs" / "speed.md").read_text()
