"""``adain-parity``: every backend against PyTorch, with a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from adain_export.target import get_target
from adain_parity.diff_command import diff_command
from adain_parity.report_command import report_command
from adain_runtime.backend import require
from adain_runtime.cli import console

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "run": "adain_parity.run_command:run_command",
    "calibrate-tolerances": "adain_parity.calibrate_command:calibrate_command",
}
"""Where each command lives."""

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
    here = bool(get_target("onnx").probe())
    app = console.command_app(COMMANDS, summary=_SUMMARY, epilog=EXAMPLES, unavailable=None if here else _unavailable)
    app.command("report")(report_command)  # these two read what others measured, and so want neither
    app.command("diff")(diff_command)
    return app


def _unavailable() -> None:
    require("parity", get_target("onnx").probe())
