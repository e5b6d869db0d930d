"""Backends against each other: the stylizer part and the whole of adain-run, in turn, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryFile
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np

from adain_parity.bench_worker import SGEMM_SIDE
from adain_runtime.errors import UnavailableError
from adain_runtime.metrics import psnr

_APP = (
    "import sys; from adain_runtime.cli.run import main; out = sys.argv.pop(1)\n"
    "try:\n    main()\n"
    "finally:\n    from adain_parity.bench_worker import peak_rss; open(out, 'w').write(str(peak_rss()))"
)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Contender:
    """A way to run a network.

    Attributes:
        label: what the table calls it.
        backend: the backend's name.
        model: a bundle's folder, or a checkpoint for backend ``torch``.
        exact: whether it is opened in exact mode.
    """

    label: str
    backend: str
    model: Path
    exact: bool = False

    @property
    def bytes(self) -> int:
        """Size of the files that it needs."""
        files = self.model.iterdir() if self.model.is_dir() else [self.model]
        return sum(path.stat().st_size for path in files)


@dataclass(frozen=True)
class Case:
    """A network at a size: what all contenders are given.

    Attributes:
        network: its name.
        size: height and width in pixels.
        macs: multiply-accumulates of the direct computation, for the effective rate.
        reference: how torch runs it.
        baseline: the contender that the ratios are to.
        contenders: all that are measured, the baseline among them.
        feeds: inputs of the stylizer part.
    """

    network: str
    size: int
    macs: int
    reference: Contender
    baseline: str
    contenders: tuple[Contender, ...]
    feeds: Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Row:
    """What was measured of one contender; times in milliseconds.

    Attributes:
        what: ``stylizer``, the part with a style given; or ``adain-run``, from the shell to the file on disk.
        network: the network's name.
        size: height and width in pixels.
        contender: its label.
        device: what ran it, as its session says.
        ms: median.
        low: lower quartile.
        high: upper quartile.
        ratio: how many times as fast as the baseline: the median over the rounds of the ratio within a round.
        rounds: how often it ran, warm-up not counted.
        load_ms: opening the bundle and the first run; None for adain-run, which has it inside.
        gflops: of the direct computation, per second; what Winograd saves counts as done.
        of_peak: ``gflops`` over the best matrix product of the same run.
        rss: peak memory in bytes.
        bytes: size of the model's files.
        psnr: in dB against torch, of the float image, 200 for anything above it; None for adain-run.
    """

    what: str
    network: str
    size: int
    contender: str
    device: str
    ms: float
    low: float
    high: float
    ratio: float
    rounds: int
    load_ms: float | None
    gflops: float | None
    of_peak: float | None
    rss: int
    bytes: int
    psnr: float | None


@dataclass(frozen=True)
class LeftOut:
    """A contender that was not measured, and why."""

    network: str
    size: int
    contender: str
    reason: str


class Worker:
    """A process that runs one contender when it is told to. A context manager."""

    def __init__(self, spec: Mapping[str, object], threads: int) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self._said = TemporaryFile()  # noqa: SIM115 a pipe that nobody reads would fill up, and the worker wait for ever
        self._process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "adain_parity.bench_worker", json.dumps(dict(spec))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=os.environ | limits,
            text=True,
        )
        self._what = spec.get("label", spec["backend"])
        self.ready = self._read()

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None  # noqa: S101 for the type checker: it is a pipe
        with suppress(BrokenPipeError):  # it has gone: reading says so, with its last words
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            said = [text for text in self._said.read().decode(errors="replace").splitlines() if text.strip()]
            self.close()
            raise UnavailableError(
                f"{self._what}: its process ended with {self._process.returncode} ({said[-1] if said else 'no word'})"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process. Closing twice is fine."""
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                with suppress(BrokenPipeError):  # it has gone, with a line of ours unread
                    stream.close()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def measure_parts(
    case: Case, folder: Path, *, threads: int, rounds: int, seconds: float, report: Report = lambda _: None
) -> tuple[list[Row], list[LeftOut], float]:
    """The stylizer part by every contender in turn, with a matrix product in every round.

    Args:
        case: what to run.
        folder: for scratch files.
        threads: CPU threads of each.
        rounds: at most this many, and at least three.
        seconds: no round is begun later, once there are three.
        report: told what happens.

    Returns:
        rows, what was left out, and the best rate of the matrix product in GFLOP/s.
    """
    feeds = folder / "feeds.npz"
    arrays: dict[str, Any] = dict(case.feeds)
    np.savez(feeds, **arrays)
    common = {"threads": threads, "feeds": str(feeds)}
    wanted = _reference(case, common, folder, threads)
    left_out: list[LeftOut] = []
    with ExitStack() as stack:
        workers: dict[Contender, Worker] = {}
        decibels: dict[Contender, float] = {}
        for contender in case.contenders:
            report(f"{case.network} {case.size}: loading {contender.label}")
            spec = common | {"label": contender.label, "backend": contender.backend}
            spec |= {"model": str(contender.model), "exact": contender.exact}
            try:
                worker = stack.enter_context(Worker(spec, threads))
                worker.ask(f"save {folder / 'image.npy'}")
            except UnavailableError as error:
                reason = str(error).replace(f"{folder}{os.sep}", "")  # the scratch folder is gone when it is read
                left_out.append(LeftOut(case.network, case.size, contender.label, reason))
                continue
            workers[contender], decibels[contender] = worker, psnr(wanted, np.load(folder / "image.npy"))
        product = stack.enter_context(Worker({"backend": "sgemm"}, threads))
        times: dict[Contender, list[float]] = {contender: [] for contender in workers}
        products: list[float] = []
        start = perf_counter()
        for number in range(rounds if workers else 0):
            if number >= 3 and perf_counter() - start > seconds:
                break
            report(f"{case.network} {case.size}: round {number + 1}")
            order = list(workers)
            for contender in order[number % len(order) :] + order[: number % len(order)]:
                times[contender].append(workers[contender].ask("run")["seconds"])
            products += [product.ask("run")["seconds"] for _ in range(3)]
        peak = 2 * SGEMM_SIDE**3 / min(products, default=float("inf")) / 1e9
        rows = [
            _row("stylizer", case, contender, times, str(worker.ready["device"]), worker.ask("peak")["bytes"])
            | {
                "load_ms": 1000 * worker.ready["seconds"],
                "gflops": 2 * case.macs / median(times[contender]) / 1e9,
                "of_peak": 2 * case.macs / median(times[contender]) / 1e9 / peak,
                "psnr": min(decibels[contender], 200.0),
            }
            for contender, worker in workers.items()
        ]
    return [Row(**row) for row in rows], left_out, peak


def measure_app(
    case: Case, photo: Path, style: Path, folder: Path, *, threads: int, rounds: int, report: Report = lambda _: None
) -> tuple[list[Row], list[LeftOut]]:
    """The whole of ``adain-run`` by every contender in turn: a new process each time, timed to the file on disk."""
    times: dict[Contender, list[float]] = {contender: [] for contender in case.contenders}
    memory = dict.fromkeys(case.contenders, 0)
    left_out: dict[Contender, str] = {}
    for number in range(rounds + 1):
        report(f"{case.network} {case.size}: adain-run, round {number} of {rounds}")
        for contender in case.contenders:
            if contender in left_out:
                continue
            command = [sys.executable, "-c", _APP, str(folder / "rss"), str(photo), str(style)]
            command += ["-o", str(folder / "made.jpg"), "--model", str(contender.model)]
            command += ["--backend", contender.backend, "--threads", str(threads)]
            command += ["--exact"] if contender.exact else []
            start = perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 our own program
            seconds = perf_counter() - start
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no word"])[-1]
                left_out[contender] = said.replace(f"{folder}{os.sep}", "")
            elif number:
                times[contender].append(seconds)
                memory[contender] = max(memory[contender], int((folder / "rss").read_text()))
    measured = {contender: found for contender, found in times.items() if contender not in left_out}
    rows = [
        _row("adain-run", case, contender, measured, "", memory[contender])
        | {"load_ms": None, "gflops": None, "of_peak": None, "psnr": None}
        for contender in measured
    ]
    reasons = [LeftOut(case.network, case.size, contender.label, why) for contender, why in left_out.items()]
    return [Row(**row) for row in rows], reasons


def _reference(
    case: Case, common: Mapping[str, object], folder: Path, threads: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    spec = dict(common) | {"label": "torch", "backend": case.reference.backend}
    with Worker(spec | {"model": str(case.reference.model), "exact": False}, threads) as worker:
        worker.ask(f"save {folder / 'wanted.npy'}")
    wanted: np.ndarray[Any, np.dtype[np.float32]] = np.load(folder / "wanted.npy")
    return wanted


def _row(
    what: str, case: Case, contender: Contender, times: Mapping[Contender, Sequence[float]], device: str, rss: int
) -> dict[str, Any]:
    own = times[contender]
    base = next((found for other, found in times.items() if other.label == case.baseline), own)
    low, _, high = quantiles(own, n=4, method="inclusive") if len(own) > 1 else (own[0],) * 3
    return {
        "what": what,
        "network": case.network,
        "size": case.size,
        "contender": contender.label,
        "device": device,
        "ms": 1000 * median(own),
        "low": 1000 * low,
        "high": 1000 * high,
        "ratio": median(theirs / ours for theirs, ours in zip(base, own, strict=True)),
        "rounds": len(own),
        "rss": rss,
        "bytes": contender.bytes,
    }
