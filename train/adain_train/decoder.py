"""The paper's training (Huang & Belongie 2017, section 6): a decoder for a frozen VGG-19."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from adain_model import Decoder, Encoder, Network, adain, encoder_id, initialize
from adain_train.config import DecoderConfig
from adain_train.losses import Perceptual, total, total_variation
from adain_train.pairs import PairData
from adain_train.samples import Samples
from adain_train.task import Share


class DecoderTask:
    """Decode the AdaIN target so that its encoding is the target again, and its taps have the style's statistics.

    Attributes:
        config: what the training is.
        model: the decoder.
        frozen: the encoder, which also measures.
        data: contents and styles.
    """

    def __init__(self, config: DecoderConfig, encoder: Encoder, data: PairData) -> None:
        self.config, self.data = config, data
        self.frozen = Perceptual(encoder)
        self.model = Decoder(encoder.spec)
        initialize(self.model, torch.Generator().manual_seed(config.seed))

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """Digests of the encoder and the data."""
        return {"encoder": encoder_id(self.frozen.encoder), **self.data.digests}

    @cached_property
    def samples(self) -> Samples:
        """Pictures for the grids."""
        return self.data.samples

    @property
    def measure(self) -> Perceptual:
        """The encoder, which is all that is frozen."""
        return self.frozen

    def load(self, step: int, share: Share) -> dict[str, Tensor]:
        """Crops of a step: ``content`` and ``style``, [n, 3, crop, crop] uint8."""
        return self.data.load(share.of(self._positions(step)))

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``content``, ``style``, what else has a weight, and ``total``."""
        weights, measure, spec = self.config.weights, self.frozen, self.frozen.encoder.spec
        with torch.no_grad():
            features = measure.taps(batch["content"])[-1]
            taps = measure.taps(batch["style"])
            mean, std = measure.summarize(taps[-1:])[0]
            target = adain(features, mean, std, correction=spec.correction, eps=spec.eps)
            style = measure.summarize(taps, weights.style_kind)
            own = torch.cat([features, taps[-1]]) if weights.identity else features[:0]
        output, restored = model(torch.cat([target, own])).split([len(target), len(own)])
        losses = measure.losses(output, target, style, style_kind=weights.style_kind)
        if weights.tv:
            losses["tv"] = total_variation(output)
        if weights.identity:
            losses |= measure.identity_losses(restored, torch.cat([batch["content"], batch["style"]]))
        return {**losses, "total": total(losses, weights)}

    def describe(self, step: int, share: Share) -> str:
        """The batch's files."""
        return self.data.describe(share.of(self._positions(step)))

    def network(self, module: nn.Module) -> Network:
        """The encoder with a decoder."""
        network = Network(self.frozen.encoder.spec)
        network.encoder.load_state_dict(self.frozen.encoder.state_dict())
        network.decoder.load_state_dict(module.state_dict())
        device = next(module.parameters()).device
        return network.to(device).eval().requires_grad_(False)

    def _positions(self, step: int) -> range:
        return range(step * self.config.batch, (step + 1) * self.config.batch)
