"""``adain-export coreml`` as people type it."""

from __future__ import annotations

import json
from functools import partial

import pytest

pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

from adain_export import cli
from adain_export.coreml import tolerances
from adain_export.targets import coreml
from adain_export.tolerances import Limits, Metrics
from adain_model.checkpoint import save_network
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError
from adain_runtime.mil import Package
from adain_runtime.results import spell_command
from calibrations import calibrated
from networks import WIDE, make_network


@pytest.fixture
def command(typed):
    """``adain-export coreml`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-export", "coreml")


@pytest.fixture
def checkpoint(strided, tmp_path):
    path = tmp_path / "small.safetensors"
    save_network(strided, path)
    return path


def test_an_export_says_what_raised_the_target_and_the_next_command(command, checkpoint, tmp_path):
    folder = tmp_path / "my build" / "strided-coreml-fp16"
    code, out, err = command(checkpoint, "-o", folder.parent, "--size", "16", "--size", "16x24", "--parts", "stylizer")
    assert code == 0
    assert err == (
        "note: the target is iOS18 (macOS 15), which a package with a function for each size needs; "
        "without it iOS16 would do\n"
    )
    assert "reference" in out
    words = ["adain-run", "PHOTO", "STYLE", "--model", str(folder), "--backend", "coreml-reference"]
    assert out.endswith(f"next: {spell_command(words)}\n")
    assert Bundle.open(folder).manifest.sizes.exact == ((16, 16), (16, 24))


def test_json_is_one_object_and_w8a8_takes_a_calibration(command, checkpoint, strided, tmp_path):
    calibrated(strided).save(tmp_path / "calibration.json")
    code, out, _ = command(
        *(checkpoint, "-o", tmp_path, "--size", "32", "--parts", "encoder", "--activations", "int8"),
        *("--calibration", tmp_path / "calibration.json", "--name", "mine", "--json"),
    )
    made = json.loads(out)
    assert code == 0
    assert made["bundle"] == str(tmp_path / "mine-coreml-fp16-w8a8")
    assert made["manifest"]["options"]["activations"] == "int8"
    assert {layer.partition(".")[0] for layer in made["manifest"]["int8"]} == {"encoder"}
    assert made["manifest"]["parity"]["features"] > 0
    assert made["manifest"]["options"]["target"] == "iOS17"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "130x130"), "the nearest: 128x128 and 136x136"),
        (("--size", "large"), "--size large: wants HEIGHTxWIDTH"),
        (("--shapes", "range"), "no upper bound"),
        (("--shapes", "enumerated", "--size", "16"), "give --size twice or more, or leave --shapes away"),
        (("--activations", "int8"), "int8 needs the range of what enters each convolution"),
        (("--calibration", "x.json"), "give --activations int8 with it"),
        (("--activations", "int4"), "there are none, int8"),
        (("--precision", "bf16"), "there are fp16, fp32"),
        (("--target", "iOS15"), "there are iOS16, iOS17, iOS18, iOS26"),
    ],
)
def test_what_can_not_be_made_is_one_line_and_2(command, checkpoint, tmp_path, arguments, said):
    code, out, err = command(checkpoint, "-o", tmp_path / "build", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "build").exists()


def test_without_coremltools_it_ends_with_3_and_the_line_that_installs_it(command, monkeypatch):
    monkeypatch.setattr(coreml, "find_spec", lambda name: None if name == "coremltools" else object())
    code, _, err = command()
    assert code == 3
    assert 'pip install torch "coremltools>=9.0,<10"' in err


def test_each_option_is_in_the_package_or_in_its_manifest(command, checkpoint, tmp_path):
    code, _, err = command(
        *(checkpoint, "-o", tmp_path, "--size", "16", "--size", "16x24", "--parts", "encoder", "--precision", "fp32"),
        *("--shapes", "enumerated", "--target", "iOS17", "--io", "tensor"),
        *("--author", "A Painter", "--license", "CC0"),
    )
    assert (code, err) == (0, "")
    bundle = Bundle.open(tmp_path / "strided-coreml-fp32")
    manifest = bundle.manifest
    assert manifest.options == {
        "io": "tensor",
        "shapes": "enumerated",
        "target": "iOS17",
        "weights": "none",
        "activations": "none",
    }
    assert list(manifest.parts) == ["encoder"]
    package = Package.open(bundle.graph("encoder"))
    assert (package.metadata["author"], package.metadata["license"]) == ("A Painter", "CC0")
    assert list(package.functions) == ["main"]
    assert package.functions["main"].inputs[0].color is None
    kinds = [operation.kind for operation in package.functions["main"].block.operations]
    assert "conv" in kinds
    assert "cast" not in kinds  # float32 from end to end


def test_a_range_of_sizes_is_one_of_every_multiple_between_them(command, checkpoint, tmp_path):
    code, _, err = command(
        checkpoint, "-o", tmp_path, "--size", "16", "--size", "32", "--shapes", "range", "--parts", "encoder"
    )
    assert code == 0
    assert err.startswith("note: a range may leave the Neural Engine at other sizes than its default 16x16")
    sizes = Bundle.open(tmp_path / "strided-coreml-fp16").manifest.sizes
    assert (sizes.minimum, sizes.maximum, sizes.exact) == (16, 32, ())


@pytest.mark.parametrize(("weights", "label", "made_by"), [("int8", "w8", "affine"), ("pal4", "pal4", "lut")])
def test_weights_are_stored_as_asked_for(command, tmp_path, weights, label, made_by):
    save_network(make_network(WIDE), tmp_path / "wide.safetensors")
    code, *_ = command(
        *(tmp_path / "wide.safetensors", "-o", tmp_path, "--size", "32", "--parts", "encoder"),
        *("--weights", weights, "--allow-low-quality"),
    )
    assert code == 0
    bundle = Bundle.open(tmp_path / f"wide-coreml-fp16-{label}")
    assert bundle.manifest.options["weights"] == weights
    operations = Package.open(bundle.graph("encoder")).functions["main"].block.operations
    coded = [operation.kind for operation in operations if operation.kind.startswith("constexpr")]
    assert coded
    assert all(made_by in kind for kind in coded)


def test_a_package_that_misses_its_tolerance_is_kept_only_where_that_is_asked_for(
    command, checkpoint, tmp_path, monkeypatch
):
    strict = Metrics(psnr=500)
    monkeypatch.setattr(tolerances, "limits_of", lambda *_: Limits(strict, strict, strict, 1.0))
    arguments = (checkpoint, "-o", tmp_path / "out", "--size", "16", "--parts", "stylizer")
    ran = command(*arguments)
    assert ran.code == 1
    assert "keep it with --allow-low-quality" in ran.one_line()
    assert list((tmp_path / "out").iterdir()) == []
    assert command(*arguments, "--allow-low-quality").code == 0
    assert Bundle.open(tmp_path / "out" / "strided-coreml-fp16").manifest.parity.psnr > 40


def test_the_embedded_student_is_of_the_packages_licence_and_a_checkpoint_of_its_own(
    command, checkpoint, monkeypatch, tmp_path
):
    asked = []

    def export(_target, _network, request, _out):
        asked.append((request.author, request.license))
        raise InputError("enough")

    monkeypatch.setattr(coreml.CoremlTarget, "export", export)
    for arguments in ((), (checkpoint,), (checkpoint, "--author", "me")):
        assert command(*arguments, "-o", tmp_path).code == 2
    assert asked == [("adain-edge", "MIT"), ("adain-edge", "that of the checkpoint"), ("me", "that of the checkpoint")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--weights", "int4"), "--weights int4: there are none, int8, pal8, pal6, pal4"),
        (("--io", "video"), "--io video: there are image, tensor"),
        (("--shapes", "free"), "--shapes free: there are fixed, enumerated, range"),
        (("--parts", "head"), "unknown part head; there are encoder, decoder, stylizer"),
        (("--name", "a/b"), "a/b"),
    ],
)
def test_a_word_that_an_option_does_not_know_is_one_line_and_2(command, checkpoint, tmp_path, arguments, said):
    ran = command(checkpoint, "-o", tmp_path / "build", *arguments)
    assert ran.code == 2
    assert said in ran.one_line()
    assert not (tmp_path / "build").exists()
