"""Parity runs made up for tests: nothing in them was measured, and no page of them belongs into a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
from PIL import Image

from adain_parity.results import (
    Blame,
    Case,
    LayerError,
    Machine,
    Metrics,
    Part,
    Pictures,
    Reference,
    Run,
    StageError,
)

LIMITS = Metrics(max_abs=1e-4, mean_abs=1e-5, psnr=80.0, ssim=0.9999)
FEATURE_LIMITS = Metrics(mean_error=1e-4, std_error=1e-4, relative_l2=1e-4, cosine=0.99999)
LAYERS = tuple(
    f"encoder.conv{block}_{i}" for block, many in ((1, 2), (2, 2), (3, 4), (4, 1)) for i in range(1, many + 1)
)


def stylizer(max_abs=1e-5, psnr=100.0, *, limits=LIMITS, **others) -> Part:
    """The stylizer part with these numbers, failing where they are beyond their limits."""
    found = Metrics(max_abs=max_abs, mean_abs=max_abs / 20, psnr=psnr, ssim=0.99999)
    failures = tuple(
        filter(
            None,
            (
                f"psnr {psnr:g} below {limits.psnr:g}" if psnr is not None and psnr < limits.psnr else "",
                f"max_abs {max_abs:g} above {limits.max_abs:g}" if max_abs > limits.max_abs else "",
            ),
        )
    )
    return replace(Part("stylizer", found, limits, finite=True, failures=failures, seconds=0.0123), **others)


ENCODER = Part(
    "encoder",
    Metrics(mean_error=2e-6, std_error=3e-6, relative_l2=4e-6, cosine=0.9999999),
    FEATURE_LIMITS,
    finite=True,
    seconds=0.004,
)
NOT_FINITE = Part("stylizer", Metrics(), LIMITS, finite=False, failures=("values that are not finite",))
BLAME = Blame(
    "encoder, from encoder.conv3_2 on (0.031, allowed 0.0001)",
    "encoder",
    "encoder.conv3_2",
    (StageError("encoder", 0.04, 1e-4), StageError("adain", 2e-7, 1e-4), StageError("decoder", None, 1e-4)),
    tuple(
        LayerError(layer, depth, None if depth == 7 else 2e-7 * 1.5**depth if depth < 5 else 0.031 * depth / 5, 1e-4)
        for depth, layer in enumerate(LAYERS)
    ),
)


def a_case(name="a", **fields) -> Case:
    """A case that passed, unless its fields say otherwise."""
    passed = Case(
        id=name,
        backend="onnx",
        provider="",
        model="lite",
        precision="fp32",
        height=48,
        width=64,
        content="chelsea",
        style="wave",
        alpha=1.0,
        verdict="passed",
        bundle="lite-onnx-fp32",
        device="CPUExecutionProvider",
        parts=(ENCODER, stylizer()),
        seconds=1.25,
        peak_bytes=300 << 20,
    )
    return replace(passed, **fields)


FAILED = a_case(
    "failed",
    precision="int8",
    verdict="failed",
    reason="stylizer: psnr 31.2 below 80, max_abs 0.25 above 0.0001",
    parts=(ENCODER, stylizer(0.25, 31.2)),
    blame=BLAME,
)
CRASHED = a_case(
    "crashed",
    backend="mnn",
    verdict="crashed",
    reason="died of signal 11 (SIGSEGV) in the stylizer",
    last_words="\x1b[31mThe device <one> supports: i8sdot:0, fp16:0\x1b[0m\nSegmentation fault & more\x00\n",
    parts=(),
)
LATE = a_case("late", backend="mnn", precision="fp16", verdict="timed out", reason="no end after 60 s", parts=())
SKIPPED = a_case(
    "skipped",
    backend="trt",
    verdict="skipped",
    reason="no CUDA GPU here; run it on a machine that has one",
    parts=(),
    device="",
    seconds=0.0,
)
NAN = a_case(
    "nan", precision="fp16", verdict="failed", reason="stylizer: values that are not finite", parts=(NOT_FINITE,)
)


def a_run(*cases: Case, required=(), **fields) -> Run:
    """A run of these cases."""
    made = Run(
        when="2026-01-02T03:04:05Z",
        command="adain-parity run --matrix made-up",
        matrix="made-up",
        machine=Machine("Linux x86_64", "a made-up processor", 2, 8 << 30),
        tools={"torch": "0.0", "onnxruntime": "0.0"},
        reference=Reference("torch", "0.0", "float32", "cpu"),
        cases=cases,
        required=required,
        seconds=252.0,
    )
    return replace(made, **fields)


def every_verdict() -> Run:
    """A run with a case of every kind."""
    return a_run(a_case(), SKIPPED, FAILED, CRASHED, LATE, NAN)


def large_run(folder: Path, count: int = 500, *, side: int = 64) -> Run:
    """A run of many cases of every verdict, with pictures in a folder."""
    rng = np.random.default_rng(5)
    cells = product(
        ("lite", "vgg19"),
        (("onnx", ""), ("onnx", "CUDAExecutionProvider"), ("coreml-reference", ""), ("mnn", ""), ("trt", "")),
        ("fp32", "fp16", "int8"),
        ((64, 48), (256, 256)),
        ("chelsea", "coffee"),
        ("wave", "summertime", "night"),
        (1.0, 0.5),
    )
    return a_run(*islice(_many(folder, cells, rng, side), count))


def _many(folder: Path, cells, rng, side) -> Iterator[Case]:
    limits = {
        "fp32": LIMITS,
        "fp16": replace(LIMITS, max_abs=0.15, psnr=40.0, mean_abs=0.01, ssim=0.98),
        "int8": replace(LIMITS, max_abs=0.5, psnr=25.0, mean_abs=0.05, ssim=0.9),
    }
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for i, (model, (backend, provider), precision, (width, height), content, style, alpha) in enumerate(cells):
        held = limits[precision]
        share = float(rng.uniform(0.05, 0.9))
        case = a_case(
            f"{model}.{backend}{provider and '-cuda'}.{precision}.{width}x{height}.{content}.{style}.{alpha:g}",
            model=model,
            backend=backend,
            provider=provider,
            precision=precision,
            height=height,
            width=width,
            content=content,
            style=style,
            alpha=alpha,
            seconds=float(rng.uniform(0.5, 9)),
            parts=(ENCODER, stylizer(held.max_abs * share, held.psnr - 20 * np.log10(share), limits=held)),
        )
        if backend == "trt" or provider:
            yield replace(case, verdict="skipped", reason=SKIPPED.reason, parts=(), seconds=0.0, device="")
            continue
        if i in (40, 41):
            blame = replace(BLAME, curve=BLAME.curve[:7] if i == 41 else BLAME.curve)
            case = replace(FAILED, **_cell_of(case), blame=blame)
        elif i == 220:
            case = replace(CRASHED, **_cell_of(case))
        elif i == 221:
            case = replace(LATE, **_cell_of(case))
        elif i == 30:
            case = replace(NAN, **_cell_of(case))
        yield replace(case, pictures=draw_pictures(folder, i, case, side))


def _cell_of(case: Case) -> dict[str, object]:
    names = ("id", "backend", "provider", "model", "precision", "height", "width", "content", "style", "alpha")
    return {name: getattr(case, name) for name in names}


def draw_pictures(folder: Path, seed: int, case: Case, side: int = 64) -> Pictures:
    """Smooth colours for the reference, the same with a fault for the backend."""
    rng = np.random.default_rng(seed)
    reference = _smooth(rng, side)
    noise = rng.normal(0, 24 if case.bad else 0.4, reference.shape)
    backend = np.clip(reference + noise, 0, 255)
    images = {"reference": reference, "backend": backend, "difference": np.clip(8 * abs(backend - reference), 0, 255)}
    paths = {}
    if case.verdict in ("crashed", "timed out"):
        images = {"reference": reference}
    for kind, pixels in images.items():
        paths[kind] = f"pictures/{seed}-{kind}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / paths[kind])
    for kind, name in (("content", case.content), ("style", case.style)):
        paths[kind] = f"pictures/{name}.png"
        if not (folder / paths[kind]).exists():
            Image.fromarray(_smooth(np.random.default_rng(sum(name.encode())), side).astype(np.uint8)).save(
                folder / paths[kind]
            )
    return Pictures(**paths)


def _smooth(rng, side):
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)).astype(float)
