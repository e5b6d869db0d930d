"""``adain-parity report``: a run's page, JUnit file and summary once more, from its ``parity.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from adain_parity.markdown import markdown_summary
from adain_parity.report import write_report
from adain_parity.results import Run
from adain_parity.terminal import show_run
from adain_runtime.cli import console
from adain_runtime.errors import InputError


def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN.json", help="A parity.json, or the folder that it is in.")],
    *,
    output: Annotated[
        Optional[Path],  # noqa: UP045 Typer reads this at run time on Python 3.10
        typer.Option(
            "--output", "-o", help="Folder for parity.html, parity.junit.xml and parity.md.", show_default=False
        ),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the run in Markdown, for a CI job's summary.")
    ] = False,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
) -> None:
    """Show a run that was made before, and write its report again.

    Without -o it only prints. It exits with 0 whatever the run found: adain-parity run has said that.
    """
    if markdown and as_json:
        raise InputError("--markdown and --json: stdout holds one of them; leave one out")
    found = Run.load(run)
    folder = run if run.is_dir() else run.parent
    written = write_report(found, output, pictures=folder) if output is not None else ()
    if as_json:
        console.print_json({"exit_code": found.exit_code, "written": [str(path) for path in written]})
        return
    if markdown:
        typer.echo(markdown_summary(found), nl=False)
    else:
        show_run(found)
    for path in written:
        console.say(f"wrote {path}")
