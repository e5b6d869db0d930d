"""``adain-export mnn`` as people type it: what each option changes in the bundle that is written."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from adain_export import cli
from adain_export.check import in_torch
from adain_model.checkpoint import save_network
from adain_runtime.backend import get_backend, open_bundle
from adain_runtime.bundle import Bundle
from adain_runtime.results import spell_command
from networks import WIDE, make_network

if not (probe := get_backend("mnn").probe()):
    pytest.skip(f"backend mnn: {probe.detail}; {probe.fix}", allow_module_level=True)


@pytest.fixture
def command(typed):
    """``adain-export mnn`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-export", "mnn")


@pytest.fixture
def checkpoint(strided, tmp_path):
    path = tmp_path / "small.safetensors"
    save_network(strided, path)
    return path


def test_an_export_writes_the_parts_that_are_asked_for_and_prints_the_next_command(command, checkpoint, tmp_path):
    out_folder = tmp_path / "my build"
    code, out, err = command(checkpoint, "--output", out_folder, "--parts", "encoder,decoder", "--name", "mine")
    folder = out_folder / "mine-mnn-fp32"
    assert (code, err) == (0, "")
    assert "against torch" in out
    following = spell_command(["adain-run", "PHOTO", "STYLE", "--model", str(folder), "--backend", "mnn"])
    assert out.endswith(f"wrote {folder}; next: {following}\n")
    manifest = Bundle.open(folder).manifest
    assert set(manifest.files) == {"encoder.mnn", "decoder.mnn"}
    assert (manifest.name, manifest.rewrites) == ("mine", ("phase", "phase-last"))


def test_json_is_one_object_and_without_rewrites_it_is_the_plain_graph(command, checkpoint, tmp_path):
    code, out, err = command(checkpoint, "-o", tmp_path, "--rewrites", "none", "--parts", "decoder", "--json")
    made = json.loads(out)
    assert (code, err) == (0, "")
    assert made["bundle"] == str(tmp_path / "strided-mnn-fp32")
    assert made["manifest"]["rewrites"] == []
    assert list(made["manifest"]["parts"]) == ["decoder"]


@pytest.mark.parametrize(("weights", "label", "most"), [("fp16", "fp32-w16", 3), ("int8", "fp32-w8", 2)])
def test_weights_are_stored_as_asked_for(command, tmp_path, weights, label, most):
    network = make_network(WIDE)
    save_network(network, tmp_path / "wide.safetensors")
    code, *_ = command(
        *(tmp_path / "wide.safetensors", "-o", tmp_path, "--weights", weights),
        *("--parts", "decoder", "--rewrites", "none"),
    )
    assert code == 0
    manifest = Bundle.open(tmp_path / f"wide-mnn-{label}").manifest
    assert manifest.precision == label
    numbers = sum(values.numel() for values in network.decoder.parameters())
    assert manifest.files["decoder.mnn"].bytes < most * numbers


def test_pictures_as_bytes_go_in_and_come_out_of_the_graph(command, checkpoint, strided, tmp_path):
    assert command(checkpoint, "-o", tmp_path, "--io", "uint8", "--parts", "stylizer").code == 0
    bundle = tmp_path / "strided-mnn-fp32-uint8"
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 24, 3), dtype=np.uint8)
    planes = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    encoded = in_torch("encoder", strided, {"image": 1 - planes})
    feeds = {"mean": encoded["mean"], "std": encoded["std"], "alpha": np.ones((1, 1, 1, 1), np.float32)}
    with open_bundle(bundle, backend="mnn", threads=1, exact=True) as session:
        found = session.run("stylizer", {"image": pixels, **feeds})["image"]
    assert (found.dtype, found.shape) == (np.uint8, pixels.shape)
    wanted = in_torch("stylizer", strided, {"image": planes, **feeds})["image"]
    rounded = np.rint(wanted * np.float32(255)).astype(np.int16).transpose(0, 2, 3, 1)
    assert rounded.std() > 1
    assert np.abs(found - rounded).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "int4"], "unknown weights int4; there are fp32, fp16, int8"),
        (["--io", "video"], "unknown io video; there are float, uint8"),
        (["--parts", "encoder,head"], "unknown part head; there are encoder, decoder, stylizer"),
        (["--rewrites", "magic"], "unknown rewrite magic; there are fold-color, phase, phase-last"),
        (["--name", "a/b"], "a/b"),
        (["--size", "512"], "No such option: --size"),
        (["-o", "{checkpoint}"], "is a file, and a folder is wanted"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_written(command, checkpoint, tmp_path, arguments, said):
    filled = [text.format(checkpoint=checkpoint) for text in arguments]
    ran = command(checkpoint, "-o", tmp_path / "out", *filled)
    assert ran.code == 2
    assert said in ran.one_line()
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]
