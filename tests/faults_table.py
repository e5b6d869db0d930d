"""The table of docs/parity.md: which faults are caught in which precision, and what is blamed.

python tests/faults_table.py [--checkpoint FILE.safetensors] [--precisions fp32 fp16 int8] [-j N] > table.md
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from adain_parity.artefacts import Model, bundle_for, open_models
from adain_parity.matrix import BackendRow, Limits, Matrix
from adain_parity.plan import Asked, planned_bundles
from adain_parity.results import Case
from adain_parity.run import Settings, run_cases
from adain_runtime.bundle import Bundle
from sabotage import FAULTS, Fault, installed

PRECISIONS = ("fp32", "fp16", "int8")
SIZE = "88x136"
LIMITS = Limits(seconds=240, memory_mb=3000)
SHORT = Limits(seconds=15, memory_mb=3000)  # for the one that never ends


def run_faults(bundle: Bundle, model: Model, out: Path, jobs: int = 2) -> dict[str, Case]:
    """Every fault on a bundle: name to case. The faults are installed as backends (`sabotage.installed`)."""

    def row(fault: Fault) -> BackendRow:
        return BackendRow(fault.name, (bundle.manifest.precision,), "onnx", (fault.provider,), threads=1)

    cases: list[Case] = []
    alike: dict[tuple[Limits, str], list[Fault]] = {}
    for fault in FAULTS:
        alike.setdefault((SHORT if fault.verdict == "timed out" else LIMITS, fault.style), []).append(fault)
    for (limits, style), faults in alike.items():
        rows = tuple(map(row, faults))
        matrix = Matrix(1, (model.name,), (SIZE,), ("cat",), (style,), (0.6,), rows, limits)
        plans = planned_bundles(matrix, [bundle], [model], lambda _: Asked())
        cases += run_cases(plans, Settings(out, limits, jobs=jobs))
    return {case.backend: case for case in cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [installed(out / "backends"), os.environ.get("PYTHONPATH")])
        )
        columns: dict[str, dict[str, Case]] = {}
        for model in open_models(["lite", *([str(given.checkpoint)] if given.checkpoint else [])], Path()):
            for precision in given.precisions:
                made = bundle_for(model, "onnx", precision, None, out / "bundles")
                if not made.path:
                    raise SystemExit(made.error)
                bundle = Bundle.open(made.path)
                name = f"{model.name} {precision}"
                columns[name] = run_faults(bundle, model, out / model.name, given.jobs)
                for fault in FAULTS:  # as it goes, and in full: what a cell of the table has no room for
                    case = columns[name][fault.name]
                    words = case.blame.sentence if case.blame else case.reason
                    print(f"{name}: {fault.name}: {cell(fault, case)}: {words}", file=sys.stderr, flush=True)
        print(table(columns))


def table(columns: dict[str, dict[str, Case]]) -> str:
    """Faults down, bundles across."""
    lines = ["| fault | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for fault in FAULTS:
        cells = " | ".join(cell(fault, cases[fault.name]) for cases in columns.values())
        lines.append(f"| {fault.what} | {cells} |")
    return "\n".join(lines)


def cell(fault: Fault, case: Case) -> str:
    """What became of a fault: missed, or caught with what was blamed."""
    if case.verdict == "passed":
        return "**missed**"
    if fault.stage is None or case.blame is None:
        return case.verdict if case.verdict != "failed" else "caught"
    place = case.blame.layer or f"{case.blame.stage}, around the graph"
    right = (case.blame.stage, case.blame.layer) == (fault.stage, fault.layer)
    return place if right else f"caught, blamed: {place}"


if __name__ == "__main__":
    main()
