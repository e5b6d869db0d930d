"""Collecting: the histograms are those of the network in torch, over contents, styles, alpha and mixes."""

from __future__ import annotations

import copy
import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from adain_calib.collect import calibration_of, collect, observe, steps_of
from adain_calib.histogram import Histogram
from adain_calib.images import open_folder
from adain_calib.pairs import Pairs, Sample, plain_pairs
from adain_export import rewrites
from adain_export.calibration import Calibration, layer_names
from adain_export.layer_range import FALLBACK
from adain_model.network import PaddedConv
from adain_model.norms import adain
from adain_runtime.errors import QualityError
from networks import SPECS, make_network


@contextmanager
def entering_in_torch(network):
    """What enters each 3x3 convolution, gathered by hooks: layer to list of arrays."""
    seen = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: seen.setdefault(name, []).append(args[0].numpy()))
        for name, module in network.named_modules()
        if isinstance(module, PaddedConv)
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def in_torch(network, pairs, contents, styles):
    """What a pass of the plain network sees: every image encoded once, every pair decoded."""

    def planes(folder, index):
        return torch.from_numpy(folder.planes(index, size=pairs.size, stride=network.spec.stride))

    with entering_in_torch(network) as seen, torch.inference_mode():
        known = [network.stats(network.encoder(planes(styles, i))) for i in range(len(pairs.styles))]
        encoded = {i: network.encoder(planes(contents, i)) for i in {sample.content for sample in pairs.samples}}
        for sample in pairs.samples:
            features = encoded[sample.content]
            if sample.styles:
                mean, std = (
                    sum(w * known[i][part] for i, w in zip(sample.styles, sample.weights, strict=True))
                    for part in (0, 1)
                )
                settings = {"correction": network.spec.correction, "eps": network.spec.eps}
                features = adain(features, mean, std, alpha=sample.alpha, **settings)
            network.decoder(features)
    return {layer: np.concatenate([values.ravel() for values in batches]) for layer, batches in seen.items()}


def test_every_layer_has_the_histogram_of_what_enters_it_in_torch(network, histograms, pairs, folders):
    folded = copy.deepcopy(network)
    rewrites.apply(folded, ("fold-color",))  # the image itself enters the first convolution
    compare(histograms, in_torch(folded, pairs, *folders), folded)


def compare(histograms, wanted, network):
    assert tuple(histograms) == layer_names(network)
    for layer, values in wanted.items():
        found = histograms[layer]
        assert found.count == values.size, layer
        assert found.minimum == pytest.approx(float(values.min()), rel=1e-4, abs=1e-5)
        assert found.maximum == pytest.approx(float(values.max()), rel=1e-4, abs=1e-5)
        expected = Histogram(layer)
        expected.add(values)
        moved = np.abs(np.cumsum(found.counts) - np.cumsum(expected.counts)).max()
        assert moved <= 2e-3 * values.size, layer  # rounding moves values over edges, one bin at most


def test_layers_are_those_of_the_network_in_their_order(network, histograms):
    assert list(histograms) == list(layer_names(network))
    assert histograms["encoder.conv1_1"].maximum <= 1
    assert histograms["encoder.conv1_1"].minimum >= 0


def test_the_same_pairs_give_the_same_bytes_whatever_the_threads(network, pairs, folders, calibration):
    threaded = calibration_of(network, pairs, collect(observe(network, threads=2), pairs, *folders))
    assert threaded.to_json() == calibration.to_json()


def test_a_calibration_is_the_networks_and_says_what_it_was_made_from(network, pairs, calibration):
    calibration.check(network)
    assert calibration.origin.pairs == pairs.digest
    assert (calibration.origin.samples, calibration.origin.contents, calibration.origin.styles) == (8, 3, 3)
    seen = {file.sha256[:16] for file in (*pairs.contents, *pairs.styles)}
    assert calibration.origin.images == tuple(sorted(seen))
    assert all(calibration.origin.saw(file.sha256) for file in (*pairs.contents, *pairs.styles))
    assert not calibration.origin.saw("0" * 64)
    assert set(calibration.origin.tools) == {"adain-edge", "numpy", "onnxruntime"}
    for layer in calibration.layers.values():
        assert layer.ranges["minmax"] == max(-layer.minimum, layer.maximum)


def test_the_bar_gets_as_many_steps_as_it_was_told(observed, pairs, folders):
    steps = []
    collect(observed, pairs, *folders, advance=lambda: steps.append(1))
    assert len(steps) == steps_of(pairs)


def test_a_pair_that_was_drawn_twice_counts_twice_and_is_run_once(observed, folders):
    contents, styles = folders
    once = Pairs(contents.files, styles.files, (Sample(0, (1,), (1.0,), 1.0),), 0, 64)
    twice = replace(once, samples=once.samples * 2)
    assert steps_of(twice) == steps_of(once)
    found, doubled = (collect(observed, pairs, *folders) for pairs in (once, twice))
    for layer, histogram in found.items():
        factor = 2 if layer.startswith("decoder.") else 1
        assert doubled[layer].count == factor * histogram.count
        assert doubled[layer].maximum == histogram.maximum


def test_plain_calibration_never_sees_a_style(observed, histograms, folders):
    contents, _ = folders
    plain = collect(observed, plain_pairs(contents.files, 8, seed=0, size=64), contents, None)
    assert plain["decoder.conv4_1"].count == histograms["decoder.conv4_1"].count
    assert plain["encoder.conv1_1"].count < histograms["encoder.conv1_1"].count
    assert plain["decoder.conv4_1"].digest != histograms["decoder.conv4_1"].digest


@pytest.fixture
def black(tmp_path):
    for kind in ("content", "style"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (64, 64)).save(tmp_path / kind / "black.png")
    return tuple(open_folder(tmp_path / kind, most=1, seed=0) for kind in ("content", "style"))


def test_an_all_black_image_is_fine_and_a_range_of_zeros_is_the_fallback(observed, network, black):
    contents, styles = black
    pairs = Pairs(contents.files, styles.files, (Sample(0, (0,), (1.0,), 1.0),), 0, 64)
    made = calibration_of(network, pairs, collect(observed, pairs, contents, styles))
    first = made.layers["encoder.conv1_1"]
    assert (first.minimum, first.maximum) == (0, 0)
    assert set(first.ranges.values()) == {FALLBACK}
    assert min(codes.step for codes in made.codes().values()) > 0
    assert Calibration.from_json(json.loads(made.to_json())) == made


def test_an_activation_that_is_not_finite_stops_and_names_layer_and_images(folders, pairs):
    broken = make_network(SPECS["strided"])
    with torch.no_grad():
        broken.decoder.conv4_1.weight.mul_(1e20)
        broken.decoder.conv3_1.weight.mul_(1e20)
    with pytest.raises(QualityError, match=r"enters decoder\.conv3_2: .* not finite for content\d\.png under style"):
        collect(observe(broken, threads=1), pairs, *folders)
