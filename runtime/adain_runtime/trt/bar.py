"""TensorRT's progress as a bar on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from adain_runtime.trt.build import Listener


@contextmanager
def build_bar(*, enabled: bool = True) -> Iterator[Listener]:
    """A listener for a build that draws a bar for each part, where stderr is a terminal."""
    from adain_runtime.cli import console

    with console.progress(enabled=enabled) as bar:
        tasks: dict[str, TaskID] = {}

        def listen(part: str, phase: str, done: int, steps: int) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(part)
            bar.update(tasks[part], description=f"building {part} ({phase})"[:60], completed=done, total=steps)

        yield listen
