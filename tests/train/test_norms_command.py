"""The command ``norms``: what it leaves."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from adain_model import VGG19, save_network
from networks import make_network


def test_the_command_leaves_curves_a_plot_and_a_sheet(command, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("content/0", "content/1", "style/0", "style/1", "style/2"):
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 70, 3), dtype=np.uint8)).save(file)
    save_network(make_network(VGG19), tmp_path / "vgg19.safetensors", half=True)
    folders = ["--content", tmp_path / "content", "--style", tmp_path / "style", "-o", tmp_path / "out"]
    small = ["--size", 16, "--iterations", 2, "--batch", 2, "--styles", 2]
    code, out, err = command("norms", "--reference", tmp_path / "vgg19.safetensors", *folders, *small)
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "norms.json").read_text())
    assert (found["settings"]["size"], found["settings"]["iterations"]) == (16, 2)
    assert found["data"]["style"]["learnt"] == ["0.png", "1.png"]
    assert found["data"]["style"]["stylised"] == "2.png"
    assert {len(norms) for norms in found["curves"].values()} == {3}
    assert "already stylised" in out
    for name in ("norms.png", "norms_sheet.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.format == "PNG"
