"""What is written of a run for people and for CI: a page, a JUnit file and a summary, all made from the run alone."""

from __future__ import annotations

from pathlib import Path

from adain_parity.junit import junit_xml
from adain_parity.markdown import markdown_summary
from adain_parity.page import parity_page
from adain_parity.results import Run
from adain_runtime.files import replacing_file
from adain_runtime.results import make_folder

PAGE, JUNIT, SUMMARY = "parity.html", "parity.junit.xml", "parity.md"


def write_report(run: Run, folder: Path, *, pictures: Path | None = None) -> tuple[Path, ...]:
    """Write ``parity.html``, ``parity.junit.xml`` and ``parity.md``, each whole or not at all.

    Args:
        run: what was found.
        folder: where they go; it is made where it isn't there.
        pictures: the folder that the run's pictures are relative to. Default: ``folder``.

    Returns:
        The paths of what was written.

    Raises:
        InputError: the folder or a file in it can't be written.
    """
    make_folder(folder)
    texts = {
        PAGE: parity_page(run, folder if pictures is None else pictures),
        JUNIT: junit_xml(run),
        SUMMARY: markdown_summary(run),
    }
    for name, text in texts.items():
        with replacing_file(folder / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8
    return tuple(folder / name for name in texts)
