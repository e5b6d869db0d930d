"""The reference of every case: the network in torch, and what it computes on the way."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adain_export.check import to_eight_bits
from adain_model.network import Network
from adain_model.norms import channel_stats
from adain_parity.composition import affine
from adain_runtime.backend import Array
from adain_train.losses import Perceptual, content_loss, summary_loss

Floats = NDArray[np.floating]
Layers = Iterator[tuple[str, Floats]]
ADAIN, MEAN, STD = "adain", "adain.mean", "adain.std"
"""What AdaIN gives, and the statistics of the content, as layers of the curve of error by depth."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What the reference feeds to every part, and what it gets from each.

    Every feed is float32, and every output is computed from the feeds as they are, so that a backend gets the very
    arrays that the reference got.

    Attributes:
        image: the content, [1, 3, H, W].
        style_image: [1, 3, H, W].
        encoded: ``features``, ``mean``, ``std`` of the content.
        style_encoded: the same of the style.
        decoder_feeds: ``features``, and ``scale``, ``shift`` [1, C, 1, 1] of AdaIN.
        decoded: image of the decoder on its feeds, clipped.
        stylizer_feeds: ``image``, ``mean``, ``std``, ``alpha``.
        stylized: image of the stylizer on its feeds, clipped.
    """

    image: Floats
    style_image: Floats
    encoded: Mapping[str, Floats]
    style_encoded: Mapping[str, Floats]
    decoder_feeds: Mapping[str, Floats]
    decoded: Floats
    stylizer_feeds: Mapping[str, Floats]
    stylized: Floats

    def feeds(self) -> dict[str, Floats]:
        """Everything that a case's own process needs, by flat names."""
        flat = {"encoder.image": self.image, "encoder.style_image": self.style_image}
        flat |= {f"decoder.{name}": values for name, values in self.decoder_feeds.items()}
        return flat | {f"stylizer.{name}": values for name, values in self.stylizer_feeds.items()}


def in_eight_bits(truth: Truth) -> Truth:
    """The truth with its images rounded as a backend's are whose images are bytes."""
    return replace(truth, decoded=to_eight_bits(truth.decoded), stylized=to_eight_bits(truth.stylized))


class Reference:
    """A network that computes truths."""

    def __init__(self, network: Network, *, exact: bool = False) -> None:
        self.dtype = torch.float64 if exact else torch.float32
        self.network = copy.deepcopy(network).to(self.dtype).eval()
        self.spec = network.spec
        self._judge = Perceptual(self.network.encoder)
        self._encoded = lru_cache(maxsize=8)(self._encode_bytes)

    @torch.inference_mode()
    def truth(self, image: Floats, style_image: Floats, alpha: float) -> Truth:
        """Everything that a case is compared with.

        Args:
            image: content, [1, 3, H, W] float32 in [0, 1].
            style_image: likewise.
            alpha: content-style trade-off.
        """
        encoded, style = self._encode(image), self._encode(style_image)
        mean, std = (style[name].astype(np.float32) for name in ("mean", "std"))
        features = encoded["features"].astype(np.float32)
        scale, shift = (
            values.astype(np.float32)
            for values in affine(
                encoded["mean"], encoded["std"], mean.astype(np.float64), std.astype(np.float64), alpha
            )
        )
        decoder_feeds = {"features": features, "scale": scale, "shift": shift}
        stylizer_feeds = {"image": image, "mean": mean, "std": std, "alpha": np.full((1, 1, 1, 1), alpha, np.float32)}
        return Truth(
            image=image,
            style_image=style_image,
            encoded=encoded,
            style_encoded=style,
            decoder_feeds=decoder_feeds,
            decoded=last(self.layers("decoder", decoder_feeds)),
            stylizer_feeds=stylizer_feeds,
            stylized=last(self.layers("stylizer", stylizer_feeds)),
        )

    def layers(self, part: str, feeds: Mapping[str, Array]) -> Layers:
        """Every layer of a part, named as the network names it, and its output; the last is the part's image.

        A layer is a step of the encoder or the decoder, its ReLU included; pooling and upsampling, which compute
        nothing new, are left out, and so is a colour convolution, which export folds into the next.
        """
        with torch.inference_mode():
            given = {name: torch.from_numpy(np.asarray(values)).to(self.dtype) for name, values in feeds.items()}
            if part == "decoder":
                target = given["features"] * given["scale"] + given["shift"]
            else:
                features = given["image"]
                for name, step in self.network.encoder.named_steps():
                    features = step(features)
                    if _is_layer(name):
                        yield f"encoder.{name}", features.numpy()
                mean, std = self.network.stats(features)
                yield MEAN, mean.numpy()
                yield STD, std.numpy()
                if part == "encoder":
                    return
                alpha = given["alpha"]
                scale, shift = affine(mean, std, given["mean"], given["std"], alpha)
                target = features * scale + shift
            yield ADAIN, target.numpy()
            for name, step in self.network.decoder.named_steps():
                target = step(target)
                if _is_layer(name):
                    yield f"decoder.{name}", target.numpy()
            yield "image", target.clamp(0, 1).numpy()

    @torch.inference_mode()
    def statistics(self, features: Array) -> tuple[Floats, Floats]:
        """Mean and standard deviation [N, C, 1, 1] float64 of features, by the network's own formula."""
        wide = torch.from_numpy(np.asarray(features, np.float64))
        mean, std = channel_stats(wide, correction=self.spec.correction, eps=self.spec.eps)
        return mean.numpy(), std.numpy()

    @torch.inference_mode()
    def losses(self, image: Array, truth: Truth) -> tuple[float, float]:
        """Content and style loss of an image, by the network's own encoder: the paper's, with its AdaIN target."""
        feeds = truth.decoder_feeds
        target = self._tensor(feeds["features"] * feeds["scale"] + feeds["shift"])
        found, wanted = (
            self._judge.summarize(self._judge.taps(self._tensor(picture))) for picture in (image, truth.style_image)
        )
        # the features are the encoder's own: its last tap is one convolution before them where the last stage has two
        content = content_loss(self.network.encoder(self._tensor(image)), target)
        return float(content), float(summary_loss(found, wanted))

    def _encode(self, image: Floats) -> dict[str, Floats]:
        return self._encoded(image.tobytes(), image.shape)

    def _encode_bytes(self, raw: bytes, shape: tuple[int, ...]) -> dict[str, Floats]:
        image = torch.from_numpy(np.frombuffer(bytearray(raw), np.float32).reshape(shape)).to(self.dtype)
        features = self.network.encoder(image)
        mean, std = self.network.stats(features)
        return {"features": features.numpy(), "mean": mean.numpy(), "std": std.numpy()}

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.asarray(values)).to(self.dtype)


def last(layers: Layers) -> Floats:
    """The output of the last layer."""
    *_, (_, values) = layers
    return values


def _is_layer(name: str) -> bool:
    return name.startswith("conv") and name != "conv0"
