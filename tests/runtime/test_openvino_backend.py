"""OpenVINO runs the embedded ONNX bundle as ONNX Runtime does, and only on the device that was asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adain_runtime.backend import get_backend, open_bundle
from adain_runtime.bundle import describe_file
from adain_runtime.errors import BundleError, InputError, UnavailableError
from adain_runtime.metrics import psnr

PROBE = get_backend("openvino").probe()
pytestmark = pytest.mark.skipif(not PROBE, reason=f"backend openvino: {PROBE.detail}; {PROBE.fix}")


@pytest.fixture(scope="module")
def session():
    with open_bundle("lite", backend="openvino", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def feeds(session):
    rng = np.random.default_rng(0)
    out = session.run("encoder", {"image": rng.random((1, 3, 32, 32), np.float32)})
    style = {name: out[name] for name in ("mean", "std")}
    return {"image": rng.random((1, 3, 24, 40), np.float32), **style, "alpha": np.ones((1, 1, 1, 1), np.float32)}


def test_every_part_agrees_with_onnx_runtime_at_more_than_one_size(session, feeds):
    with open_bundle("lite", threads=1) as reference:
        for width in (40, 16, 136):
            image = np.random.default_rng(width).random((2, 3, 24, width), np.float32)
            found, wanted = (one.run("encoder", {"image": image}) for one in (session, reference))
            for name, values in wanted.items():
                np.testing.assert_allclose(found[name], values, atol=1e-4 * np.abs(values).max())
        assert psnr(reference.run("stylizer", feeds)["image"], session.run("stylizer", feeds)["image"]) > 90


def test_what_a_run_gave_stays_when_the_next_one_runs(session, feeds):
    kept = session.run("stylizer", feeds)["image"]
    copy = kept.copy()
    session.run("stylizer", feeds | {"image": 1 - feeds["image"]})
    np.testing.assert_array_equal(kept, copy)


def test_a_device_that_is_not_here_is_an_error_unless_a_fallback_is_allowed():
    with pytest.raises(UnavailableError, match=r"no device 'quantum' here, only .*cpu.*--allow-fallback"):
        open_bundle("lite", backend="openvino", provider="quantum")
    with open_bundle("lite", backend="openvino", provider="quantum", allow_fallback=True) as session:
        assert session.device == "CPU"


def test_what_a_device_can_not_honour_is_refused_with_the_reason():
    with pytest.raises(UnavailableError, match="its NPUs take graphs of one size, computed in float16"):
        open_bundle("lite", backend="openvino", provider="npu", allow_fallback=True)
    with pytest.raises(InputError, match="threads are the CPU's, and gpu was asked for"):
        open_bundle("lite", backend="openvino", provider="gpu", threads=1, allow_fallback=True)


def test_a_device_that_can_not_compile_a_graph_is_unavailable_or_the_cpu(monkeypatch, feeds):
    def open_on_gpu(**more):
        session = open_bundle("lite", backend="openvino", **more)
        real, session._device = session._core, "GPU"

        def compile_model(model, device, settings):
            if device != "CPU":
                raise RuntimeError("no such kernel")
            return real.compile_model(model, device, settings)

        session._core = SimpleNamespace(read_model=real.read_model, compile_model=compile_model)
        return session

    with open_on_gpu() as session, pytest.raises(UnavailableError, match=r"gpu can't run .*no such kernel"):
        session.run("stylizer", feeds)
    with open_on_gpu(allow_fallback=True) as session:
        session.run("stylizer", feeds)
        assert session.device == "CPU"


def test_a_graph_that_openvino_can_not_load_is_named_in_one_line(lite_copy, edit_manifest, feeds):
    (lite_copy / "stylizer.onnx").write_bytes(b"not a graph")
    entries = {path.name: describe_file(path) for path in lite_copy.iterdir() if path.name != "manifest.json"}
    edit_manifest(lite_copy, files={name: vars(entry) for name, entry in entries.items()})
    with (
        open_bundle(lite_copy, backend="openvino") as session,
        pytest.raises(BundleError, match=r"stylizer\.onnx: OpenVINO .* can't load it on CPU") as caught,
    ):
        session.run("stylizer", feeds)
    assert "\n" not in str(caught.value)


def test_a_closed_session_runs_nothing(feeds):
    with open_bundle("lite", backend="openvino") as session:
        pass
    with pytest.raises(InputError, match="closed"):
        session.run("stylizer", feeds)
