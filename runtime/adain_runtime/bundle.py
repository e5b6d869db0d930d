"""Bundles on disk: a folder with a manifest and the files that it names, verified before anything is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adain_runtime.errors import BundleError, InputError
from adain_runtime.files import sha256_file
from adain_runtime.manifest import FileEntry, Manifest, Part, Tensor
from adain_runtime.parts import part_interface

MANIFEST = "manifest.json"
EMBEDDED = Path(__file__).with_name("bundles")
_LARGEST_STEP = 4096  # pixels; padding a picture to more than this would be somebody's joke
_LARGEST_EXACT = 16384  # what Core ML and Metal take of a texture's side
_BROWSERS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")
_MANIFEST_BYTES = 1 << 20  # a manifest is a few kilobytes; more than this is something else


@dataclass(frozen=True)
class Bundle:
    """An exported network: ``path`` is the folder, ``manifest`` says what is in it."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read a bundle and verify the SHA-256 of every file.

        Raises:
            InputError: there is no such folder.
            BundleError: no manifest, a damaged or newer one, a file that is missing, is a link, or was changed.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such bundle folder; make one with: adain-export onnx -o {folder.parent}")
        try:
            manifest = Manifest.from_json(_manifest_text(folder / MANIFEST))
        except BundleError as error:
            raise BundleError(f"{folder / MANIFEST}: {error}") from error
        if problem := _misfit(manifest):
            raise BundleError(f"{folder / MANIFEST}: {problem}; export the bundle again")
        for name, entry in manifest.files.items():
            _verify(folder, name, entry)
        if strangers := unlisted(folder, manifest.files):
            raise BundleError(
                f"{folder}: holds {', '.join(strangers[:3])}, which its manifest doesn't list and nothing verifies; "
                "move it elsewhere"
            )
        return cls(folder, manifest)

    def part(self, name: str) -> Part:
        """A part by name.

        Raises:
            InputError: the bundle doesn't have it.
        """
        try:
            return self.manifest.parts[name]
        except KeyError:
            has = ", ".join(self.manifest.parts)
            raise InputError(f"{self.path}: no part {name!r} in this bundle, which has {has}") from None

    def graph(self, part: str) -> Path:
        """The file that holds a part, or the folder, for a format whose models are folders."""
        return self.path / self.part(part).file


def unlisted(folder: Path, listed: Collection[str]) -> list[str]:
    """What lies in a bundle's folder and isn't among the listed files, as paths below it, sorted.

    A folder that holds no listed file counts as one thing; a link is never followed. What a file browser leaves in
    every folder that it shows (`_BROWSERS`) doesn't count: no graph is called so, and nothing opens it.
    """
    known = {*listed, MANIFEST}
    return sorted(_strangers(folder, "", known, {name[:i] for name in known for i in _slashes(name)}))


def _strangers(folder: Path, below: str, files: Collection[str], folders: Collection[str]) -> Iterator[str]:
    for path in folder.iterdir():
        name = below + path.name
        if name in folders and path.is_dir() and not path.is_symlink():
            yield from _strangers(path, f"{name}/", files, folders)
        elif name not in files and not (_BROWSERS.fullmatch(path.name) and path.is_file() and not path.is_symlink()):
            yield name


def _slashes(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == "/"]


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Every file below a folder, by its path with slashes, for a manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): describe_file(path) for path in files}


def describe_file(path: Path) -> FileEntry:
    """A file's entry for a manifest."""
    return FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path))


def embedded_bundles() -> dict[str, Path]:
    """The bundles that this package carries: folder name to folder."""
    return {path.parent.name: path.parent for path in sorted(EMBEDDED.glob(f"*/{MANIFEST}"))}


def find_bundle(model: str | os.PathLike[str], target: str) -> Bundle:
    """Open a bundle by folder, or an embedded one by name (``lite``, or its folder's name ``lite-onnx-fp32``).

    A bundle's folder wins over an embedded name, so that a name typed where such a folder stands is that folder;
    another folder of that name, such as a training run's, doesn't.

    Raises:
        InputError: no such folder and no such name.
        BundleError: see ``Bundle.open``.
    """
    try:
        is_folder, is_bundle = Path(model).is_dir(), (Path(model) / MANIFEST).exists()
    except OSError as error:  # such as a name that is too long
        raise InputError(f"{model}: can't be read ({error.strerror}); check the path") from error
    here = embedded_bundles()
    for name in (os.fspath(model), f"{model}-{target}-fp32"):
        if name in here and not is_bundle:
            return Bundle.open(here[name])
    if is_folder:
        return Bundle.open(model)
    if Path(model).is_file():
        raise InputError(
            f"{model}: is a file; a checkpoint is exported first (adain-export onnx FILE) or run by --backend torch"
        )
    names = ", ".join(sorted(folder.split("-")[0] for folder in here if f"-{target}-" in folder)) or "none"
    raise InputError(
        f"{model}: neither a bundle folder nor an embedded {target} model (embedded: {names}); "
        f"make one with: adain-export {target}"
    )


def _misfit(manifest: Manifest) -> str | None:
    """What of a manifest contradicts its own network: parts by other names, channels or stride, or odd sizes."""
    sizes, stride = manifest.sizes, manifest.spec.stride
    if sizes.multiple % stride or max(sizes.multiple, sizes.minimum) > _LARGEST_STEP:
        return f"sizes in multiples of {sizes.multiple} from {sizes.minimum} don't fit a network of stride {stride}"
    if any(max(size) > _LARGEST_EXACT for size in sizes.exact):
        return f"an exact size is over {_LARGEST_EXACT} pixels a side"
    for name, part in manifest.parts.items():
        tensors = (*part.inputs, *part.outputs)
        io: Literal["float", "uint8"] = "uint8" if any(t.dtype == "uint8" for t in tensors) else "float"
        wanted = part_interface(name, manifest.spec, part.file, io=io)
        for found, fits in ((part.inputs, wanted.inputs), (part.outputs, wanted.outputs)):
            if [tensor.name for tensor in found] != [tensor.name for tensor in fits]:
                return f"part {name} has {[t.name for t in found]}, and {[t.name for t in fits]} is what it must have"
            for tensor, fit in zip(found, fits, strict=True):
                if len(tensor.shape) != len(fit.shape) or not all(map(_same_axis, tensor.shape, fit.shape)):
                    return (
                        f"part {name}: {tensor.name} is {list(tensor.shape)}, and its network makes {list(fit.shape)}"
                    )
        if unsaid := _sides(part.outputs) - _sides(part.inputs):
            return f"part {name}: nothing that it takes says the {sorted(unsaid)[0]} of what it gives"
    return None


def _sides(tensors: Sequence[Tensor]) -> set[str]:
    """What may vary in shapes, such as ``height``; an axis that may also be 1 says nothing of it."""
    axes = [axis for tensor in tensors for axis in tensor.shape if isinstance(axis, str)]
    return {axis.partition("/")[0] for axis in axes if not axis.startswith("1|")}


def _same_axis(found: int | str, wanted: int | str) -> bool:
    """Equal, or a fixed size in the place of one that may vary."""
    return found == wanted or (isinstance(found, int) and isinstance(wanted, str))


def _manifest_text(path: Path) -> str:
    if path.is_symlink():
        raise BundleError("is a link, and a bundle holds plain files only")
    if path.exists() and not path.is_file():
        raise BundleError("is a folder, a pipe or a device, and a bundle holds plain files only")
    try:
        if path.stat().st_size > _MANIFEST_BYTES:
            raise BundleError("is over 1 MiB and so no manifest")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BundleError("missing: this folder is no bundle; adain-export onnx makes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"can't be read ({error})") from error


def _verify(folder: Path, name: str, entry: FileEntry) -> None:
    again, path = "copy or export the bundle again", folder / name
    for place in (*(folder / name[:i] for i in _slashes(name)), path):
        if place.is_symlink():
            raise BundleError(f"{place}: is a link, and a bundle holds plain files only; {again}")
    if not path.is_file():
        raise BundleError(f"{path}: missing, though the manifest names it; {again}")
    try:
        size, sha256 = path.stat().st_size, sha256_file(path)
    except OSError as error:
        raise BundleError(f"{path}: can't be read ({error.strerror}); {again}") from error
    if size != entry.bytes:
        raise BundleError(f"{path}: has {size:,} bytes where the manifest says {entry.bytes:,}; {again}")
    if sha256 != entry.sha256:
        raise BundleError(f"{path}: its content is not what the manifest says (SHA-256 differs); {again}")
