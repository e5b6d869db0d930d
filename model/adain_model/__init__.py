"""AdaIN networks in torch: specs, the family of norms, encoder and decoder, checkpoints and imports.

Everything public is reached from here, and loaded on first use: the names below cost no torch import until
then, so that ``adain-model --help`` is quick, and where torch is missing the error is the line that mends it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from adain_model.specs import LITE, SPECS, VGG19

if TYPE_CHECKING:
    from adain_model.checkpoint import (
        EMBEDDED,
        Checkpoint,
        embedded_checkpoint,
        encoder_id,
        find_checkpoint,
        load_checkpoint,
        load_encoder,
        load_network,
        save_network,
        weights_sha256,
    )
    from adain_model.cost import LayerCost, layer_costs, macs
    from adain_model.importers import Imported, Source, import_network
    from adain_model.network import (
        Chain,
        Decoder,
        Encoder,
        MaxPool,
        Network,
        PaddedConv,
        Upsample,
        initialize,
    )
    from adain_model.norms import (
        ConditionalInstanceNorm,
        adain,
        batch_norm,
        channel_stats,
        instance_norm,
        spatial_adain,
    )

__all__ = [
    "EMBEDDED",
    "LITE",
    "SPECS",
    "VGG19",
    "Chain",
    "Checkpoint",
    "ConditionalInstanceNorm",
    "Decoder",
    "Encoder",
    "Imported",
    "LayerCost",
    "MaxPool",
    "Network",
    "PaddedConv",
    "Source",
    "Upsample",
    "adain",
    "batch_norm",
    "channel_stats",
    "embedded_checkpoint",
    "encoder_id",
    "find_checkpoint",
    "import_network",
    "initialize",
    "instance_norm",
    "layer_costs",
    "load_checkpoint",
    "load_encoder",
    "load_network",
    "macs",
    "save_network",
    "spatial_adain",
    "weights_sha256",
]

_MODULES = ("checkpoint", "cost", "importers", "network", "norms")


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in _MODULES:
            found = vars(import_module(f"{__name__}.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
