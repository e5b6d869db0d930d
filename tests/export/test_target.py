"""Targets of other packages: one that can't be imported is listed with its reason, and ends nothing."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from adain_export import target
from adain_export.target import Request, get_target
from adain_runtime.backend import require
from adain_runtime.errors import UnavailableError


@pytest.mark.parametrize(
    ("value", "reason"),
    [("adain_export.no_such_module:TARGET", "ModuleNotFoundError"), ("adain_export.target:NOTHING", "AttributeError")],
)
def test_a_broken_target_has_its_reason_and_can_not_be_used(monkeypatch, tmp_path, value, reason):
    monkeypatch.setattr(target, "entry_points", lambda **_: [EntryPoint("broken", value, target.GROUP)])
    broken = get_target("broken")
    assert not broken.probe()
    assert f"{value} can't be loaded ({reason}" in broken.probe().detail
    with pytest.raises(UnavailableError, match="can't be loaded"):
        require("target broken", broken.probe())
    with pytest.raises(UnavailableError, match="target broken can't write x"):
        broken.export(None, Request("x"), tmp_path)
