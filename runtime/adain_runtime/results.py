"""The folder that a measurement's numbers and pictures go to, and the command that made them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file


def command_line() -> str:
    """The command that is running, as a person would type it."""
    return spell_command([Path(sys.argv[0]).name, *sys.argv[1:]])


def spell_command(words: Sequence[str]) -> str:
    """A command to copy into this system's shell: Windows' own knows double quotes alone."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def make_folder(path: Path) -> None:
    """Make the folder that results go to, before the work.

    Raises:
        InputError: it can't be made, or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {path}: can't be made ({error.strerror or error}); choose another folder") from error
    check_folder_writable(path, f"-o {path}")


def check_folder_writable(folder: Path, what: str) -> None:
    """Try whether a folder can be written: permission bits don't tell of read-only file systems.

    Args:
        folder: that is there.
        what: is to go there, as the error names it.

    Raises:
        InputError: it can't be written.
    """
    try:
        with TemporaryDirectory(prefix=".adain-", dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{what}: can't be written ({error.strerror or error}); choose another folder") from error


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write numbers as JSON, whole or not at all.

    Raises:
        InputError: the file can't be written.
    """
    with replacing_file(path) as part:
        part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
