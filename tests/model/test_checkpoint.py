"""Checkpoints: what is written comes back, the same network is the same bytes, and every damage is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adain_model import (
    EMBEDDED,
    Encoder,
    Network,
    embedded_checkpoint,
    encoder_id,
    initialize,
    load_checkpoint,
    load_encoder,
    load_network,
    save_network,
    weights_sha256,
)
from adain_runtime.errors import InputError
from adain_runtime.files import sha256_file

KEY = "adain_edge"


@pytest.fixture
def saved(network, tmp_path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_network(network, path)
    return path


def header_of(path: Path) -> dict:
    with safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {KEY}
        return json.loads(file.metadata()[KEY])


def rewrite(path: Path, *, tensors=None, metadata=None, **header) -> None:
    """The same file with some of it changed."""
    changed = header_of(path) | header
    kept = load_file(path) | (tensors or {})
    kept = {name: tensor for name, tensor in kept.items() if tensor is not None}
    save_file(kept, path, {KEY: json.dumps(changed)} if metadata is None else metadata)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_saved_comes_back_ready_to_run(network, saved):
    loaded = load_network(saved)
    assert loaded.spec == network.spec
    assert same(loaded, network)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert load_checkpoint(saved).storage == "float32"


def test_half_storage_is_half_the_size_and_comes_back_rounded_once(network, saved, tmp_path):
    path = tmp_path / "half.safetensors"
    save_network(network, path, half=True)
    loaded = load_network(path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert load_checkpoint(path).storage == "float16"
    assert path.stat().st_size < 0.75 * saved.stat().st_size


def test_the_same_network_is_the_same_bytes(network, saved, tmp_path):
    reordered = Network(network.spec)
    reordered.load_state_dict(dict(reversed(network.state_dict().items())))
    for attempt in range(10):
        again = tmp_path / f"{attempt}.safetensors"
        save_network(reordered, again)
        assert again.read_bytes() == saved.read_bytes()


def test_the_spec_travels_in_the_metadata(network, saved):
    assert header_of(saved) == {
        "format_version": 1,
        "parts": ["decoder", "encoder"],
        "spec": network.spec.to_json(),
    }


def test_a_network_being_trained_can_be_saved(spec, tmp_path):
    network = Network(spec).train()
    save_network(network, tmp_path / "training.safetensors")
    assert network.training
    assert same(load_network(tmp_path / "training.safetensors"), network)


def test_a_loaded_network_does_not_change_with_its_file(network, saved):
    loaded = load_network(saved)
    with saved.open("r+b") as file:
        file.seek(-4000, 2)
        file.write(b"\x55" * 4000)
    assert same(loaded, network)


def test_an_encoder_alone_is_saved_and_read_and_asks_for_a_decoder(network, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_network(network.encoder, path)
    assert header_of(path)["parts"] == ["encoder"]
    assert same(load_encoder(path), network.encoder)
    with pytest.raises(InputError, match=r"encoder\.safetensors: .* no decoder.*--decoder"):
        load_network(path)


def test_a_networks_encoder_can_be_read_alone(network, saved):
    encoder = load_encoder(saved)
    assert isinstance(encoder, Encoder)
    assert same(encoder, network.encoder)


def test_weights_that_are_not_finite_are_not_written_and_the_old_file_stays(network, saved):
    before = saved.read_bytes()
    network.decoder.get_submodule("conv1_2").bias[1] = float("nan")
    with pytest.raises(InputError, match=r"decoder\.conv1_2\.bias .* not finite in float32"):
        save_network(network, saved)
    network.decoder.get_submodule("conv1_2").bias[1] = 1e5
    with pytest.raises(InputError, match="not finite in float16"):
        save_network(network, saved, half=True)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_folder_that_is_not_there_is_named(network, tmp_path):
    with pytest.raises(InputError, match=r"can't write .*nowhere"):
        save_network(network, tmp_path / "nowhere" / "x.safetensors")


def test_digests_do_not_depend_on_how_the_weights_are_stored(network, tmp_path):
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_network(network, whole)
    save_network(network, half, half=True)
    assert weights_sha256(load_network(whole)) == weights_sha256(load_network(half)) == weights_sha256(network)
    assert encoder_id(load_network(whole)) == encoder_id(load_encoder(half)) == encoder_id(network.encoder)
    assert len(encoder_id(network)) == 16
    assert len(weights_sha256(network)) == 64


def test_the_encoders_id_changes_with_the_encoder_and_only_with_it(network):
    first, first_weights = encoder_id(network), weights_sha256(network)
    initialize(network.decoder, torch.Generator().manual_seed(2))
    network.spec = replace(network.spec, name="other", alpha_range=(0.0, 2.0))
    network.encoder.spec = network.spec
    assert encoder_id(network) == first
    assert weights_sha256(network) != first_weights
    network.encoder.get_submodule("conv3_2").bias[0] += 1e-3
    second = encoder_id(network)
    assert second != first
    network.encoder.spec = replace(network.spec, correction=0)
    assert encoder_id(network) not in {first, second}


def test_the_embedded_network_is_whole_and_stylises():
    path = embedded_checkpoint()
    assert path == embedded_checkpoint(EMBEDDED)
    network = load_network(path)
    assert network.spec.name == "lite"
    assert load_checkpoint(path).storage == "float16"
    generator = torch.Generator().manual_seed(0)
    content, style = (torch.rand(1, 3, 64, 64, generator=generator) for _ in range(2))
    result = network(content, style)
    assert result.shape == content.shape
    assert result.isfinite().all()


def test_an_unknown_embedded_name_lists_what_there_is():
    with pytest.raises(InputError, match=r"no embedded network 'vgg16'; there is .*lite"):
        embedded_checkpoint("vgg16")


def test_a_bare_name_is_an_embedded_network_unless_such_a_file_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint("lite").path == embedded_checkpoint("lite")
    (tmp_path / "lite").mkdir()
    assert load_checkpoint("lite").path == embedded_checkpoint("lite")
    (tmp_path / "lite").rmdir()
    (tmp_path / "lite").write_bytes(b"")
    with pytest.raises(InputError, match="lite: not a whole safetensors file"):
        load_checkpoint("lite")
    with pytest.raises(InputError, match="no embedded network 'vgg16'"):
        load_checkpoint("vgg16")
    with pytest.raises(InputError, match=r"there/lite: no such checkpoint"):
        load_checkpoint("there/lite")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.safetensors: no such checkpoint; .*adain-model import"):
        load_network(tmp_path / "absent.safetensors")


def test_a_folder_is_not_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}.*expected a checkpoint"):
        load_network(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file, not a network\n" * 10, b"\x00" * 64])
def test_other_files_are_not_checkpoints(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.safetensors: not a whole safetensors file .*again"):
        load_network(path)


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_a_truncated_file_is_not_a_checkpoint(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_network(saved)


def test_a_torch_file_is_pointed_to_the_importer(tmp_path):
    path = tmp_path / "vgg_normalised.pth"
    torch.save({"0.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"adain-model import --encoder .*vgg_normalised\.pth"):
        load_network(path)


def test_safetensors_without_a_spec_are_pointed_to_the_importer(saved):
    rewrite(saved, metadata={"widths": "16,48"})
    with pytest.raises(InputError, match=r"without a network spec \(metadata \['widths'\]\).*adain-model import"):
        load_network(saved)


@pytest.mark.parametrize(
    "header", ["not JSON", "[" * 100_000, "[]", "{}", '{"format_version": true}', '{"format_version": "1"}']
)
def test_metadata_that_says_nothing_is_refused(saved, header):
    rewrite(saved, metadata={KEY: header})
    with pytest.raises(InputError, match=r"tiny\.safetensors: its metadata .* make it again"):
        load_network(saved)


def test_a_newer_format_asks_for_a_newer_program(saved):
    rewrite(saved, format_version=2, surprise=True)
    with pytest.raises(InputError, match="written in format 2 by a newer adain-edge, this one reads 1; pip install"):
        load_network(saved)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"extra": 1}, "with the fields"),
        ({"format_version": 0}, "format 0"),
        ({"parts": ["decoder"]}, r"parts \['decoder'\]"),
        ({"parts": 3}, "parts 3"),
        ({"spec": {}}, "expected the fields"),
        ({"spec": None}, "expected the fields"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(saved, header, named):
    rewrite(saved, **header)
    with pytest.raises(InputError, match=rf"tiny\.safetensors: .*{named}"):
        load_network(saved)


def test_a_spec_too_large_to_build_is_refused_and_not_built(saved):
    spec = header_of(saved)["spec"]
    for width in (10**9, 10**30):
        rewrite(saved, spec=spec | {"encoder": [[width, width], *spec["encoder"][1:]]})
        with pytest.raises(InputError, match=r"tiny\.safetensors"):
            load_network(saved)


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"encoder.conv3_1.bias": None}, r"wants encoder\.conv3_1\.bias, not found"),
        ({"encoder.conv9_9.bias": torch.zeros(3)}, r"no place for encoder\.conv9_9\.bias"),
        ({"decoder.conv1_2.bias": torch.zeros(4)}, r"decoder\.conv1_2\.bias is \[4\], expected \[3\]"),
        (
            {"decoder.conv1_2.bias": torch.zeros(3, dtype=torch.float64)},
            "is float64, expected float32 or float16",
        ),
        (
            {"decoder.conv1_2.bias": torch.zeros(3, dtype=torch.int32)},
            "is int32, expected float32 or float16",
        ),
        (
            {"decoder.conv1_2.bias": torch.full((3,), torch.nan)},
            r"decoder\.conv1_2\.bias holds NaN or infinity",
        ),
        (
            {"decoder.conv1_2.bias": torch.full((3,), torch.inf)},
            r"decoder\.conv1_2\.bias holds NaN or infinity",
        ),
    ],
)
def test_a_tensor_that_is_not_what_the_spec_says_is_named(saved, tensors, named):
    rewrite(saved, tensors=tensors)
    with pytest.raises(InputError, match=rf"tiny\.safetensors: .*{named}"):
        load_network(saved)


def test_a_long_list_of_missing_tensors_is_cut_short(saved):
    gone = {name: None for name in load_file(saved) if name.startswith("encoder.")}
    rewrite(saved, tensors=gone)
    with pytest.raises(InputError, match=r"encoder\.conv0\.bias, .* and \d+ more, not found"):
        load_network(saved)


def test_the_model_card_names_the_weights_that_lie_beside_it():
    path = embedded_checkpoint()
    assert sha256_file(path) in path.with_name("README.md").read_text(encoding="utf-8")
