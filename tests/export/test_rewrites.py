"""Every rewrite computes what the network computed, on any size, border included."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from adain_export import rewrites
from adain_export.rewrites import fold_color, phase, phase_last
from adain_export.rewrites.phase import PhaseConv
from adain_export.rewrites.phase_last import CellConv, PhaseCells
from adain_model.network import PaddedConv, Upsample
from networks import SPECS, make_network

sides = st.integers(2, 12)
ALL = ("fold-color", "phase", "phase-last")


@settings(deadline=None, max_examples=30)
@given(height=sides, width=sides, border=st.sampled_from(["reflect", "replicate"]), relu=st.booleans())
def test_phases_equal_upsampling_and_convolution_on_any_size(height, width, border, relu):
    generator = torch.Generator().manual_seed(height * 100 + width)
    conv = PaddedConv(5, 7, border=border, relu=relu).double()
    features = torch.randn(2, 5, height, width, generator=generator, dtype=torch.float64)
    wanted = nn.Sequential(Upsample(), conv)(features)
    assert wanted.shape == (2, 7, 2 * height, 2 * width)
    assert (PhaseConv(conv)(features) - wanted).abs().max() < 1e-12


def test_a_phase_convolution_has_four_ninths_of_the_multiplications():
    conv = PaddedConv(5, 7)
    large_map, small_map = 4, 1  # cells
    assert PhaseConv(conv).weight.numel() * small_map * 9 == conv.weight.numel() * large_map * 4


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 12), width=st.integers(1, 12), relus=st.tuples(st.booleans(), st.booleans()))
def test_a_convolution_of_the_phases_equals_that_of_the_map_they_make_up(height, width, relus):
    generator = torch.Generator().manual_seed(height * 100 + width)
    first, second = PaddedConv(5, 7, relu=relus[0]).double(), PaddedConv(7, 3, relu=relus[1]).double()
    features = torch.randn(2, 5, height, width, generator=generator, dtype=torch.float64)
    wanted = nn.Sequential(Upsample(), first, second)(features)
    found = CellConv(second)(PhaseCells(PhaseConv(first))(features))
    assert found.shape == wanted.shape == (2, 3, 2 * height, 2 * width)
    assert (found - wanted).abs().max() < 1e-12


def test_the_last_convolution_is_left_alone_where_its_border_is_no_reflection_or_no_phases_are_before_it():
    network = make_network(SPECS["strided"])
    assert not phase_last.rewrite(network)
    replicated = make_network(replace(SPECS["strided"], padding="replicate"))
    assert rewrites.apply(replicated, ("phase", "phase-last")) == ("phase",)


@settings(deadline=None, max_examples=20)
@given(height=sides, width=sides, seed=st.integers(0, 100))
def test_folding_the_colour_convolution_changes_nothing_on_any_size(height, width, seed):
    network = make_network(SPECS["pooled"], seed).double()
    folded = copy.deepcopy(network)
    assert fold_color.rewrite(folded)
    image = torch.rand(2, 3, 8 * height, 8 * width, generator=torch.Generator().manual_seed(seed)).double()
    wanted = network.encoder(image)
    assert (folded.encoder(image) - wanted).abs().max() < 1e-12 * wanted.abs().max()
    assert "conv0" not in folded.encoder.steps


@pytest.mark.parametrize("name", SPECS)
def test_all_rewrites_together_give_the_same_image(name):
    network = make_network(SPECS[name])
    rewritten = copy.deepcopy(network)
    applied = rewrites.apply(rewritten, ("phase-last", "phase", "fold-color"))
    assert applied == (("fold-color", *ALL[1:]) if name == "pooled" else ALL[1:])
    content, style = torch.rand(2, 1, 3, 72, 40, generator=torch.Generator().manual_seed(1))
    difference = (rewritten(content, style) - network(content, style)).abs().max()
    assert 0 < difference < 1e-5


def test_zero_padding_is_left_alone_because_there_the_rewrites_are_not_exact():
    network = make_network(replace(SPECS["pooled"], padding="zeros"))
    steps = (tuple(network.encoder.steps), tuple(network.decoder.steps))
    assert not fold_color.rewrite(network)
    assert not phase.rewrite(network)
    assert (tuple(network.encoder.steps), tuple(network.decoder.steps)) == steps


def test_a_rewrite_that_is_not_asked_for_is_not_applied():
    network = make_network(SPECS["pooled"])
    assert rewrites.apply(network, ()) == ()
    assert rewrites.apply(network, ("phase",)) == ("phase",)
    assert network.encoder.steps[0] == "conv0"
