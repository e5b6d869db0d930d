"""Every TensorRT name that the code touches is in every TensorRT that it is for, and in TensorRT for RTX.

data/trt_api_VERSION.json holds the enum members (``BuilderFlag``), the methods and properties of the main classes
(``C:Builder``) and the module's names (``top``) of one release, read off its Python module.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import fake_trt
from adain_runtime.trt import api

DATA = Path(__file__).with_name("data")
RECORDED = {path.stem.removeprefix("trt_api_"): json.loads(path.read_text()) for path in DATA.glob("trt_api_*.json")}
RUNTIME = Path(api.__file__).parents[1]
FILES = [*sorted(RUNTIME.joinpath("trt").glob("*.py")), RUNTIME / "backends" / "trt.py"]
# The recording has no members of these; TensorRT for RTX, which is installed, has to vouch for them.
UNRECORDED = {"ILogger", "IProgressMonitor", "TensorIOMode", "ParserError", "Tensor", "ITimingCache"}
RTX_ONLY = {"ComputeCapability", "CudaGraphStrategy"}
RTX_CLASSES = {
    "RtxBuilderConfig": "IBuilderConfig",
    "RtxRuntimeConfig": "IRuntimeConfig",
    "RtxCudaEngine": "ICudaEngine",
}
CLASSES = {"Tensor": "ITensor"}


def touched():
    """(name, member or None) of every ``trt.NAME`` and ``trt.NAME.MEMBER`` in the code, and of every type in api.py."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            chain = attribute_chain(node)
            if chain and chain[0] in ("trt", "module"):
                found.add((chain[1], chain[2] if len(chain) > 2 else None))
    found -= {("__version__", None), ("logger", None), ("build", None)}
    for node in ast.parse(Path(api.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    found.add((node.name, member.name))
                elif isinstance(member, ast.AnnAssign):
                    found.add((node.name, member.target.id))
    return found


def attribute_chain(node):
    """``trt.A.B`` as (trt, A, B), and ``library.module.A`` as (module, A); None for anything else."""
    words = []
    while isinstance(node, ast.Attribute):
        words.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or not words:
        return None
    words.insert(0, node.id)
    return words[words.index("module") :] if "module" in words[:-1] else words


NAMES = sorted(touched(), key=str)


def test_the_search_finds_what_is_there():
    assert {
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("MemoryPoolType", "WORKSPACE"),
        ("OnnxParser", None),
        ("ILogger", "Severity"),
        ("IExecutionContext", "execute_async_v3"),
        ("IBuilderConfig", "progress_monitor"),
        ("RtxBuilderConfig", "set_compute_capability"),
        ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"),
    } <= set(NAMES)
    assert set(RECORDED) == {"10.3.0", "10.13.3.9", "11.4.0.106"}


@pytest.mark.parametrize("version", sorted(RECORDED))
def test_every_name_is_in_this_tensorrt(version):
    recorded = RECORDED[version]
    missing = []
    for name, member in NAMES:
        if name in RTX_ONLY or name in RTX_CLASSES:
            continue
        known = recorded.get(f"C:{name}") or recorded.get(name)
        if member is None:
            fine = name in recorded["top"]
        elif known is None:
            fine = name in UNRECORDED
        else:
            fine = member in known
        if not fine:
            missing.append((name, member))
    assert missing == []


def test_names_that_one_version_lacks_would_be_found():
    assert "FP16" not in RECORDED["11.4.0.106"]["BuilderFlag"]
    assert "SAME_COMPUTE_CAPABILITY" not in RECORDED["10.3.0"]["HardwareCompatibilityLevel"]
    assert "device_memory_size" not in RECORDED["11.4.0.106"]["C:ICudaEngine"]


def test_every_name_is_in_tensorrt_for_rtx(rtx):
    missing = []
    for name, member in NAMES:
        found = getattr(rtx, RTX_CLASSES.get(name, CLASSES.get(name, name)), None)
        if found is None or (member is not None and not hasattr(found, member)):
            missing.append((name, member))
    assert missing == []


def test_the_simulated_tensorrt_has_no_name_that_the_real_ones_have_not():
    ours = {name: getattr(fake_trt, name) for name in dir(fake_trt) if name[0].isupper() and name != "ModuleSpec"}
    for name, found in ours.items():
        members = [word for word in vars(found) if not word.startswith("_")]
        for version, recorded in RECORDED.items():
            assert name in recorded["top"], (version, name)
            known = recorded.get(f"C:{name}") or recorded.get(name)
            assert known is None or set(members) <= set(known), (version, name)


def test_no_name_is_looked_up_where_a_test_can_not_see_it():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("getattr", "hasattr")
            ):
                target = ast.unparse(node.args[0])
                assert target in {"self._library", "self._runtime", "attributes", "before.profile", "error"}, path
                assert path.name in {"cudart.py", "cuda.py", "build.py"}  # libcudart and the command line, not TensorRT
