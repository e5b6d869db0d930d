"""A session for several threads at once computes what the session computes alone, and is only there where it gains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from adain_runtime import cores
from adain_runtime.backend import get_backend, open_bundle
from adain_runtime.cores import physical_cores, threads_each
from adain_runtime.stylizer import Stylizer

SHARING = ("onnx", "openvino")


def needs(name: str) -> None:
    if not (probe := get_backend(name).probe()):
        pytest.skip(f"backend {name}: {probe.detail}; {probe.fix}")


def feeds(seed: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    style = {name: rng.uniform(0.5, 1.5, (1, 192, 1, 1)).astype(np.float32) for name in ("mean", "std")}
    return {"image": rng.random((1, 3, 48, width), np.float32), **style, "alpha": np.ones((1, 1, 1, 1), np.float32)}


@pytest.mark.parametrize("backend", SHARING)
def test_many_runs_at_once_give_what_each_gives_alone(backend):
    needs(backend)
    inputs = [feeds(seed, width) for seed, width in enumerate((64, 72, 64, 128, 40, 64, 72, 16))]
    with open_bundle("lite", backend=backend, threads=2) as session, session.shared(2) as shared:
        wanted = [session.run("stylizer", each)["image"] for each in inputs]
        with ThreadPoolExecutor(2) as threads:
            found = list(threads.map(lambda each: shared.run("stylizer", each)["image"], inputs))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("backend", SHARING)
def test_what_was_released_runs_again_and_gives_the_same(backend):
    needs(backend)
    with Stylizer.open("lite", backend=backend, threads=1, cache=False) as stylizer:
        before = stylizer.session.run("stylizer", feeds(1, 64))["image"]
        stylizer.release()
        np.testing.assert_array_equal(stylizer.session.run("stylizer", feeds(1, 64))["image"], before)


@pytest.mark.parametrize("backend", SHARING)
def test_one_thread_is_not_shared(backend):
    needs(backend)
    with open_bundle("lite", backend=backend, threads=1) as session:
        assert session.shared(2) is None


def test_a_stylizer_is_shared_where_its_backend_can_and_outlives_it(null_stylizer, picture):
    assert null_stylizer.shared(2) is None
    photo = picture(40, 56, seed=1)
    with Stylizer.open("lite", threads=2, cache=False) as stylizer, stylizer.shared(2) as shared:
        stylizer.close()
        assert shared(photo, photo).size == (56, 40)


def test_pictures_run_at_once_where_all_of_them_fit_as_a_whole(null_stylizer):
    assert null_stylizer.whole_at_once(64, 64, 2)
    assert null_stylizer.whole_at_once(64, 64, 2, "off")
    assert not null_stylizer.whole_at_once(1500, 2000, 2)  # one fits 1 GiB, and two don't
    assert null_stylizer.whole_at_once(1500, 2000, 1)
    assert not null_stylizer.whole_at_once(200, 200, 2, 128)


@pytest.mark.parametrize(("threads", "callers", "each"), [(2, 2, 1), (7, 2, 3), (1, 2, None), (3, 1, 3)])
def test_threads_are_shared_evenly_and_none_gets_none(threads, callers, each):
    assert threads_each(threads, callers) == each


def test_cores_with_two_threads_count_once(monkeypatch, tmp_path):
    monkeypatch.setattr(cores.sys, "platform", "linux")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1, 3}, raising=False)
    monkeypatch.setattr(cores, "_CPUS", tmp_path)
    assert physical_cores() is None
    assert threads_each(None, 2) is None
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        place = tmp_path / f"cpu{number}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(siblings)
    assert physical_cores() == 2
    assert threads_each(None, 2) == 1


def test_where_the_system_is_not_asked_nothing_is_guessed(monkeypatch):
    monkeypatch.setattr(cores.sys, "platform", "darwin")
    assert physical_cores() is None
