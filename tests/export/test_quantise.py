"""Q/DQ in a graph: what the codes are, what stays float, and that it computes what written-out int8 computes."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from adain_export import rewrites
from adain_export.calibration import layer_names, layers_after_relu
from adain_export.conv_nodes import conv_layers
from adain_export.graphs import with_precision
from adain_export.layer_range import Codes, codes_over
from adain_export.onnx_model import part_model
from adain_export.quantise import OPSET, quantise, quantised_weights
from adain_export.target import Int8, Request
from adain_model import adain
from adain_model.network import PaddedConv
from adain_runtime.errors import InputError
from adain_runtime.parts import part_interface
from calibrations import calibrated
from networks import SPECS, make_network

LARGEST = 3.0  # of what enters any layer here: values beyond it are clipped, and some are


def traced(part, network, *, precision="fp32", rewritten=("fold-color",)):
    made = copy.deepcopy(network)
    rewrites.apply(made, rewritten)
    features = {"fp32": "float32", "fp16": "float16"}[precision]
    interface = part_interface(part, network.spec, "x.onnx", features=features)
    return part_model(part, with_precision(made, precision), interface, opset=OPSET)


def inner(network):
    return layer_names(network)[1:-1]


def codes(network, *, signed=False):
    after_relu = () if signed else layers_after_relu(network)
    return {layer: codes_over(LARGEST, shifted=layer in after_relu) for layer in layer_names(network)}


def run(model, *, literally=False, **feeds):
    """The outputs; literally, operation by operation: fused ones round otherwise, and a code may be the other one."""
    settings = onnxruntime.SessionOptions()
    if literally:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in feeds.items()})


def in_codes(network, layers):
    """The network with inputs and weights of some layers rounded to codes, in torch, written out."""
    made = copy.deepcopy(network).double()

    class Rounded(PaddedConv):
        def forward(self, features):
            step, (least, largest) = self.step, self.ends
            return super().forward(torch.clamp(torch.round(features / step), least, largest) * step)

    for layer in layers:
        conv = made.get_submodule(layer)
        conv.__class__ = Rounded
        after_relu = layer in layers_after_relu(network)
        conv.ends = (0, 255) if after_relu else (-128, 127)
        conv.step = float(np.float32(LARGEST) / np.float32(255 if after_relu else 127))
        step = (conv.weight.abs().amax(dim=(1, 2, 3), keepdim=True).float() / 127).double()
        conv.weight.copy_(torch.round(conv.weight / step) * step)
    return made


@pytest.fixture(scope="module", params=SPECS)
def network(request):
    return make_network(SPECS[request.param])


@pytest.fixture(scope="module")
def stylizer(network):
    model = traced("stylizer", network)
    quantise(model, codes(network), inner(network))
    return model


@pytest.fixture(scope="module")
def feeds(network):
    generator = torch.Generator().manual_seed(4)
    image, other = (torch.rand(2, 3, 40, 24, generator=generator) for _ in range(2))
    mean, std = network.stats(network.encoder(other))
    return {"image": image, "mean": mean, "std": std, "alpha": torch.tensor([1.0, 0.6]).view(2, 1, 1, 1)}


def test_it_computes_what_written_out_int8_computes(network, stylizer, feeds):
    rounded = in_codes(network, inner(network))
    wide = {name: value.double() for name, value in feeds.items()}
    features = rounded.encoder(wide["image"])
    spec = network.spec
    target = adain(features, wide["mean"], wide["std"], alpha=wide["alpha"], correction=spec.correction, eps=spec.eps)
    wanted = rounded.decoder(target).clamp(0, 1).numpy()
    found = run(stylizer, **feeds)[0]
    exact = network(feeds["image"], feeds["image"]).numpy()
    off = np.abs(found - wanted)
    assert np.abs(exact - wanted).max() > 0.02  # rounding shows
    assert np.mean(off < 1e-5) > 0.9  # but where a value lay between two codes, float32 may have taken the other
    assert off.max() < 0.02


def test_only_the_asked_convolutions_have_codes(network, stylizer):
    onnx.checker.check_model(stylizer, full_check=True)
    ops = Counter(node.op_type for node in stylizer.graph.node)
    count = len(inner(network))
    assert (ops["QuantizeLinear"], ops["DequantizeLinear"]) == (count, 2 * count)
    makers = {name: node for node in stylizer.graph.node for name in node.output}
    of_codes = [
        node
        for node in stylizer.graph.node
        if node.op_type == "Conv" and makers.get(node.input[1], node).op_type == "DequantizeLinear"
    ]
    assert len(of_codes) == count
    for node in of_codes:
        assert makers[node.input[0]].op_type == "DequantizeLinear"


def test_zero_points_are_zero_weights_are_int8_and_biases_stay_float(network, stylizer):
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stylizer.graph.initializer}
    for layer in inner(network):
        codes = held[f"{layer}.weight.int8"]
        assert codes.dtype == np.int8
        assert codes.min() >= -127
        assert held[f"{layer}.weight.step"].shape == (len(codes),)
        assert not held[f"{layer}.weight.zero"].any()
        assert held[f"{layer}.input_zero"] == 0
        assert held[f"{layer}.input_step"].shape == ()
        assert f"{layer}.bias.int8" not in held
    for layer in (layer_names(network)[0], layer_names(network)[-1]):
        assert held[f"{layer}.weight"].dtype == np.float32


def test_the_placement_changes_no_number(network, stylizer, feeds):
    before = traced("stylizer", network)
    quantise(before, codes(network), inner(network), placement="before-pad")
    assert np.array_equal(*(run(model, literally=True, **feeds)[0] for model in (before, stylizer)))
    makers = {name: node for node in before.graph.node for name in node.output}
    pads = [node for node in before.graph.node if node.op_type == "Pad"]
    assert sum(makers[node.input[0]].op_type == "QuantizeLinear" for node in pads if node.input[0] in makers) == len(
        inner(network)
    )


def test_parts_share_their_codes(network, stylizer):
    encoder = traced("encoder", network)
    quantise(encoder, codes(network), inner(network))
    whole = {tensor.name: tensor.raw_data for tensor in stylizer.graph.initializer}
    made = [tensor for tensor in encoder.graph.initializer if tensor.name.endswith(".int8")]
    assert len(made) == sum(layer.startswith("encoder.") for layer in inner(network))
    assert all(whole[tensor.name] == tensor.raw_data for tensor in made)


@pytest.mark.parametrize("placement", ["after-pad", "before-pad"])
def test_the_phase_rewrite_and_half_precision_take_it_too(network, feeds, placement):
    model = traced("stylizer", network, precision="fp16", rewritten=("fold-color", "phase"))
    plain = run(model, **feeds)[0]
    quantise(model, codes(network), inner(network), placement=placement)
    onnx.checker.check_model(model, full_check=True)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert {held[f"{layer}.input_step"].dtype for layer in inner(network)} == {np.dtype(np.float16)}
    assert 0.001 < np.abs(run(model, **feeds)[0] - plain).max() < 0.6


def test_before_pad_in_half_is_refused(network):
    """ONNX Runtime makes biases multiples of both steps there, and float16 can't hold these."""
    with pytest.raises(InputError, match="placement before-pad with fp16"):
        Request("x", "fp16", int8=Int8(calibrated(network), "before-pad"))


def test_codes_are_the_nearest():
    weights = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    weights[2] = 0
    codes, steps = quantised_weights(weights)
    assert (np.abs(codes.astype(np.float64) * steps[:, None, None, None] - weights) <= steps.max() / 2 + 1e-7).all()
    assert (np.abs(codes).reshape(5, -1).max(axis=1) == [127, 127, 0, 127, 127]).all()
    assert steps[2] == 1


def test_a_layer_without_a_range_or_with_steps_too_small_for_half_is_named(network):
    layer = "decoder.conv3_1"
    with pytest.raises(InputError, match=rf"{layer}: the calibration has no range"):
        quantise(traced("decoder", network), {}, [layer])
    with pytest.raises(InputError, match=rf"{layer}: its steps don't fit float16"):
        quantise(traced("decoder", network, precision="fp16"), {layer: Codes(1e-6)}, [layer])


def test_layers_of_another_part_are_passed_over(network):
    model = traced("encoder", network)
    before = list(conv_layers(model))
    quantise(model, {}, [layer for layer in layer_names(network) if layer.startswith("decoder.")])
    assert list(conv_layers(model)) == before


def test_after_a_relu_a_clip_takes_the_constant_off_and_the_next_bias_gives_it_back(network):
    plain, model = traced("stylizer", network), traced("stylizer", network)
    chosen = [layer for layer in inner(network) if layer in layers_after_relu(network)]
    quantise(model, codes(network), chosen)
    before, after = (
        Counter(node.op_type for node in each.graph.node) - Counter(QuantizeLinear=99, DequantizeLinear=99)
        for each in (plain, model)
    )
    assert len(chosen) >= len(inner(network)) - 1  # all but what AdaIN gives
    assert after == before - Counter(Relu=len(chosen)) + Counter(Clip=len(chosen))  # and no operation more


def test_shifted_codes_are_twice_as_fine(network, feeds):
    exact = run(traced("stylizer", network), **feeds)[0]
    errors = []
    for signed in (True, False):
        model = traced("stylizer", network)
        quantise(model, codes(network, signed=signed), sorted(layers_after_relu(network))[:2])
        errors.append(np.square(run(model, **feeds)[0] - exact).mean())
    assert errors[1] < errors[0] / 2


def test_shifted_codes_where_no_relu_is_before_are_refused(network):
    layer = next(layer for layer in inner(network) if layer not in layers_after_relu(network))
    with pytest.raises(InputError, match=rf"{layer}: its codes are shifted, and no ReLU"):
        quantise(traced("stylizer", network), {layer: codes_over(LARGEST, shifted=True)}, [layer])


def test_a_shifted_bias_that_half_precision_cannot_hold_is_named(network):
    layer = sorted(layers_after_relu(network))[0]
    with pytest.raises(InputError, match=r"its biases or bounds don't fit float16"):
        quantise(traced("stylizer", network, precision="fp16"), {layer: Codes(900.0, shifted=True)}, [layer])


def test_where_zeros_pad_no_codes_are_shifted():
    padded = make_network(replace(SPECS["strided"], padding="zeros"))
    assert not layers_after_relu(padded)
    layer = inner(padded)[0]
    with pytest.raises(InputError, match=rf"{layer}: its codes are shifted, and no ReLU"):
        quantise(traced("encoder", padded), {layer: codes_over(LARGEST, shifted=True)}, [layer])
