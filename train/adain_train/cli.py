"""``adain-train``: train the networks, and say how good they are."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from adain_runtime.cli import console
from adain_runtime.errors import UnavailableError

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "decoder": "adain_train.commands:decoder_command",
    "student": "adain_train.commands:student_command",
    "recipe": "adain_train.recipe_command:recipe_command",
    "fit": "adain_train.fit_command:fit_command",
    "eval": "adain_train.eval_command:eval_command",
    "normalise": "adain_train.normalise:normalise_command",
    "norms": "adain_train.norms_command:norms_command",
}
"""Where each command lives."""

EXAMPLES = console.examples(
    ("adain-train decoder --encoder vgg.pth ... -o run", "a decoder"),
    ("adain-train student --teacher vgg19.safetensors ... -o run", "a student"),
    ("adain-train student ... -o run --minutes 60 --resume", "go on"),
    ("adain-train student ... --set perceptual_from=0.1", "any knob"),
    ("adain-train recipe lite.toml --data both=DIR ... -o run", "several runs"),
    ("adain-train fit wave.jpg --content photos ... -o styles", "a better style"),
)
_SUMMARY = "Train a decoder for VGG-19, or a student of it; measure what came out."


def main() -> NoReturn:
    """Entry point."""
    console.run(make_app(), "adain-train")


def make_app() -> typer.Typer:
    """The application; without torch, its commands name the line that installs it."""
    here = find_spec("torch") is not None
    return console.command_app(COMMANDS, summary=_SUMMARY, epilog=EXAMPLES, unavailable=None if here else _unavailable)


def _unavailable() -> None:
    raise UnavailableError(
        "torch is not installed, and training runs on it: pip install torch lightning-fabric tensorboard"
    )
