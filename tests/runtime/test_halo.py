"""Halos by interval arithmetic: the published network's are known, and a wider or deeper one sees further."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adain_runtime.halo import decoder_halo, encoder_halo, full_size_channels
from adain_runtime.spec import NetworkSpec

VGG19 = NetworkSpec(
    "vgg19",
    ((64, 64), (128, 128), (256, 256, 256, 256), (512,)),
    ((256,), (256, 256, 256, 128), (128, 64), (64, 3)),
    color_conv=True,
)


def test_vgg_19_sees_32_pixels_and_4_cells():
    assert encoder_halo(VGG19) * VGG19.stride == 32
    assert decoder_halo(VGG19) == 4


def test_the_embedded_student_sees_24_pixels_and_4_cells(null_stylizer):
    spec = null_stylizer.spec
    assert encoder_halo(spec) * spec.stride == 24
    assert decoder_halo(spec) == 4


@pytest.mark.parametrize("downsample", ["maxpool", "stride"])
def test_one_stage_sees_as_many_pixels_as_it_has_convolutions(downsample):
    spec = NetworkSpec("flat", ((4, 4, 4),), ((4, 3),), downsample=downsample)
    assert (encoder_halo(spec), decoder_halo(spec)) == (3, 2)


def test_one_more_convolution_at_the_bottom_sees_one_more_cell():
    deeper = replace(VGG19, encoder=(*VGG19.encoder[:-1], (512, 512)), decoder=((512, 256), *VGG19.decoder[1:]))
    assert encoder_halo(deeper) == encoder_halo(VGG19) + 1
    assert decoder_halo(deeper) == decoder_halo(VGG19) + 1


def test_the_largest_map_is_found_in_either_half_and_at_any_stage():
    assert full_size_channels(VGG19) == 64
    assert full_size_channels(NetworkSpec("e", ((20,), (30,)), ((8,), (8, 3)))) == 20
    assert full_size_channels(NetworkSpec("d", ((4,), (8,)), ((200,), (8, 3)))) == 50
