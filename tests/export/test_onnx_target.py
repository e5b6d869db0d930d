"""ONNX bundles: dynamic sizes, one weights file, the same bytes again, and nothing kept that is not right."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch

from adain_export import check, rewrites
from adain_export.graphs import part_module
from adain_export.improvements import Improvements
from adain_export.onnx_parts import onnx_parts
from adain_export.shared_weights import WEIGHTS_FILE
from adain_export.target import GraphRequest, Int8, Request, get_target
from adain_export.tolerances import UNLIMITED, limits_of
from adain_model.network import Upsample
from adain_runtime.backend import open_bundle
from adain_runtime.bundle import MANIFEST, Bundle
from adain_runtime.errors import InputError, QualityError
from adain_runtime.metrics import max_abs, psnr, relative_l2
from adain_runtime.spec import NetworkSpec
from calibrations import calibrated
from networks import make_network

TARGET = get_target("onnx")


def test_a_bundle_holds_three_graphs_over_one_weights_file_and_a_manifest(exported):
    network, bundle = exported
    assert {path.name for path in bundle.path.iterdir()} == {
        *("encoder.onnx", "decoder.onnx", "stylizer.onnx"),
        WEIGHTS_FILE,
        MANIFEST,
    }
    assert bundle.path.name == f"{network.spec.name}-onnx-{bundle.manifest.precision}"


def test_no_weight_is_stored_twice(exported):
    _, bundle = exported
    places = {}
    for part in bundle.manifest.parts:
        for tensor in onnx.load(bundle.graph(part), load_external_data=False).graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                place = {entry.key: entry.value for entry in tensor.external_data}
                assert place["location"] == WEIGHTS_FILE
                places.setdefault(int(place["offset"]), set()).add((tensor.name, int(place["length"])))
    data = (bundle.path / WEIGHTS_FILE).read_bytes()
    chunks = [data[offset : offset + next(iter(names))[1]] for offset, names in places.items()]
    assert len(chunks) > 4
    assert len(set(chunks)) == len(chunks)
    assert sum(map(len, chunks)) > 0.9 * len(data)


@pytest.mark.parametrize("size", [(1, 16, 16), (1, 64, 136), (3, 24, 40), (2, 200, 16)])
def test_every_part_runs_at_sizes_that_were_not_traced_and_agrees_with_torch(exported, size):
    network, bundle = exported
    assert size != (2, 48, 72)  # batch, height and width that the graph was traced with
    limits = limits_of("onnx", bundle.manifest.precision)
    rng = np.random.default_rng(3)
    image = check.pink_noise(rng, *size)
    with open_bundle(bundle.path) as session:
        encoded = session.run("encoder", {"image": image})
        features, mean, std = part_module("encoder", network)(torch.from_numpy(image))
        for name, wanted in (("features", features), ("mean", mean), ("std", std)):
            assert encoded[name].shape == tuple(wanted.shape)
            limit = {"features": "relative_l2", "mean": "mean_error", "std": "std_error"}[name]
            assert relative_l2(wanted.numpy(), encoded[name]) <= getattr(limits.encoder, limit)
        feeds = {"image": image, "mean": mean.numpy()[::-1], "std": std.numpy()[::-1]}
        feeds["alpha"] = np.linspace(0.2, 1, size[0], dtype=np.float32).reshape(-1, 1, 1, 1)
        found = session.run("stylizer", feeds)["image"]
    wanted = check.in_torch("stylizer", network, {name: value.copy() for name, value in feeds.items()})["image"]
    assert psnr(wanted, found) >= limits.stylizer.psnr
    if bundle.manifest.precision == "fp32":
        assert max_abs(wanted, found) <= 1e-4


def test_the_graphs_are_valid_and_keep_batch_height_and_width_free(exported):
    _, bundle = exported
    for part in bundle.manifest.parts:
        onnx.checker.check_model(bundle.graph(part), full_check=True)
        graph = onnx.load(bundle.graph(part), load_external_data=False).graph
        first = [axis.dim_param or axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim]
        assert first == list(bundle.manifest.parts[part].inputs[0].shape)


def test_an_fp16_graph_convolves_in_half_and_measures_and_clips_in_float32(exported):
    _, bundle = exported
    model = onnx.shape_inference.infer_shapes(onnx.load(bundle.graph("stylizer")), data_prop=True)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    half = onnx.TensorProto.FLOAT16 if bundle.manifest.precision.endswith("fp16") else onnx.TensorProto.FLOAT
    found = {node.op_type: set() for node in model.graph.node}
    for node in model.graph.node:
        found[node.op_type].add(types[node.output[0]])
    assert found["Conv"] == {half}
    for operation in ("ReduceMean", "Sqrt"):
        assert found[operation] == {onnx.TensorProto.FLOAT}
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    bounds = {tensor.name for tensor in model.graph.initializer if tensor.name.endswith(("input_low", "input_high"))}
    assert {types[node.output[0]] for node in clips if not bounds & set(node.input)} == {onnx.TensorProto.FLOAT}
    assert all(types[node.output[0]] == half for node in clips if bounds & set(node.input))  # a ReLU before codes


def test_nothing_in_a_bundle_tells_of_the_machine_that_made_it(exported, repository):
    _, bundle = exported
    for path in bundle.path.iterdir():
        data = path.read_bytes()
        assert str(repository).encode() not in data
        assert b"site-packages" not in data


def test_the_manifest_says_what_was_compared(exported):
    _, bundle = exported
    parity = bundle.manifest.parity
    assert len(parity.cases) == 9
    assert {"stylizer 1x3x64x200", "encoder 2x3x80x96", "decoder 1x3x136x136"} <= set(parity.cases)
    assert 0 < parity.max_abs <= limits_of("onnx", bundle.manifest.precision).stylizer.max_abs
    assert bundle.manifest.rewrites[-1] == ("phase" if bundle.manifest.int8 else "phase-last")
    assert ("rounding to float16" in parity.runtime) is ("fp16" in bundle.manifest.precision)


@pytest.mark.parametrize("label", ["fp16", "int8"])
def test_an_encoder_alone_is_compared_by_its_features_and_its_manifest_names_no_image(pooled, tmp_path, label):
    int8 = Int8(calibrated(pooled)) if label == "int8" else None
    request = Request("x", "fp32" if int8 else "fp16", parts=("encoder",), int8=int8)
    manifest = TARGET.export(pooled, request, tmp_path).manifest
    parity = manifest.parity
    assert (parity.max_abs, parity.psnr, len(parity.cases)) == (None, None, 3)
    assert 1e-5 < parity.features <= limits_of("onnx", label).encoder.relative_l2
    assert json.loads(manifest.to_json())["parity"]["features"] == parity.features


def test_values_that_are_not_finite_are_refused_even_where_nothing_limits_them():
    broken = {"image": np.full((1, 3, 16, 16), np.nan, np.float32)}
    with pytest.raises(QualityError, match="a case: values of image are not finite; nothing was written"):
        check._compare("a case", "decoder", {"image": np.zeros_like(broken["image"])}, broken, UNLIMITED.decoder)


def test_a_manifest_lists_the_int8_layers_of_its_own_parts_alone(strided, tmp_path):
    some = calibrated(strided)
    listed = {}
    for part in ("encoder", "decoder", "stylizer"):
        manifest = TARGET.export(strided, Request(part, parts=(part,), int8=Int8(some)), tmp_path).manifest
        listed[part] = manifest.int8
    assert listed["stylizer"] == some.int8 == listed["encoder"] + listed["decoder"]
    assert listed["encoder"]
    assert all(name.startswith("encoder.") for name in listed["encoder"])
    assert all(name.startswith("decoder.") for name in listed["decoder"])


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_networks_of_other_strides_are_exported_too(tmp_path, levels):
    stages = tuple((4 + level,) for level in range(levels))
    decoder = (*((4 + level,) for level in reversed(range(1, levels))), (4, 3))
    network = make_network(NetworkSpec("other", stages, decoder, downsample="stride", correction=0))
    bundle = get_target("onnx").export(network, GraphRequest("other"), tmp_path)
    assert bundle.manifest.spec.stride == 2 ** (levels - 1)
    assert bundle.manifest.parity.psnr > 80


def test_the_same_network_gives_the_same_bytes(strided, tmp_path):
    first, second = (TARGET.export(strided, Request("same"), tmp_path / name) for name in "ab")
    for path in first.path.iterdir():
        assert path.read_bytes() == (second.path / path.name).read_bytes()


def test_only_the_parts_asked_for_are_written(strided, tmp_path):
    bundle = TARGET.export(strided, Request("half", parts=("encoder",)), tmp_path)
    assert set(bundle.manifest.files) == {"encoder.onnx", WEIGHTS_FILE}
    with open_bundle(bundle.path) as session, pytest.raises(InputError, match="no part 'stylizer'"):
        session.run("stylizer", {})


def test_a_bundle_replaces_the_one_that_stood_there(strided, tmp_path):
    folder = TARGET.export(strided, Request("again"), tmp_path).path
    TARGET.export(strided, Request("again", parts=("encoder",)), tmp_path)
    assert not (folder / "stylizer.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["again-onnx-fp32"]


def test_a_folder_that_is_no_bundle_is_never_replaced(strided, tmp_path):
    mine = tmp_path / "mine-onnx-fp32"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no bundle, so it is not replaced"):
        TARGET.export(strided, Request("mine"), tmp_path)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_a_graph_that_computes_something_else_is_not_kept(strided, tmp_path, monkeypatch):
    def wrong(network):
        network.decoder.conv3_1.bias.add_(0.05)
        return True

    monkeypatch.setitem(rewrites._REWRITES, "phase", wrong)
    with pytest.raises(
        QualityError, match=r"(decoder|stylizer) 1x3x64x200 in onnxruntime .* differs from torch: (max_abs|psnr)"
    ):
        TARGET.export(strided, Request("wrong"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_the_old_bundle_and_nothing_half_made(strided, tmp_path, monkeypatch):
    old = TARGET.export(strided, Request("kept"), tmp_path)
    before = {path.name: path.read_bytes() for path in old.path.iterdir()}

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        TARGET.export(strided, Request("kept", parts=("encoder",)), tmp_path)
    assert {path.name: path.read_bytes() for path in old.path.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["kept-onnx-fp32"]
    assert Bundle.open(old.path).manifest == old.manifest


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        (lambda: Request("x", parts=("encoder", "head")), "unknown part head"),
        (lambda: Request("x", rewrites=("magic",)), "unknown rewrite magic"),
        (lambda: Request("x", parts=()), "nothing to export"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(request_of, said):
    with pytest.raises(InputError, match=said):
        request_of()


def test_the_manifest_is_plain_json_for_other_tools(exported):
    _, bundle = exported
    plain = json.loads((bundle.path / MANIFEST).read_text())
    assert plain["spec"]["correction"] == bundle.manifest.spec.correction
    assert plain["parts"]["decoder"]["inputs"][1]["shape"][2] == "1|height/8"


def test_files_that_a_person_put_beside_a_bundle_are_never_lost_to_an_export(strided, tmp_path):
    folder = TARGET.export(strided, Request("kept", parts=("encoder",)), tmp_path).path
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt beside the bundle"):
        TARGET.export(strided, Request("kept", parts=("encoder",)), tmp_path)
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_int8_bundle_says_which_layers_are_int8_and_by_which_calibration(pooled, tmp_path):
    calibration = calibrated(pooled)
    some = replace(calibration, int8=calibration.int8[2:5])
    bundle = TARGET.export(pooled, Request("pooled", int8=Int8(some)), tmp_path)
    manifest = bundle.manifest
    assert bundle.path.name == "pooled-onnx-int8"
    assert (manifest.int8, manifest.calibration) == (some.int8, some.digest)
    held = {
        tensor.name.removesuffix(".weight.int8")
        for part in manifest.parts
        for tensor in onnx.load(bundle.graph(part), load_external_data=False).graph.initializer
        if tensor.name.endswith(".weight.int8")
    }
    assert held == set(some.int8)


def test_biases_that_were_corrected_for_the_phase_rewrite_go_with_it(pooled, tmp_path):
    """What stands behind an upsampling is rounded otherwise as nine numbers than as the four sums of the rewrite."""
    plain = calibrated(pooled)
    steps = list(pooled.decoder.named_steps())
    behind = [f"decoder.{name}" for (_, one), (name, _) in pairwise(steps) if isinstance(one, Upsample)]
    assert behind
    bias = {name: (0.5,) * pooled.get_parameter(f"{name}.bias").numel() for name in behind if name in plain.int8}
    corrected = replace(plain, improvements=Improvements(bias=bias))

    def stylised(calibration, rewrites):
        request = Request("p", parts=("stylizer",), rewrites=rewrites, int8=Int8(calibration))
        return onnx_parts(pooled, request).models["stylizer"].SerializeToString(deterministic=True)

    assert stylised(corrected, ()) == stylised(plain, ())
    assert stylised(corrected, ("phase",)) != stylised(plain, ("phase",))


def test_a_calibration_of_another_checkpoint_is_refused_before_anything_is_written(pooled, strided, tmp_path):
    with pytest.raises(InputError, match="the calibration was made for strided"):
        TARGET.export(pooled, Request("pooled", int8=Int8(calibrated(strided))), tmp_path)
    assert list(tmp_path.iterdir()) == []
