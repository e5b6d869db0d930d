"""How far a run has come, on stderr: pictures where there are many, and the tiles of the one at work."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from adain_runtime.cli import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """Bars that appear when there is something to show, and only where stderr is a terminal. A context manager.

    Rich is not imported before that: a small photo is done by then.
    """

    def __init__(self, pictures: int) -> None:
        self._pictures = pictures
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._stack = ExitStack()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        if self._pictures > 1:
            self._show("stylising", 0, self._pictures)
        return self

    def picture(self, done: int) -> None:
        """So many pictures are done, or failed."""
        if self._pictures > 1:
            self._show("stylising", done, self._pictures)
        if self._bar is not None and "tiles" in self._tasks:
            self._bar.remove_task(self._tasks.pop("tiles"))

    def tile(self, done: int, total: int) -> None:
        """So many tiles of a picture are done."""
        self._show("tiles", done, total)

    def _show(self, name: str, done: int, total: int) -> None:
        if not self._terminal:
            return
        if self._bar is None:
            self._bar = self._stack.enter_context(console.progress())
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total)
        self._bar.update(self._tasks[name], completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        self._bar = None
