"""Improvements: what they do to a calibration, and that only what raises the PSNR is kept."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from adain_calib import ranges
from adain_calib.improve import Attempt, Work, with_corrected_biases
from adain_calib.scoring import Judge, Scores, Simulator
from adain_calib.simulate import SimulatedNetwork
from adain_export.equalise import couples, equalised
from adain_export.improvements import Improvements
from adain_export.target import Int8, Request, get_target
from adain_runtime.backend import Options, get_backend
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from calibrations import calibrated


@pytest.fixture(autouse=True)
def quick_entropy(monkeypatch):
    monkeypatch.setattr(ranges, "_ENTROPY_BINS", 256)


@pytest.fixture(scope="module")
def work(network, pairs, folders):
    return Work(network, pairs, *folders, "mse", 99.99, 1)


@pytest.fixture(scope="module")
def corrected(network, calibration, pairs, folders):
    return with_corrected_biases(network, calibration, pairs, *folders)


def test_a_correction_is_the_mean_of_what_rounding_takes_from_the_layers_output(
    network, calibration, corrected, pairs, folders
):
    contents, styles = folders
    layer = "encoder.conv2_1"  # with the image, whose pixels are the same for every pair, before it
    simulated = SimulatedNetwork(network, calibration)
    means = []
    for folder, count in ((styles, len(styles.files)), (contents, len({s.content for s in pairs.samples}))):
        for index in range(count):
            seen = []
            hook = simulated.layers[layer].register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
            planes = folder.planes(index, size=pairs.size, stride=network.spec.stride)
            simulated.run("encoder", {"image": planes})
            hook.remove()
            conv, coded = network.get_submodule(layer), calibration.codes()[layer]
            step = conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127
            codes = torch.clamp(torch.round(seen[0] / coded.step), coded.least, coded.largest) * coded.step
            pad = torch.nn.functional.pad
            exact, coded = (
                torch.nn.functional.conv2d(pad(x, (1, 1, 1, 1), mode="reflect"), w, stride=conv.stride)
                for x, w in ((seen[0], conv.weight), (codes, torch.round(conv.weight / step) * step))
            )
            means.append((exact - coded).mean((0, 2, 3)).numpy())
    np.testing.assert_allclose(corrected.improvements.bias[layer], np.mean(means, axis=0), rtol=0.02, atol=1e-6)


def test_a_corrected_layer_takes_nothing_on_average_any_more(network, corrected, pairs, folders):
    again = with_corrected_biases(network, corrected, pairs, *folders)
    assert again == corrected  # it starts from the bare biases, so that doing it twice does nothing twice
    assert set(corrected.improvements.bias) == set(corrected.int8)
    assert any(abs(value) > 0 for values in corrected.improvements.bias.values() for value in values)


def test_an_improved_simulation_is_what_the_improved_export_computes(network, corrected, held, tmp_path):
    made = replace(corrected, improvements=replace(corrected.improvements, bias={
        layer: tuple(value + 0.01 for value in values) for layer, values in corrected.improvements.bias.items()
    }))  # fmt: skip
    made = replace(made, int8=made.int8[1::2])
    judge = Judge(network, held)
    bundle = get_target("onnx").export(network, Request("improved", int8=Int8(made)), tmp_path)
    with get_backend("onnx").open(bundle, Options()) as session:
        wanted = judge.score(session.run)
    np.testing.assert_allclose(Simulator(network, made, judge)(made.int8).psnr, wanted.psnr, atol=0.5)


def test_ranges_of_the_equalised_network_are_collected_on_it(work, network, calibration):
    improvements = Improvements({"decoder.conv4_1": (3,) * network.decoder.conv4_1.out_channels})
    with console.progress(enabled=False) as bar:
        made, _ = work.collected(bar, improvements)
    assert made.improvements == improvements
    assert made.weights_sha256 == calibration.weights_sha256
    for layer, found in made.layers.items():
        factor = 8 if layer == "decoder.conv3_1" else 1
        assert found.maximum == pytest.approx(factor * calibration.layers[layer].maximum, rel=1e-6)
    made.check(network)


def test_equalisation_mends_a_network_whose_channels_are_far_apart(strided, pairs, folders, held):
    """What it is for: channels scaled apart, which changes no result in float and ruins int8."""
    apart = {couple.name: tuple(6 * (i % 2) for i in range(couple.first.out_channels)) for couple in couples(strided)}
    broken = equalised(strided, apart)
    work = Work(broken, pairs, *folders, "mse", 99.99, 1)
    judge = Judge(broken, held)
    with console.progress(enabled=False) as bar:
        made, found = work.collected(bar)
        better, _, attempt = work.equalised(made, found, judge, bar)
    assert attempt.kept
    assert attempt.after.mean_psnr > attempt.before.mean_psnr + 3
    assert better.improvements.equalisation
    assert Simulator(broken, better, judge)(better.int8) == attempt.after


def test_what_does_not_raise_the_psnr_is_left_out():
    assert Attempt("x", Scores((30.0,), (1.0,)), Scores((30.1,), (1.0,))).kept
    worse = Attempt("equalisation", Scores((30.0,), (1.0,)), Scores((29.0,), (1.0,)))
    assert not worse.kept
    assert str(worse) == "equalisation: 30.00 to 29.00 dB on 1 held-out pairs, left out"
    assert not Attempt("x", Scores((30.0,), (1.0,)), Scores((30.0,), (1.0,))).kept


def test_without_other_images_or_styles_nothing_can_be_judged(work):
    with pytest.raises(InputError, match="all 3 images of it were calibrated on"):
        work.held_out()
    with pytest.raises(InputError, match="no styles"):
        replace(work, styles=None).held_out()


def test_the_network_is_left_as_it_was(network, corrected):
    before = copy.deepcopy(network.state_dict())
    corrected.prepared(network)
    SimulatedNetwork(network, corrected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert calibrated(network).improvements == Improvements()
