"""``adain-calib``: measure what int8 has to represent, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from adain_export.target import get_target
from adain_runtime.backend import require
from adain_runtime.cli import console
from adain_runtime.cli.console import Command

if TYPE_CHECKING:
    import typer


def _wants_export() -> None:
    require("calibration", get_target("onnx").probe())


COMMANDS = {
    name: Command(f"adain_calib.{name}_command:{name}_command", words, _wants_export)
    for name, words in {
        "collect": "Find the range of what enters every convolution, over pairs of content and style.",
        "sensitivity": "Put one convolution after the other into int8, and measure what that costs on images.",
        "search": "Find the convolutions that can be int8 at a PSNR; the first and the last stay float.",
        "report": "Compare calibrations of one network, each by every method, on pairs that none of them saw.",
    }.items()
}
"""Where each command lives, and what it does."""

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
    return console.command_app(COMMANDS, summary=_SUMMARY, epilog=EXAMPLES)
