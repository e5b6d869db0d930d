"""Fixtures for every room's tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from adain_runtime.cli import console
from ran import Ran

# No deadline: a busy machine is no failure. In CI the same examples every time, so that a red run can be run again.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

ROOT = Path(__file__).resolve().parents[1]


if "PYTEST_XDIST_WORKER" in os.environ:  # each core has its own process: more threads would be in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, which reads it then
os.environ["ADAIN_CACHE"] = "off"  # of styles: no test reads what another left, or writes to the home of who runs it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest first, so that it isn't left to one process at the end."""
    items.sort(key=lambda item: item.path.name != "test_vgg19.py")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests stand in."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the checkout with VGG-19 weights and test images; not every machine has it."""
    folder = ROOT.parent / "shared"
    if not (folder / "weights" / "vgg_normalised.pth").is_file():
        pytest.skip(f"needs the VGG-19 weights and test images in {folder}, which are not here")
    return folder


@pytest.fixture
def typed(monkeypatch, capsys) -> Callable[..., Ran]:
    """Runs a command in this process as people type it: its entry point, its name, its arguments."""
    monkeypatch.setitem(console._state, "verbose", False)

    def run(main: Callable[[], None], program: str, *arguments: object) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


@pytest.fixture
def rtx() -> ModuleType:
    """TensorRT for RTX's module, the real one: it parses and builds without a GPU."""
    reason = "TensorRT for RTX is not installed: adain-edge[trt-rtx]"
    module: ModuleType = pytest.importorskip("tensorrt_rtx_bindings", reason=reason)
    return module
