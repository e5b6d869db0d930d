"""Engines at work on a simulated GPU: what is sent, what stays, what is recorded, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest

import fake_cuda
from adain_runtime import Stylizer
from adain_runtime.backend import open_bundle
from adain_runtime.errors import InputError, QualityError, UnavailableError
from adain_runtime.image import Photo
from adain_runtime.trt.build import build_bundle
from adain_runtime.trt.options import Options, Profile
from fake_gpu import use_device


@pytest.fixture
def device(face, monkeypatch):
    """A simulated GPU, called in both ways."""
    made = fake_cuda.Device()
    use_device(monkeypatch, made, face)
    return made


@pytest.fixture
def session(engines):
    with open_bundle(engines, backend="trt") as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(made):
    """The kit's graphs in ONNX Runtime."""
    with open_bundle(made / "strided-trt-kit-fp16") as opened:
        yield opened


def picture(height=32, width=24, batch=1, seed=0):
    return np.random.default_rng(seed).random((batch, 3, height, width), np.float32)


def stylizer_feeds(reference, image, seed=5):
    style = reference.run("encoder", {"image": picture(seed=seed)})
    feeds = {name: np.repeat(style[name], len(image), 0) for name in ("mean", "std")}
    return feeds | {"image": image, "alpha": np.full((len(image), 1, 1, 1), 0.7, np.float32)}


def same(found, wanted):
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_every_part_gives_what_its_onnx_gives(session, reference):
    image = picture(64, 48, batch=2)
    encoded = session.run("encoder", {"image": image})
    same(encoded, reference.run("encoder", {"image": image}))
    feeds = stylizer_feeds(reference, image)
    same(session.run("stylizer", feeds), reference.run("stylizer", feeds))
    rng = np.random.default_rng(1)
    scale = rng.uniform(0.5, 1.5, encoded["features"].shape).astype(np.float32)
    decoder = {"features": encoded["features"], "scale": scale, "shift": encoded["mean"]}
    same(session.run("decoder", decoder), reference.run("decoder", decoder))
    assert session.device == "TensorRT 10.3.0 on compute capability 8.7"


def test_the_second_call_of_a_shape_is_recorded_and_replayed_on_new_pictures(session, reference, device):
    for seed in range(4):
        image = picture(seed=seed)
        same(session.run("encoder", {"image": image}), reference.run("encoder", {"image": image}))
    assert session._engines["encoder"].replays == 3
    assert device.calls.count("cudaStreamBeginCapture") == 1
    assert device.calls.count("cudaGraphLaunch") == 3
    assert len(device.executables) == 1


def test_another_shape_drops_the_recording_and_computes_right(session, reference, device):
    for height, width in ((32, 24), (32, 24), (64, 48), (32, 24), (16, 16), (64, 48), (64, 48), (64, 48)):
        image = picture(height, width, seed=height)
        same(session.run("encoder", {"image": image}), reference.run("encoder", {"image": image}))
    assert session._engines["encoder"].replays == 3
    assert len(device.executables) == 1
    assert device.graphs == {}


def test_features_fed_back_are_not_sent_again(session, reference):
    encoded = session.run("encoder", {"image": picture()})
    scale = np.ones((1, 10, 1, 1), np.float32)
    feeds = {"features": encoded["features"], "scale": scale, "shift": scale * 0.1}
    same(session.run("decoder", feeds), reference.run("decoder", feeds))
    decoder = session._engines["decoder"]
    assert decoder.uploads == 2  # scale and shift
    copied = feeds | {"features": encoded["features"].copy()}
    same(session.run("decoder", copied), reference.run("decoder", feeds))
    assert decoder.uploads == 3


def test_features_of_an_earlier_picture_are_sent(session, reference):
    first = session.run("encoder", {"image": picture(seed=1)})
    session.run("encoder", {"image": picture(64, 48, seed=2)})  # the encoder's memory holds these now
    one = np.ones((1, 10, 1, 1), np.float32)
    feeds = {"features": first["features"], "scale": one, "shift": one}
    same(session.run("decoder", feeds), reference.run("decoder", feeds))
    assert session._engines["decoder"].uploads == 3


def test_features_that_the_device_holds_too_can_not_be_written_to(session):
    features = session.run("encoder", {"image": picture()})["features"]
    with pytest.raises(ValueError, match="read-only"):
        features[0] = 0


def test_a_style_stays_on_the_device_until_another_comes(session, reference):
    for seed, style, uploads in ((0, 5, 4), (1, 5, 5), (2, 5, 6), (3, 6, 9)):
        feeds = stylizer_feeds(reference, picture(seed=seed), seed=style)
        same(session.run("stylizer", feeds), reference.run("stylizer", feeds))
        assert session._engines["stylizer"].uploads == uploads


@pytest.mark.parametrize("size", [(8, 16), (72, 48), (64, 56), (16, 8)])
def test_a_size_outside_the_profile_is_refused_with_the_profile(session, size):
    with pytest.raises(InputError) as caught:
        session.run("encoder", {"image": picture(*size)})
    said = str(caught.value)
    assert "outside the engine's profile (min 16x16, opt 32x32, max 64x48, batch 1 to 2)" in said
    assert str([1, 3, *size]) in said
    assert "--size" in said


def test_a_batch_outside_the_profile_is_refused(session):
    with pytest.raises(InputError, match=r"\[3, 3, 16, 16\] is outside the engine's profile"):
        session.run("encoder", {"image": picture(16, 16, batch=3)})


def test_what_is_wrong_within_the_profile_is_told_as_on_every_backend(session):
    with pytest.raises(InputError, match="width 20 must be a multiple of 8"):
        session.run("encoder", {"image": picture(16, 20)})
    with pytest.raises(InputError, match="encoder takes image; found nothing"):
        session.run("encoder", {})
    with pytest.raises(InputError, match="no part 'head'"):
        session.run("head", {})


def test_a_small_picture_is_padded_to_the_profile_and_comes_out_at_its_size(session):
    photo = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    assert Stylizer(session)(photo, photo[::-1].copy()).size == (13, 9)


def test_a_mask_runs_the_parts_on_their_own(session):
    photo = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    mask = np.zeros((32, 24), np.uint8)
    mask[:, :12] = 255
    made = Stylizer(session)(photo, [photo[::-1].copy(), photo[:, ::-1].copy()], masks=[mask])
    assert made.size == (24, 32)
    assert session._engines["decoder"].uploads == 2  # the features were there


def test_out_of_memory_names_the_way_out_and_the_next_picture_runs(session, reference, device):
    device.total = 1000
    with pytest.raises(InputError, match=r"out of memory on image \[1, 3, 32, 24\].*--size"):
        session.run("encoder", {"image": picture()})
    device.total = 1 << 30
    same(session.run("encoder", {"image": picture()}), reference.run("encoder", {"image": picture()}))


@pytest.mark.parametrize("function", ["cudaMemcpyAsync", "cudaStreamSynchronize", "cudaGraphLaunch"])
def test_a_gpu_that_fails_is_told_and_nothing_of_it_is_believed_afterwards(session, reference, device, function):
    feeds = stylizer_feeds(reference, picture())
    for _ in range(3):
        session.run("stylizer", feeds)
    device.failing[function] = fake_cuda.INVALID
    feeds["image"] = picture(seed=9)
    with pytest.raises(UnavailableError, match=f"{function}: cudaErrorInvalidValue") as caught:
        session.run("stylizer", feeds)
    assert caught.value.exit_code == 3
    device.failing.clear()
    same(session.run("stylizer", feeds), reference.run("stylizer", feeds))


def test_engines_that_can_not_be_recorded_run_plainly_and_say_why(session, reference, device):
    device.failing["cudaStreamBeginCapture"] = fake_cuda.CAPTURE_INVALID
    for seed in range(3):
        image = picture(seed=seed)
        same(session.run("encoder", {"image": image}), reference.run("encoder", {"image": image}))
    engine = session._engines["encoder"]
    assert engine.replays == 0
    assert "cudaErrorStreamCaptureInvalidated" in engine.no_graph


def test_closing_gives_everything_back(session, reference, device):
    for _ in range(3):
        session.run("stylizer", stylizer_feeds(reference, picture()))
        session.run("encoder", {"image": picture()})
    session.close()
    session.close()
    assert (device.memory, device.streams, device.executables, device.graphs) == ({}, {}, {}, {})
    with pytest.raises(InputError, match="closed"):
        session.run("encoder", {"image": picture()})


def test_no_memory_for_an_execution_context_is_told(session, monkeypatch):
    monkeypatch.setenv("FAKE_TRT_NO_CONTEXT", "1")
    with pytest.raises(UnavailableError, match=r"can't make an execution context \(\[fake\].*out of memory\).*--max"):
        session.run("encoder", {"image": picture()})


def test_values_that_are_not_finite_are_an_error(session):
    image = picture()
    image[0, 0, 0, 0] = np.nan
    with pytest.raises(QualityError, match="not finite"):
        session.run("encoder", {"image": image})


@pytest.mark.parametrize("calls", [1, 4])
def test_a_device_that_has_failed_for_good_is_one_error_and_not_a_bug(engines, device, calls):
    """After an illegal access every call fails, those that free memory too."""

    def run():
        with open_bundle(engines, backend="trt") as opened:
            for _ in range(calls):  # from the third on there is a recorded graph to give back
                opened.run("encoder", {"image": picture()})
            device.failing.update(dict.fromkeys(set(device.calls), fake_cuda.INVALID))
            opened.run("encoder", {"image": picture(seed=1)})

    with pytest.raises(UnavailableError, match="the GPU failed on image"):
        run()


def test_a_picture_over_one_side_of_the_profile_is_cut_in_tiles_that_fit(made, tmp_path, tensorrt):
    """Engines of 16x16 to 64x256: tiles are squares, so 64 pixels are their most."""
    options = Options(Profile((16, 16), (64, 64), (64, 256)))
    folder = build_bundle(made / "strided-trt-kit-fp16", tmp_path, options)
    rng = np.random.default_rng(0)
    with Stylizer.open(folder, backend="trt", cache=False) as stylizer:
        sizes = stylizer.session.bundle.manifest.sizes
        assert (sizes.least, sizes.most, sizes.heights, sizes.widths) == ((16, 16), (64, 256), (16, 64), (16, 256))
        style = stylizer.style(rng.integers(0, 256, (64, 40, 3), np.uint8))
        for shape in ((60, 250), (250, 60), (100, 300)):
            assert stylizer(rng.integers(0, 256, (*shape, 3), np.uint8), style).size == shape[::-1]


def test_a_picture_under_one_side_of_the_profile_is_padded(made, tmp_path, tensorrt):
    options = Options(Profile((16, 64), (16, 64), (64, 64)))
    folder = build_bundle(made / "strided-trt-kit-fp16", tmp_path, options)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    with Stylizer.open(folder, backend="trt", cache=False) as stylizer:
        assert stylizer(noise, noise).size == (40, 40)


def test_a_batch_is_as_large_as_the_profile_has_where_it_has_one(made, tmp_path, tensorrt):
    folder = build_bundle(made / "strided-trt-kit-fp16", tmp_path, Options(Profile((16, 16), (32, 32), (64, 64))))
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with Stylizer.open(folder, backend="trt", cache=False) as stylizer:
        made = stylizer.stylize([Photo(noise)] * 3, [stylizer.style(noise)], batch_size=8)
    assert len(made) == 3
