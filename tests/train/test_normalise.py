"""Rescaling VGG-19: every mean activation becomes 1, and the function stays the same up to each channel's scale."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from adain_model import VGG19, Encoder, load_encoder
from adain_model.network import PaddedConv
from adain_runtime.errors import InputError
from adain_train.data import Framing, check_folder
from adain_train.normalise import mean_activations, normalise, normalise_command
from adain_train.squares import to_tensor
from networks import SPECS, make_network


@pytest.fixture
def encoder(teacher) -> Encoder:
    """In float64, so that equal means equal."""
    encoder = teacher.encoder.double()
    make_every_filter_fire(encoder)
    return encoder


@pytest.fixture
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    sizes = ((24, 24), (32, 40), (19, 22))
    return [torch.rand(1, 3, *size, generator=generator, dtype=torch.float64) for size in sizes]


def make_every_filter_fire(encoder: Encoder) -> None:
    """Biases such that every filter fires at about half of the positions of a random image."""
    dtype = next(encoder.parameters()).dtype
    features = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(4), dtype=dtype)
    with torch.no_grad():
        for _, step in encoder.named_steps():
            if isinstance(step, PaddedConv):
                padded = functional.pad(features, (1, 1, 1, 1), mode="reflect")
                step.bias.copy_(-functional.conv2d(padded, step.weight).median(dim=3)[0].median(dim=2)[0][0])
            features = step(features)


def layers(encoder: Encoder, image: torch.Tensor) -> dict[str, torch.Tensor]:
    features, found = image, {}
    for name, step in encoder.named_steps():
        features = step(features)
        if isinstance(step, PaddedConv):
            found[name] = features
    return found


def test_the_features_of_every_layer_are_the_same_up_to_each_channels_scale(encoder, images):
    found = normalise(encoder, images)
    assert all((mean > 0).all() for mean in found.means.values())
    unseen = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    before, after = layers(encoder, unseen), layers(found.encoder, unseen)
    assert list(before) == list(found.means)
    for name, features in before.items():
        scale = found.means[name][None, :, None, None]
        torch.testing.assert_close(after[name] * scale, features, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(after[name], features)


def test_every_filters_mean_activation_is_one_afterwards(encoder, images):
    found = normalise(encoder, images)
    for mean in mean_activations(found.encoder, images).values():
        torch.testing.assert_close(mean, torch.ones_like(mean), rtol=1e-12, atol=0)


def test_means_run_over_all_positions_of_all_images(encoder, images):
    cells = torch.cat([layers(encoder, image)["conv3_1"].flatten(2)[0] for image in images], dim=1)
    torch.testing.assert_close(mean_activations(encoder, images)["conv3_1"], cells.mean(dim=1))


def test_a_filter_that_never_fires_keeps_its_scale_and_is_counted(encoder, images):
    with torch.no_grad():
        encoder.conv2_1.bias[4] = -1e3
    found = normalise(encoder, images)
    assert found.dead == {name: int(name == "conv2_1") for name in found.means}
    assert found.encoder.conv2_1.bias[4] == -1e3
    assert all(parameter.isfinite().all() for parameter in found.encoder.parameters())


def test_the_encoder_that_is_given_and_its_conv0_stay_as_they_are(encoder, images):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = normalise(encoder, images)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert torch.equal(found.encoder.conv0.weight, encoder.conv0.weight)
    assert torch.equal(found.encoder.conv0.bias, encoder.conv0.bias)


def test_no_images_and_a_convolution_without_relu_are_refused(encoder, images):
    with pytest.raises(InputError, match="at least one image"):
        normalise(encoder, [])
    with pytest.raises(InputError, match="conv4_1 has no ReLU"):
        normalise(make_network(replace(SPECS["pooled"], encoder_relu=False)).encoder, images)


def test_the_command_rescales_torchvisions_vgg19(command, pictures, tmp_path):
    source = make_network(VGG19).encoder
    places = (0, 2, 5, 7, 10, 12, 14, 16, 19)
    make_every_filter_fire(source)
    convs = [step for _, step in source.named_steps() if isinstance(step, PaddedConv)]
    state = {
        f"features.{place}.{field}": getattr(conv, field).clone()
        for place, conv in zip(places, convs, strict=True)
        for field in ("weight", "bias")
    }
    torch.save(state, tmp_path / "vgg19_torchvision.pth")
    output = tmp_path / "vgg19.safetensors"
    given = ["--weights", tmp_path / "vgg19_torchvision.pth", "--images", pictures / "content", "--size", 32]
    code, out, err = command("normalise", *given, "--count", 3, "-o", output, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["images"] == 3
    photographs = check_folder(pictures / "content", Framing(32, 32, 32))
    means = mean_activations(load_encoder(output), [to_tensor(photographs.image(i)) for i in range(3)])
    assert list(means) == list(report["mean_activations_before"])
    for name, mean in means.items():
        fired = mean[mean > 0]
        assert len(mean) - len(fired) == report["mean_activations_before"][name]["dead"] < 0.2 * len(mean)
        torch.testing.assert_close(fired, torch.ones_like(fired), rtol=5e-3, atol=0)


def test_the_command_refuses_an_output_that_is_no_checkpoint(pictures, tmp_path):
    with pytest.raises(InputError, match=r"name it vgg\.safetensors"):
        normalise_command(weights=tmp_path / "x.pth", images=pictures / "content", output=tmp_path / "vgg.pth")
