"""A teacher and folders of pictures, small enough that a step takes milliseconds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adain_model import Network, save_network
from adain_train import cli, runs
from adain_train.config import DecoderConfig, Machine, StudentConfig
from adain_train.data import Framing, check_folder
from adain_train.pairs import PairData
from networks import SPECS, make_network

FRAMING = Framing(crop=16, shorter_min=16, shorter_max=24)
PICTURES = 5


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_network(make_network(SPECS["pooled"]), path)
    return path


@pytest.fixture
def teacher() -> Network:
    return make_network(SPECS["pooled"])


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with ``content`` and ``style``, five pictures each, of several sizes."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(7)
    for kind in ("content", "style"):
        (root / kind).mkdir()
        for number in range(PICTURES):
            small = rng.integers(0, 256, (5, 5 + number, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((20 + 4 * number, 30), Image.Resampling.BICUBIC)
            picture.save(root / kind / f"{number}.png")
    return root


@pytest.fixture
def data(pictures) -> PairData:
    contents, styles = (check_folder(pictures / kind, FRAMING, cache=True) for kind in ("content", "style"))
    return PairData(contents, styles, seed=3, sample_side=24)


@pytest.fixture
def decoder_config() -> DecoderConfig:
    return DecoderConfig(seed=3, steps=6, batch=4, framing=FRAMING, lr=1e-3)


@pytest.fixture
def student_config() -> StudentConfig:
    return StudentConfig(
        seed=3,
        steps=6,
        batch=4,
        framing=FRAMING,
        spec=replace(SPECS["strided"], name="small"),
        name="small",
        warmup=2,
        perceptual_from=0.5,
        perceptual_ramp=0.5,
        restore_every=2,
        kept_crops=7,
        kept_pairs=9,
    )


@pytest.fixture
def machine() -> Machine:
    return Machine(accelerator="cpu", workers=0, log_every=1, sample_every=0)


@pytest.fixture(autouse=True)
def one_thread():
    """Maps of 16 pixels are not worth two threads that wait for one another, least of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def any_teacher(monkeypatch):
    """Let commands take a teacher of a few channels, where they would insist on VGG-19 and its seconds a step."""
    monkeypatch.setattr(runs, "require_vgg19", lambda *_: None)


@pytest.fixture
def command(typed):
    """``adain-train`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-train")
