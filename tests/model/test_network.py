"""Encoder, decoder and network, against the same thing written in plain torch modules."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from adain_model import (
    LITE,
    SPECS,
    VGG19,
    Encoder,
    MaxPool,
    Network,
    PaddedConv,
    Upsample,
    adain,
    initialize,
    layer_costs,
    macs,
)
from adain_model.cost import mac_shares
from adain_runtime.errors import InputError

VGG19_ENCODER = [
    "conv0", "conv1_1", "conv1_2", "pool1", "conv2_1", "conv2_2", "pool2",
    "conv3_1", "conv3_2", "conv3_3", "conv3_4", "pool3", "conv4_1",
]  # fmt: skip
DECODER = [
    "conv4_1", "up3", "conv3_1", "conv3_2", "conv3_3", "conv3_4", "up2",
    "conv2_1", "conv2_2", "up1", "conv1_1", "conv1_2",
]  # fmt: skip
LITE_DECODER = [name for name in DECODER if name != "conv3_4"]


def image(*size: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def on_meta(spec) -> Network:
    with torch.device("meta"):
        return Network(spec)


def plain(chain) -> nn.Sequential:
    """The chain's steps as torch's own modules: reflection pad, convolution, ReLU, pool, upsample."""
    steps: list[nn.Module] = []
    for _, step in chain.named_steps():
        if isinstance(step, PaddedConv):
            conv = nn.Conv2d(step.in_channels, step.out_channels, 3, step.stride)
            conv.load_state_dict(step.state_dict())
            pad = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zeros": nn.ZeroPad2d}
            steps += [pad[step.border](1), conv] + ([nn.ReLU()] if step.relu else [])
        elif isinstance(step, MaxPool):
            steps.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        elif isinstance(step, Upsample):
            steps.append(nn.Upsample(scale_factor=2, mode="nearest"))
        else:
            steps.append(step)
    return nn.Sequential(*steps).requires_grad_(False)


def test_the_known_specs_are_known_by_their_names():
    assert dict(SPECS) == {"vgg19": VGG19, "lite": LITE}
    assert (VGG19.channels, VGG19.stride, VGG19.correction) == (512, 8, 1)
    assert (LITE.channels, LITE.stride, LITE.correction) == (192, 8, 0)


def test_vgg19_is_laid_out_as_published():
    network = on_meta(VGG19)
    assert network.encoder.steps == VGG19_ENCODER
    assert network.decoder.steps == DECODER
    convolutions = [step for step in network.encoder.steps if step.startswith("conv")]
    assert list(network.encoder.state_dict()) == [f"{c}.{f}" for c in convolutions for f in ("weight", "bias")]
    relus = {name: s.relu for name, s in network.encoder.named_steps() if isinstance(s, PaddedConv)}
    assert all(relus.values())
    relus = {name: s.relu for name, s in network.decoder.named_steps() if isinstance(s, PaddedConv)}
    assert [name for name, relu in relus.items() if not relu] == ["conv1_2"]


def test_lite_halves_by_stride_and_its_encoder_ends_without_relu():
    network = on_meta(LITE)
    assert network.decoder.steps == LITE_DECODER
    convolutions = dict(network.encoder.named_steps())
    assert [n for n, c in convolutions.items() if c.stride == (2, 2)] == ["conv2_1", "conv3_1", "conv4_1"]
    assert [n for n, c in convolutions.items() if not c.relu] == ["conv4_2"]


@pytest.mark.parametrize("padding", ["reflect", "replicate", "zeros"])
@pytest.mark.parametrize("which", ["spec", "strided_spec"])
def test_both_halves_compute_what_plain_torch_modules_compute(which, padding, request, generator):
    spec = request.getfixturevalue(which)
    spec = type(spec).from_json(spec.to_json() | {"padding": padding})
    network = Network(spec).requires_grad_(False)
    initialize(network, generator)
    x = image(2, 3, 24, 32)
    features = network.encoder(x)
    assert features.shape == (2, spec.channels, 3, 4)
    assert torch.equal(features, plain(network.encoder)(x))
    decoded = network.decoder(features)
    assert decoded.shape == x.shape
    assert torch.equal(decoded, plain(network.decoder)(features))


def test_the_decoder_does_not_clip(network):
    decoded = network.decoder(image(1, network.spec.channels, 2, 2) * 1000)
    assert decoded.min() < 0 or decoded.max() > 1


def test_an_odd_edge_is_kept_by_the_encoder(network):
    assert network.encoder(image(1, 3, 17, 25)).shape[-2:] == (3, 4)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_the_network_is_encoder_adain_decoder(network, alpha):
    content, style = image(2, 3, 16, 24), image(1, 3, 32, 16, seed=4)
    features = network.encoder(content)
    mean, std = network.stats(network.encoder(style))
    target = adain(features, mean, std, correction=1, eps=1e-5)
    wanted = network.decoder(alpha * target + (1 - alpha) * features)
    torch.testing.assert_close(network(content, style, alpha), wanted, rtol=1e-5, atol=1e-5)


def test_statistics_use_the_specs_correction(network, strided_spec):
    x = image(1, 4, 3, 5)
    _, unbiased = network.stats(x)
    _, biased = Network(strided_spec).stats(x)
    torch.testing.assert_close(unbiased, (x.var((2, 3), keepdim=True) + 1e-5).sqrt())
    torch.testing.assert_close(biased, (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt())


@pytest.mark.parametrize("size", [(8, 16), (16, 20), (15, 16)])
def test_a_size_that_can_not_be_given_back_is_refused(network, size):
    with pytest.raises(InputError, match=rf"content is {size[0]}x{size[1]}, .* multiples of 8, at least 16"):
        network(image(1, 3, *size), image(1, 3, 16, 16))
    with pytest.raises(InputError, match=f"style is {size[0]}x{size[1]}"):
        network(image(1, 3, 16, 16), image(1, 3, *size))


def test_taps_are_the_activations_after_each_stages_first_convolution(network):
    x = image(1, 3, 16, 16)
    taps = network.encoder.taps(x)
    by_name = {}
    features = x
    for name, step in network.encoder.named_steps():
        features = by_name[name] = step(features)
    assert len(taps) == 4
    for tap, name in zip(taps, ["conv1_1", "conv2_1", "conv3_1", "conv4_1"], strict=True):
        assert torch.equal(tap, by_name[name])
        assert tap.min() >= 0
    assert torch.equal(taps[-1], network.encoder(x))


def test_the_last_tap_of_a_single_convolution_without_relu_is_its_plain_output(spec, generator):
    plain_end = type(spec).from_json(spec.to_json() | {"encoder_relu": False})
    encoder = Encoder(plain_end).requires_grad_(False)
    initialize(encoder, generator)
    assert encoder.taps(image(1, 3, 16, 16))[-1].min() < 0


def test_the_same_seed_draws_the_same_weights_and_leaves_torchs_own_generator_alone(spec):
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        encoder = Encoder(spec)
        torch.set_rng_state(before)
        initialize(encoder, torch.Generator().manual_seed(1))
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(encoder.state_dict())
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])


def test_a_module_can_take_the_place_of_consecutive_steps(network):
    x = image(1, network.spec.channels, 2, 3)
    wanted = network.decoder(x)
    changed = copy.deepcopy(network.decoder)
    both = nn.Sequential(changed.get_submodule("up2"), changed.get_submodule("conv2_1"))
    changed.splice(["up2", "conv2_1"], "conv2_1", both)
    assert changed.steps == [name for name in network.decoder.steps if name != "up2"]
    assert changed.get_submodule("conv2_1") is both
    assert torch.equal(changed(x), wanted)


@pytest.mark.parametrize("old", [[], ["conv4_1", "conv3_1"], ["nothing"], ["conv3_1", "up3"]])
def test_steps_that_do_not_follow_one_another_can_not_be_replaced(network, old):
    before = list(network.decoder.steps)
    with pytest.raises(ValueError, match="not consecutive steps"):
        network.decoder.splice(old, "new", nn.Identity())
    assert network.decoder.steps == before


@pytest.mark.parametrize("which", ["spec", "strided_spec"])
def test_both_halves_export_with_dynamic_sizes(which, request):
    network = Network(request.getfixturevalue(which)).eval().requires_grad_(False)
    height, width = Dim("height", min=2), Dim("width", min=2)
    x = image(1, 3, 24, 32)
    sizes = {"image": {2: 8 * height, 3: 8 * width}}
    encoder = export(network.encoder, (x,), dynamic_shapes=sizes).module()
    sizes = {"features": {2: height, 3: width}}
    decoder = export(network.decoder, (network.encoder(x),), dynamic_shapes=sizes).module()
    other = image(1, 3, 16, 40)
    torch.testing.assert_close(encoder(other), network.encoder(other))
    torch.testing.assert_close(decoder(encoder(other)), network.decoder(network.encoder(other)))


def test_vgg19_costs_what_the_facts_say():
    found = layer_costs(on_meta(VGG19), 512, 512)
    assert macs(found, "encoder") == macs(found, "decoder") == 241_344 * 512 * 512
    color = next(layer for layer in found if layer.name == "encoder.conv0")
    assert color.macs == 9 * 512 * 512
    assert len(found) == 19


def test_lite_has_the_parameters_and_a_sixteenth_of_the_work():
    found = layer_costs(on_meta(LITE), 256, 256)
    assert sum(layer.parameters for layer in found) == sum(p.numel() for p in on_meta(LITE).parameters())
    work = macs(found, "encoder") + macs(found, "decoder")
    assert 1 / 17 < work / (2 * 241_344 * 256 * 256) < 1 / 15


@pytest.mark.parametrize("which", ["spec", "strided_spec"])
def test_costs_are_those_of_the_maps_that_the_convolutions_really_make(which, request):
    network = Network(request.getfixturevalue(which)).eval().requires_grad_(False)
    counted: dict[str, int] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):

            def count(module, _, output, name=name):
                counted[name] = module.weight.numel() * output.shape[-2] * output.shape[-1]

            module.register_forward_hook(count)
    network.decoder(network.encoder(image(1, 3, 48, 64)))
    assert {layer.name: layer.macs for layer in layer_costs(network, 48, 64)} == counted


def test_shares_of_the_work_sum_to_one_at_every_size_and_leave_the_colour_convolution_out(network):
    shares = mac_shares(network)
    assert sum(shares.values()) == pytest.approx(1)
    assert "encoder.conv0" not in shares
    rows = [row for row in layer_costs(network, 48, 64) if row.name != "encoder.conv0"]
    total = sum(row.macs for row in rows)
    assert list(shares) == [row.name for row in rows]
    assert list(shares.values()) == pytest.approx([row.macs / total for row in rows])


def test_costs_of_an_encoder_alone_are_the_networks_encoder_rows(network):
    rows = layer_costs(network, 64, 64)
    assert layer_costs(network.encoder, 64, 64) == tuple(r for r in rows if r.name.startswith("encoder."))


def test_a_step_of_unknown_cost_is_not_counted_as_nothing(network):
    network.encoder.splice(["pool1"], "pool1", nn.AvgPool2d(2))
    with pytest.raises(TypeError, match=r"encoder\.pool1: the cost of AvgPool2d"):
        layer_costs(network, 16, 16)
