"""Students: small networks, encoder and decoder trained together, first on a teacher's images, then on VGG-19's losses.

VGG-19's losses alone hardly move a network with random weights. So the first stage teaches it to see and to
paint: the teacher's image of each pair, and images that are restyled by themselves and must come back, which
teaches colour. Then VGG-19's content and style losses join and grow, and the teacher's images fade out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adain_model import Network, adain, initialize, weights_sha256
from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec
from adain_train.beginning import begun_as
from adain_train.config import StudentConfig
from adain_train.losses import Perceptual, clipped, similarity_loss, total, total_variation
from adain_train.pairs import PairData
from adain_train.pruning import check_alike
from adain_train.samples import Samples
from adain_train.targets import Targets, Wanted
from adain_train.task import Share

_MEASURED_PAIRS = 96  # on which the channels of the network that it begins as are measured


@dataclass(frozen=True)
class Balance:
    """What the parts of the loss count at a step.

    Attributes:
        distill: the distance from the teacher's images.
        perceptual: VGG-19's losses.
        features: the distance from its features of the content.
    """

    distill: float
    perceptual: float
    features: float = 0.0

    @property
    def wanted(self) -> Wanted:
        """Which targets that takes."""
        return Wanted(image=self.distill > 0, features=self.perceptual > 0, encoding=self.features > 0)


def balance(config: StudentConfig, step: int) -> Balance:
    """The curriculum: distillation alone, then the change to VGG-19's losses, then these to the end."""
    start = config.first_perceptual_step
    if step < start:
        return Balance(config.distill, 0.0, config.distill_features)
    ramp = max(1, round(config.perceptual_ramp * (config.steps - start)))
    grown = min(1.0, (step - start + 1) / ramp)
    distill = config.distill + grown * (config.distill_end - config.distill)
    return Balance(distill, config.perceptual * grown, config.distill_features)


def image_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of pixels, twice that of 8x8 means, and half that of finite differences.

    The means see colour and light, which single pixels drown in texture; the differences see edges.

    Args:
        found: [N, 3, H, W], 8 pixels a side or more.
        wanted: the same shape.

    Returns:
        a scalar.
    """
    off = (found - wanted).float()
    across, down = (off[..., 1:] - off[..., :-1]).abs().mean(), (off[..., 1:, :] - off[..., :-1, :]).abs().mean()
    return off.abs().mean() + 2.0 * functional.avg_pool2d(off, 8).abs().mean() + 0.5 * (across + down)


def check_start(config: StudentConfig, start: Network | None) -> None:
    """Refuse what can't begin: said before the minutes that its targets take.

    Raises:
        InputError: a step has nothing to learn from, ``start`` is another kind of network than the config's, or there
            is none to revive channels of.
    """
    restores = config.restore > 0 and config.restore_every > 0
    for step in (0, config.steps - 1):
        now = balance(config, step)
        if not (restores or now.distill or now.perceptual or now.features):
            raise InputError(
                f"step {step + 1:,} of {config.steps:,} has no loss: distill, restore and perceptual_from leave "
                "nothing to learn from there; see --set in --help"
            )
    if start is None:
        if config.revive:
            raise InputError(
                f"revive {config.revive}: random weights have no silent channels; give --init or leave it out"
            )
        return
    try:
        check_alike(start.spec, config.spec)
    except InputError as error:
        raise InputError(f"--init: {error}; leave out --spec and the widths to train the file's own network") from error


def digests(teacher: Network, data: PairData, start: Network | None) -> dict[str, str]:
    """Digests of the teacher, the data, and the weights that a student begins with: what a model card quotes."""
    began = {} if start is None else {"init": weights_sha256(start)}
    return {"teacher": weights_sha256(teacher), **data.digests, **began}


class Restyler(nn.Module):
    """The student with everything a step asks of it in one forward pass, as data-parallel training needs it.

    Attributes:
        network: the student.
    """

    def __init__(self, spec: NetworkSpec, seed: int) -> None:
        super().__init__()
        self.network = Network(spec)
        initialize(self.network, torch.Generator().manual_seed(seed))
        last = cast(nn.Conv2d, self.network.decoder.get_submodule(self.network.decoder.steps[-1]))
        with torch.no_grad():  # begin near a grey image: He's rule is for layers with a ReLU behind them
            last.weight.mul_(0.3)
            nn.init.constant_(cast(Tensor, last.bias), 0.45)

    def forward(self, content: Tensor, style: Tensor, every: int) -> tuple[Tensor, Tensor, Tensor]:
        """Stylise, and give back.

        An image restyled by itself has its own features, so those that must come back cost no encoding.

        Args:
            content: [N, 3, H, W], RGB in [0, 1].
            style: likewise.
            every: every so-manieth content and style is also decoded as it is; 0 is none.

        Returns:
            the stylised images [N, 3, H, W], those given back [2 ceil(N / every), 3, H, W], contents first, and the
            features of the contents [N, C, h, w].
        """
        network, spec = self.network, self.network.spec
        ours, theirs = network.encoder(torch.cat([content, style])).chunk(2)
        target = adain(ours, *network.stats(theirs), correction=spec.correction, eps=spec.eps)
        back = torch.cat([ours[::every], theirs[::every]]) if every else ours[:0]
        styled, restored = network.decoder(torch.cat([target, back])).split([len(target), len(back)])
        return styled, restored, ours


class StudentTask:
    """The curriculum of `StudentConfig`.

    Attributes:
        config: what the training is.
        model: the student.
        frozen: the teacher, whose encoder also measures.
        targets: what the student is to reach.
        data: contents and styles.
        start: the network that the student begins as, its channels pruned or joined by fresh ones where its widths are
            others; None draws weights from the config's seed.

    Raises:
        InputError: ``start`` is another kind of network than the config's, or there is none to revive channels of; or
            features are to be distilled into a network of other cells than the teacher's.
    """

    def __init__(
        self,
        config: StudentConfig,
        teacher: Network,
        data: PairData,
        targets: Targets,
        start: Network | None = None,
    ) -> None:
        if config.distill_features and config.spec.stride != teacher.spec.stride:
            raise InputError(
                f"distill_features: a cell of {config.spec.name} is {config.spec.stride} pixels, one of the teacher "
                f"{teacher.spec.stride}; give as many stages as the teacher has, or leave it out"
            )
        check_start(config, start)
        self.config, self.data, self.targets = config, data, targets
        self.frozen = teacher
        self.model = Restyler(config.spec, config.seed)
        self._digests = digests(teacher, data, start)
        if start is not None:
            self.model.network.load_state_dict(_beginning(start, config, data).state_dict())

    @property
    def sources(self) -> Mapping[str, str]:
        """Digests of the teacher, the data, and the weights it began with."""
        return self._digests

    @cached_property
    def samples(self) -> Samples:
        """Pictures for the grids."""
        return self.data.samples

    @property
    def measure(self) -> Perceptual:
        """VGG-19."""
        return self.targets.measure

    def load(self, step: int, share: Share) -> dict[str, Tensor]:
        """Crops of a step, and what is kept of their targets."""
        return self.targets.load(share.of(self._positions(step)), balance(self.config, step).wanted)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """``distill``, ``features``, ``restore``, ``content``, ``style`` as far as the step has them, and ``total``."""
        config, now = self.config, balance(self.config, step)
        every = config.comes_back
        targets = self.targets.complete(batch, now.wanted)
        styled, restored, features = model(batch["content"], batch["style"], every)
        losses: dict[str, Tensor] = {}
        summed = styled.new_zeros((), dtype=torch.float32)
        if targets.image is not None:
            losses["distill"] = image_distance(styled, targets.image)
            summed = summed + now.distill * losses["distill"]
        if targets.encoding is not None:
            losses["features"] = similarity_loss(features, targets.encoding)
            summed = summed + now.features * losses["features"]
        if every:
            originals = torch.cat([batch["content"][::every], batch["style"][::every]])
        if every and config.restore:
            losses["restore"] = image_distance(restored, originals)
            summed = summed + config.restore * losses["restore"]
        if targets.features is not None and targets.style is not None:
            kind = config.weights.style_kind
            styled = clipped(styled) if config.measure_clipped else styled
            measured = self.measure.losses(styled, targets.features, targets.style, style_kind=kind)
            if config.weights.tv:
                measured["tv"] = total_variation(styled)
            if config.weights.identity and every:
                measured |= self.measure.identity_losses(restored, originals)
            losses |= measured
            summed = summed + now.perceptual * total(measured, config.weights)
        return {**losses, "total": summed}

    def describe(self, step: int, share: Share) -> str:
        """The batch's files."""
        return self.targets.describe(share.of(self._positions(step)), balance(self.config, step).wanted)

    def network(self, module: nn.Module) -> Network:
        """The student itself."""
        return cast(Restyler, module).network

    def _positions(self, step: int) -> range:
        first = self.config.position(step)
        return range(first, first + self.config.pairs(step))


def _beginning(start: Network, config: StudentConfig, data: PairData) -> Network:
    spec = config.spec
    if replace(start.spec, name=spec.name) == spec and not config.revive:
        return start
    crops = data.load(range(_MEASURED_PAIRS))
    contents, styles = (crops[kind].float() / 255 for kind in ("content", "style"))
    return begun_as(start, spec, contents, styles, revive=config.revive, seed=config.seed)
