"""``adain-calib``: measure what int8 has to represent, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from adain_export.target import get_target
from adain_runtime.backend import require
from adain_runtime.cli import console

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "collect": "adain_calib.collect_command:collect_command",
    "sensitivity": "adain_calib.sensitivity_command:sensitivity_command",
    "search": "adain_calib.search_command:search_command",
    "report": "adain_calib.report_command:report_command",
}
"""Where each command lives."""

EXAMPLES = console.examples(
    ("adain-calib collect --content photos --style paintings", "the student"),
    ("adain-calib collect vgg19.safetensors ... -o vgg19.json", "another"),
    ("adain-calib collect ... --save-pairs pairs.json", "keep the pairs"),
    ("adain-calib collect ... --repeat pairs.json", "take them again"),
    ("adain-calib sensitivity calibration.json ... -o out", "what int8 costs"),
    ("adain-calib search calibration.json ... --target-psnr 35", "keep 35 dB"),
    ("adain-calib report pairs.json plain.json ... -o out", "compare calibrations"),
)
_SUMMARY = "Calibrate a network for int8: on pairs of content and style, not on plain images."


def main() -> NoReturn:
    """Entry point."""
    console.run(make_app(), "adain-calib")


def make_app() -> typer.Typer:
    """The application; without torch or onnx, its commands name the line that installs them."""
    here = bool(get_target("onnx").probe())
    return console.command_app(COMMANDS, summary=_SUMMARY, epilog=EXAMPLES, unavailable=None if here else _unavailable)


def _unavailable() -> None:
    require("calibration", get_target("onnx").probe())
