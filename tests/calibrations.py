"""A calibration without images: the ranges that noise and its stylised self leave in a small network."""

from __future__ import annotations

import torch

from adain_export.calibration import Calibration, inner_layers, layer_names, layers_after_relu
from adain_export.layer_range import METHODS, LayerRange, as_float32
from adain_export.origin import Origin
from adain_model import Network
from adain_model.checkpoint import encoder_id, weights_sha256

SHA = "0123456789abcdef" * 4
ORIGIN = Origin(SHA, 128, 9, 7, 0, 256, 99.99, {"adain-edge": "0.1.0", "numpy": "2.0"}, (SHA[:16],))


def calibrated(network: Network) -> Calibration:
    """Every method's range is the largest value seen."""
    largest = dict.fromkeys(layer_names(network), 0.0)

    def watch(name):
        def look(_module, inputs):
            largest[name] = max(largest[name], inputs[0].abs().max().item())

        return look

    hooks = [network.get_submodule(name).register_forward_pre_hook(watch(name)) for name in largest]
    generator = torch.Generator().manual_seed(11)
    content, style = (torch.rand(4, 3, 64, 64, generator=generator) for _ in range(2))
    network(content, style)
    network(style, style)
    for hook in hooks:
        hook.remove()
    layers = {
        name: LayerRange(
            0.0, as_float32(value), dict.fromkeys(METHODS, as_float32(value)), SHA, name in layers_after_relu(network)
        )
        for name, value in largest.items()
    }
    inner = inner_layers(tuple(layers))
    return Calibration(network.spec.name, weights_sha256(network), encoder_id(network), "mse", ORIGIN, layers, inner)
