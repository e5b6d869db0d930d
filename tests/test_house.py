"""The house's own rules: imports go down, runtime stays free of torch, every room is typed and every entry loads."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("model", "train", "export", "calib", "runtime", "parity")
# What a room may import of its siblings: parity -> calib -> export -> model; parity -> train -> model; all -> runtime.
BELOW = {
    "runtime": set(),
    "model": {"runtime"},
    "train": {"model", "runtime"},
    "export": {"model", "runtime"},
    "calib": {"export", "model", "runtime"},
    "parity": {"model", "train", "export", "calib", "runtime"},
}
COMMANDS = {
    *("adain-run", "adain-style", "adain-model", "adain-export", "adain-calib", "adain-train", "adain-parity"),
    "adain-bench",
}
LAZY = {"coremltools", "MNN", "openvino"}  # a backend's library, imported when it is first used and only there
BASE = {"numpy", "PIL", "typer", "rich", "onnxruntime", "safetensors"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room / f"adain_{room}").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere in it, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room):
    allowed = {f"adain_{name}" for name in BELOW[room] | {room}}
    wrong = {
        str(path.relative_to(ROOT)): sorted(siblings)
        for path in modules(room)
        if (siblings := {name for name in imported(path) if name.startswith("adain_")} - allowed)
    }
    assert wrong == {}


def test_runtime_imports_nothing_beyond_the_base_dependencies():
    allowed = BASE | {"adain_runtime"} | LAZY | set(sys.stdlib_module_names)
    wrong = {str(path.relative_to(ROOT)): sorted(imported(path) - allowed) for path in modules("runtime")}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_docstring_in_every_module_and_is_typed(room):
    assert (ROOT / room / f"adain_{room}" / "py.typed").is_file()
    bare = [
        str(path.relative_to(ROOT))
        for path in modules(room)
        if path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert bare == []


def test_no_module_is_longer_than_five_hundred_lines():
    files = [path for room in ROOMS for path in modules(room)] + sorted((ROOT / "tests").rglob("*.py"))
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > 500}
    assert long == {}


def test_every_entry_point_of_the_house_loads():
    groups = ("console_scripts", "adain_runtime.backends", "adain_export.targets")
    ours = [entry for group in groups for entry in entry_points(group=group) if entry.value.startswith("adain_")]
    assert {entry.name for entry in ours} >= {
        "adain-run",
        "adain-style",
        "adain-model",
        "adain-export",
        "onnx",
        "torch",
    }
    for entry in ours:
        assert entry.load() is not None
