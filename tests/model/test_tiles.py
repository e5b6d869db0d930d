"""Tiles against the network itself: the halo is as far as a change is felt, and a tiled picture is the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adain_model.backend import TorchSession, _whole_float32, checkpoint_bundle
from adain_model.checkpoint import save_network
from adain_model.network import Network
from adain_runtime import Stylizer
from adain_runtime.halo import decoder_halo, encoder_halo
from adain_runtime.image import Photo
from adain_runtime.manifest import Sizes
from adain_runtime.planes import as_planes, pad_to_fit
from adain_runtime.regions import OneStyle
from adain_runtime.spec import NetworkSpec
from adain_runtime.tiled import TiledPicture, smallest_side
from networks import SPECS, make_network

depths = st.lists(st.integers(1, 3), min_size=1, max_size=4)
ways_down = st.sampled_from(["maxpool", "stride"])


def all_positive(spec: NetworkSpec) -> Network:
    """Weights that let every change through: all positive, so that no ReLU and no maximum hides a larger value."""
    network = Network(spec).double().eval().requires_grad_(False)
    for weights in network.parameters():
        weights.uniform_(0.01, 0.02, generator=torch.Generator().manual_seed(0))
    return network


@settings(max_examples=25, deadline=None)
@given(st.data(), ways_down)
def test_the_encoders_halo_is_how_far_a_pixel_is_felt(data, downsample):
    stages = data.draw(depths)
    spec = NetworkSpec("drawn", tuple((1,) * n for n in stages), ((1,),) * (len(stages) - 1) + ((3,),), downsample)
    encoder, stride, halo = all_positive(spec).encoder, spec.stride, encoder_halo(spec)
    middle = (halo + 2) * stride
    image = torch.ones(1, 3, 1, 1).double().expand(1, 3, 2 * middle, 2 * middle)
    before, seen = encoder(image), 0
    for place in range(middle, middle + stride):
        changed = image.clone()
        changed[..., place, place] = 1000.0
        rows = torch.nonzero((encoder(changed) != before)[0].any(0).any(1)).flatten() * stride
        seen = max(seen, int((rows - place).max()), int((place - rows - (stride - 1)).max()))
    assert -(-seen // stride) == halo


@settings(max_examples=25, deadline=None)
@given(depths)
def test_the_decoders_halo_is_how_far_a_cell_is_felt(stages):
    decoder = (*((1,) * n for n in stages[:-1]), (*(1,) * (stages[-1] - 1), 3))
    spec = NetworkSpec("drawn", ((1,),) * len(stages), decoder)
    network, halo = all_positive(spec).decoder, decoder_halo(spec)
    middle = halo + 2
    features = torch.ones(1, 1, 2 * middle + 1, 2 * middle + 1).double()
    changed = features.clone()
    changed[..., middle, middle] = 1000.0
    cells = torch.nonzero((network(changed) != network(features))[0].any(0).any(1)).flatten() // spec.stride
    assert int((cells - middle).abs().max()) == halo


@pytest.fixture(scope="module")
def open_tiny(tmp_path_factory):
    """Opens a small random network of a shape by name, with the padding given, in torch."""

    def make(name, padding="reflect"):
        network = make_network(NetworkSpec(**{**vars(SPECS[name]), "padding": padding}))
        path = tmp_path_factory.mktemp("tiles") / f"{name}.safetensors"
        save_network(network, path)
        return TorchSession(checkpoint_bundle(path), network, "cpu", threads=1)

    sessions = {(name, padding): make(name, padding) for name in SPECS for padding in ("reflect", "replicate", "zeros")}
    return lambda name, padding="reflect": sessions[name, padding]


def smooth(height, width, seed=0):
    """A picture with some structure at every scale."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 9
    waves = np.stack([np.sin(a * x + b * y) for a, b in random.uniform(0, 2, (3, 2))], -1)
    return np.clip(waves * 90 + 128 + random.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


def whole_and_tiled(session, image, side, keeping="memory", alpha=0.8):
    """Planes of the picture as a whole and in tiles, [3,H,W]."""
    spec = session.bundle.manifest.spec
    style = Stylizer(session).style(smooth(40, 48, seed=9))
    planes = as_planes([pad_to_fit(image, Sizes(spec.stride, 2 * spec.stride))])
    feeds = {
        "image": planes,
        "mean": style.mean[None, :, None, None],
        "std": style.std[None, :, None, None],
        "alpha": np.full((1, 1, 1, 1), alpha, np.float32),
    }
    whole = session.run("stylizer", feeds)["image"][0]
    tiled, covered = np.full_like(whole, np.nan), np.zeros(whole.shape[1:], int)
    restyle = OneStyle(style, alpha, correction=spec.correction, eps=spec.eps)
    for rows, columns, piece in TiledPicture(session, image, side).stylize(restyle, keeping=keeping):
        tiled[:, rows, columns] = piece
        covered[rows, columns] += 1
    assert (covered == 1).all()
    return whole, tiled


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(list(SPECS)),
    st.sampled_from(["reflect", "replicate", "zeros"]),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(0, 80),
    st.sampled_from(["memory", "file", "recompute"]),
)
def test_a_tiled_picture_of_any_size_is_the_whole(open_tiny, name, padding, height, width, over, keeping):
    session = open_tiny(name, padding)
    side = smallest_side(session.bundle.manifest) + over
    whole, tiled = whole_and_tiled(session, smooth(height, width), side, keeping)
    assert np.abs(tiled - whole).max() <= 1e-4


def test_a_halo_that_is_a_cell_short_is_not_enough(open_tiny, monkeypatch):
    session, image = open_tiny("pooled"), smooth(190, 200)
    side = smallest_side(session.bundle.manifest)
    for half, needed in (("encoder_halo", encoder_halo), ("decoder_halo", decoder_halo)):
        with monkeypatch.context() as changed:
            changed.setattr(f"adain_runtime.tiled.{half}", lambda spec, needed=needed: needed(spec) - 1)
            whole, tiled = whole_and_tiled(session, image, side)
        assert np.abs(tiled - whole).max() > 1e-3, half


def test_there_is_no_seam(open_tiny):
    session, image = open_tiny("strided"), smooth(300, 300)
    side = smallest_side(session.bundle.manifest) + 8
    whole, tiled = whole_and_tiled(session, image, side)
    picture = TiledPicture(session, image, side)
    borders = sorted({tile.columns.start * 8 for tile in picture._decoding} - {0})
    assert len(borders) > 5
    steps = np.abs(np.diff(tiled, axis=2)).mean((0, 1))
    at_borders = np.array(borders) - 1
    elsewhere = np.delete(steps, at_borders)
    assert steps[at_borders].max() <= elsewhere.max() + 1e-4
    apart = np.abs(tiled - whole).max((0, 1))
    assert apart[[*at_borders, *borders]].max() <= apart.max() <= 1e-4


@pytest.mark.parametrize("size", [(150, 149), (97, 203), (16, 260)])
@pytest.mark.parametrize(
    "options", [{}, {"preserve_color": "luminance"}, {"alpha": 0.4}, {"masks": 1}, {"masks": 2}, {"weights": [2, 1]}]
)
def test_all_that_a_call_can_ask_for_is_the_same_in_tiles(open_tiny, size, options):
    stylizer = Stylizer(open_tiny("pooled"))
    photo = Photo(smooth(*size), np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8))
    styles = [stylizer.style(smooth(40, 48, seed=seed)) for seed in ((5,) if options.get("masks") == 1 else (5, 6))]
    masks = [np.random.default_rng(seed).random(size, np.float32) for seed in range(options.get("masks", 0))]
    asked = {**options, "masks": masks}
    (whole,) = stylizer.stylize([photo], styles, **asked, tile="off")
    (tiled,) = stylizer.stylize([photo], styles, **asked, tile=smallest_side(stylizer.session.bundle.manifest))
    assert np.abs(whole.rgb.astype(int) - tiled.rgb).max() <= 1
    assert (whole.rgb != tiled.rgb).mean() < 0.01
    np.testing.assert_array_equal(whole.alpha, tiled.alpha)


def test_on_a_gpu_convolutions_keep_all_of_float32():
    """TF32 is cuDNN's own choice there, and gives the student 70 dB where others are held to 100."""
    before = torch.backends.cudnn.conv.fp32_precision
    with _whole_float32("cuda:0"):
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == before
    with _whole_float32("cpu"):
        assert torch.backends.cudnn.conv.fp32_precision == before
