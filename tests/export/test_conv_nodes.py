"""A graph's convolutions by the network's names, in every part, precision and rewrite."""

from __future__ import annotations

import copy
from dataclasses import replace

import onnx
import pytest
import torch

from adain_export import rewrites
from adain_export.calibration import layer_names
from adain_export.conv_nodes import conv_layers, entering, padding_of
from adain_export.graphs import with_precision
from adain_export.onnx_model import part_model
from adain_runtime.errors import InputError
from adain_runtime.parts import part_interface
from networks import SPECS, make_network


def traced(part, network, features="float32"):
    return part_model(part, network, part_interface(part, network.spec, "x.onnx", features=features))


def plain(network):
    folded = copy.deepcopy(network)
    rewrites.apply(folded, ("fold-color",))
    return folded


@pytest.fixture(scope="module", params=[(name, part) for name in SPECS for part in ("encoder", "decoder", "stylizer")])
def traced_part(request):
    name, part = request.param
    network = plain(make_network(SPECS[name]))
    return network, part, traced(part, network)


def test_every_part_names_its_convolutions_as_the_network_does(traced_part):
    network, part, model = traced_part
    wanted = [name for name in layer_names(network) if part == "stylizer" or name.startswith(f"{part}.")]
    found = conv_layers(model)
    assert list(found) == wanted
    for name, node in found.items():
        assert node.op_type == "Conv"
        weights = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
        assert list(weights.dims) == list(network.get_submodule(name).weight.shape)


def test_what_enters_is_the_tensor_before_the_padding(traced_part):
    _, part, model = traced_part
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    found = {name: makers.get(entering(model, node)) for name, node in conv_layers(model).items()}
    for node in conv_layers(model).values():
        assert padding_of(model, node).op_type == "Pad"
    if part != "decoder":
        assert entering(model, conv_layers(model)["encoder.conv1_1"]) == "image"
    if part != "encoder":
        assert found["decoder.conv4_1"] == "Add"  # the AdaIN target
        assert found["decoder.conv3_1"] == "Resize"
        assert found["decoder.conv3_2"] == "Relu"


def test_zero_padding_is_in_the_convolution_and_the_colour_convolution_stays():
    network = plain(make_network(replace(SPECS["pooled"], padding="zeros")))
    model = traced("encoder", network)
    found = conv_layers(model)
    assert list(found) == ["encoder.conv0", *(name for name in layer_names(network) if name.startswith("encoder."))]
    for node in found.values():
        assert padding_of(model, node) is None
        assert entering(model, node) == node.input[0]


def test_the_phase_rewrite_and_fp16_keep_the_names():
    network = make_network(SPECS["strided"])
    rewritten = plain(network)
    rewrites.apply(rewritten, ("phase",))
    model = traced("decoder", with_precision(rewritten, "fp16"), "float16")
    assert list(conv_layers(model)) == [name for name in layer_names(network) if name.startswith("decoder.")]
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    assert makers[entering(model, conv_layers(model)["decoder.conv3_1"])] == "Relu"  # the small map


def test_layers_that_cannot_be_told_apart_or_are_no_layers_are_refused():
    network = make_network(replace(SPECS["strided"], encoder=((4,), (6, 6, 6), (8,), (10, 10))))
    with torch.no_grad():
        for step in (network.encoder.conv2_2, network.encoder.conv2_3):
            step.weight.zero_()
    with pytest.raises(InputError, match=r"encoder\.conv2_2: two convolutions have these weights"):
        conv_layers(traced("encoder", network))
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], "odd")
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 1, 1, 1], [1.0])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [], [weights]))
    with pytest.raises(InputError, match="odd: its weights are 'w'"):
        conv_layers(model)
