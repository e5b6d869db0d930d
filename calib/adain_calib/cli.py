"""``adain-calib``: measure what int8 has to represent.

A command is a function of the module that it belongs to; ``COMMANDS`` is where it gets its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from adain_export.target import get_target
from adain_runtime.backend import require
from adain_runtime.cli import console

if TYPE_CHECKING:
    import typer

COMMANDS: dict[str, tuple[str, str]] = {
    "collect": ("collect_command", "collect_command"),
}
"""Each command's module, and the function in it."""

EXAMPLES = console.examples(
    ("adain-calib collect --content photos --style paintings", "the student"),
    ("adain-calib collect vgg19.safetensors ... -o vgg19.json", "another"),
    ("adain-calib collect ... --save-pairs pairs.json", "keep the pairs"),
    ("adain-calib collect ... --repeat pairs.json", "take them again"),
)
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}
_SUMMARY = "Calibrate a network for int8: on pairs of content and style, not on plain images."


def main() -> NoReturn:
    """Entry point."""
    console.run(make_app(), "adain-calib")


def make_app() -> typer.Typer:
    """The application; without torch or onnx, its commands name the line that installs them."""
    app = console.new_app(_SUMMARY, epilog=EXAMPLES)
    app.callback()(_options)
    here = bool(get_target("onnx").probe())
    for name, (module, function) in COMMANDS.items():
        if here:
            app.command(name)(getattr(import_module(f"adain_calib.{module}"), function))
        else:
            app.command(name, context_settings=_ANYTHING)(_unavailable)
    return app


def _options(_version: console.Version = False) -> None:
    pass


def _unavailable() -> None:
    require("calibration", get_target("onnx").probe())
