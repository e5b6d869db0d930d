"""Smaller weights, and int8 activations: what is done to a Core ML model after or while it is converted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from adain_export.coreml.codes import PALETTE_BITS, codes_for, palette_rows
from adain_export.coreml.palette import palette
from adain_export.coreml.request import CoremlRequest, Plan
from adain_export.layer_range import Codes
from adain_runtime.errors import InputError

if TYPE_CHECKING:
    from adain_export.calibration import Calibration
    from adain_model.network import Network

MOST_PLAIN = 2048
"""Numbers that a weight may have and stay as it is: coremltools' own limit."""

_KEEPS_CODES = ("pad", "max_pool", "upsample_nearest_neighbor")  # each result is one of the values that came in


def ready_for_codes(network: Network, request: CoremlRequest, plan: Plan) -> Network:
    """A network whose weights are what a request stores, chosen so that the network changes least (`coreml.fit`).

    Args:
        network: rewritten as it is to be exported.
        request: what was asked for.
        plan: what came of it.

    Returns:
        the network itself where weights are stored as they are.
    """
    if request.int8 is None and request.weights == "none":
        return network
    from adain_export.coreml.fit import fitted

    large = {name for name, layer in _layers(network) if layer.numel() > MOST_PLAIN}
    layers = large if request.int8 is None else _coded(request.int8.calibration)
    return fitted(network, lambda weights: codes_for(weights, request, plan), layers)


def with_small_weights(model: Any, request: CoremlRequest, plan: Plan) -> Any:  # noqa: ANN401
    """A converted model with its weights stored as a request wants them; small ones stay as they are."""
    if request.int8 is not None:
        calibration = request.int8.calibration
        return _int8_weights(model, [op.name for op in _convolutions(model, calibration, _coded(calibration))])
    if request.weights == "int8":
        return _int8_weights(model, None)
    if request.weights in PALETTE_BITS:
        return _palette(model, PALETTE_BITS[request.weights], plan)
    return model


def _layers(network: Network) -> Iterator[tuple[str, Any]]:
    for name, values in network.named_parameters():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and values.ndim == 4:
            yield layer, values


def _int8_weights(model: Any, only: Collection[str] | None) -> Any:  # noqa: ANN401
    """Weights as int8 with a scale an output channel; of some operations only, or of all."""
    import coremltools.optimize.coreml as cto

    config = cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0 if only else MOST_PLAIN
    )
    if only is None:
        return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=config))
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(op_name_configs=dict.fromkeys(only, config)))


def _palette(model: Any, bits: int, plan: Plan) -> Any:  # noqa: ANN401
    """Weights as indices into 2^bits values; the weights are of so few values already, and the palettes are those.

    coremltools' own clustering wants scikit-learn for groups of this size, and draws its start at random. Where groups
    don't divide a weight's outputs it would leave the weight float, so that has one palette.
    """
    import coremltools.optimize.coreml as cto

    configs = {}
    for op in model._mil_program.functions["main"].operations:
        if op.op_type == "conv":
            outputs = op.weight.shape[0]
            rows = palette_rows(outputs, plan)
            kind: dict[str, Any] = {"granularity": "per_tensor"}
            if rows < outputs:
                kind = {"granularity": "per_grouped_channel", "group_size": rows}
            configs[op.name] = cto.OpPalettizerConfig(
                mode="custom", lut_function=lambda weights: palette(weights, bits), weight_threshold=MOST_PLAIN, **kind
            )
    return cto.palettize_weights(model, cto.OptimizationConfig(op_name_configs=configs))


def fed_by_adain(calibration: Calibration) -> str:
    """The decoder's first layer, which computes in float: what enters it is as large as each style makes it.

    One step for all styles is what W8A8 loses most by: VGG-19's worst of eight pairs has 26 dB with it, and 33 without.
    """
    return next(layer for layer in calibration.layers if layer.startswith("decoder."))


def _coded(calibration: Calibration) -> frozenset[str]:
    """The layers whose weights are int8: those that compute in it, and the one that AdaIN feeds."""
    return frozenset((*calibration.int8, fed_by_adain(calibration)))


def _convolutions(model: Any, calibration: Calibration, layers: Collection[str]) -> list[Any]:  # noqa: ANN401
    operations = model._mil_program.functions["main"].operations
    return [op for op in operations if op.op_type == "conv" and layer_of(op, calibration.layers) in layers]


def layer_of(convolution: Any, layers: Collection[str]) -> str | None:  # noqa: ANN401
    """The network's layer that a convolution of a model is.

    Its weight is called ``encoder.conv4_1.weight_to_fp16``, and ``encoder_conv4_1_weight_to_fp16`` once it is written.
    """
    weight = convolution.inputs["weight"].name.replace(".", "_")
    return next((layer for layer in layers if weight.startswith(layer.replace(".", "_") + "_weight")), None)


def with_int8_activations(pipeline: Any, calibration: Calibration) -> Any:  # noqa: ANN401
    """Let a ``coremltools.PassPipeline`` end with the quantisation of what enters a calibration's int8 layers.

    coremltools' own ``linear_quantize_activations`` measures ranges with Core ML, on a Mac only, and in 9.0 keeps those
    of the last sample. Here they are the calibration's, as for every int8 export, and the pass is a public extension.
    """
    name = _pass_name()
    pipeline.append_pass(name)
    pipeline.set_options(name, {"calibration": calibration})
    return pipeline


@cache
def _pass_name() -> str:
    """Register the pass with coremltools, once."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

    class QuantiseActivations(AbstractGraphPass):  # type: ignore[misc]
        """Quantise and dequantise what enters some convolutions."""

        calibration: Calibration | None = None  # set by the pipeline

        def apply(self, prog: Any) -> None:  # noqa: ANN401
            for function in prog.functions.values():
                _quantise_activations(function, self.calibration)  # type: ignore[arg-type]

    register_pass(namespace="adain", override=True, name="quantise_activations")(QuantiseActivations)
    return "adain::quantise_activations"


def _quantise_activations(function: Any, calibration: Calibration) -> None:  # noqa: ANN401
    """Put quantize and dequantize before each int8 convolution, and where its values are made.

    The second pair changes no number (padding, pooling and upsampling keep codes), and lets a device keep int8 between
    two convolutions.
    """
    codes = calibration.codes()
    with function:
        for op in list(function.operations):
            layer = layer_of(op, calibration.layers) if op.op_type == "conv" else None
            if layer is None or layer not in calibration.int8:
                continue
            made = op.x
            while made.op is not None and made.op.op_type in _KEEPS_CODES:
                made = made.op.x
            for values in dict.fromkeys((made, op.x)):
                alone = len(values.child_ops) == 1 and values.op is not None and values.op.op_type in ("relu", "conv")
                if alone or values is op.x:
                    _insert_pair(function, values, layer, codes[layer])


def _insert_pair(function: Any, values: Any, layer: str, codes: Codes) -> None:  # noqa: ANN401
    """Codes of what is never negative are uint8, 255 steps from 0 on; others are int8, and half as fine."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813 as coremltools' own documentation has it
    from coremltools.converters.mil.mil import types

    step = np.float16(codes.step) if values.dtype == types.fp16 else np.float32(codes.step)
    if not np.isfinite(step) or step < np.finfo(step.dtype).tiny:
        raise InputError(f"{layer}: its step {codes.step:g} doesn't fit {step.dtype}; give --precision fp32")
    consumer = values.child_ops[0]
    dtype = "uint8" if codes.shifted else "int8"
    coded = mb.quantize(input=values, scale=step, output_dtype=dtype, before_op=consumer)
    again = mb.dequantize(input=coded, scale=step, before_op=consumer)
    function.replace_uses_of_var_after_op(anchor_op=again.op, old_var=values, new_var=again, end_op=None)
