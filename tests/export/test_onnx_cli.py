"""``adain-export onnx``: what each option changes in the bundle that is written."""

from __future__ import annotations

from functools import partial

import onnx
import pytest

from adain_export import cli
from adain_export.conv_nodes import conv_layers
from adain_model.checkpoint import save_network
from adain_runtime.bundle import Bundle
from calibrations import calibrated


@pytest.fixture
def command(typed):
    """``adain-export onnx`` in this process: exit code, stdout, stderr."""
    return partial(typed, cli.main, "adain-export", "onnx")


@pytest.fixture
def checkpoint(pooled, tmp_path):
    path = tmp_path / "small.safetensors"
    save_network(pooled, path)
    return path


def graph_of(bundle, part):
    return onnx.load(Bundle.open(bundle).graph(part))


def test_weights_in_half_and_pictures_as_bytes_are_in_the_graph_and_in_the_name(command, checkpoint, tmp_path):
    code, out, err = command(checkpoint, "-o", tmp_path, "--weights", "fp16", "--io", "uint8", "--parts", "decoder")
    folder = tmp_path / "pooled-onnx-fp32-w16-uint8"
    assert (code, err) == (0, "")
    assert f"wrote {folder}" in out
    graph = graph_of(folder, "decoder").graph
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert onnx.TensorProto.FLOAT16 in {weight.data_type for weight in graph.initializer}
    assert Bundle.open(folder).manifest.parts["decoder"].outputs[0].dtype == "uint8"


def test_only_the_rewrites_that_are_named_are_applied(command, checkpoint, tmp_path):
    names = {}
    for asked, applied in (("fold-color", ("fold-color",)), ("phase, fold-color", ("fold-color", "phase"))):
        code, *_ = command(checkpoint, "-o", tmp_path, "--rewrites", asked, "--parts", "encoder", "--name", asked[:5])
        folder = tmp_path / f"{asked[:5]}-onnx-fp32"
        assert code == 0
        assert Bundle.open(folder).manifest.rewrites == applied
        names[applied] = folder
    layers = conv_layers(graph_of(names[("fold-color",)], "encoder"))
    assert "encoder.conv0" not in layers  # folded into conv1_1
    assert "encoder.conv1_1" in layers


def test_the_placement_says_on_which_side_of_the_padding_an_input_is_quantised(command, checkpoint, pooled, tmp_path):
    calibrated(pooled).save(tmp_path / "calibration.json")
    before = {}
    for placement in ("after-pad", "before-pad"):
        code, *_ = command(
            *(checkpoint, "-o", tmp_path, "--int8", "--calibration", tmp_path / "calibration.json"),
            *("--placement", placement, "--parts", "decoder", "--rewrites", "none", "--name", placement),
        )
        assert code == 0
        model = graph_of(tmp_path / f"{placement}-onnx-int8", "decoder")
        made = {output: node for node in model.graph.node for output in node.output}
        conv = next(node for node in model.graph.node if node.input[1:2] == ["decoder.conv3_1.weight"])
        before[placement] = made[made[conv.input[0]].input[0]].op_type  # of the DequantizeLinear before it
    assert before == {"after-pad": "QuantizeLinear", "before-pad": "Pad"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "int8"], "target onnx stores weights as fp32 or fp16, and target mnn as int8 too"),
        (["--weights", "int4"], "unknown weights int4; there are fp32, fp16, int8"),
        (["--weights", "fp16", "--fp16"], "weights fp16 is about a float32 network, and this one is fp16"),
        (["--io", "video"], "unknown io video; there are float, uint8"),
        (["--parts", ""], "nothing to export: name at least one part of encoder, decoder, stylizer"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_written(command, checkpoint, tmp_path, arguments, said):
    ran = command(checkpoint, "-o", tmp_path / "out", *arguments)
    assert ran.code == 2
    assert said in ran.one_line()
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


def test_verbose_shows_where_an_error_was_raised(command, tmp_path):
    code, _, err = command(tmp_path / "none.safetensors", "--verbose")
    assert code == 2
    assert err.startswith("Traceback")
    assert "none.safetensors: no such checkpoint" in err.splitlines()[-1]
