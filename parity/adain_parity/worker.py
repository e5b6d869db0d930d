"""The process that a case runs in: a fresh interpreter that reads a job, does it, and writes what came out.

``python -m adain_parity.worker JOB.json``. It is where a backend's library is loaded, so that nothing it does, a crash
included, reaches the run; and it imports no torch unless the backend does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np

from adain_export import records
from adain_parity.composition import composed_feeds
from adain_parity.matrix import BUILDERS
from adain_runtime.backend import Array, Options, Session, get_backend, require
from adain_runtime.bundle import Bundle
from adain_runtime.errors import AdainError, InputError, UnavailableError
from adain_runtime.files import replacing_file
from adain_runtime.pixels import takes_bytes, to_bytes
from adain_runtime.results import write_json
from adain_runtime.session import check_feeds

CHECKPOINT = ".safetensors"
Kind = Literal["probe", "run", "build", "trace"]


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        kind: ``probe`` a backend, ``run`` a case, ``build`` one that is not run, or ``trace`` the layers of one.
        backend: its name.
        result: the JSON file to write, an `Outcome` or what the kind says.
        model: a bundle's folder or a checkpoint.
        provider: of the session; empty is the backend's choice.
        threads: of the session.
        feeds: the NPZ file of `adain_parity.reference.Truth.feeds`.
        outputs: the NPZ file to write.
        witness: also run the stylizer on the backend's default provider.
        part: to trace.
        wanted: the NPZ file of the reference's layers, in their order.
        tolerance: of a layer.
        float_tolerance: of a layer that nothing in int8 came before.
        statistics: tolerance of mean and standard deviation on the part's own features.
        sizes: HEIGHTxWIDTH that engines are built for.
    """

    kind: Kind
    backend: str
    result: str
    model: str = ""
    provider: str = ""
    threads: int | None = None
    feeds: str = ""
    outputs: str = ""
    witness: bool = False
    part: str = ""
    wanted: str = ""
    tolerance: float = 0.0
    float_tolerance: float = 0.0
    statistics: float = 0.0
    sizes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the job's file."""
        write_json(path, records.to_plain(self))


@dataclass(frozen=True)
class Outcome:
    """What became of a job whose process lived.

    Attributes:
        unavailable: why it could not be tried; empty where it was.
        device: what the session says that ran it; what built it where it was only built.
        errors: part to what it raised.
        seconds: part to wall-clock time of its first run, loading of the graph included.
        witness: where the stylizer was also run on the default provider, the largest difference to that.
        built_bytes: of all engines that were built.
        asked: the bundle's parts that were run, whether anything came out of them or not.
    """

    unavailable: str = ""
    device: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    witness: float | None = None
    built_bytes: int = 0
    asked: tuple[str, ...] = ()


def main(path: Path) -> None:
    """Do a job."""
    job = records.read(Job, str(path), json.loads(path.read_text(encoding="utf-8")))
    done: Mapping[Kind, Callable[[Job], object]] = {"probe": probe, "run": run, "build": build, "trace": trace}
    write_json(Path(job.result), records.to_plain(done[job.kind](job)))


def probe(job: Job) -> Outcome:
    """Whether a backend works here."""
    try:
        if job.backend in BUILDERS:
            from adain_parity.engines import probe_builder

            return Outcome(device=probe_builder())
        found = get_backend(job.backend).probe()
        require(f"backend {job.backend}", found)
    except AdainError as error:
        return Outcome(unavailable=str(error))
    return Outcome(device=found.detail)


def open_session(job: Job, provider: str) -> Session:
    """The session of a job's backend on a provider."""
    backend = get_backend(job.backend)
    model = Path(job.model)
    bundle = backend.find(model) if model.suffix == CHECKPOINT else Bundle.open(model)
    return backend.open(bundle, Options(threads=job.threads, provider=provider or None))


def run(job: Job) -> Outcome:
    """Every part on its feeds; what one raises doesn't keep the others from running."""
    with np.load(job.feeds, allow_pickle=False) as file:
        feeds: dict[str, dict[str, Array]] = {}
        for name in file.files:
            part, _, tensor = name.partition(".")
            feeds.setdefault(part, {})[tensor] = file[name]
    try:
        session = open_session(job, job.provider)
    except UnavailableError as error:
        return Outcome(unavailable=str(error))
    with session:
        if problem := _not_taken(session.bundle, feeds["stylizer"]):
            return Outcome(unavailable=problem)
        made, errors, seconds = _run_parts(session, feeds)
        witness = None
        if job.witness and "stylizer.image" in made:
            with open_session(job, "") as other:
                again = other.run("stylizer", feeds["stylizer"])["image"]
            witness = float(np.abs(made["stylizer.image"].astype(np.float64) - again).max())
        device = session.device
        asked = tuple(part for part in feeds if part in session.bundle.manifest.parts)
    with replacing_file(Path(job.outputs)) as part_file, part_file.open("wb") as stream:
        np.savez(stream, **made)  # type: ignore[arg-type]
    return Outcome(device=device, errors=errors, seconds=seconds, witness=witness, asked=asked)


def _not_taken(bundle: Bundle, feeds: Mapping[str, Array]) -> str:
    """Why a bundle can't take a case's size; empty where it can."""
    part = bundle.manifest.parts.get("stylizer")
    if part is None:
        return f"{bundle.path.name} has no stylizer part"
    try:
        given = to_bytes(part, feeds) if takes_bytes(part) else dict(feeds)
        check_feeds("stylizer", part.inputs, given, bundle.manifest.sizes)
    except InputError as error:
        return f"{bundle.path.name} doesn't take this size: {error}"
    return ""


def _run_parts(
    session: Session, feeds: Mapping[str, Mapping[str, Array]]
) -> tuple[dict[str, Array], dict[str, str], dict[str, float]]:
    parts = session.bundle.manifest.parts
    made: dict[str, Array] = {}
    errors: dict[str, str] = {}
    seconds: dict[str, float] = {}

    def attempt(part: str, prefix: str, given: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of a part; nothing where it raised."""
        start = perf_counter()
        try:
            outputs = session.run(part, given)
        except AdainError as error:
            errors.setdefault(part, " ".join(str(error).split()))
            return {}
        seconds.setdefault(part, perf_counter() - start)
        made.update({f"{part}.{prefix}{name}": values for name, values in outputs.items()})
        return outputs

    attempt("stylizer", "", feeds["stylizer"])
    if "encoder" in parts:
        pictures = feeds["encoder"]
        encoded = attempt("encoder", "", {"image": pictures["image"]})
        attempt("encoder", "style_", {"image": pictures["style_image"]})
    if "decoder" in parts:
        attempt("decoder", "", feeds["decoder"])
        if "encoder" in parts and "features" in encoded and np.isfinite(encoded["features"]).all():
            composed = composed_feeds(encoded["features"], feeds["stylizer"], session.bundle.manifest.spec)
            if "image" in attempt("decoder", "composed_", composed):
                made["stylizer.composed"] = made.pop("decoder.composed_image")
            else:
                errors.setdefault("decoder", "gave no image")
    return made, errors, seconds


def build(job: Job) -> Outcome:
    """Engines of every part."""
    from adain_parity.engines import build_parts, options_for

    try:
        bundle = Bundle.open(Path(job.model))
        if any(map(takes_bytes, bundle.manifest.parts.values())):
            return Outcome(
                unavailable=f"{bundle.path.name}: TensorRT takes no images of bytes; export it with --io float"
            )
        built = build_parts(bundle, options_for(job.sizes, job.provider))
    except (InputError, UnavailableError) as error:  # a size that it doesn't take, or nothing to build by
        return Outcome(unavailable=str(error))
    return Outcome(device=built.by, errors=built.errors, seconds=built.seconds, built_bytes=built.size)


def trace(job: Job) -> object:
    """The curve of error by depth through one part."""
    from adain_parity.layers import traced

    return traced(job)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
