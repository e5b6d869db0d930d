"""A parity run: every case of a plan in a process of its own, measured, blamed and shown."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

import numpy as np
from PIL import Image

from adain_export.tolerances import PartName
from adain_parity import blame
from adain_parity.builds import built_case
from adain_parity.layers import Traced, read_traced
from adain_parity.matrix import Limits
from adain_parity.measure import measure
from adain_parity.plan import Asked, Planned
from adain_parity.processes import outcome_of, start
from adain_parity.reference import Floats, Reference, Truth, in_eight_bits
from adain_parity.results import DIFFERENCE_GAIN, Case, Pictures
from adain_parity.sandbox import process_pool
from adain_parity.truths import Truths
from adain_parity.worker import Job, Outcome
from adain_runtime.backends.onnx import short_name
from adain_runtime.files import replacing_file
from adain_runtime.results import make_folder

ACCELERATORS = (
    "cuda",
    "tensorrt",
    "nvtensorrtrtx",
    "rocm",
    "migraphx",
    "dml",
    "mps",
    "vulkan",
    "opencl",
    "metal",
    "qnn",
    "coreml",
    "webgpu",
    "nnapi",
    "gpu",
)
"""Providers that compute on another device than the CPU, and so never all bits of what a CPU computes."""

PICTURES = "pictures"
_LONGEST_NAME = 200  # bytes, of a picture's name
_CLIPPED = 0.05  # the first int8 layer's range cuts what the float one before it gives; 1.4% was seen on VGG-19 there
Report = Callable[[int, int, str], None]
"""Told after every case: cases done, cases in all, and what was done."""


@dataclass(frozen=True, eq=False)
class Settings:
    """How cases are run.

    Attributes:
        out: folder of the report.
        limits: of a case's process.
        jobs: cases at once.
        stages: look into good cases too.
        exact: the reference in float64.
        root: where the matrix's relative paths start.
    """

    out: Path
    limits: Limits
    jobs: int = 1
    stages: bool = False
    exact: bool = False
    root: Path = Path()


def probe(backend: str, limits: Limits) -> Asked:
    """Whether a backend works here, asked in a process of its own."""
    with TemporaryDirectory(prefix="adain-parity-") as folder:
        job = Job("probe", backend, str(Path(folder) / "result.json"))
        ended = start(job, Path(folder), limits)
        if ended:
            return Asked(outcome_of(job).unavailable)
        return Asked(f"backend {backend}: asking whether it works here, {ended.reason}", died=True)


def run_cases(plans: Sequence[Planned], settings: Settings, report: Report = lambda *_: None) -> list[Case]:
    """Every case of a plan, in its order, with pictures in ``settings.out``.

    Args:
        plans: what to run.
        settings: how.
        report: told after every case.
    """
    make_folder(settings.out / PICTURES)
    with TemporaryDirectory(prefix="adain-parity-") as folder, process_pool(settings.jobs) as pool:
        return _run_all(plans, settings, report, pool, Path(folder))


def _run_all(plans: Sequence[Planned], settings: Settings, report: Report, pool: Executor, work: Path) -> list[Case]:
    truths: dict[str, Truths] = {}
    for plan in plans:
        runs = plan.artefact is not None and not plan.row.only_builds
        if runs and plan.model.name not in truths:
            place = work / f"truths-{len(truths)}"
            place.mkdir()
            reference = Reference(plan.model.network, exact=settings.exact)
            truths[plan.model.name] = Truths(reference, settings.root, place)
    waiting = []
    for i, plan in enumerate(plans):
        place = work / f"case-{i}"
        place.mkdir()
        if plan.artefact is None:
            waiting.append(pool.submit(lambda case: case, plan.case))
        elif plan.row.only_builds:
            waiting.append(pool.submit(built_case, plan, place, settings.limits))
        else:
            one = _Case(plan, truths[plan.model.name], truths[plan.model.name].of(plan.cell), place, settings)
            waiting.append(pool.submit(one.run))
    cases = []
    for done, future in enumerate(waiting, start=1):
        cases.append(future.result())
        report(done, len(waiting), cases[-1].id)
    return cases


@dataclass(frozen=True, eq=False)
class _Case:
    """A case under way."""

    plan: Planned
    truths: Truths
    truth: Truth
    work: Path
    settings: Settings

    def run(self) -> Case:
        """The case with its verdict."""
        begun = perf_counter()
        job = self._job("run")
        ended = start(job, self.work, self.settings.limits)
        case = replace(self.plan.case, last_words=ended.last_words, peak_bytes=ended.peak_bytes)
        if not ended:
            verdict: Literal["timed out", "crashed"] = "timed out" if ended.how == "timed out" else "crashed"
            case = replace(case, verdict=verdict, reason=ended.reason, pictures=self._pictures(None))
        else:
            case = self._judged(case, outcome_of(job), job)
        return replace(case, seconds=round(perf_counter() - begun, 3))

    def _judged(self, case: Case, outcome: Outcome, job: Job) -> Case:
        if outcome.unavailable:
            return replace(case, verdict="skipped", reason=outcome.unavailable, last_words="")
        with np.load(job.outputs, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        limits = self.plan.limits
        truth = in_eight_bits(self.truth) if self.plan.eight_bits else self.truth
        reference, errors, seconds, asked = self.truths.reference, outcome.errors, outcome.seconds, outcome.asked
        parts = measure(found, errors, seconds, limits, truth, reference, asked=asked)
        why = blame.assign(parts, limits, self._trace, always=self.settings.stages)
        problems = [f"{part.part}: {', '.join(part.failures)}" for part in parts if not part]
        if lie := provider_lie(self.plan.case.provider, outcome):
            problems.insert(0, lie)
        return replace(
            case,
            verdict="failed" if problems else "passed",
            reason="; ".join(problems),
            device=outcome.device,
            parts=parts,
            blame=why,
            last_words=case.last_words if problems else "",
            pictures=self._pictures(found.get("stylizer.image")),
        )

    def _trace(self, part: PartName) -> Traced:
        wanted = str(self.truths.layers_file(self.plan.cell, part))
        limits = self.plan.limits
        job = replace(
            self._job("trace"),
            part=part,
            wanted=wanted,
            tolerance=limits.layer,
            float_tolerance=min(limits.layer, max(_CLIPPED, self.plan.float_limits.layer)),
            statistics=limits.encoder.statistics or limits.layer,
        )
        ended = start(job, self.work, self.settings.limits)
        if not ended:
            return Traced(unavailable=f"tracing it, {ended.reason}")
        traced = read_traced(Path(job.result))
        if not self.plan.eight_bits:
            return traced
        # bytes are held against the reference's bytes, as the part's output, and no layer gives them
        return replace(traced, curve=tuple(point for point in traced.curve if point.layer != "image"))

    def _job(self, kind: Literal["run", "trace"]) -> Job:
        plan = self.plan
        provider = plan.case.provider
        return Job(
            kind,
            plan.row.name,
            str(self.work / f"{kind}.json"),
            model=str(plan.artefact),
            provider=provider,
            threads=plan.row.threads,
            feeds=str(self.truths.feeds_file(plan.cell)),
            outputs=str(self.work / "outputs.npz"),
            witness=short_name(provider).partition(":")[0] in ACCELERATORS,
        )

    def _pictures(self, image: Floats | None) -> Pictures:
        plan = self.plan
        height, width = plan.cell.height, plan.cell.width
        size = f"{height}x{width}"

        def kept(name: str, values: Floats) -> str:
            return save_picture(values, self.settings.out, f"{_short(name)}.png")

        same = image is not None and image.shape == self.truth.stylized.shape
        wanted = self.truth.stylized
        content, style = _file_name(plan.cell.content), _file_name(plan.cell.style)
        pair = f"{content}-{style}-a{plan.cell.alpha:g}"
        return Pictures(
            content=kept(f"content-{content}-{size}", self.truth.image),
            style=kept(f"style-{style}-{size}", self.truth.style_image),
            reference=kept(f"reference-{plan.model.name}-{size}-{pair}", wanted),
            backend=kept(plan.case.id, image) if same and image is not None else None,
            difference=kept(f"{plan.case.id}-difference", DIFFERENCE_GAIN * np.abs(wanted - image))
            if same and image is not None
            else None,
        )


def _file_name(picture: str) -> str:
    """A picture's name for a file: of a file its own, and what tells it from others of that name."""
    stem = Path(picture).stem
    return stem if stem == picture else f"{stem}-{hashlib.sha256(os.fsencode(picture)).hexdigest()[:6]}"


def _short(name: str) -> str:
    """A name that leaves a file system's 255 bytes room, what is cut of it as a digest."""
    whole = os.fsencode(name)
    if len(whole) <= _LONGEST_NAME:
        return name
    return f"{whole[:_LONGEST_NAME].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:8]}"


def provider_lie(asked: str, outcome: Outcome) -> str:
    """How what ran differs from the provider that was asked for; empty where it doesn't, or none was asked for."""
    if not asked:
        return ""
    plain = "".join(filter(str.isalnum, short_name(asked))).lower()
    if plain not in "".join(filter(str.isalnum, outcome.device)).lower():
        return f"provider {asked} was asked for, and {outcome.device} ran it"
    if outcome.witness == 0:
        return (
            f"provider {asked} gives what the backend's default gives, to the last bit: {outcome.device} is what it "
            "says, and the default is what ran"
        )
    return ""


def save_picture(values: Floats, out: Path, name: str) -> str:
    """Write [1, 3, H, W] as PNG, values that are not finite in magenta; gives the path relative to ``out``."""
    plain = values[0].astype(np.float64).transpose(1, 2, 0)
    bad = ~np.isfinite(plain).all(axis=2)
    pixels = np.rint(255 * np.clip(np.nan_to_num(plain), 0, 1)).astype(np.uint8)
    pixels[bad] = (255, 0, 255)
    with replacing_file(out / PICTURES / name) as part:  # two cases may write one reference at once
        Image.fromarray(pixels).save(part, "PNG")
    return f"{PICTURES}/{name}"
