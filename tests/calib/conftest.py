"""Folders of pictures, small networks, and what was collected from one: a trace takes seconds, so it is made once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from adain_calib import cli
from adain_calib.collect import calibration_of, collect, observe
from adain_calib.images import open_folder
from adain_calib.pairs import draw_pairs
from adain_calib.scoring import held_out
from adain_model.checkpoint import save_network
from networks import SPECS, make_network
from pictures import save_picture

PICTURES = 3


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with ``content`` and ``style``, three pictures each, of several sizes from 64 pixels on."""
    root = tmp_path_factory.mktemp("pictures")
    for kind, seed in (("content", 0), ("style", 10)):
        (root / kind).mkdir()
        for number in range(PICTURES):
            save_picture(root / kind / f"{kind}{number}.png", 64 + 15 * number, 90 - 5 * number, seed + number)
    return root


@pytest.fixture(scope="session", params=SPECS)
def network(request):
    return make_network(SPECS[request.param])


@pytest.fixture(scope="session")
def strided():
    return make_network(SPECS["strided"])


@pytest.fixture(scope="session")
def observed(network):
    return observe(network, threads=1)


@pytest.fixture(scope="session")
def folders(pictures):
    return tuple(open_folder(pictures / kind, most=9, seed=0) for kind in ("content", "style"))


@pytest.fixture(scope="session")
def pairs(folders):
    contents, styles = folders
    return draw_pairs(contents.files, styles.files, 8, seed=0, size=64)


@pytest.fixture(scope="session")
def histograms(observed, pairs, folders):
    return collect(observed, pairs, *folders)


@pytest.fixture(scope="session")
def calibration(network, pairs, histograms):
    return calibration_of(network, pairs, histograms)


@pytest.fixture(scope="session")
def held(calibration, network, tmp_path_factory):
    """Four pairs of pictures that the calibration did not see."""
    root = tmp_path_factory.mktemp("others")
    for kind, seed in (("content", 20), ("style", 30)):
        (root / kind).mkdir()
        for number in range(PICTURES):
            save_picture(root / kind / f"other{number}.png", 70 + 9 * number, 64, seed + number)
    drawn = {"pairs": 4, "seed": 0, "alpha_range": network.spec.alpha_range}
    return held_out(root / "content", root / "style", saw=calibration.origin.saw, size=64, **drawn)


@pytest.fixture
def command(typed):
    """``adain-calib`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-calib")


@pytest.fixture
def checkpoint(strided, tmp_path):
    path = tmp_path / "small.safetensors"
    save_network(strided, path)
    return path
