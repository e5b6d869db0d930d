"""What a parity run found, as data that round-trips to ``parity.json``; ``parity.schema.json`` is its schema.

Nothing here measures or draws: `adain_parity.run` makes a `Run`, reports read one. Numbers are plain floats in the
units below; a number that doesn't exist (a part without an image, a case that never ran) is None, never NaN.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from adain_export import records
from adain_export.tolerances import AT_LEAST, Metrics, PartName
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).with_name("parity.schema.json")
FILE = "parity.json"
NOT_FINITE = "values that are not finite"
_LARGEST = 1 << 28  # bytes; a run of ten thousand cases is some ten megabytes

Verdict = Literal["passed", "failed", "skipped", "crashed", "timed out", "built"]
Stage = Literal["encoder", "adain", "decoder"]

__all__ = ["AT_LEAST", "Blame", "Case", "LayerError", "Machine", "Metrics", "Part", "PartName", "Pictures"]
__all__ += ["Reference", "Run", "Stage", "StageError", "Verdict", "timestamp"]


@dataclass(frozen=True)
class Part:
    """One part (encoder, decoder, stylizer) fed with the reference's own inputs.

    Attributes:
        part: which.
        found: what was measured.
        limits: what it was held to.
        finite: whether values came out, and every one is finite; where not, ``found`` is empty, and ``failures`` has
            `NOT_FINITE` or what it raised.
        failures: what is beyond its limit, a phrase each, such as ``psnr 31.2 below 40``; empty is good.
        seconds: wall-clock time of the first run of the part, loading of its graph included: no speed to go by (that is
            ``adain-bench``'s); None where it was not timed.
    """

    part: PartName
    found: Metrics
    limits: Metrics
    finite: bool
    failures: tuple[str, ...] = ()
    seconds: float | None = None

    def __bool__(self) -> bool:
        return not self.failures


@dataclass(frozen=True)
class StageError:
    """A stage fed with the reference's own intermediates: how far it alone is off.

    Attributes:
        stage: encoder, adain or decoder.
        error: relative L2 error of what the stage gives; None where it was not finite.
        tolerance: the largest that is good.
    """

    stage: Stage
    error: float | None
    tolerance: float

    def __bool__(self) -> bool:
        return self.error is not None and self.error <= self.tolerance


@dataclass(frozen=True)
class LayerError:
    """A point of the curve of error by depth.

    Attributes:
        layer: the network's name for it, such as ``encoder.conv3_1``, or the graph's where the network has none.
        depth: how many layers of the part came before, from 0.
        error: relative L2 error against the reference's layer; None where a value is not finite.
        tolerance: the largest that is good.
    """

    layer: str
    depth: int
    error: float | None
    tolerance: float

    def __bool__(self) -> bool:
        return self.error is not None and self.error <= self.tolerance


@dataclass(frozen=True)
class Blame:
    """Where a case leaves its tolerance first.

    Attributes:
        sentence: for people, such as ``encoder, from encoder.conv2_1 on (0.31, allowed 0.001)``.
        stage: the first stage beyond its tolerance; None where every stage alone is good.
        layer: the first layer beyond its tolerance, where the backend can be looked into.
        stages: every stage alone, in order.
        curve: error by depth through the blamed stage (or, with ``--stages`` on a good case, through every stage).
    """

    sentence: str
    stage: Stage | None = None
    layer: str | None = None
    stages: tuple[StageError, ...] = ()
    curve: tuple[LayerError, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """Paths of PNG files relative to the folder of ``parity.json``, with forward slashes.

    Attributes:
        content: what was restyled.
        style: what it was restyled after.
        reference: the reference's image.
        backend: the backend's image; None where it gave none.
        difference: eight times the absolute difference of the two, clipped; None where there is no image.
    """

    content: str
    style: str
    reference: str
    backend: str | None = None
    difference: str | None = None


DIFFERENCE_GAIN = 8


@dataclass(frozen=True)
class Case:
    """One cell of the matrix and what became of it.

    Attributes:
        id: unique in a run and stable between runs: what `diff` goes by; letters, digits, ``.``, ``_``, ``-``.
        backend: the backend's name.
        provider: provider, device or compute unit that was asked for; empty for the backend's own choice.
        model: the network's name.
        precision: the bundle's.
        height: pixels of the image.
        width: pixels of the image.
        content: name of the content picture; empty where a bundle is only built, for images of up to this size.
        style: name of the style picture; likewise.
        alpha: content-style trade-off.
        verdict: what became of it; ``built`` is of what can't be run here, and built without an error.
        reason: one line for everything but ``passed``; empty there.
        bundle: name of the bundle's folder or file; empty where there is none.
        device: what really ran it, as the session says, or what built it; empty where none came up.
        parts: the parts that were measured.
        blame: where it left its tolerance; None where nobody looked.
        last_words: the tail of stderr of a case that crashed or timed out, or whose backend raised.
        seconds: wall-clock time of the case, start of its process included.
        peak_bytes: largest resident memory of its process; None where the system doesn't tell.
        pictures: what it looks like; None where it never ran.
        accuracy: the label that its limits are looked up by; empty where that is its precision.
    """

    id: str
    backend: str
    provider: str
    model: str
    precision: str
    height: int
    width: int
    content: str
    style: str
    alpha: float
    verdict: Verdict
    reason: str = ""
    bundle: str = ""
    device: str = ""
    parts: tuple[Part, ...] = ()
    blame: Blame | None = None
    last_words: str = ""
    seconds: float = 0.0
    peak_bytes: int | None = None
    pictures: Pictures | None = None
    accuracy: str = ""

    def __bool__(self) -> bool:
        return self.verdict in ("passed", "built")

    @property
    def only_built(self) -> bool:
        """Whether it is a case that is built, and not run."""
        return not self.content

    @property
    def bad(self) -> bool:
        """Whether it fails a run: it ran, or should have, and is not good."""
        return self.verdict in ("failed", "crashed", "timed out")

    def part(self, name: PartName) -> Part | None:
        """A part's numbers, where they were measured."""
        return next((part for part in self.parts if part.part == name), None)


@dataclass(frozen=True)
class Machine:
    """Where a run was made; ``memory_bytes`` is None where the system doesn't tell."""

    system: str
    processor: str
    cores: int
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Reference:
    """What everything was compared with: ``torch``, its version, ``float32`` or ``float64``, and its device."""

    backend: str
    version: str
    dtype: Literal["float32", "float64"]
    device: str


@dataclass(frozen=True)
class Run:
    """A parity run.

    Attributes:
        when: ISO 8601, UTC, whole seconds; SOURCE_DATE_EPOCH where that is set.
        command: what a person types to make it again.
        matrix: name of the matrix that was run.
        machine: where.
        tools: name to version.
        reference: what everything was compared with.
        required: backends that must have passed cases and no skipped one.
        cases: in the order of the matrix.
        seconds: wall-clock time of the whole run.
    """

    when: str
    command: str
    matrix: str
    machine: Machine
    tools: Mapping[str, str]
    reference: Reference
    cases: tuple[Case, ...]
    required: tuple[str, ...] = ()
    seconds: float = 0.0
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def bad(self) -> tuple[Case, ...]:
        """Cases that fail the run: failed, crashed or timed out."""
        return tuple(case for case in self.cases if case.bad)

    @property
    def missing(self) -> tuple[Case, ...]:
        """Skipped cases of required backends."""
        return tuple(case for case in self.cases if case.verdict == "skipped" and case.backend in self.required)

    @property
    def absent(self) -> tuple[str, ...]:
        """Required backends of which no case ran at all."""
        ran = {case.backend for case in self.cases if case.verdict != "skipped"}
        return tuple(name for name in self.required if name not in ran)

    @property
    def exit_code(self) -> int:
        """1 where a case failed, else 3 where a required backend (or one of its cases) isn't here, else 0."""
        if self.bad:
            return 1
        return 3 if self.missing or self.absent else 0

    def to_json(self) -> str:
        """The run as JSON text."""
        return json.dumps(records.to_plain(self), indent=1, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write ``parity.json``, whole or not at all.

        Raises:
            InputError: the file can't be written.
        """
        with replacing_file(path) as part:
            part.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def from_json(cls, text: str, where: str = FILE) -> Run:
        """Read a run.

        Raises:
            InputError: not JSON, of a newer schema, or a field is missing, unknown or of another kind.
        """
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error}); make it again with: adain-parity run") from error
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise InputError(f"{where}: no parity run (no schema_version); make one with: adain-parity run")
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{where}: schema {version} is newer than this version reads ({SCHEMA_VERSION}): "
                "pip install --upgrade adain-edge"
            )
        run = records.read(cls, where, plain)
        ids = [case.id for case in run.cases]
        if len(set(ids)) != len(ids):
            raise InputError(f"{where}: two cases share an id, {next(i for i in ids if ids.count(i) > 1)}")
        return run

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read ``parity.json``, or the folder that it is in.

        Raises:
            InputError: no such file, or see `from_json`.
        """
        file = path / FILE if path.is_dir() else path
        made = path.parent if path.suffix == ".json" else path
        try:
            if file.exists() and not file.is_file():  # opening a pipe would wait for its writer
                raise InputError(f"{file}: is no file; give a {FILE} of adain-parity run")
            if file.stat().st_size > _LARGEST:
                raise InputError(f"{file}: too large ({file.stat().st_size:,} bytes) for a parity run")
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise InputError(f"{file}: no such file; make it with: adain-parity run -o {made}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: can't be read ({error}); give a {FILE} of adain-parity run") from error
        return cls.from_json(text, str(file))


def timestamp() -> str:
    """Now in UTC, or SOURCE_DATE_EPOCH where that is set, so that the same run can give the same bytes.

    Raises:
        InputError: SOURCE_DATE_EPOCH is no number of seconds.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(timezone.utc) if fixed is None else datetime.fromtimestamp(int(fixed), timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f"SOURCE_DATE_EPOCH: expected seconds since 1970, found {fixed!r}") from error
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")
