"""Programs whose commands live in modules of their own: their help waits for none of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import adain_calib.cli
import adain_parity.cli
import adain_train.cli
from adain_runtime.cli import console

PROGRAMS = (adain_train.cli, adain_calib.cli, adain_parity.cli)
COMMANDS = [(program, name) for program in PROGRAMS for name in program.COMMANDS]


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_a_programs_help_says_of_a_command_what_the_command_says_of_itself(program, name):
    command = program.COMMANDS[name]
    assert command.load(name).help.splitlines()[0] == command.words


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_imports_no_heavy_library(program):
    script = f"""
import sys
from {program.__name__} import main
sys.argv = ["program", "--help"]
try:
    main()
finally:
    print(sorted({{"torch", "onnx", "onnxruntime", "tensorboard"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in program.COMMANDS:
        assert f"│ {name} " in done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_command_imports_its_own_module_alone(typed, monkeypatch, program):
    loaded = []

    def load(module):
        loaded.append(module)
        raise KeyboardInterrupt  # as a person who sees that it takes seconds

    monkeypatch.setattr(console, "import_module", load)
    name = list(program.COMMANDS)[-1]
    ran = typed(program.main, program.__name__, name)
    assert ran.code == 130
    assert ran.one_line().endswith(": interrupted\n")
    assert loaded == [program.COMMANDS[name].place.partition(":")[0]]


def test_training_is_started_as_a_module_too():
    """As torchrun starts it; imported alone it would end well and train nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "adain_train", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("adain-edge ")


def test_what_a_command_misses_is_looked_up_in_its_own_help(typed):
    ran = typed(adain_parity.cli.main, "adain-parity", "diff", "before")
    assert ran.code == 2
    assert "(see adain-parity diff --help)" in ran.err
