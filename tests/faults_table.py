"""The table of docs/parity.md: which faults are caught in which precision, and what is blamed.

python tests/faults_table.py [--checkpoint FILE.safetensors] [-j N] > table.md
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from adain_parity.artefacts import Model, bundle_for, open_models
from adain_parity.matrix import BackendRow, Limits, Matrix
from adain_parity.plan import planned_bundles
from adain_parity.results import Case
from adain_parity.run import Settings, run_cases
from adain_runtime.bundle import Bundle
from sabotage import FAULTS, Fault, installed

PRECISIONS = ("fp32", "fp16", "int8")
LIMITS = Limits(seconds=240, memory_mb=3000)
SHORT = Limits(seconds=15, memory_mb=3000)  # for the one that never ends


def run_faults(bundle: Bundle, model: Model, out: Path, jobs: int = 2) -> dict[str, Case]:
    """Every fault on a bundle: name to case. The faults are installed as backends (`sabotage.installed`)."""

    def row(fault: Fault) -> BackendRow:
        return BackendRow(fault.name, (bundle.manifest.precision,), "onnx", (fault.provider,), threads=1)

    cases: list[Case] = []
    endless = [fault for fault in FAULTS if fault.verdict == "timed out"]
    for limits, faults in ((SHORT, endless), (LIMITS, [fault for fault in FAULTS if fault not in endless])):
        rows = tuple(map(row, faults))
        matrix = Matrix(1, (model.name,), ("88x136",), ("cat",), ("summertime",), (0.6,), rows, limits)
        plans = planned_bundles(matrix, [bundle], [model], lambda _: "")
        cases += run_cases(plans, Settings(out, limits, jobs=jobs))
    return {case.backend: case for case in cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [installed(out / "backends"), os.environ.get("PYTHONPATH")])
        )
        columns: dict[str, dict[str, Case]] = {}
        for model in open_models(["lite", *([str(given.checkpoint)] if given.checkpoint else [])], Path()):
            for precision in PRECISIONS:
                made = bundle_for(model, "onnx", precision, None, out / "bundles")
                if not made.path:
                    raise SystemExit(made.error)
                bundle = Bundle.open(made.path)
                columns[f"{model.name} {precision}"] = run_faults(bundle, model, out / model.name, given.jobs)
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
