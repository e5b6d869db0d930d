"""``make demo``: the embedded network as ONNX, run by every backend of such bundles that works, shown as a gallery."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import typer

from adain_export.doctor import installed
from adain_export.target import Precision, Request, get_target
from adain_model.samples import sample_folder
from adain_parity.comparison import REFERENCE, TIMED_RUNS, Comparison, Row, compare
from adain_parity.gallery import Measurements, Picture, contact_sheet, gallery_page
from adain_parity.machine import processor
from adain_runtime.backend import require, require_backend
from adain_runtime.backends.onnx import short_name
from adain_runtime.bundle import Bundle
from adain_runtime.cli import console
from adain_runtime.errors import InputError, QualityError
from adain_runtime.files import replacing_file
from adain_runtime.image import Photo, load_image, save_image, to_pil
from adain_runtime.jobs import find_contents
from adain_runtime.results import spell_command

EXPORTS: tuple[tuple[str, Precision], ...] = (("onnx", "fp32"), ("onnx", "fp16"))
"""What is exported: target and precision."""

PROGRAM = "python -m adain_parity.demo"
_COLUMNS = ("backend", "precision", "device", "MB", "size", "ms", "PSNR", "max abs")
_NUMBERS = frozenset(("MB", "size", "ms", "PSNR", "max abs"))
_VERSIONS = ("adain-edge", "torch", "onnxruntime", "onnx", "numpy", "pillow")
_SOURCES = "SOURCES.md"
_LONGEST_TITLE = 32

app = console.new_app("Export the embedded network, run it on every backend, and show what comes out.")


def main() -> NoReturn:
    """Entry point."""
    console.run(app, PROGRAM)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for gallery.html, gallery.png and the bundles.")
    ] = Path("out"),
    content: Annotated[
        Optional[Path],  # noqa: UP045 Typer reads this at run time on Python 3.10
        typer.Option(help="Folder of photos. Default: the repository's samples.", show_default=False),
    ] = None,
    style: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of paintings. Default: the repository's samples.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="FILE.safetensors. Default: the embedded network.", show_default=False),
    ] = None,
    _verbose: console.Verbose = False,
    _version: console.Version = False,
) -> None:
    """Export to ONNX fp32 and fp16, stylise the samples on every backend, and write a gallery with the numbers."""
    options = {"--content": content, "--style": style, "--checkpoint": checkpoint, "--out": out}
    given = [str(word) for option in options.items() if option[1] is not None for word in option]
    contents = find_samples("--content", content)
    styles = find_samples("--style", style)
    bundles = export(checkpoint, out / "bundles")
    with console.progress() as bar:
        task = bar.add_task("loading", total=None)

        def report(done: int, steps: int, label: str) -> None:
            bar.update(task, description=f"running {label}", completed=done, total=steps)

        compared = compare(bundles, [each.photo for each in contents], [each.photo for each in styles], report=report)
    measured = measurements(compared)
    command = spell_command([*PROGRAM.split(), *given])
    written = write_gallery(out, contents, styles, compared, measured, bundles[-1].manifest.name, command)
    console.show(console.table(measured.caption, _COLUMNS, measured.rows, right="MB size ms PSNR"))
    for note in measured.notes:
        console.say(note)
    console.say(f"wrote {' and '.join(map(str, written))}; open {written[0]} in a browser")
    if compared.failures:
        raise QualityError("; ".join(f"{row.label}: {row.failure}" for row in compared.failures))


@dataclass(frozen=True, eq=False)
class Sample:
    """An image to show: its name for people, its pixels, and where it comes from, if that is known."""

    name: str
    photo: Photo
    source: str = ""

    @property
    def picture(self) -> Picture:
        """The sample as the gallery takes it."""
        return Picture(self.name, to_pil(self.photo))


def find_samples(option: str, folder: Path | None) -> list[Sample]:
    """The images of a folder, or of the repository's own.

    Titles and credits come from a ``SOURCES.md`` in the folder or above it, where there is one: a table whose rows
    start with the file's name, the title, and the author.

    Args:
        option: ``--content`` or ``--style``.
        folder: what was given for it.

    Raises:
        InputError: no such folder, no images in it, or one that can't be read.
    """
    chosen = sample_folder("style" if option == "--style" else "content") if folder is None else folder
    if not chosen.is_dir():
        raise InputError(f"{chosen}: no such folder of images; give one with {option} FOLDER")
    files = find_contents(os.fspath(chosen)).files
    known = _credits(chosen)
    samples = []
    for file in files:
        title, source = known.get(file.name, ("", ""))
        plain = re.sub(r"[_\-\s]+", " ", file.stem).strip() or file.name
        name = title if 0 < len(title) <= _LONGEST_TITLE else plain[0].upper() + plain[1:]
        samples.append(Sample(name, load_image(file), source))
    return samples


def export(checkpoint: Path | None, folder: Path) -> list[Bundle]:
    """The checkpoint as the reference's bundle, then one bundle for each of ``EXPORTS``.

    Raises:
        UnavailableError: torch, or a tool of a target, is not installed.
        InputError: the checkpoint can't be read, or the folder can't be written.
        QualityError: what was written differs from torch by more than its precision allows.
    """
    reference = require_backend(REFERENCE)
    from adain_model.checkpoint import embedded_checkpoint, load_network

    path = checkpoint or embedded_checkpoint()
    network = load_network(path)
    bundles = [reference.find(path)]
    with console.progress() as bar:
        task = bar.add_task("exporting", total=len(EXPORTS))
        for name, precision in EXPORTS:
            bar.update(task, description=f"exporting {name} {precision}")
            target = get_target(name)
            require(f"target {name}", target.probe())
            bundles.append(target.export(network, Request(network.spec.name, precision), folder))
            bar.advance(task)
    return bundles


def measurements(compared: Comparison) -> Measurements:
    """The numbers as text, with what they were measured on."""
    runs = f"median of {TIMED_RUNS} runs of the stylizer part; timings of this run, not a benchmark"
    caption = f"{processor()}, {os.cpu_count()} CPUs, threads as each backend chooses; ms: {runs}"
    return Measurements(
        caption=caption,
        columns=_COLUMNS,
        rows=[cells(row) for row in compared.rows],
        numeric=_NUMBERS,
        failed=frozenset(i for i, row in enumerate(compared.rows) if not row),
        notes=[
            "PSNR and max abs: the worst over all pictures, of the float output in [0, 1] against torch",
            *(f"{entry.backend} left out: {entry.reason}" for entry in compared.left_out),
            *(f"{row.label} is not good enough: {row.failure}" for row in compared.failures),
        ],
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    if row.is_reference:
        psnr, max_abs = "reference", "-"
    elif row.psnr is None or row.max_abs is None:
        psnr = max_abs = "not finite"
    else:
        psnr = f"{row.psnr:.1f} dB" if row.psnr < float("inf") else "exact"
        max_abs = f"{row.max_abs:.1e}" if row.max_abs else "0"
    milliseconds = "-" if row.milliseconds is None else f"{row.milliseconds:.0f}"
    size = f"{row.width}x{row.height}"
    megabytes = f"{row.model_bytes / 1e6:.1f}"
    return row.backend, row.precision, short_name(row.device), megabytes, size, milliseconds, psnr, max_abs


def write_gallery(
    out: Path,
    contents: Sequence[Sample],
    styles: Sequence[Sample],
    compared: Comparison,
    measured: Measurements,
    network: str,
    command: str,
) -> tuple[Path, Path]:
    """Write ``gallery.html`` and ``gallery.png`` into a folder, each whole or not at all; gives their paths.

    Raises:
        InputError: the folder can't be written.
    """
    page, sheet = out / "gallery.html", out / "gallery.png"
    across, down = [each.picture for each in styles], [each.picture for each in contents]
    sentence = (
        f"Every photo on the left, painted after every picture on top, by the network {network} "
        f"({compared.shown.label}). Choose one to lay it over its photo."
    )
    html = gallery_page(
        down,
        across,
        compared.pictures,
        title="Any photo, any painting",
        sentence=sentence,
        measurements=measured,
        versions=versions(),
        command=command,
        sources={each.name: each.source for each in (*contents, *styles) if each.source},
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be made a folder ({error.strerror}); choose another --out") from error
    save_image(contact_sheet(down, across, compared.pictures), sheet)
    with replacing_file(page) as part:
        part.write_text(html, encoding="utf-8")
    return page, sheet


def versions() -> dict[str, str]:
    """What made the gallery: name to version."""
    found = {name: installed(name) for name in _VERSIONS}
    here = {"Python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    return {name: version for name, version in found.items() if version} | here


def _credits(folder: Path) -> dict[str, tuple[str, str]]:
    """File name to its title, and to title, author and licence in a line."""
    found = (place / _SOURCES for place in (folder, folder.resolve().parent))
    text = next((path.read_text(encoding="utf-8") for path in found if path.is_file()), "")
    rows = re.findall(r"^\| *`([^`|]+)` *\|([^|]+)\|([^|]+)\|([^|]+)\|", text, re.MULTILINE)
    return {row[0]: (row[1].strip(), "; ".join(cell.strip() for cell in row[1:])) for row in rows}


if __name__ == "__main__":
    main()
