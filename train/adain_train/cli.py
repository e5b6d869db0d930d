"""``adain-train``: train the networks, and say how good they are."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from adain_runtime.cli import console
from adain_runtime.cli.console import Command
from adain_runtime.errors import UnavailableError

if TYPE_CHECKING:
    import typer


def _wants_torch() -> None:
    if find_spec("torch") is None:
        raise UnavailableError(
            "torch is not installed, and training runs on it: pip install torch lightning-fabric tensorboard"
        )


COMMANDS = {
    name: Command(f"adain_train.{place}", words, _wants_torch)
    for name, place, words in (
        ("decoder", "commands:decoder_command", "Train a decoder for VGG-19; with --preset gpu as the paper does."),
        (
            "student",
            "commands:student_command",
            "Train a small network, encoder and decoder together, from VGG-19 as its teacher.",
        ),
        (
            "recipe",
            "recipe_command:recipe_command",
            "Train a student in the stages of a recipe, each begun as what the one before left.",
        ),
        (
            "fit",
            "fit_command:fit_command",
            "Fit styles to a network: saved styles that look more like their painting, at no cost when they are used.",
        ),
        (
            "eval",
            "eval_command:eval_command",
            "Measure models on pairs of test images: losses, similarity, time, operations; plots and a contact sheet.",
        ),
        (
            "normalise",
            "normalise:normalise_command",
            "Rescale VGG-19 so that each filter's mean activation is 1, as vgg_normalised.",
        ),
        (
            "crafts",
            "crafts_command:crafts_command",
            "Draw mosaics, hatching, brushwork, marbling and others after other pictures, as styles to train on.",
        ),
        (
            "norms",
            "norms_command:norms_command",
            "Train one small network with batch, instance and conditional instance norm, and plot why AdaIN works.",
        ),
    )
}
"""Where each command lives, and what it does."""

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
    return console.command_app(COMMANDS, summary=_SUMMARY, epilog=EXAMPLES)
