"""The process of a case: what it writes of a session that gives less than it was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from adain_export.check import pink_noise
from adain_export.tolerances import limits_of
from adain_model import embedded_checkpoint, load_network
from adain_parity import worker
from adain_parity.measure import measure
from adain_parity.reference import Reference
from adain_parity.worker import Job
from adain_runtime.backend import Options
from adain_runtime.backends.onnx import OnnxBackend, OnnxSession
from adain_runtime.bundle import Bundle, embedded_bundles

LIMITS = limits_of("onnx", "fp32")


@pytest.fixture(scope="module")
def reference():
    return Reference(load_network(embedded_checkpoint()))


@pytest.fixture(scope="module")
def truth(reference):
    image, style = (pink_noise(np.random.default_rng(seed), 1, 16, 24) for seed in (1, 2))
    return reference.truth(image, style, 0.6)


@pytest.fixture
def judge(monkeypatch, tmp_path, reference, truth):
    """The failures of every part of the embedded network, its session changed: by part."""

    def run(change):
        class Changed(OnnxSession):
            def run(self, part, feeds):
                return change(part, super().run(part, feeds))

        def opened(*_):
            session = OnnxBackend().open(Bundle.open(embedded_bundles()["lite-onnx-fp32"]), Options(threads=1))
            session.__class__ = Changed
            return session

        monkeypatch.setattr(worker, "open_session", opened)
        np.savez(tmp_path / "feeds.npz", **truth.feeds())
        outputs = tmp_path / "outputs.npz"
        outcome = worker.run(Job("run", "onnx", "", feeds=str(tmp_path / "feeds.npz"), outputs=str(outputs)))
        with np.load(outputs) as file:
            found = dict(file)
        given = found, outcome.errors, outcome.seconds, LIMITS, truth, reference
        return {part.part: part.failures for part in measure(*given, asked=outcome.asked)}

    return run


def test_all_parts_of_a_good_session_pass(judge):
    assert judge(lambda _, outputs: outputs) == {"encoder": (), "decoder": (), "stylizer": ()}


@pytest.mark.parametrize("silent", ["encoder", "decoder", "stylizer"])
def test_a_part_that_gives_nothing_fails(judge, silent):
    failures = judge(lambda part, outputs: {} if part == silent else outputs)
    assert failures[silent]
    assert all(not said for part, said in failures.items() if part != silent)


def test_an_output_of_another_name_fails_and_does_not_end_the_others(judge):
    failures = judge(lambda part, outputs: {"other": outputs["features"]} if part == "encoder" else outputs)
    assert failures == {"encoder": ("gave no features",), "decoder": (), "stylizer": ()}
    failures = judge(lambda part, outputs: {"other": outputs["image"]} if part == "decoder" else outputs)
    assert failures == {"encoder": (), "decoder": ("gave no image",), "stylizer": ()}
