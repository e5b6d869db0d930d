"""MNN bundles: float32 within every fp32 bundle's tolerance in exact mode, the same bytes again, and no chatter."""

from __future__ import annotations

import copy
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from adain_export import check
from adain_export.target import GraphRequest, Request, get_target
from adain_export.targets import mnn
from adain_export.tolerances import limits_of
from adain_runtime.backend import Options, get_backend, open_bundle
from adain_runtime.backends import mnn as mnn_backend
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError, QualityError
from adain_runtime.metrics import max_abs, psnr

BACKEND = get_backend("mnn")
if not (probe := BACKEND.probe()):
    pytest.skip(f"backend mnn: {probe.detail}; {probe.fix}", allow_module_level=True)
TARGET = get_target("mnn")


@pytest.fixture(scope="module", params=["pooled", "strided"])
def exported(request, tmp_path_factory):
    network = request.getfixturevalue(request.param)
    return network, TARGET.export(network, GraphRequest(network.spec.name), tmp_path_factory.mktemp("mnn"))


def feeds_of(network, batch, height, width):
    rng = np.random.default_rng(3)
    image = check.pink_noise(rng, batch, height, width)
    encoded = check.in_torch("encoder", network, {"image": check.pink_noise(rng, batch, 32, 48)})
    alpha = np.linspace(0.2, 1, batch, dtype=np.float32).reshape(-1, 1, 1, 1)
    return {"image": image, "mean": encoded["mean"], "std": encoded["std"], "alpha": alpha}


def test_a_bundle_holds_one_file_a_part_and_says_what_was_compared(exported):
    network, bundle = exported
    assert bundle.path.name == f"{network.spec.name}-mnn-fp32"
    assert set(bundle.manifest.files) == {"encoder.mnn", "decoder.mnn", "stylizer.mnn"}
    assert bundle.manifest.tools["MNN"]
    assert len(bundle.manifest.parity.cases) == 9
    assert bundle.manifest.rewrites[-2:] == ("phase", "phase-last")


@pytest.mark.parametrize("size", [(1, 16, 16), (2, 24, 136), (1, 200, 40)])
def test_one_session_runs_any_size_within_the_fp32_tolerance_in_exact_mode(exported, size):
    network, bundle = exported
    feeds = feeds_of(network, *size)
    wanted = check.in_torch("stylizer", network, feeds)["image"]
    with BACKEND.open(bundle, Options(threads=1, exact=True)) as session:
        for name in ("image", "alpha"):  # another size first, and feeds that are not contiguous
            feeds[name] = np.asfortranarray(feeds[name])
        session.run("stylizer", feeds_of(network, 1, 48, 48))
        found = session.run("stylizer", feeds)["image"]
    assert max_abs(wanted, found) <= limits_of("any", "fp32").stylizer.max_abs
    assert psnr(wanted, found) >= limits_of("any", "fp32").stylizer.psnr


def test_what_a_run_gave_stays_when_the_next_one_runs(exported):
    network, bundle = exported
    first, second = feeds_of(network, 1, 32, 32), feeds_of(network, 1, 32, 32)
    second["image"] = 1 - second["image"]
    with BACKEND.open(bundle, Options(threads=1)) as session:
        kept = session.run("stylizer", first)["image"]
        copy = kept.copy()
        assert not np.array_equal(session.run("stylizer", second)["image"], copy)
    np.testing.assert_array_equal(kept, copy)


def test_an_exact_and_a_fast_session_side_by_side_stay_what_they_are(exported):
    network, bundle = exported
    feeds = feeds_of(network, 1, 64, 64)
    with BACKEND.open(bundle, Options(threads=1, exact=True)) as alone:
        wanted = alone.run("stylizer", feeds)["image"]
    with (
        BACKEND.open(bundle, Options(threads=1, exact=True)) as exact,
        BACKEND.open(bundle, Options(threads=1)) as fast,
    ):
        fast.run("stylizer", feeds)
        np.testing.assert_array_equal(exact.run("stylizer", feeds)["image"], wanted)


def test_the_same_network_gives_the_same_bytes(strided, tmp_path):
    request = GraphRequest("same", parts=("encoder",))
    first, second = (TARGET.export(strided, request, tmp_path / name) for name in "ab")
    for path in first.path.iterdir():
        assert path.read_bytes() == (second.path / path.name).read_bytes()


def test_only_the_identifier_is_replaced_and_it_follows_from_the_rest():
    one = b"head 01234567-89ab-cdef-0123-456789abcdef tail"
    other = b"head ffffffff-ffff-ffff-ffff-ffffffffffff tail"
    assert mnn.with_own_identifier(one) == mnn.with_own_identifier(other)
    assert len(mnn.with_own_identifier(one)) == len(one)
    assert mnn.with_own_identifier(one) != mnn.with_own_identifier(one + b"!")[:-1]
    with pytest.raises(QualityError, match="without an identifier"):
        mnn.with_own_identifier(b"no such thing")


@pytest.mark.parametrize(("weights", "least"), [("fp16", 1.6), ("int8", 2.4)])
def test_weights_stored_small_make_small_files_and_are_run_all_the_same(weights, least, tmp_path):
    from adain_runtime.spec import NetworkSpec
    from networks import make_network

    wide = make_network(NetworkSpec("wide", ((32,), (48,), (64,), (96,)), ((64,), (48,), (32,), (16, 3))))
    sizes = {}
    for stored in ("fp32", weights):
        bundle = TARGET.export(wide, GraphRequest("wide", parts=("decoder",), weights=stored), tmp_path)
        sizes[stored] = bundle.manifest.files["decoder.mnn"].bytes
    assert sizes["fp32"] / sizes[weights] > least
    assert bundle.manifest.precision == {"fp16": "fp32-w16", "int8": "fp32-w8"}[weights]


def test_half_weights_are_the_nearest_ones(strided, tmp_path):
    """MNN's converter cuts the digits that float16 doesn't have; ours are rounded before it can."""
    rounded = copy.deepcopy(strided)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.half().float()
    request = GraphRequest("stored", parts=("decoder",), rewrites=(), weights="fp16")
    stored = TARGET.export(strided, request, tmp_path)
    wanted = TARGET.export(rounded, replace(request, name="wanted", weights="fp32"), tmp_path)
    feeds = {"features": np.random.default_rng(3).random((1, 10, 4, 5), np.float32)}
    feeds |= {name: np.full((1, 10, 1, 1), 0.5, np.float32) for name in ("scale", "shift")}
    images = []
    for bundle in (stored, wanted):
        with open_bundle(bundle.path, backend="mnn", threads=1) as session:
            images.append(session.run("decoder", feeds)["image"])
    np.testing.assert_allclose(images[0], images[1], atol=1e-6)


def test_arithmetic_that_mnn_chooses_itself_is_refused_with_the_target_that_has_it(strided, tmp_path):
    with pytest.raises(InputError, match=r"float32 graphs, and fp16 was asked for.*target onnx makes fp16"):
        TARGET.export(strided, Request("half", "fp16"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_fails_is_told_with_its_last_words(strided, tmp_path, monkeypatch):
    monkeypatch.setattr(mnn, "_CONVERT", "print('no such operation'); raise SystemExit(0)")
    with pytest.raises(QualityError, match=r"wrote no encoder\.mnn \(no such operation\)"):
        TARGET.export(strided, GraphRequest("broken", parts=("encoder",)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_mnn_reaches_standard_output(exported, tmp_path):
    _, bundle = exported
    program = (
        "import sys, numpy as np, adain_runtime as adain\n"
        "with adain.open_bundle(sys.argv[1], backend='mnn', threads=1) as session:\n"
        "    session.run('encoder', {'image': np.zeros((1, 3, 16, 16), np.float32)})\n"
        "print('ours')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, bundle.path], capture_output=True, text=True, check=True)
    assert ran.stdout == "ours\n"


def test_a_graph_that_is_none_is_named(exported, tmp_path):
    _, bundle = exported
    (tmp_path / "stylizer.mnn").write_bytes(b"not a graph")
    with BACKEND.open(replace(bundle, path=tmp_path), Options()) as session:
        feeds = {"image": np.zeros((1, 3, 16, 16), np.float32), "alpha": np.ones((1, 1, 1, 1), np.float32)}
        channels = bundle.manifest.spec.channels
        feeds |= {name: np.ones((1, channels, 1, 1), np.float32) for name in ("mean", "std")}
        with pytest.raises(InputError, match=r"stylizer\.mnn: MNN .* can't load it"):
            session.run("stylizer", feeds)


def test_a_bundle_of_another_target_and_an_unknown_option_are_refused(lite_onnx):
    with pytest.raises(InputError, match="exported for onnx, and backend mnn runs mnn"):
        BACKEND.open(lite_onnx, Options())
    with pytest.raises(InputError, match="backend mnn has no option 'provider'"):
        BACKEND.open(lite_onnx, Options(provider="cuda"))


def test_what_the_host_prints_comes_out_though_three_threads_load_and_run(exported, tmp_path):
    """MNN prints when it is loaded, and is silenced for the whole process then: one at a time, or it stays so."""
    program = """
import sys, threading
import numpy as np
from adain_runtime import open_bundle

def work():
    with open_bundle(sys.argv[1], backend="mnn", threads=1) as session:
        for side in (32, 48):
            session.run("encoder", {"image": np.zeros((1, 3, side, side), np.float32)})

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("here", flush=True)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, exported[1].path], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "here\n"


def test_mnn_is_silenced_when_it_plans_memory_and_only_then(exported, monkeypatch):
    """It prints then, errors too; every other run leaves what the program prints alone."""
    silenced = []
    monkeypatch.setattr(mnn_backend, "silent_stdout", lambda: silenced.append(1) or nullcontext())
    with BACKEND.open(exported[1], Options()) as session:
        for side in (32, 48, 32, 48):
            session.run("encoder", {"image": np.zeros((1, 3, side, side), np.float32)})
    assert len(silenced) == 3  # the load, and each size once


def test_a_graph_that_gives_nothing_is_out_of_memory_and_no_bug(exported, monkeypatch):
    with BACKEND.open(exported[1], Options()) as session:
        session.run("encoder", {"image": np.zeros((1, 3, 32, 32), np.float32)})
        manager, _ = session._graphs["encoder"]
        session._graphs["encoder"] = (manager, SimpleNamespace(forward=lambda _: []))
        with pytest.raises(
            InputError, match=r"it gave 0 of 3 outputs\); if it is out of memory, take a smaller picture"
        ):
            session.run("encoder", {"image": np.zeros((1, 3, 32, 32), np.float32)})


@pytest.fixture(scope="module")
def lite_onnx():
    return Bundle.open(get_backend("onnx").find("lite").path)
