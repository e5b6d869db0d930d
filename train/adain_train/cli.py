"""``adain-train``: train the networks, and say how good they are.

A command is a function of the module that it belongs to; ``COMMANDS`` is where it gets its name.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from adain_runtime.cli import console
from adain_runtime.errors import UnavailableError

if TYPE_CHECKING:
    import typer

COMMANDS: dict[str, tuple[str, str]] = {
    "decoder": ("commands", "decoder_command"),
    "student": ("commands", "student_command"),
    "eval": ("eval_command", "eval_command"),
    "normalise": ("normalise", "normalise_command"),
    "norms": ("norms_command", "norms_command"),
}
"""Each command's module, and the function in it."""

EXAMPLES = console.examples(
    ("adain-train decoder --encoder vgg.pth ... -o run", "a decoder"),
    ("adain-train student --teacher vgg19.safetensors ... -o run", "a student"),
    ("adain-train student ... -o run --minutes 60 --resume", "go on"),
    ("adain-train student ... --set perceptual_from=0.1", "any knob"),
)
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}
_SUMMARY = "Train a decoder for VGG-19, or a student of it; measure what came out."


def main() -> NoReturn:
    """Entry point."""
    console.run(make_app(), "adain-train")


def make_app() -> typer.Typer:
    """The application; without torch, its commands name the line that installs it."""
    app = console.new_app(_SUMMARY, epilog=EXAMPLES)
    app.callback()(_options)
    here = find_spec("torch") is not None
    for name, (module, function) in COMMANDS.items():
        if here:
            app.command(name)(getattr(import_module(f"adain_train.{module}"), function))
        else:
            app.command(name, context_settings=_ANYTHING)(_unavailable)
    return app


def _options(_version: console.Version = False) -> None:
    pass


def _unavailable() -> None:
    raise UnavailableError(
        "torch is not installed, and training runs on it: pip install torch lightning-fabric tensorboard"
    )
