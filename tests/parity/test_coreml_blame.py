"""Sabotaged Core ML packages: bytes of one changed, and the blame goes to the very layer, by the reference executor."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adain_export.target import get_target
from adain_model.checkpoint import weights_sha256
from adain_parity.artefacts import Model
from adain_parity.matrix import BackendRow, Limits, Matrix
from adain_parity.plan import Asked, planned_bundles
from adain_parity.run import Settings, run_cases
from adain_runtime.backend import open_bundle
from adain_runtime.bundle import MANIFEST, Bundle, describe_files
from networks import SPECS, make_network

pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

SIZE = (32, 48)
ROW = BackendRow("coreml-reference", ("fp32",), "coreml")
MATRIX = Matrix(1, ("pooled",), ("32x48",), ("cat",), ("summertime",), (0.6,), (ROW,), Limits(120, 3000))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A small network, whose last layer hides faults from the limits of float16, and its float32 bundle."""
    network = make_network(SPECS["pooled"])
    target = get_target("coreml")
    request = target.request_for("pooled", "fp32", (SIZE,), lambda: None)
    return network, target.export(network, request, tmp_path_factory.mktemp("coreml"))


@pytest.fixture
def blamed(package, tmp_path):
    """The case of a copy of the bundle whose files were edited: ``edit(folder)`` changes them."""

    def run(edit):
        network, bundle = package
        folder = tmp_path / bundle.path.name
        shutil.copytree(bundle.path, folder)
        edit(folder)
        (folder / MANIFEST).unlink()
        files = describe_files(folder)
        (folder / MANIFEST).write_text(replace(bundle.manifest, files=files).to_json(), encoding="utf-8")
        model = Model("pooled", Path("unused.safetensors"), network, weights_sha256(network))
        plans = planned_bundles(MATRIX, [Bundle.open(folder)], [model], lambda _: Asked())
        (case,) = run_cases(plans, Settings(tmp_path / "out", MATRIX.limits))
        return case

    return run


def weights_of(bundle, layer):
    """The bytes of a convolution's weights, and its array."""
    with open_bundle(bundle.path, backend="coreml-reference") as session:
        program, name = session.function("stylizer", *SIZE)
        found = program.plan(name).constants
    (values,) = [v for key, v in found.items() if key.startswith(f"{layer.replace('.', '_')}_weight")]
    return values


def swapped(bundle, layer):
    """An edit that swaps the first two output channels of a layer wherever its weights are stored."""
    values = weights_of(bundle, layer)
    turned = values.copy()
    turned[[0, 1]] = turned[[1, 0]]

    def edit(folder):
        found = 0
        for file in folder.rglob("weight.bin"):
            data = file.read_bytes()
            found += data.count(values.tobytes())
            file.write_bytes(data.replace(values.tobytes(), turned.tobytes()))
        assert found

    return edit


def other_constant(old, new):
    """An edit that changes a float32 constant of every program."""

    def edit(folder):
        found = 0
        for file in folder.rglob("*.mlmodel"):
            data = file.read_bytes()
            before = struct.pack("<f", old)
            found += data.count(before)
            file.write_bytes(data.replace(before, struct.pack("<f", new)))
        assert found

    return edit


def test_a_good_package_passes(blamed):
    case = blamed(lambda folder: None)
    assert case.verdict == "passed", case.reason


@pytest.mark.parametrize("layer", ["encoder.conv1_1", "encoder.conv3_1", "decoder.conv3_1"])
def test_a_swapped_channel_is_blamed_on_its_layer(blamed, package, layer):
    case = blamed(swapped(package[1], layer))
    assert case.verdict == "failed"
    assert (case.blame.stage, case.blame.layer) == (layer.partition(".")[0], layer), case.blame.sentence


def test_another_eps_of_the_statistics_is_blamed_on_them(blamed, package):
    case = blamed(other_constant(package[0].spec.eps, 1.0))
    assert case.verdict == "failed"
    assert (case.blame.stage, case.blame.layer) == ("adain", "adain.std"), case.blame.sentence


def test_layers_go_by_the_networks_names_whatever_their_weights_are_stored_as(package, tmp_path):
    network, _ = package
    target = get_target("coreml")
    for precision in ("fp32-w8", "fp16-pal8"):
        bundle = target.export(network, target.request_for("x", precision, (SIZE,), lambda: None), tmp_path)
        with open_bundle(bundle.path, backend="coreml-reference") as session:
            made = {name for name, _ in session.layers("encoder", {"image": np.zeros((1, 3, *SIZE), np.float32)})}
        wanted = {f"encoder.{name}" for name, _ in network.encoder.named_children() if name.startswith("conv")}
        assert wanted - {"encoder.conv0"} <= made
        assert {"adain.mean", "adain.std"} <= made
        assert json.loads((bundle.path / MANIFEST).read_text())["precision"] == precision
