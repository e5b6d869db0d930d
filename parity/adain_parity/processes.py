"""A job in a process of its own (`adain_parity.worker`), from the side of the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from adain_export import records
from adain_parity.matrix import Limits
from adain_parity.sandbox import Ended, run_module
from adain_parity.worker import Job, Outcome


def start(job: Job, folder: Path, limits: Limits) -> Ended:
    """Do a job in a process with limits; a process that ends well and leaves no result has crashed.

    Args:
        job: what to do.
        folder: for its file and what it writes to stderr.
        limits: of its time and memory.
    """
    path = folder / f"job-{job.kind}.json"
    job.save(path)
    ended = run_module("adain_parity.worker", [str(path)], limits, folder / f"stderr-{job.kind}.txt")
    if ended and not Path(job.result).is_file():
        return replace(ended, how="crashed", reason="its process ended well and left no result")
    return ended


def outcome_of(job: Job) -> Outcome:
    """What a job's process wrote."""
    return records.read(Outcome, "result", json.loads(Path(job.result).read_text(encoding="utf-8")))
