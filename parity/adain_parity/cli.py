"""``adain-parity``: every backend against PyTorch, with a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from adain_export.target import get_target
from adain_runtime.backend import require
from adain_runtime.cli import console
from adain_runtime.cli.console import Command

if TYPE_CHECKING:
    import typer


def _wants_export() -> None:
    require("parity", get_target("onnx").probe())


COMMANDS = {
    "run": Command(
        "adain_parity.run_command:run_command",
        "Run every case of the matrix in a process of its own and compare it with PyTorch.",
        _wants_export,
    ),
    "report": Command(
        "adain_parity.report_command:report_command",
        "Show a run that was made before, and write its report again.",
    ),
    "diff": Command(
        "adain_parity.diff_command:diff_command",
        "Say what got better or worse between two runs; exit with 1 where something that passed fails now.",
    ),
    "calibrate-tolerances": Command(
        "adain_parity.calibrate_command:calibrate_command",
        "Propose tolerances from the worst numbers of some runs. Nothing is written: edit tolerances.toml by them.",
        _wants_export,
    ),
}
"""Where each command lives, and what it does; ``report`` and ``diff`` read what others measured, and want no torch."""

EXAMPLES = console.examples(
    ("adain-parity run --quick", "the student, under a minute"),
    ("adain-parity run --matrix parity.toml -j 2 -o report", "a matrix of your own"),
    ("adain-parity run build/vgg19-onnx-fp16 --checkpoint vgg19.safetensors", "a bundle"),
    ("adain-parity run --require onnx", "exit 3 where onnx isn't here"),
    ("adain-parity report report/parity.json -o page", "its page once more"),
    ("adain-parity diff before after", "exit 1 where something broke"),
    ("adain-parity calibrate-tolerances report/parity.json", "propose limits"),
)
_SUMMARY = "Hold every backend against PyTorch: what differs, where it starts, and whether that is too much."


def main() -> NoReturn:
    """Entry point."""
    console.run(make_app(), "adain-parity")


def make_app() -> typer.Typer:
    """The application; without torch or onnx, commands that measure name the line that installs them."""
    return console.command_app(COMMANDS, summary=_SUMMARY, epilog=EXAMPLES)
