"""A bundle is verified whole before anything of it is opened: every way to damage one is refused by name."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from adain_runtime.bundle import MANIFEST, Bundle, describe_file, describe_files, embedded_bundles, find_bundle
from adain_runtime.errors import BundleError, InputError

FILES = ["encoder.graph", "decoder.graph", "stylizer.graph", "weights.bin"]


def refused(folder) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    return str(caught.value)


def test_a_whole_bundle_opens_and_leads_to_its_graphs(tiny):
    bundle = Bundle.open(tiny)
    assert bundle.manifest.name == "tiny"
    assert {part: bundle.graph(part) for part in bundle.manifest.parts} == {
        part: tiny / f"{part}.graph" for part in ("encoder", "decoder", "stylizer")
    }


def test_every_embedded_bundle_is_whole_and_stands_in_the_folder_that_it_names():
    found = embedded_bundles()
    assert "lite-onnx-fp32" in found
    for name, folder in found.items():
        manifest = Bundle.open(folder).manifest
        assert manifest.folder_name == name
        assert {path.name for path in folder.iterdir()} == {*manifest.files, MANIFEST}


def test_a_missing_folder_is_named_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(InputError, match=r"nothing: no such bundle folder.*adain-export onnx"):
        Bundle.open(tmp_path / "nothing")


def test_a_folder_without_a_manifest_is_no_bundle(tiny):
    (tiny / MANIFEST).unlink()
    assert "manifest.json: missing" in refused(tiny)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_file_is_found(tiny, flip_bit, name):
    flip_bit(tiny / name)
    message = refused(tiny)
    assert f"{tiny / name}: its content is not what the manifest says" in message
    assert "copy or export the bundle again" in message


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_found_with_both_sizes(tiny, name):
    whole = (tiny / name).read_bytes()
    (tiny / name).write_bytes(whole[:-1])
    assert f"{tiny / name}: has {len(whole) - 1} bytes where the manifest says {len(whole)}" in refused(tiny)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(tiny, name):
    (tiny / name).unlink()
    assert f"{tiny / name}: missing, though the manifest names it" in refused(tiny)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_a_files_place_is_found(tiny, name):
    (tiny / name).unlink()
    (tiny / name).mkdir()
    assert f"{tiny / name}: missing" in refused(tiny)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_link_is_refused_even_to_the_right_content(tiny, tmp_path, name):
    (tiny / name).rename(tmp_path / "elsewhere")
    (tiny / name).symlink_to(tmp_path / "elsewhere")
    assert f"{tiny / name}: is a link" in refused(tiny)


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/hostname",
        "sub/../../outside",
        "sub//file",
        "sub/.file",
        "/".join("abcdefghi"),
        "..",
        "a\\b",
        "",
        ".hidden",
    ],
)
def test_a_file_name_that_could_lead_out_of_the_folder_is_refused_and_not_looked_at(
    tiny, edit_manifest, tmp_path, name
):
    (tmp_path / "outside").write_bytes(b"secret")
    entry = describe_file(tmp_path / "outside")
    edit_manifest(tiny, files={name: {"bytes": entry.bytes, "sha256": entry.sha256}})
    message = refused(tiny)
    assert f"{name!r} is not a plain name" in message or f"{name!r} lies deeper than 8 names" in message
    assert str(tiny / MANIFEST) in message


def test_a_part_whose_graph_lies_outside_is_refused(tiny, edit_manifest):
    parts = json.loads((tiny / MANIFEST).read_text())["parts"]
    parts["encoder"]["file"] = "../encoder.graph"
    edit_manifest(tiny, parts=parts)
    assert "'../encoder.graph' is not a plain name" in refused(tiny)


def test_a_newer_schema_is_refused_with_the_line_that_upgrades(tiny, edit_manifest):
    edit_manifest(tiny, schema_version=2)
    assert "schema 2 is newer than this version reads (1): pip install --upgrade adain-edge" in refused(tiny)


def test_an_unknown_field_is_refused(tiny, edit_manifest):
    edit_manifest(tiny, colour="blue")
    assert "colour" in refused(tiny)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 400_000])
def test_a_manifest_that_is_no_text_or_no_json_is_refused(tiny, content):
    (tiny / MANIFEST).write_bytes(content)
    assert str(tiny / MANIFEST) in refused(tiny)


def test_a_manifest_of_over_a_mebibyte_is_refused_unread(tiny):
    (tiny / MANIFEST).write_bytes((tiny / MANIFEST).read_bytes() + b" " * (1 << 20))
    assert "over 1 MiB" in refused(tiny)


def test_a_manifest_that_is_a_folder_is_refused(tiny):
    (tiny / MANIFEST).unlink()
    (tiny / MANIFEST).mkdir()
    assert "manifest.json: is a folder" in refused(tiny)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_pipe_is_refused_and_not_waited_for(tiny, name):
    (tiny / name).unlink()
    os.mkfifo(tiny / name)
    assert str(tiny / name) in refused(tiny)


def test_a_part_that_the_bundle_lacks_is_named_with_those_it_has(make_bundle, tmp_path, tiny):
    parts = Bundle.open(tiny).manifest.parts
    bundle = Bundle.open(make_bundle(tmp_path / "encoder-only", parts={"encoder": parts["encoder"]}))
    with pytest.raises(InputError, match=r"no part 'stylizer' in this bundle, which has encoder"):
        bundle.graph("stylizer")


@pytest.mark.parametrize("model", ["lite", "lite-onnx-fp32"])
def test_an_embedded_bundle_is_found_by_its_name_and_by_its_folders(model):
    assert find_bundle(model, "onnx").manifest.folder_name == "lite-onnx-fp32"


def test_a_folder_wins_over_an_embedded_name(tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny, tmp_path / "lite")
    monkeypatch.chdir(tmp_path)
    assert find_bundle("lite", "onnx").manifest.name == "tiny"


def test_a_folder_that_is_no_bundle_does_not_hide_an_embedded_name(tmp_path, monkeypatch):
    """Such as a training run's, which docs/training.md calls lite too."""
    (tmp_path / "lite").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_bundle("lite", "onnx").manifest.name == "lite"
    with pytest.raises(BundleError, match=r"manifest\.json: missing"):
        find_bundle("./lite", "onnx")


@pytest.mark.parametrize("name", [".DS_Store", "._manifest.json", "Thumbs.db", "desktop.ini"])
def test_what_a_file_browser_leaves_in_a_folder_is_passed_over(package, name):
    (package / name).write_bytes(b"where its icons stand")
    (package / "tiny.mlpackage" / name).write_bytes(b"and there")
    Bundle.open(package)
    (package / name).unlink()
    (package / name).symlink_to(package / MANIFEST)
    assert "which its manifest doesn't list" in refused(package)


@pytest.mark.parametrize("model", ["nope", "../lite-onnx-fp32", "", "nul\0", "lite-coreml-fp32", "x" * 5000])
def test_a_name_that_is_nothing_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        find_bundle(model, "onnx")


def test_an_unknown_name_lists_the_embedded_ones():
    with pytest.raises(
        InputError, match=r"nope: neither a bundle folder nor an embedded onnx model \(embedded: .*lite"
    ):
        find_bundle("nope", "onnx")
    with pytest.raises(InputError, match="neither"):
        find_bundle("lite", "coreml")


def test_a_file_that_the_manifest_does_not_list_is_refused_because_nothing_verifies_it(lite_copy):
    (lite_copy / "hidden.bin").write_bytes(b"weights of somebody else")
    with pytest.raises(BundleError, match=r"holds hidden\.bin, which its manifest doesn't list"):
        Bundle.open(lite_copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["sizes"].update(multiple=12), "multiples of 12 from 16 don't fit a network of stride 8"),
        (lambda m: m["sizes"].update(multiple=8 * 10**6), "don't fit"),
        (lambda m: m["parts"]["encoder"]["outputs"][1].update(name="mu"), "part encoder has"),
        (lambda m: m["parts"]["encoder"]["outputs"][1].update(shape=["batch", 7, 1, 1]), "part encoder: mean is"),
        (lambda m: m["parts"]["stylizer"]["inputs"][0].update(shape=["batch", 3, "width", "height"]), "image is"),
        (lambda m: m["spec"].update(encoder=[[1], [1], [1], [7]]), "features is"),
        (
            lambda m: m["parts"]["stylizer"]["inputs"][0].update(shape=["batch", 3, 64, "width"]),
            "part stylizer: nothing that it takes says the height of what it gives",
        ),
    ],
)
def test_a_manifest_that_contradicts_its_own_network_is_refused(lite_copy, change, said):
    manifest = json.loads((lite_copy / MANIFEST).read_text())
    change(manifest)
    (lite_copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=said):
        Bundle.open(lite_copy)


def test_a_checkpoint_in_place_of_a_bundle_says_what_to_do_with_it(tmp_path):
    (tmp_path / "vgg19.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError, match=r"vgg19\.safetensors: is a file; .*adain-export onnx FILE.*--backend torch"):
        find_bundle(tmp_path / "vgg19.safetensors", "onnx")


@pytest.fixture
def package(make_bundle, tmp_path, edit_manifest):
    """A bundle whose graphs are one folder of files in folders."""
    folder = make_bundle(tmp_path / "tiny-coreml-fp16")
    inner = folder / "tiny.mlpackage" / "Data" / "weights"
    inner.mkdir(parents=True)
    for name in FILES:
        (folder / name).rename(inner / name)
    plain = json.loads((folder / MANIFEST).read_text())
    for part in plain["parts"].values():
        part["file"] = "tiny.mlpackage"
    files = {f"tiny.mlpackage/Data/weights/{name}": entry for name, entry in plain["files"].items()}
    edit_manifest(folder, parts=plain["parts"], files=files)
    return folder


def test_a_part_may_be_a_folder_of_listed_files(package):
    bundle = Bundle.open(package)
    assert bundle.graph("encoder") == package / "tiny.mlpackage"
    assert set(describe_files(package)) == {*bundle.manifest.files, MANIFEST}


@pytest.mark.parametrize("level", ["tiny.mlpackage", "tiny.mlpackage/Data", "tiny.mlpackage/Data/weights"])
def test_a_link_at_any_level_is_refused_even_to_the_right_content(package, tmp_path, level):
    (package / level).rename(tmp_path / "elsewhere")
    (package / level).symlink_to(tmp_path / "elsewhere")
    assert f"{package / level}: is a link" in refused(package)


@pytest.mark.parametrize("stranger", ["tiny.mlpackage/Data/notes", "tiny.mlpackage/Other/x", "more/x/y"])
def test_an_unlisted_file_at_any_level_is_refused(package, stranger):
    (package / stranger).parent.mkdir(parents=True, exist_ok=True)
    (package / stranger).write_bytes(b"?")
    assert "which its manifest doesn't list" in refused(package)


def test_an_empty_folder_and_a_link_to_one_are_unlisted_too(package, tmp_path):
    (package / "tiny.mlpackage" / "Data" / "empty").mkdir()
    assert "holds tiny.mlpackage/Data/empty" in refused(package)
    (package / "tiny.mlpackage" / "Data" / "empty").rmdir()
    (package / "tiny.mlpackage" / "Data" / "out").symlink_to(tmp_path)
    assert "holds tiny.mlpackage/Data/out" in refused(package)


def test_a_flipped_bit_deep_in_a_package_is_found(package, flip_bit):
    flip_bit(package / "tiny.mlpackage" / "Data" / "weights" / "weights.bin")
    assert "weights.bin: its content is not what the manifest says" in refused(package)


def test_a_part_whose_folder_holds_nothing_listed_is_refused(package, edit_manifest):
    parts = json.loads((package / MANIFEST).read_text())["parts"]
    parts["encoder"]["file"] = "tiny.mlpack"
    edit_manifest(package, parts=parts)
    assert "names tiny.mlpack, which is not among the files" in refused(package)
