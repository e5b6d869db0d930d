"""Files that are whole or not there: digests, and writes that replace the old file only when the new one is done."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOTDIR
from pathlib import Path

from adain_runtime.errors import InputError


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def identity(path: str | Path) -> tuple[int, int] | None:
    """What tells a file from every other, however it is spelt; None for what can't be looked at."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _sibling(path: Path) -> Path:
    # cut, so that a name as long as a file system takes (255 bytes, 4 a character) has room for the rest
    return path.with_name(f".{path.name[:60]}.{secrets.token_hex(4)}.part")


def _why(path: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"can't write {path}: {reason}; choose a folder that can be written and has room")


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write; it takes ``path``'s place when the block ends without an error.

    Whatever goes wrong (a full disk, Ctrl-C), a file that stood at ``path`` stays as it was. The new one has its
    permissions.

    Raises:
        InputError: the file can't be written, or something else than a file stands there, such as a pipe.
    """
    part = _sibling(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a folder's own error says it
            raise InputError(f"can't write {path}: it is a pipe or a device, and a file is to take its place")
        yield part
        with part.open("r+b") as file:  # Windows flushes what is open for writing only
            os.fsync(file.fileno())
        if path.is_file():
            shutil.copymode(path, part)
        part.replace(path)
    except OSError as error:
        raise _why(path, error) from error
    finally:
        with suppress(OSError):  # a folder that is none: the error above says so
            part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary sibling folder to fill; it takes ``path``'s place when the block ends without an error.

    Raises:
        InputError: the folder can't be written.
    """
    part, old = _sibling(path), _sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        if path.exists():
            if not path.is_dir() or path.is_symlink():
                raise NotADirectoryError(ENOTDIR, "it is a file or a link, and a folder is to be written")
            path.rename(old)
        part.rename(path)
    except OSError as error:
        raise _why(path, error) from error
    finally:
        if old.exists() and not path.exists():  # stopped between the two, by an error or by Ctrl-C
            old.rename(path)
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
