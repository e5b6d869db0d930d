"""What a training is, as data: every number it depends on, in one object that a run folder shows as config.toml.

Two objects, because they answer two questions. A `TrainConfig` says what is trained: the same config, data and
teacher give the same weights, and a run can only be resumed with the config it was started with. A `Machine`
says where and how long: it may differ from one run to the next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args

from adain_model import LITE
from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec, is_name
from adain_train.data import Framing
from adain_train.losses import Weights

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")
Schedule: TypeAlias = Literal["paper", "cosine"]
Algorithm: TypeAlias = Literal["adam", "muon"]
Precision: TypeAlias = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What every training has.

    Attributes:
        name: of the network, and of the file that comes out.
        seed: of the weights and of the data.
        steps: how many there are in all; the schedules run over them.
        batch: content-style pairs a step, over all processes together.
        framing: how crops are cut.
        optimizer: ``adam``, the paper's, or ``muon``, which takes fewer steps.
        lr: learning rate, of either.
        schedule: ``paper``: lr / (1 + decay * step); ``cosine``: down to ``lr_floor`` of it at the last step.
        decay: of the paper's schedule.
        warmup: steps over which the rate rises to its full size.
        lr_floor: share of the rate that the cosine ends at.
        clip: largest norm of the gradient; 0 leaves it as it is.
        ema: of the weights' moving average, which is what is saved; 0 saves the weights themselves.
        weights: what each of the losses measured by VGG-19 counts.
    """

    name: str
    seed: int = 0
    steps: int
    batch: int = 8
    framing: Framing = field(default_factory=Framing)
    optimizer: Algorithm = "adam"
    lr: float = 1e-4
    schedule: Schedule = "paper"
    decay: float = 5e-5
    warmup: int = 0
    lr_floor: float = 0.02
    clip: float = 0.0
    ema: float = 0.999
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise InputError(f"schedule {self.schedule}: there is {' and '.join(get_args(Schedule))}")
        if self.optimizer not in get_args(Algorithm):
            raise InputError(f"optimizer {self.optimizer}: there is {' and '.join(get_args(Algorithm))}")
        for name, least in (("steps", 1), ("batch", 1), ("seed", 0), ("warmup", 0), ("decay", 0), ("clip", 0)):
            if not least <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; give {least} or more")
        for name, low, high in (("lr", 0, 1), ("lr_floor", 0, 1), ("ema", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}; give {low} to {high}")
        if self.framing.crop % 8 or self.framing.crop < 16:
            raise InputError(f"crops of {self.framing.crop} pixels: VGG-19 wants a multiple of 8, at least 16")
        if not is_name(self.name):
            raise InputError(f"name {self.name!r}: give letters, digits, '-' and '_'; a file is called after it")

    def check_shared(self, processes: int) -> None:
        """Refuse batches that so many processes can't share as one process would take them.

        Raises:
            InputError: one that can't be shared out evenly.
        """
        self._check_shared("batch", self.batch, processes)

    def _check_shared(self, name: str, pairs: int, processes: int) -> None:
        if pairs % processes:
            raise InputError(f"{name}: {pairs} pairs can't be shared by {processes} processes; change it")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TrainConfig):
    """A decoder for a frozen encoder, as the paper trains it (section 6)."""

    name: str = "decoder"
    steps: int = 160_000


@dataclass(frozen=True, kw_only=True)
class StudentConfig(TrainConfig):
    """A whole small network: first it learns a teacher's images, then VGG-19's losses.

    Attributes:
        spec: the network.
        perceptual_from: share of the steps after which VGG-19's losses join.
        perceptual_ramp: share of the rest over which they grow, and the distillation shrinks.
        perceptual: what their weighted sum counts when grown.
        perceptual_batch: pairs a step from there on, each of which VGG-19 measures; 0 is as before.
        measure_clipped: whether VGG-19 measures the student's images as they are shown, clipped to [0, 1]; if not, it
            measures what the decoder gives, as the paper does, and what lies outside the range counts, though unseen.
        distill: what the distance from the teacher's images counts before that.
        distill_end: and what it counts at the end; at 0 the teacher's images are no longer needed.
        distill_features: what the distance of the student's features of the content from VGG-19's counts, in every
            step (`losses.similarity_loss`); 0 leaves it out.
        restore: what the distance of images restyled by themselves from themselves counts.
        restore_every: every so-manieth content and style of a batch must come back so; 0 is none.
        revive: channels of the network that it begins as which are heard less than this share of their layer's loudest
            begin anew (`beginning.begun_as`); 0 leaves them.
        kept_crops: content crops, and as many style crops, whose VGG-19 targets are made once and kept on disk;
            0 makes the targets of fresh crops in every step, which a GPU does quickly.
        kept_pairs: teacher's images that are kept with them.
    """

    name: str = LITE.name
    steps: int = 20_000
    optimizer: Algorithm = "muon"
    lr: float = 1e-3
    schedule: Schedule = "cosine"
    warmup: int = 200
    clip: float = 1.0
    ema: float = 0.998
    spec: NetworkSpec = LITE
    perceptual_from: float = 0.3
    perceptual_ramp: float = 0.2
    perceptual: float = 0.02
    perceptual_batch: int = 0
    measure_clipped: bool = True
    distill: float = 1.0
    distill_end: float = 0.0
    distill_features: float = 0.0
    restore: float = 0.5
    restore_every: int = 4
    revive: float = 0.0
    kept_crops: int = 0
    kept_pairs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("perceptual_from", "perceptual_ramp"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; it is a share of the steps, 0 to 1")
        if not 0 <= self.revive < 1:
            raise InputError(f"revive is {self.revive}; it is a share of a layer's loudest channel, 0 to under 1")
        counts = ("distill", "distill_end", "distill_features", "restore", "restore_every")
        for name in ("perceptual", "perceptual_batch", *counts):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; give 0 or more")
        if (self.kept_crops > 0) is not (self.kept_pairs > 0) or min(self.kept_crops, self.kept_pairs) < 0:
            raise InputError("kept_crops and kept_pairs go together: --set both, or set both to 0")
        if self.kept_crops and self.weights.style_kind != "mean_std":
            raise InputError(
                "kept targets hold means and deviations; the Gram loss wants kept_crops=0 and kept_pairs=0"
            )
        if self.weights.identity and not self.restore_every:
            raise InputError("identity losses are of the images that come back: restore_every must be 1 or more")
        if self.framing.crop % self.spec.stride or self.framing.crop < 2 * self.spec.stride:
            raise InputError(
                f"crops of {self.framing.crop} pixels: {self.spec.name} wants a multiple of {self.spec.stride}"
            )

    @property
    def comes_back(self) -> int:
        """Every so-manieth image of a batch must come back as it was; 0 is none."""
        return self.restore_every if self.restore or self.weights.identity else 0

    @property
    def first_perceptual_step(self) -> int:
        """The first step that uses VGG-19's losses."""
        return round(self.perceptual_from * self.steps)

    def check_shared(self, processes: int) -> None:
        """See `TrainConfig.check_shared`; images that come back must be the same ones, too.

        Raises:
            InputError: a batch that can't be shared out evenly, or whose shares restore others of its images.
        """
        for name, pairs in (("batch", self.batch), ("perceptual_batch", self.perceptual_batch)):
            self._check_shared(name, pairs, processes)
            if processes > 1 and self.comes_back and pairs // processes % self.comes_back:
                raise InputError(
                    f"{name}: every {self.restore_every}th of {pairs} pairs comes back, and shares of "
                    f"{pairs // processes} would choose others; change {name} or restore_every"
                )

    def pairs(self, step: int) -> int:
        """Content-style pairs in a step."""
        return self.perceptual_batch or self.batch if step >= self.first_perceptual_step else self.batch

    def position(self, step: int) -> int:
        """How many pairs were used before a step."""
        before = min(step, self.first_perceptual_step)
        return before * self.batch + (step - before) * (self.perceptual_batch or self.batch)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run takes place and how it reports; up to rounding, none of it changes what is trained.

    Attributes:
        accelerator: ``cpu``, ``cuda``, ``mps`` or ``auto``, as Lightning Fabric has it.
        devices: how many on each machine.
        nodes: machines.
        strategy: ``auto``, or a ``ddp`` of Lightning Fabric's.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        channels_last: whether maps lie in memory with the channels innermost.
        compile: whether the trained network, and VGG-19 where it measures, go through torch.compile.
        workers: threads that load data ahead; 0 loads it when it is needed.
        cache: whether the images are kept in memory.
        minutes: the run stops after so long, to be resumed; None lets it end.
        until: the run ends after so many steps in all, though the schedules run over more; 0 is all of them.
        checkpoint_minutes: between two checkpoints.
        log_every: steps between two lines of the log.
        sample_every: steps between two grids of samples; 0 makes one at the end alone.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: Precision = "32-true"
    channels_last: bool = True
    compile: bool = False
    workers: int = 2
    cache: bool = False
    minutes: float | None = None
    until: int = 0
    checkpoint_minutes: float = 10.0
    log_every: int = 50
    sample_every: int = 1000

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise InputError(f"--precision {self.precision}: there is {', '.join(get_args(Precision))}")
        counts = ("devices", 1), ("nodes", 1), ("workers", 0), ("until", 0), ("log_every", 1), ("sample_every", 0)
        for name, least in counts:
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; give {least} or more")
        if self.checkpoint_minutes <= 0 or (self.minutes is not None and self.minutes <= 0):
            raise InputError("minutes must be more than 0")

    def last(self, config: TrainConfig) -> int:
        """The number of steps after which a training has no more to do here."""
        return min(config.steps, self.until or config.steps)


def as_plain(config: TrainConfig | Machine) -> dict[str, Any]:
    """A config as JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def with_settings(config: C, settings: Sequence[str]) -> C:
    """A config with some fields set from text, ``name=value``; a nested field is ``weights.style=20``.

    Raises:
        InputError: no such field, or a value of another kind.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: expected NAME=VALUE")
        *groups, last = name.strip().split(".")
        node = values
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise InputError(f"--set {setting}: {group} was set as a value before")
        node[last] = value.strip()
    return with_values(config, values, "--set ")


def with_values(config: C, values: Mapping[str, Any], said: str) -> C:
    """A config with some fields set, nested as in config.toml, and all of them at once: they may need each other.

    Args:
        config: to change.
        values: text, numbers and truths by field; a mapping for a nested config.
        said: what messages put before a field's name.

    Raises:
        InputError: no such field, or a value of another kind.
    """
    known, changed = [field.name for field in fields(config)], dict[str, object]()
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{said}{name}: there is no {name}; there is {', '.join(known)}")
        now = getattr(config, name)
        nested = is_dataclass(now) and not isinstance(now, type)
        if nested is not isinstance(value, Mapping):
            raise InputError(f"{said}{name}: it is {'a group: set one of its fields' if nested else 'no group'}")
        if is_dataclass(now) and not isinstance(now, type):
            changed[name] = with_values(now, value, f"{said}{name}.")
        else:
            try:
                text = value if isinstance(value, str) else json.dumps(value)
            except TypeError as error:  # a date of TOML
                raise InputError(f"{said}{name}: {value} is no text, number or truth") from error
            changed[name] = _parsed(now, text, f"{said}{name}={text}")
    return replace(config, **changed)


def _parsed(now: object, value: str, said: str) -> object:
    if isinstance(now, bool):
        if value not in {"true", "false"}:
            raise InputError(f"{said}: expected true or false")
        return value == "true"
    if not isinstance(now, (int, float)):
        return value
    try:
        return type(now)(value)
    except ValueError as error:
        kind = "a whole number" if isinstance(now, int) else "a number"
        raise InputError(f"{said}: expected {kind}") from error


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What differs between two plain configs: ``name: wanted X, found Y``, nested names with a dot."""
    flat_wanted, flat_found = dict(_flat(wanted)), dict(_flat(found))
    nothing = "nothing"
    return [
        f"{name}: asked {flat_wanted.get(name, nothing)}, was {flat_found.get(name, nothing)}"
        for name in sorted(flat_wanted | flat_found)
        if flat_wanted.get(name, nothing) != flat_found.get(name, nothing)
    ]


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Plain values as TOML, a table for each mapping; what is None is left out, as TOML has no word for it."""
    lines: list[str] = []
    for title, values in tables.items():
        lines += ["", f"[{title}]"] if lines else [f"[{title}]"]
        nested = {f"{title}.{name}": value for name, value in values.items() if isinstance(value, Mapping)}
        plain = {name: value for name, value in values.items() if not isinstance(value, Mapping) and value is not None}
        # JSON's strings, numbers, booleans and arrays are TOML's, and so are its strings as keys
        lines += [f"{_key(name)} = {json.dumps(value)}" for name, value in plain.items()]
        lines += ["", to_toml(nested).rstrip("\n")] if nested else []
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
