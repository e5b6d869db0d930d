"""ONNX Runtime runs the embedded bundle, whole and in parts, and never runs elsewhere than it was told."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from adain_runtime import telemetry
from adain_runtime.backend import open_bundle
from adain_runtime.backends.onnx import find_provider, running_provider, short_name
from adain_runtime.bundle import describe_file
from adain_runtime.errors import BundleError, InputError, UnavailableError

C = 192


@pytest.fixture(scope="module")
def session():
    with open_bundle("lite", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((1, 3, 24, 40), np.float32)


def statistics(session, seed):
    style = np.random.default_rng(seed).random((1, 3, 32, 32), np.float32)
    out = session.run("encoder", {"image": style})
    return {"mean": out["mean"], "std": out["std"]}


def alpha(value, batch=1):
    return np.full((batch, 1, 1, 1), value, np.float32)


def test_the_encoder_gives_features_and_their_own_mean_and_deviation(session, image):
    out = session.run("encoder", {"image": image})
    assert {name: values.shape for name, values in out.items()} == {
        "features": (1, C, 3, 5),
        "mean": (1, C, 1, 1),
        "std": (1, C, 1, 1),
    }
    spec = session.bundle.manifest.spec
    features = out["features"].astype(np.float64)
    variance = features.var((2, 3), ddof=spec.correction, keepdims=True)
    np.testing.assert_allclose(out["mean"], features.mean((2, 3), keepdims=True), atol=1e-5)
    np.testing.assert_allclose(out["std"], np.sqrt(variance + spec.eps), atol=1e-5)


def test_the_fused_stylizer_is_the_encoder_and_the_decoder_with_adain_between(session, image):
    style = statistics(session, 1)
    fused = session.run("stylizer", {"image": image, **style, "alpha": alpha(0.7)})["image"]
    content = session.run("encoder", {"image": image})
    scale = (0.7 * style["std"] + 0.3 * content["std"]) / content["std"]
    shift = 0.7 * style["mean"] + 0.3 * content["mean"] - scale * content["mean"]
    parts = session.run("decoder", {"features": content["features"], "scale": scale, "shift": shift})["image"]
    np.testing.assert_allclose(fused, parts, atol=1e-4)
    assert fused.min() >= 0
    assert fused.max() <= 1
    assert fused.std() > 0.01


def test_a_batch_is_its_images_one_by_one(session):
    images = np.random.default_rng(5).random((3, 3, 16, 24), np.float32)
    styles = [statistics(session, seed) for seed in range(3)]
    alphas = np.array([0, 0.5, 1], np.float32).reshape(3, 1, 1, 1)
    feeds = {name: np.concatenate([style[name] for style in styles]) for name in ("mean", "std")}
    together = session.run("stylizer", {"image": images, **feeds, "alpha": alphas})["image"]
    for i, style in enumerate(styles):
        alone = session.run("stylizer", {"image": images[i : i + 1], **style, "alpha": alphas[i : i + 1]})["image"]
        np.testing.assert_allclose(together[i : i + 1], alone, atol=1e-5)


def test_double_precision_feeds_are_cast(session, image):
    style = statistics(session, 1)
    single = {"image": image, **style, "alpha": alpha(1)}
    double = {name: values.astype(np.float64) for name, values in single.items()}
    out = session.run("stylizer", double)["image"]
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, session.run("stylizer", single)["image"])


def test_a_wrong_shape_is_told_in_our_words_before_onnx_runtime_sees_it(session):
    with pytest.raises(InputError, match=r"encoder input 'image': wants the shape \[batch, 3, height, width\]"):
        session.run("encoder", {"image": np.zeros((1, 4, 16, 16), np.float32)})
    with pytest.raises(InputError, match="width 20 must be a multiple of 8"):
        session.run("encoder", {"image": np.zeros((1, 3, 16, 20), np.float32)})


def test_a_bundle_runs_from_a_copy_elsewhere_as_it_does_here(session, image, lite_copy):
    with open_bundle(lite_copy, threads=1) as copied:
        out = copied.run("encoder", {"image": image})
    np.testing.assert_array_equal(out["features"], session.run("encoder", {"image": image})["features"])


def test_a_graph_that_onnx_runtime_can_not_load_is_named(lite_copy, edit_manifest, image):
    (lite_copy / "encoder.onnx").write_bytes(b"not a graph")
    entries = {path.name: describe_file(path) for path in lite_copy.iterdir() if path.name != "manifest.json"}
    edit_manifest(lite_copy, files={name: vars(entry) for name, entry in entries.items()})
    with (
        open_bundle(lite_copy) as session,
        pytest.raises(BundleError, match=r"encoder\.onnx: ONNX Runtime .* can't load it"),
    ):
        session.run("encoder", {"image": image})


def test_a_closed_session_runs_nothing(image):
    with open_bundle("lite") as session:
        assert session.device == "CPUExecutionProvider"
    with pytest.raises(InputError, match="closed"):
        session.run("encoder", {"image": image})


@pytest.mark.parametrize("name", ["cpu", "CPU", "Cpu", "CPUExecutionProvider", "cpuexecutionprovider"])
def test_a_provider_is_found_by_its_short_or_full_name_whatever_the_case(name):
    assert find_provider(name) == "CPUExecutionProvider"


def test_short_names_are_what_people_type():
    assert short_name("CUDAExecutionProvider") == "cuda"


def test_a_provider_that_this_build_lacks_is_told_with_those_it_has():
    with pytest.raises(UnavailableError, match=r"provider 'quantum' is not in this build .* which has .*cpu") as caught:
        open_bundle("lite", provider="quantum")
    assert caught.value.exit_code == 3
    assert "--allow-fallback" in str(caught.value)
    with open_bundle("lite", provider="quantum", allow_fallback=True) as session:
        assert session.device == "CPUExecutionProvider"


def test_a_provider_that_does_not_come_up_is_an_error_unless_a_fallback_is_allowed():
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    with pytest.raises(UnavailableError, match=r"'cuda' was asked for and 'cpu' came up.*--allow-fallback"):
        running_provider(cuda, [cpu], False)
    with pytest.raises(UnavailableError, match="'none' came up"):
        running_provider(cuda, [], False)
    assert running_provider(cuda, [cpu], True) == cpu
    assert running_provider(cuda, [cuda, cpu], False) == cuda


def test_what_onnx_runtime_can_not_compute_is_one_error_that_names_the_graph_and_the_way_out(lite):
    class OutOfMemory:
        def run(self, *_):
            raise MemoryError("bad allocation")

    with open_bundle(lite) as session:
        session._graphs["encoder"] = OutOfMemory()
        with pytest.raises(InputError, match=r"encoder\.onnx.*image \[1, 3, 16, 16\].*bad allocation.*--size"):
            session.run("encoder", {"image": np.zeros((1, 3, 16, 16), np.float32)})


def test_a_graph_with_fewer_outputs_than_its_manifest_names_is_a_damaged_bundle(lite):
    class Short:
        def run(self, *_):
            return [np.zeros((1, 192, 2, 2), np.float32)]

    with open_bundle(lite) as session:
        session._graphs["encoder"] = Short()
        with pytest.raises(BundleError, match=r"encoder\.onnx: gives 1 outputs, and its manifest names 3"):
            session.run("encoder", {"image": np.zeros((1, 3, 16, 16), np.float32)})


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What ONNX Runtime is asked for, on a machine whose build has TensorRT and CUDA."""
    import onnxruntime

    seen = []

    class Session:
        def __init__(self, path, settings, *, providers, **_):
            seen.append(providers)

        def get_providers(self):
            return [name for name, _ in seen[-1]]

        def run(self, names, feeds):
            shape = feeds["image"].shape
            one = np.ones((1, C, 1, 1), np.float32)
            return [np.ones((1, C, shape[2] // 8, shape[3] // 8), np.float32), one, one]

    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("adain_runtime.backends.onnx._available_providers", lambda: tuple(names))
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr("adain_runtime.backends.onnx._preload_libraries", lambda: None)
    monkeypatch.setenv("ADAIN_CACHE", str(tmp_path))
    return seen


def test_tensorrts_provider_keeps_its_engines_in_the_persons_cache(asked, image, tmp_path):
    with open_bundle("lite", provider="tensorrt") as session:
        session.run("encoder", {"image": image})
        assert session.device == "TensorrtExecutionProvider"
    (((first, options), (second, cuda)),) = asked
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert cuda["use_tf32"] == "0"
    (folder,) = (tmp_path / "onnxruntime-tensorrt").iterdir()
    place = str(folder)
    assert options == {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": place,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": place,
    }


def test_tensorrts_engines_of_two_networks_are_kept_apart(asked, image, lite, lite_copy, edit_manifest):
    """Its key is made of names and shapes, which two networks of one spec share."""
    weights = lite_copy / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    entry = describe_file(weights)
    files = json.loads((lite_copy / "manifest.json").read_text())["files"]
    edit_manifest(lite_copy, files=files | {"weights.bin": {"bytes": entry.bytes, "sha256": entry.sha256}})
    for model in (lite, lite_copy):
        with open_bundle(str(model), provider="tensorrt") as session:
            session.run("encoder", {"image": image})
    assert len({ask[0][1]["trt_engine_cache_path"] for ask in asked}) == 2


def test_a_provider_that_fails_while_it_loads_is_the_cpu_only_where_that_is_allowed(asked, image, monkeypatch):
    """ONNX Runtime's own fallback prints on stdout, which is the host program's."""
    import onnxruntime

    class Broken(onnxruntime.InferenceSession):
        def __init__(self, path, settings, *, providers, enable_fallback, **others):
            assert enable_fallback == 0
            if providers[0][0] != "CPUExecutionProvider":
                raise RuntimeError("libcudnn is missing")
            super().__init__(path, settings, providers=providers, enable_fallback=enable_fallback, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Broken)
    with open_bundle("lite", provider="cuda") as session, pytest.raises(UnavailableError, match="libcudnn is missing"):
        session.run("encoder", {"image": image})
    with open_bundle("lite", provider="cuda", allow_fallback=True) as session:
        session.run("encoder", {"image": image})
        assert session.device == "CPUExecutionProvider"


def test_after_tensorrt_comes_cuda_and_then_the_cpu(asked, image, monkeypatch):
    import onnxruntime

    tried = []

    class Broken(onnxruntime.InferenceSession):
        def __init__(self, path, settings, *, providers, **others):
            tried.append(providers[0][0])
            raise RuntimeError("no driver")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Broken)
    with (
        open_bundle("lite", provider="tensorrt", allow_fallback=True) as session,
        pytest.raises(BundleError, match="can't load it"),  # not even there: the graph is what is wrong
    ):
        session.run("encoder", {"image": image})
    assert tried == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_tensorrts_provider_keeps_nothing_where_caches_are_off(asked, image, monkeypatch, tmp_path):
    monkeypatch.setenv("ADAIN_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    with open_bundle("lite", provider="tensorrt") as session:
        session.run("encoder", {"image": image})
    assert asked[0][0] == ("TensorrtExecutionProvider", {})
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_can_not_be_made_is_not_blamed_on_the_driver(asked, image, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ADAIN_CACHE", str(tmp_path / "file"))
    with (
        open_bundle("lite", provider="tensorrt") as session,
        pytest.raises(InputError, match=r"can't be made for TensorRT's engines .*; set ADAIN_CACHE to a folder"),
    ):
        session.run("encoder", {"image": image})


def test_cudas_provider_computes_float32_whole_and_does_not_search_at_every_size(asked, image):
    with open_bundle("lite", provider="cuda") as session:
        session.run("encoder", {"image": image})
    assert asked == [[("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})]]


def test_the_cpu_has_no_options(asked, image):
    with open_bundle("lite") as session:
        session.run("encoder", {"image": image})
    assert asked == [[("CPUExecutionProvider", {})]]


def test_onnx_runtime_leaves_no_identifier_of_the_machine_in_the_cache(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(tmp_path))
    code = "import adain_runtime; assert adain_runtime.get_backend('onnx').probe()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("asked", "found"), [(None, "1"), ("0", "0"), ("1", "1")])
def test_telemetry_is_off_unless_the_person_says_otherwise(monkeypatch, asked, found):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", asked or "")
    if asked is None:
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    telemetry.opt_out()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == found
