"""Styles that were encoded before, kept in the platform's cache folder: an entry a painting, encoder and size."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL

from adain_runtime.cache import SWITCH
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file, sha256_file
from adain_runtime.style import Style

FOLDER = "styles"
"""Of the person's caches."""

MOST = 512
"""Entries that are kept; the ones that were not used for longest go first. An entry is a few kilobytes."""

_FORMAT = 2
_SUFFIX = ".stats"
_DIGEST = 32


class StyleCache:
    """Statistics of styles in a folder. A folder that can't be used is said once, and then all goes on without it.

    Entries are written to a sibling and renamed, so that processes that fill one folder at once never meet half an
    entry; each carries a digest, and one that is damaged counts as missing and is written anew.
    """

    def __init__(self, folder: Path | None, tell: Callable[[str], None]) -> None:
        """Begin; nothing is looked at before the first style.

        Args:
            folder: where; None keeps nothing.
            tell: takes the one line about a folder that can't be used.
        """
        self._folder, self._tell = folder, tell

    def key(self, image: Path, *facts: object) -> str | None:
        """What a style is found by: the image's bytes and every fact that its numbers depend on; None without a cache.

        An image that can't be read has no key: reading it says why.
        """
        if self._folder is None:
            return None
        try:
            if not image.is_file():  # opening a pipe would wait for its writer, and a device may have no end
                return None
            content = sha256_file(image)
        except (OSError, ValueError):
            return None
        return hashlib.sha256("\n".join(map(str, (_FORMAT, PIL.__version__, content, *facts))).encode()).hexdigest()

    def load(self, key: str | None, encoder_id: str, source: str) -> Style | None:
        """A style that was kept, or None."""
        if key is None or self._folder is None:
            return None
        path = self._folder / (key + _SUFFIX)
        try:
            if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
                return None
            data = path.read_bytes()
            digest, numbers = data[:_DIGEST], data[_DIGEST:]
            if digest != _digest(key, numbers):
                return None
            with suppress(OSError):  # a folder that can only be read serves too
                os.utime(path)  # used now
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error)
            return None
        mean, std = np.frombuffer(numbers, "<f4").astype(np.float32).reshape(2, -1)
        return Style(mean, std, encoder_id, source)

    def keep(self, key: str | None, style: Style) -> None:
        """Keep a style for the next time."""
        if key is None or self._folder is None:
            return
        numbers = np.stack([style.mean, style.std]).astype("<f4").tobytes()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing_file(self._folder / (key + _SUFFIX)) as part:
                part.write_bytes(_digest(key, numbers) + numbers)
            self._bound()
        except OSError as error:
            self._give_up(error)
        except InputError as error:
            self._give_up(error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error)))

    def _bound(self) -> None:
        assert self._folder is not None  # noqa: S101 for the type checker
        entries = [entry for entry in self._folder.iterdir() if entry.suffix == _SUFFIX]
        if len(entries) <= MOST:
            return
        ages = []
        for entry in entries:
            try:
                ages.append((entry.stat().st_mtime_ns, entry))
            except FileNotFoundError:  # another process was faster
                continue
        for _, entry in sorted(ages)[:-MOST]:
            entry.unlink(missing_ok=True)

    def _give_up(self, error: OSError) -> None:
        self._tell(
            f"styles can't be kept in {self._folder} ({error.strerror or error}), so each is encoded again; "
            f"set {SWITCH} to a folder that can be written, or to off"
        )
        self._folder = None


def warn(line: str) -> None:
    """Tell the program that called, as a ``RuntimeWarning``."""
    warnings.warn(line, RuntimeWarning, stacklevel=2)


def _digest(key: str, numbers: bytes) -> bytes:
    return hashlib.sha256(key.encode() + numbers).digest()
