"""Imports: the layouts people have give the network they came from, and a pickle's code never runs."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from adain_model import (
    LITE,
    VGG19,
    Encoder,
    Network,
    import_network,
    load_network,
    save_network,
)
from adain_runtime.errors import InputError


def conv(inputs: int, outputs: int, *, relu: bool = True) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3)] + ([nn.ReLU()] if relu else [])


@pytest.fixture
def encoder() -> nn.Sequential:
    """The fixture spec's encoder, laid out and keyed as pytorch-AdaIN does, with layers beyond relu4_1."""

    def pool():
        return nn.MaxPool2d(2, 2, ceil_mode=True)

    stages = [[(3, 4), (4, 5)], [(5, 6), (6, 7)], [(7, 8), (8, 9)], [(9, 10), (10, 12)]]
    steps: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
    for number, stage in enumerate(stages):
        steps += [pool()] if number else []
        for widths in stage:
            steps += conv(*widths)
    return seeded(nn.Sequential(*steps))


@pytest.fixture
def decoder() -> nn.Sequential:
    def up():
        return nn.Upsample(scale_factor=2, mode="nearest")

    stages = [[(10, 9)], [(9, 8), (8, 7)], [(7, 6), (6, 5)], [(5, 4), (4, 3)]]
    steps: list[nn.Module] = []
    for number, stage in enumerate(stages):
        steps += [up()] if number else []
        for widths in stage:
            steps += conv(*widths, relu=widths != (4, 3))
    return seeded(nn.Sequential(*steps))


def seeded(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(11)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return module.eval().requires_grad_(False)


def saved(path: Path, state: object, **options) -> Path:
    torch.save(state, path, **options)
    return path


def image(*size: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def test_pytorch_adains_files_give_the_network_they_came_from(encoder, decoder, spec, tmp_path):
    files = saved(tmp_path / "e.pth", encoder.state_dict()), saved(tmp_path / "d.pth", decoder.state_dict())
    imported = import_network(*files, spec)
    network = imported.module
    assert isinstance(network, Network)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())

    content, style = image(2, 3, 24, 32), image(1, 3, 16, 40, seed=4)
    to_relu4_1 = encoder[: len(encoder) - 3]
    features, style_features = to_relu4_1(content), to_relu4_1(style)
    assert torch.equal(network.encoder(content), features)

    def stats(x):  # as pytorch-AdaIN's function.py has it
        std = (x.flatten(2).var(dim=2) + 1e-5).sqrt()
        return x.flatten(2).mean(dim=2)[..., None, None], std[..., None, None]

    (mean, std), (style_mean, style_std) = stats(features), stats(style_features)
    target = (features - mean) / std * style_std + style_mean
    wanted = decoder(target)
    assert (network(content, style) - wanted).abs().max() < 5e-6 * wanted.abs().max()


def test_layers_beyond_the_spec_are_ignored_and_named(encoder, decoder, spec, tmp_path):
    files = saved(tmp_path / "e.pth", encoder.state_dict()), saved(tmp_path / "d.pth", decoder.state_dict())
    first, second = import_network(*files, spec).sources
    assert (first.part, first.path, first.layout) == ("encoder", files[0], "sequential")
    assert [name for name, _ in first.used] == [
        "conv0", "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv4_1",
    ]  # fmt: skip
    assert [key for _, key in first.used[:3]] == ["0", "2", "5"]
    assert first.ignored == ("26",)
    assert (second.part, second.ignored) == ("decoder", ())


def test_keys_are_taken_in_numeric_order_whatever_their_order_in_the_file(encoder, spec, tmp_path):
    state = encoder.state_dict()
    by_text = OrderedDict((name, state[name]) for name in sorted(state))
    assert list(by_text)[2].startswith("1")  # 12 before 2, as safetensors lists them
    found = import_network(saved(tmp_path / "e.pth", by_text), None, spec).module
    assert torch.equal(found(image(1, 3, 16, 16)), encoder[: len(encoder) - 3](image(1, 3, 16, 16)))


@pytest.mark.parametrize("legacy", [False, True])
def test_both_of_torchs_file_formats_are_read(encoder, spec, tmp_path, legacy):
    file = saved(tmp_path / "e.pth", encoder.state_dict(), _use_new_zipfile_serialization=not legacy)
    assert isinstance(import_network(file, None, spec).module, Encoder)


def test_prefixed_keys_in_one_safetensors_file_give_both_halves(encoder, decoder, spec, tmp_path):
    file = tmp_path / "student.safetensors"
    both = {"encoder": encoder[: len(encoder) - 3], "decoder": decoder}
    save_file(nn.ModuleDict(both).state_dict(), file, {"widths": "4,5"})
    imported = import_network(file, file, spec)
    assert [source.layout for source in imported.sources] == ["prefixed", "prefixed"]
    assert [source.ignored for source in imported.sources] == [(), ()]
    assert torch.equal(imported.module.decoder(image(1, 10, 2, 3)), decoder(image(1, 10, 2, 3)))
    assert torch.equal(imported.module.encoder(image(1, 3, 16, 16)), both["encoder"](image(1, 3, 16, 16)))


def test_a_torchvision_vgg19_gets_the_imagenet_normalisation_as_its_conv0(spec, tmp_path):
    widths = [(3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 12)]
    convs = [seeded(nn.Conv2d(*width, 3)) for width in widths]
    places = [0, 2, 5, 7, 10, 12, 19, 21]
    state = {
        f"features.{place}.{n}": t for place, c in zip(places, convs, strict=True) for n, t in c.state_dict().items()
    }
    state["classifier.0.weight"] = torch.zeros(2, 2)
    imported = import_network(saved(tmp_path / "vgg19-dcbb9e9d.pth", state), None, spec)
    (source,) = imported.sources
    assert source.layout == "torchvision"
    assert source.used[0] == ("conv0", "ImageNet normalisation")
    assert source.used[1] == ("conv1_1", "features.0")
    assert source.ignored == ("features.21", "classifier.0.weight")

    x = image(1, 3, 16, 24)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    wanted = (x - mean) / std
    torch.testing.assert_close(imported.module.conv0(x), wanted)
    for number, c in enumerate(convs[:7]):
        if number in (2, 4, 6):
            wanted = nn.functional.max_pool2d(wanted, 2, 2, ceil_mode=True)
        wanted = c(nn.functional.pad(wanted, (1, 1, 1, 1), mode="reflect")).relu()
    torch.testing.assert_close(imported.module(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_spec_without_conv0_can_not_take_a_torchvision_vgg19(spec, tmp_path):
    file = saved(
        tmp_path / "vgg19.pth",
        {"features.0.weight": torch.zeros(4, 3, 3, 3), "features.0.bias": torch.zeros(4)},
    )
    with pytest.raises(InputError, match=r"vgg19\.pth: .*ImageNet.*no conv0.*--spec vgg19"):
        import_network(file, None, replace(spec, color_conv=False))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_other_floats_become_float32(encoder, spec, tmp_path, dtype):
    state = {name: tensor.to(dtype) for name, tensor in encoder.state_dict().items()}
    found = import_network(saved(tmp_path / "e.pth", state), None, spec).module
    assert torch.equal(found.conv0.weight, encoder[0].weight.to(dtype).float())
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}


def test_an_imported_network_is_saved_as_a_checkpoint(encoder, decoder, spec, tmp_path):
    files = saved(tmp_path / "e.pth", encoder.state_dict()), saved(tmp_path / "d.pth", decoder.state_dict())
    network = import_network(*files, spec).module
    save_network(network, tmp_path / "tiny.safetensors")
    again = load_network(tmp_path / "tiny.safetensors")
    x = image(1, 3, 16, 16)
    assert torch.equal(again(x, x), network(x, x))


class RunsCode:
    """What an attacker's file holds: unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("name", ["evil.pth", "evil.pt", "evil.bin"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(spec, tmp_path, how, name):
    trace, file = tmp_path / "it-ran", tmp_path / name
    state = {"0.bias": RunsCode(trace), "0.weight": torch.zeros(3, 3, 1, 1)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, file, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(InputError, match=rf"{name}: refused.*(posix|nt)\.mkdir.*can run code"):
        import_network(file, None, spec)
    assert not trace.exists()
    # The file is a live one: read without the guard, it does what it threatens.
    if how == "pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert trace.exists()


def test_a_whole_pickled_module_is_refused_with_the_way_to_save_it(encoder, spec, tmp_path):
    with pytest.raises(InputError, match=r"refused.*torch\.save\(model\.state_dict\(\), FILE\)"):
        import_network(saved(tmp_path / "module.pth", encoder), None, spec)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 50, b"PK\x03\x04 not really", b"\x80\x02}q\x00."[:4]])
@pytest.mark.parametrize("name", ["damaged.pth", "damaged.safetensors"])
def test_a_damaged_file_is_named(spec, tmp_path, content, name):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=name):
        import_network(file, None, spec)


def test_what_a_failed_download_leaves_is_recognised(spec, tmp_path):
    file = tmp_path / "vgg_normalised.pth"
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")
    with pytest.raises(InputError, match=r"not a torch file \(it begins with b'version .*Git LFS pointer"):
        import_network(file, None, spec)


def test_a_truncated_torch_file_is_named(encoder, spec, tmp_path):
    file = saved(tmp_path / "e.pth", encoder.state_dict())
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"e\.pth: not a whole torch file .*again"):
        import_network(file, None, spec)


def test_a_missing_file_and_a_folder_are_named(spec, tmp_path):
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(InputError, match=f"{path}: no such file"):
            import_network(path, None, spec)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ([torch.zeros(1)], "holds a list, expected a state dict"),
        ({"0.weight": 3}, "'0.weight' is a int, expected a state dict of tensors"),
        (
            {"state_dict": {"0.weight": torch.zeros(1)}},
            "'state_dict' is a OrderedDict|'state_dict' is a dict",
        ),
        ({0: torch.zeros(1)}, "0 is a Tensor|0 is a"),
        ({"0.weight": torch.eye(2).to_sparse()}, "'0.weight' is a tensor that is not dense"),
        ({}, r"no encoder was recognised by its keys \(none\)"),
        (
            {"conv1.weight": torch.zeros(1)},
            r"no encoder was recognised by its keys \(conv1\.weight\).*features\.0\.weight",
        ),
        ({"0.weight": torch.zeros(3, 3, 1, 1)}, r"0\.weight has no 0\.bias beside it"),
    ],
)
def test_another_content_is_named_with_what_was_wanted(spec, tmp_path, state, named):
    with pytest.raises(InputError, match=rf"odd\.pth: .*({named})"):
        import_network(saved(tmp_path / "odd.pth", state), None, spec)


def test_too_few_convolutions_are_counted(encoder, spec, tmp_path):
    short = saved(tmp_path / "short.pth", encoder[:8].state_dict())
    with pytest.raises(InputError, match=r"short\.pth: 3 encoder convolutions, and tiny wants 8 \(conv0 to conv4_1\)"):
        import_network(short, None, spec)


def test_another_networks_shapes_are_named(encoder, decoder, spec, tmp_path):
    swapped = saved(tmp_path / "d.pth", encoder.state_dict()), saved(tmp_path / "e.pth", decoder.state_dict())
    with pytest.raises(InputError, match=r"e\.pth: .*(--spec)"):
        import_network(swapped[1], None, spec)
    with pytest.raises(
        InputError, match=r"d\.pth: 0\.weight is \[3, 3, 1, 1\], decoder\.conv4_1 wants \[9, 10, 3, 3\]"
    ):
        import_network(swapped[0], swapped[0], spec)


def test_a_decoder_with_more_layers_is_not_cut(encoder, decoder, spec, tmp_path):
    longer = nn.Sequential(*decoder, *conv(3, 3))
    files = saved(tmp_path / "e.pth", encoder.state_dict()), saved(tmp_path / "d.pth", longer.state_dict())
    with pytest.raises(InputError, match=r"d\.pth: 8 decoder convolutions, and tiny ends after 7"):
        import_network(*files, spec)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(encoder, spec, tmp_path, value):
    encoder[2].bias[1] = value
    with pytest.raises(InputError, match=r"e\.pth: 2\.bias is not finite"):
        import_network(saved(tmp_path / "e.pth", encoder.state_dict()), None, spec)


def test_the_files_that_users_of_pytorch_adain_have_are_imported_exactly(shared):
    weights = shared / "weights"
    network = import_network(weights / "vgg_normalised.pth", weights / "decoder.pth", VGG19).module
    theirs = torch.load(weights / "vgg_normalised.pth", weights_only=True)
    assert torch.equal(network.encoder.get_submodule("conv4_1").weight, theirs["29.weight"])
    assert torch.equal(network.encoder.get_submodule("conv0").weight, theirs["0.weight"])
    theirs = torch.load(weights / "decoder.pth", weights_only=True)
    assert torch.equal(network.decoder.get_submodule("conv1_2").bias, theirs["28.bias"])


def test_the_pilot_students_file_is_imported_exactly(shared):
    pilot = shared / "weights" / "lite_pilot.safetensors"
    encoder = ((16,), (48, 48), (96, 96), (192, 192))  # lite's widths before its silent channels were pruned
    spec = replace(LITE, encoder=encoder, decoder=((96,), (96, 96, 48), (48, 16), (16, 3)))
    student = import_network(pilot, pilot, spec).module.state_dict()
    theirs = load_file(pilot)
    assert len(student) == len(theirs)
    assert {tensor.numpy().tobytes() for tensor in student.values()} == {
        tensor.float().numpy().tobytes() for tensor in theirs.values()
    }
