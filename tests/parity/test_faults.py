"""Sabotaged backends: each is caught, and what is blamed is what is at fault."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from adain_parity.artefacts import bundle_for, open_models
from adain_parity.plan import Asked
from adain_parity.run import probe
from adain_runtime.bundle import Bundle, embedded_bundles
from faults_table import LIMITS, run_faults
from sabotage import BY_NAME, FAULTS, installed


@pytest.fixture(scope="module")
def sabotaged(tmp_path_factory):
    """Every fault on the embedded network: name to case."""
    folder = tmp_path_factory.mktemp("faults")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = installed(folder / "backends") + (os.pathsep + before if before else "")
    try:
        bundle = Bundle.open(embedded_bundles()["lite-onnx-fp32"])
        yield run_faults(bundle, open_models(["lite"], Path())[0], folder)
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_caught_and_the_right_stage_and_layer_are_blamed(sabotaged, fault):
    case = sabotaged[fault.name]
    assert case.verdict == fault.verdict, case
    assert fault.reason in case.reason
    if fault.stage:
        assert (case.blame.stage, case.blame.layer) == (fault.stage, fault.layer), case.blame.sentence


@pytest.fixture(scope="module", params=["fp16", "int8"])
def other_graphs(request, tmp_path_factory) -> list[ModelProto]:
    """The embedded network's parts in the other precisions."""
    made = bundle_for(open_models(["lite"], Path())[0], "onnx", request.param, None, tmp_path_factory.mktemp("bundles"))
    assert made.path, made.error
    bundle = Bundle.open(made.path)
    return [onnx.load(str(bundle.path / part.file)) for part in bundle.manifest.parts.values()]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.edit], ids=lambda fault: fault.name)
def test_a_fault_of_the_graph_changes_the_other_precisions_too(other_graphs, fault):
    """Their nodes and weights have other names, and a fault that does nothing is not caught but absent."""
    changed = []
    for graph in other_graphs:
        edited = ModelProto()
        edited.CopyFrom(graph)
        fault.edit(edited)
        changed.append(edited.graph != graph.graph)
    assert any(changed)


def test_last_words_of_a_segmentation_fault_name_where_it_was(sabotaged):
    assert "Segmentation fault" in sabotaged["segfault"].last_words
    assert "in segfault" in sabotaged["segfault"].last_words


def test_every_fault_of_the_list_is_a_backend_that_other_processes_find(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", installed(tmp_path))
    assert probe("noise", LIMITS) == Asked()
    unknown = probe("unheard-of", LIMITS)
    assert "no backend 'unheard-of'" in unknown.problem
    assert not unknown.died
    assert set(BY_NAME) >= {"seam", "hang"}
