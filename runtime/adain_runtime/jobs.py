"""A run over one picture, a folder or a glob: which files come in, where each goes, and what became of it."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

from adain_runtime.decode import is_one_of_many, stated_size
from adain_runtime.errors import AdainError, InputError
from adain_runtime.files import identity
from adain_runtime.image import (
    WRITABLE,
    Photo,
    check_size,
    check_writable,
    flattens,
    load_image,
    resize_shorter,
    save_image,
)
from adain_runtime.overlap import Lanes, Steps, overlapped

READABLE = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".tga", ".jp2", ".ico", ".avif"),
    }
)
UNREADABLE = frozenset(
    {
        *(".heic", ".heif", ".hif", ".jxl", ".psd", ".svg", ".exr", ".hdr"),
        *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
    }
)
"""Suffixes of pictures that aren't read here; everything else in a folder is no picture."""

DEFAULT_FOLDER = "stylized"
LARGE = 16_000_000  # pixels from which on photos are stylised and encoded one after the other
LONGEST_NAME = 255  # bytes that file systems take
_SEPARATORS = tuple(separator for separator in (os.sep, os.altsep) if separator)
AT_ONCE = 2  # photos in the network, with half of the cores each: 1.3 times as fast on two cores (benchmarks/folder.py)


@dataclass(frozen=True)
class Job:
    """One picture to make."""

    content: Path
    output: Path


@dataclass(frozen=True)
class Done:
    """A picture that was made; ``seconds`` is decoding, stylising and encoding together.

    ``flattened`` says that it has transparency which its file's format can't keep, ``first`` that the content has more
    frames or pages, of which this is the first.
    """

    job: Job
    width: int
    height: int
    seconds: float
    flattened: bool
    first: bool = False


@dataclass(frozen=True)
class Failed:
    """A picture that was not made, and why."""

    job: Job
    error: AdainError


@dataclass(frozen=True)
class AtOnce:
    """What stylises photos beside each other.

    Attributes:
        stylize: called from ``AT_ONCE`` threads at once, each with one photo.
        fits: whether the memory is enough for so many photos of this size, none of them in tiles.
    """

    stylize: Callable[[list[Photo]], list[Photo]]
    fits: Callable[[Photo], bool]


class _Work(NamedTuple):
    """A picture on its way."""

    job: Job
    result: Photo | AdainError
    seconds: float

    @property
    def pixels(self) -> int:
        return 0 if isinstance(self.result, AdainError) else self.result.width * self.result.height


class Contents(NamedTuple):
    """What a CONTENT argument means.

    Attributes:
        files: to stylise, sorted.
        many: whether it is a folder or a glob.
        passed_over: pictures of kinds that aren't read here, sorted.
    """

    files: list[Path]
    many: bool
    passed_over: list[Path]


def find_contents(content: str) -> Contents:
    """Files that a CONTENT argument means.

    Raises:
        InputError: nothing is there, or nothing that looks like an image.
    """
    try:
        return _find(content)
    except OSError as error:  # a folder that can't be listed, a name that is too long
        raise InputError(f"{content}: can't be read ({error.strerror}); check the path") from error


def _find(content: str) -> Contents:
    path = Path(content)
    if path.is_dir():
        shown = (f for f in path.iterdir() if not f.name.startswith("."))  # as a glob: a Mac leaves ._photo.jpg
        found = _sorted_out(shown)
        if not found.files:
            others = spell_kinds(found.passed_over)
            looked = others and f": {others} can't be read here; convert them to JPEG or PNG"
            looked = looked or f" (looked for {' '.join(sorted(READABLE))})"
            raise InputError(f"{content}: no images in this folder{looked}")
        return found
    if not path.exists() and glob.has_magic(content):
        names = glob.glob(content, recursive=True)  # noqa: PTH207 a pattern may be absolute, which Path.glob refuses
        found = _sorted_out(map(Path, names))
        if not found.files:
            others = spell_kinds(found.passed_over)
            fix = others and f"{others} match and can't be read here; convert them to JPEG or PNG"
            raise InputError(f"{content}: no image matches; {fix or 'check the pattern'}")
        return found
    if "://" in content and not path.exists():  # as a path it would be told with one slash less
        raise InputError(f"{content} is an address; download the image and give the file's path")
    return Contents([path], False, [])


def _sorted_out(found: Iterable[Path]) -> Contents:
    files = sorted(path for path in {*found} if path.suffix.lower() in READABLE | UNREADABLE and path.is_file())
    readable = [path for path in files if path.suffix.lower() in READABLE]
    return Contents(readable, True, [path for path in files if path.suffix.lower() in UNREADABLE])


def spell_kinds(paths: Sequence[Path]) -> str:
    """How many files of each suffix, such as ``12 .heic, 1 .dng``; empty where there are none."""
    counts = Counter(path.suffix.lower() for path in paths)
    return ", ".join(f"{number} {suffix}" for suffix, number in sorted(counts.items()))


def plan(
    contents: Sequence[Path], *, many: bool, label: str, output: str | None, keep: Sequence[Path] = ()
) -> list[Job]:
    """Pair every content with its output.

    Args:
        contents: files to stylise.
        many: whether ``output`` is a folder whatever it looks like.
        label: what is added to a content's name, such as the style's.
        output: a file, a folder (existing, or with a slash at its end), or None for the working folder.
        keep: other files of this run that an output must not replace, such as the styles.

    Raises:
        InputError: an output that can't be written, would replace an input, or would be written twice.
    """
    try:
        jobs = _pair(contents, many, label, output, keep)
    except OSError as error:  # a name that is too long
        raise InputError(f"can't write {error.filename}: {error.strerror}; choose another -o") from error
    for folder in {job.output.parent for job in jobs}:
        _check_folder(folder)
    return jobs


def _pair(contents: Sequence[Path], many: bool, label: str, output: str | None, keep: Sequence[Path]) -> list[Job]:
    if many or (output is not None and (output.endswith(_SEPARATORS) or Path(output).is_dir())):
        folder = Path(DEFAULT_FOLDER if output is None else output)
        if (folder.exists() and not folder.is_dir()) or (folder.suffix in WRITABLE and not folder.is_dir()):
            raise InputError(f"{folder}: names a file, and many pictures need a folder: choose another -o")
        jobs = [Job(content, folder / default_name(content, label)) for content in contents]
    else:
        name = default_name(contents[0], label) if output is None else output
        jobs = [Job(contents[0], Path(name))]
    inputs = {identity(path) for path in (*contents, *keep)} - {None}
    by_output: dict[Path, Job] = {}
    by_folded: dict[str, Job] = {}
    for job in jobs:
        check_writable(job.output)
        if job.output.exists() and identity(job.output) in inputs:
            raise InputError(f"{job.output}: would replace an input; choose another -o")
        folded = unicodedata.normalize("NFC", str(job.output)).casefold()
        twin, alike = by_output.setdefault(job.output, job), by_folded.setdefault(folded, job)
        if twin is job and alike is not job and _folds(_standing(job.output.parent)):
            twin = alike
        if twin is not job:
            raise InputError(
                f"{twin.content} and {job.content} would both become {job.output}; stylise them one by one"
            )
    return jobs


def default_name(content: Path, label: str) -> str:
    """``photo-wave.jpg``: the content's suffix where it can be written, else ``.png``; cut to what a name may be."""
    suffix = content.suffix if content.suffix.lower() in WRITABLE else ".png"
    label = _cut(label, LONGEST_NAME // 2)
    return f"{_cut(content.stem, LONGEST_NAME - len(os.fsencode(f'-{label}{suffix}')))}-{label}{suffix}"


def _cut(name: str, most: int) -> str:
    """As much of its beginning as is at most so many bytes in a file's name."""
    while len(os.fsencode(name)) > most:
        name = name[:-1]
    return name


def run_jobs(
    jobs: Sequence[Job],
    stylize: Callable[[list[Photo]], list[Photo]],
    *,
    batch_size: int,
    size: int | None,
    max_pixels: int,
    quality: int,
    at_once: AtOnce | None = None,
    admit: Callable[[int, int], object] | None = None,
) -> Iterator[Done | Failed]:
    """Make the pictures, ``batch_size`` at a time; each is on disk, whole, when its ``Done`` is given, in their order.

    A picture that can't be made is given as ``Failed`` and the run goes on. While some are stylised, in the caller's
    thread, those before are encoded and those after decoded, each in a thread of their own; a large photo is
    stylised and encoded with nothing beside it, and photos that fit ``at_once`` are stylised two at a time. Ctrl-C
    finishes what is being written, gives it, and goes on as ``KeyboardInterrupt``. ``admit`` is told a file's height
    and width before its pixels are decoded, and raises where that is too large.
    """
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    load = partial(_load, size=size, max_pixels=max_pixels, admit=admit)
    save = partial(_save, quality=quality)
    if len(batches) == 1:
        yield from save(_stylized(stylize, load(batches[0])))
        return
    yield from overlapped(
        batches,
        Steps(
            load=load,
            alone=lambda works: sum(work.pixels for work in works) >= LARGE,
            stylize=partial(_stylized, stylize),
            save=save,
            lanes=None if at_once is None or batch_size > 1 else _lanes(at_once),
        ),
    )


def _lanes(at_once: AtOnce) -> Lanes[_Work]:
    def fits(works: list[_Work]) -> bool:
        try:
            return all(at_once.fits(work.result) for work in works if isinstance(work.result, Photo))
        except AdainError:  # it can't be stylised at all, which is that photo's own failure
            return False

    return Lanes(AT_ONCE, fits, partial(_stylized, at_once.stylize))


def _load(
    jobs: Sequence[Job], *, size: int | None, max_pixels: int, admit: Callable[[int, int], object] | None
) -> list[_Work]:
    works = []
    for job in jobs:
        clock = perf_counter()
        result: Photo | AdainError
        try:
            if admit is not None:
                admit(*stated_size(job.content, max_pixels))
            result = load_image(job.content, max_pixels=max_pixels)
            if size is not None:
                result = resize_shorter(result, size, enlarge=True, max_pixels=max_pixels)
            check_size(job.output, result.height, result.width)
        except AdainError as error:
            result = error
        except MemoryError:
            result = _no_memory(job.content)
        works.append(_Work(job, result, perf_counter() - clock))
    return works


def _no_memory(content: Path) -> InputError:
    return InputError(f"{content}: there is not enough memory for it; make it smaller (--size)")


def _stylized(stylize: Callable[[list[Photo]], list[Photo]], works: list[_Work]) -> list[_Work]:
    """The photos among them stylised together; one by one where together fails, so that a bad one costs only itself."""
    photos = [work.result for work in works if isinstance(work.result, Photo)]
    if not photos:
        return works
    clock = perf_counter()
    try:
        made: list[Photo | AdainError] = list(stylize(photos))
    except (AdainError, MemoryError) as error:
        if len(photos) > 1:
            return [done for work in works for done in _stylized(stylize, [work])]
        (content,) = (work.job.content for work in works if isinstance(work.result, Photo))
        made = [error if isinstance(error, AdainError) else _no_memory(content)]
    each = (perf_counter() - clock) / len(photos)
    results = iter(made)
    return [
        _Work(work.job, next(results), work.seconds + each) if isinstance(work.result, Photo) else work
        for work in works
    ]


def _save(works: list[_Work], *, quality: int) -> list[Done | Failed]:
    saved: list[Done | Failed] = []
    for job, result, seconds in works:
        if isinstance(result, AdainError):
            saved.append(Failed(job, result))
            continue
        clock = perf_counter()
        try:
            _make_folder(job.output.parent)
            save_image(result, job.output, quality=quality)
        except AdainError as error:
            saved.append(Failed(job, error))
            continue
        whole = seconds + perf_counter() - clock
        first = is_one_of_many(job.content)
        saved.append(Done(job, result.width, result.height, whole, flattens(job.output, result), first))
    return saved


def _standing(folder: Path) -> Path:
    """The folder itself where it is there, else the nearest above it that is.

    Raises:
        InputError: none is, as on a drive that isn't there.
    """
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if there is None:
        raise InputError(f"{folder}: there is no {folder.anchor or 'such folder'} here; choose another -o")
    return there


def _folds(folder: Path) -> bool:
    """Whether names that differ in case are one here, as on most disks of a Mac or of Windows."""
    try:
        with TemporaryDirectory(prefix=".adain-", dir=folder) as made:
            return Path(made).with_name(Path(made).name.upper()).exists()
    except OSError:  # it can't be written, which is said where that is looked at
        return False


def _check_folder(folder: Path) -> None:
    """Refuse a folder that can't be made or written, before any work; it is made when there is something to put in."""
    there = _standing(folder)
    try:
        with TemporaryDirectory(prefix=".adain-", dir=there):  # permission bits don't tell of read-only file systems
            pass
    except OSError as error:
        verb = "written" if there == folder else "made"
        raise InputError(f"{folder}: can't be {verb} ({there}: {error.strerror}); choose another -o") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); choose another -o") from error
