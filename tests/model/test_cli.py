"""``adain-model`` as people meet it: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adain_model import (
    LITE,
    Encoder,
    Network,
    encoder_id,
    initialize,
    load_checkpoint,
    load_network,
    save_network,
)
from adain_model.cli import main
from adain_runtime.cli import console


@pytest.fixture
def adain_model(monkeypatch, capsys):
    """Run a command line: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setitem(console._state, "verbose", False)
        monkeypatch.setattr(sys, "argv", ["adain-model", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """A lite network's convolutions under the keys of pytorch-AdaIN."""
    network = Network(LITE).requires_grad_(False)
    initialize(network, torch.Generator().manual_seed(5))
    paths = tmp_path / "encoder.pth", tmp_path / "decoder.pth"
    for half, path in zip((network.encoder, network.decoder), paths, strict=True):
        convolutions = [step for step in half.steps if step.startswith("conv")]
        state = {}
        for place, name in enumerate(convolutions):
            for field in ("weight", "bias"):
                state[f"{3 * place + 1}.{field}"] = half.state_dict()[f"{name}.{field}"]
        torch.save(state, path)
    return paths


def test_import_writes_a_checkpoint_and_says_what_comes_next(adain_model, files, tmp_path):
    output = tmp_path / "my net.safetensors"
    code, out, err = adain_model("import", "--spec", "lite", "--encoder", files[0], "--decoder", files[1], "-o", output)
    assert code == 0
    network = load_network(output)
    assert network.spec == LITE
    assert encoder_id(network) in out
    assert "7 convolutions" in out
    assert "8 convolutions" in out
    assert err == f"next: adain-export onnx '{output}'\n"


def test_import_as_json_prints_one_object_and_nothing_else(adain_model, files, tmp_path):
    output = tmp_path / "half.safetensors"
    command = (
        "import",
        "--spec",
        "lite",
        "--encoder",
        files[0],
        "--decoder",
        files[1],
        "--half",
        "-o",
        output,
        "--json",
    )
    code, out, err = adain_model(*command)
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert result["storage"] == load_checkpoint(output).storage == "float16"
    assert result["spec"] == LITE.to_json()
    assert [source["part"] for source in result["sources"]] == ["encoder", "decoder"]
    assert result["next"] == f"adain-export onnx {output}"


def test_an_encoder_alone_is_imported_and_described(adain_model, files, tmp_path):
    output = tmp_path / "encoder.safetensors"
    code, _, err = adain_model("import", "--spec", "lite", "--encoder", files[0], "-o", output)
    assert (code, err) == (0, f"next: adain-model info {output}\n")
    assert isinstance(load_checkpoint(output).module, Encoder)
    code, out, _ = adain_model("info", output, "--json")
    assert code == 0
    assert list(json.loads(out)["parts"]) == ["encoder"]


def test_weights_of_any_spec_are_imported_by_its_json_file(adain_model, files, tmp_path):
    mine, output = replace(LITE, name="mine", alpha_range=(0.0, 2.0)), tmp_path / "mine.safetensors"
    (tmp_path / "mine.json").write_text(json.dumps(mine.to_json()))
    command = ("import", "--spec", tmp_path / "mine.json", "--encoder", files[0], "--decoder", files[1], "-o", output)
    assert adain_model(*command)[0] == 0
    assert load_network(output).spec == mine


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not JSON"), ("[" * 100_000, "not JSON"), ("{}", "expected the fields"), ("3", "found 3")]
)
def test_a_file_that_is_no_spec_is_refused(adain_model, files, tmp_path, text, said):
    (tmp_path / "mine.json").write_text(text)
    output = tmp_path / "mine.safetensors"
    code, _, err = adain_model("import", "--spec", tmp_path / "mine.json", "--encoder", files[0], "-o", output)
    assert (code, err.count("\n"), output.exists()) == (2, 1, False)
    assert said in err


def test_layers_beyond_the_spec_are_named(adain_model, files, tmp_path):
    state = torch.load(files[0], weights_only=True)
    state |= {"90.weight": torch.zeros(8, 192, 3, 3), "90.bias": torch.zeros(8)}
    torch.save(state, files[0])
    code, out, _ = adain_model(
        "import", "--spec", "lite", "--encoder", files[0], "-o", tmp_path / "e.safetensors", "--json"
    )
    assert code == 0
    assert json.loads(out)["sources"][0]["ignored"] == ["90"]


def test_half_stores_the_weights_rounded_to_the_nearest(adain_model, network, tmp_path):
    path, output = tmp_path / "tiny.safetensors", tmp_path / "half.safetensors"
    save_network(network, path)
    code, out, err = adain_model("half", path, "-o", output)
    assert (code, err) == (0, f"next: adain-export onnx {output}\n")
    assert encoder_id(load_network(output)) in out
    for name, weight in network.state_dict().items():
        assert torch.equal(load_network(output).state_dict()[name], weight.half().float())
    again = json.loads(adain_model("half", path, "-o", tmp_path / "b.safetensors", "--json")[1])
    assert again["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert again["storage"] == "float16"


def test_half_of_an_encoder_is_an_encoder(adain_model, network, tmp_path):
    output = tmp_path / "half.safetensors"
    save_network(network.encoder, tmp_path / "encoder.safetensors")
    code, _, err = adain_model("half", tmp_path / "encoder.safetensors", "-o", output)
    assert (code, err) == (0, f"next: adain-model info {output}\n")
    assert isinstance(load_checkpoint(output).module, Encoder)


def test_half_refuses_what_it_would_spoil(adain_model, network, tmp_path):
    path = tmp_path / "tiny.safetensors"
    network.encoder.conv1_1.weight.data[0, 0, 0, 0] = 1e5
    save_network(network, path)
    before = path.read_bytes()
    for output, text in (
        (path, "would replace the weights it is made from"),
        (tmp_path / "half.bin", "name it half.safetensors"),
        (tmp_path / "half.safetensors", "encoder.conv1_1.weight holds values that are not finite in float16"),
    ):
        code, out, err = adain_model("half", path, "-o", output)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert text in err
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_info_prints_every_layer_its_cost_and_the_digests(adain_model, network, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_network(network, path)
    code, out, err = adain_model("info", path, "--size", "64x128")
    assert (code, err) == (0, "")
    for step in ("encoder.conv0", "encoder.conv4_1", "decoder.conv1_2"):
        assert step in out
    assert f"{8 * 9 * 9 * 16 * 32:,}" in out  # conv3_2: 8 to 9 channels at a quarter of the size
    assert "Layers at 64x128" in out
    assert encoder_id(network) in out


def test_info_knows_the_embedded_network_by_its_name(adain_model):
    code, out, err = adain_model("info", "lite", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["spec"]["name"] == "lite"


def test_info_as_json_counts_the_operations_at_the_size(adain_model, network, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_network(network, path)
    results = {size: json.loads(adain_model("info", path, "--size", size, "--json")[1]) for size in ("64x128", "64")}
    wide, square = results["64x128"], results["64"]
    assert (wide["size"], square["size"]) == ([64, 128], [64, 64])
    assert wide["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert wide["spec"] == network.spec.to_json()
    for part in ("encoder", "decoder"):
        assert wide["parts"][part]["macs"] == 2 * square["parts"][part]["macs"]
        assert wide["parts"][part]["macs_per_pixel"] == square["parts"][part]["macs_per_pixel"]
        half = getattr(network, part)
        assert wide["parts"][part]["parameters"] == sum(p.numel() for p in half.parameters())
    assert len(wide["layers"]) == 15
    color = wide["layers"][0]
    total = sum(layer["macs"] for layer in wide["layers"])
    assert sum(part["macs"] for part in wide["parts"].values()) == total - color["macs"]


class RunsCode:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_pickle_that_would_run_code_exits_2_in_one_line_and_writes_nothing(adain_model, tmp_path):
    evil, trace, output = tmp_path / "evil.pth", tmp_path / "it-ran", tmp_path / "out.safetensors"
    torch.save({"0.weight": RunsCode(trace)}, evil)
    code, out, err = adain_model("import", "--encoder", evil, "-o", output)
    assert (code, out) == (2, "")
    assert err.startswith(f"adain-model: {evil}: refused")
    assert err.count("\n") == 1
    assert not trace.exists()
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("import", "--encoder", "x.pth"), "--output"),
        (("import", "--encoder", "x.pth", "-o", "out.pth"), "name it out.safetensors"),
        (("import", "--encoder", "absent.pth", "-o", "o.safetensors"), "absent.pth: no such file"),
        (("import", "--encoder", "x.pth", "-o", "o.safetensors", "--spec", "vgg16"), "there is vgg19, lite"),
        (("info", "absent.safetensors"), "absent.safetensors: no such checkpoint"),
        (("info", "vgg16"), "no embedded network 'vgg16'; there is lite"),
        (("info", "absent.safetensors", "--size", "big"), "expected HEIGHTxWIDTH in pixels, such as 512x512"),
        (("unknown",), "unknown"),
    ],
)
def test_bad_usage_exits_2_with_one_line_that_names_the_fix(adain_model, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    code, out, err = adain_model(*arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["100x100", "8x64", "0x0"])
def test_a_size_that_the_network_does_not_take_exits_2(adain_model, network, tmp_path, size):
    path = tmp_path / "tiny.safetensors"
    save_network(network, path)
    code, _, err = adain_model("info", path, "--size", size)
    assert code == 2
    assert "multiples of 8, at least 16" in err


def test_the_weights_that_a_checkpoint_is_made_from_are_not_replaced(adain_model, network, tmp_path):
    source = tmp_path / "student.safetensors"
    save_network(network, source)
    before = source.read_bytes()
    code, _, err = adain_model("import", "--encoder", source, "-o", source)
    assert code == 2
    assert "choose another name" in err
    assert source.read_bytes() == before


def test_without_torch_it_exits_3_with_the_line_that_installs_it(adain_model, monkeypatch):
    monkeypatch.setattr("adain_model.cli.find_spec", lambda name: None)
    code, out, err = adain_model("info", "any.safetensors")
    assert (code, out) == (3, "")
    assert "pip install torch" in err


def test_verbose_shows_the_traceback(adain_model, tmp_path):
    code, _, err = adain_model("info", tmp_path / "absent.safetensors", "--verbose")
    assert code == 2
    assert "Traceback" in err


def test_version_and_help(adain_model):
    code, out, _ = adain_model("--version")
    assert (code, out.split()[0]) == (0, "adain-edge")
    code, out, _ = adain_model("import", "--help")
    assert code == 0
    assert "vgg_normalised.pth" in out
