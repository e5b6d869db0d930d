"""Engines from a build kit (or an ONNX bundle): ``python3 build.py --help``. Standard library only; kits carry it.

Each part is built in a process of its own: where the builder is killed for want of memory, that is an error of this
one and not its end. The engines come out as a bundle that ``adain-run --backend trt --model FOLDER`` runs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from adain_runtime.trt.builder import build_engine, check_capabilities
from adain_runtime.trt.cudart import CudaError, Cudart
from adain_runtime.trt.golden_fit import golden_misfit, golden_shapes
from adain_runtime.trt.library import NAMES, gpu_trouble, load_library, module_name, this_platform
from adain_runtime.trt.options import (
    FLAVORS,
    BuildError,
    Options,
    Profile,
    parse_batch,
    parse_bytes,
    parse_capabilities,
    parse_size,
)

MANIFEST, OPTIONS_FILE = "manifest.json", "build.json"
SOURCES = ("onnx", "trt-kit")  # targets whose bundles hold ONNX graphs
TARGETS = {"trt": "trt", "rtx": "trt-rtx"}  # flavor to the target in the bundle's name
SIDECAR = ".engine.json"
SIDECAR_SCHEMA = 1
_PATIENCE = 30  # seconds that a builder gets to stop by itself

_T = TypeVar("_T")
Listener = Callable[[str, str, int, int], None]
"""Hears (part, phase, steps done, steps)."""


def build_bundle(
    kit: Path,
    out: Path,
    options: Options,
    *,
    parts: Sequence[str] | None = None,
    timing_cache: Path | None = None,
    listener: Listener | None = None,
) -> Path:
    """Write ``out/NAME-trt-PRECISION`` (``-trt-rtx-`` for TensorRT for RTX), whole or not at all.

    Args:
        kit: a build kit or an ONNX bundle; its files are verified.
        out: folder that gets the bundle.
        options: how to build.
        parts: which; None builds all that the kit has.
        timing_cache: read where it exists, and renewed.
        listener: hears of progress.

    Raises:
        BuildError: a damaged kit, options that don't fit it or the device, or a build that failed.
    """
    manifest = read_kit(kit)
    chosen = list(manifest["parts"]) if parts is None else list(parts)
    if missing := [part for part in chosen if part not in manifest["parts"]]:
        raise BuildError(f"{kit}: has no part {', '.join(missing)}, only {', '.join(manifest['parts'])}")
    options.profile.check(manifest["sizes"]["multiple"], manifest["sizes"]["minimum"])
    check_device(options)
    final = out / bundle_name(manifest, options)
    if final.is_symlink() or (final.exists() and not (final / MANIFEST).is_file()):
        raise BuildError(f"{final}: exists and is no bundle, so it is not replaced; choose another folder")
    if timing_cache is not None and (timing_cache.is_dir() or not os.access(timing_cache.absolute().parent, os.W_OK)):
        raise BuildError(f"--timing-cache {timing_cache}: can't be written; name a file in a folder that is there")
    try:
        with contextlib.suppress(FileExistsError):
            out.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix=f".{final.name[:60]}.", dir=out) as place:
            folder = Path(place) / final.name
            folder.mkdir()
            for part in chosen:
                _build_part(kit, manifest, part, folder, options, timing_cache, listener)
            _write_manifest(manifest, chosen, folder, options)
            _swap(folder, final, Path(place) / "old")
    except OSError as error:
        raise BuildError(f"can't write {final}: {error.strerror or error}; choose another folder") from error
    return final


def _swap(new: Path, final: Path, old: Path) -> None:
    """Put a folder where another may stand, which comes back where that fails."""
    try:
        if final.exists():
            final.rename(old)
        new.rename(final)
    finally:
        if old.exists() and not final.exists():
            old.rename(final)


def bundle_name(manifest: dict[str, Any], options: Options) -> str:
    """The folder that a kit's engines come in."""
    return f"{manifest['name']}-{TARGETS[options.flavor]}-{manifest['precision']}"


def check_device(options: Options) -> None:
    """Refuse what can't be built on this machine, before anything is begun.

    Raises:
        BuildError: no such TensorRT, no GPU, a compute capability that is not known, or a workspace beyond the memory.
    """
    if options.flavor == "rtx":
        check_capabilities(load_library("rtx"), options.capabilities)
        return
    if module_name("trt") is None:
        load_library("trt")  # raises, with the line that installs it
    if trouble := gpu_trouble():
        raise BuildError(f"{trouble}, and {NAMES['trt']} builds for the GPU that it runs on", 3)
    if options.workspace is not None and options.workspace > (total := _asked(Cudart.total_memory)):
        raise BuildError(
            f"--workspace {options.workspace:,} bytes: this device has {total:,}; take less, or leave it out"
        )


def _asked(question: Callable[[Cudart], _T]) -> _T:
    """What the device says.

    Raises:
        BuildError: it says nothing, as one that another process has for itself.
    """
    try:
        return question(Cudart())
    except CudaError as error:
        raise BuildError(f"the GPU doesn't answer ({error}); look at its driver, and who else uses it", 3) from error


def read_kit(kit: Path) -> dict[str, Any]:
    """The manifest of a kit, every file verified.

    Raises:
        BuildError: it is none, or a file is missing or not what the manifest says.
    """
    try:
        manifest: dict[str, Any] = json.loads((kit / MANIFEST).read_text(encoding="utf-8"))
        if manifest["target"] not in SOURCES:
            raise BuildError(f"{kit}: is for {manifest['target']}; a build kit or an ONNX bundle is wanted")
        for name, entry in manifest["files"].items():
            if Path(name).name != name or _sha256(kit / name) != entry["sha256"]:
                raise BuildError(f"{kit / name}: its content is not what the manifest says; copy the kit again")
    except OSError as error:
        raise BuildError(f"{error.filename}: {error.strerror}; name a build kit (adain-export trt --kit)") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{kit / MANIFEST}: damaged ({error}); copy the kit again") from error
    return manifest


def kit_options(kit: Path) -> Options:
    """The options that a kit asks for; the defaults for an ONNX bundle.

    Raises:
        BuildError: they are damaged.
    """
    path = kit / OPTIONS_FILE
    try:
        return Options.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else Options()
    except ValueError as error:
        raise BuildError(f"{path}: is no JSON ({error}); copy the kit again") from error


def golden_trouble(kit: Path, manifest: dict[str, Any], profile: Profile) -> str | None:
    """Why engines of a profile can't be held against a kit's golden outputs, and what to do; None where they can.

    Raises:
        BuildError: the golden outputs are damaged.
    """
    inputs = {
        f"{part}.in.{tensor['name']}": tensor["shape"]
        for part, interface in manifest["parts"].items()
        for tensor in interface["inputs"]
    }
    return golden_misfit(golden_shapes(kit), inputs, profile)


def source_digests(manifest: dict[str, Any], part: str) -> dict[str, str]:
    """SHA-256 of what a part's engine is made from: its graph, and the weights beside it."""
    graph = manifest["parts"][part]["file"]
    return {name: entry["sha256"] for name, entry in manifest["files"].items() if name in (graph, "weights.bin")}


def _build_part(
    kit: Path,
    manifest: dict[str, Any],
    part: str,
    folder: Path,
    options: Options,
    timing_cache: Path | None,
    listener: Listener | None,
) -> None:
    engine = folder / f"{part}.engine"
    interface = manifest["parts"][part]
    task = {
        "onnx": str((kit / interface["file"]).resolve()),
        "engine": str(engine),
        "shapes": {tensor["name"]: options.profile.shapes(tensor["shape"]) for tensor in interface["inputs"]},
        "options": options.to_json(),
        "timing_cache": None if timing_cache is None else str(timing_cache.resolve()),
    }
    done = _in_child(part, task, listener)
    sidecar = {
        "schema_version": SIDECAR_SCHEMA,
        "part": part,
        "engine": {"bytes": engine.stat().st_size, "sha256": _sha256(engine)},
        "flavor": options.flavor,
        "tensorrt": done["tensorrt"],
        "compute_capabilities": list(options.capabilities) or [_asked(Cudart.capability)],
        "hw_compat": options.hw_compat,
        "version_compatible": options.version_compatible,
        "platform": this_platform(),
        "onnx": source_digests(manifest, part),
        "options": options.to_json(),
    }
    (folder / f"{part}{SIDECAR}").write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_manifest(kit: dict[str, Any], parts: list[str], folder: Path, options: Options) -> None:
    first = json.loads((folder / f"{parts[0]}{SIDECAR}").read_text(encoding="utf-8"))
    sizes, profile = kit["sizes"], options.profile
    made = kit | {
        "target": TARGETS[options.flavor],
        "parts": {part: _engine_part(kit["parts"][part], part, profile) for part in parts},
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())
        },
        "sizes": sizes | _profile_sizes(profile),
        "tools": kit["tools"] | {NAMES[options.flavor]: first["tensorrt"]},
        "parity": None,  # the kit's is of its ONNX graphs; nothing has run these engines yet
    }
    (folder / MANIFEST).write_text(json.dumps(made, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _profile_sizes(profile: Profile) -> dict[str, Any]:
    """What a manifest says of a profile, which `Profile.check` has held against the kit's own least size."""
    sizes: dict[str, Any] = {"minimum": min(profile.min), "maximum": max(profile.max)}
    if len({*profile.min}) > 1 or len({*profile.max}) > 1:
        sizes |= {name: [profile.min[axis], profile.max[axis]] for axis, name in enumerate(("heights", "widths"))}
    return sizes


def _engine_part(part: dict[str, Any], name: str, profile: Profile) -> dict[str, Any]:
    """A part of a manifest with its engine, and the batch as a number where there is only one."""
    least, _, most = profile.batch

    def fixed(tensors: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            tensor | {"shape": [least if axis == "batch" and least == most else axis for axis in tensor["shape"]]}
            for tensor in tensors
        ]

    return part | {
        "file": f"{name}.engine",
        "inputs": fixed(part["inputs"]),
        "outputs": fixed(part["outputs"]),
    }


def _in_child(part: str, task: dict[str, Any], listener: Listener | None) -> dict[str, Any]:
    """Build in a process of its own; returns what it said at its end."""
    itself = ["-m", f"{__package__}.build"] if __package__ else [__file__]
    command = [sys.executable, *itself, "--task", json.dumps(task)]
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as child:  # noqa: S603 this very file
        try:
            last = _follow(child, part, listener)
        except BaseException:
            _stop(child)
            raise
        child.wait()
        said.seek(0)
        words = said.read().decode(errors="replace").strip().splitlines()
    if last is not None and "error" in last:
        raise BuildError(f"{part}: {last['error']}", last["exit_code"])
    if child.returncode == 0 and last is not None:
        return last
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise BuildError(
            f"{part}: the builder was killed ({name}), most often for want of memory; close other programs, or take a "
            "smaller --max or a --workspace limit",
            1,
        )
    raise BuildError(f"{part}: the builder ended with {child.returncode} ({words[-1] if words else 'silent'})", 1)


def _follow(child: subprocess.Popen[bytes], part: str, listener: Listener | None) -> dict[str, Any] | None:
    last = None
    for line in child.stdout or ():
        with contextlib.suppress(ValueError):  # what a library prints is nobody's message
            message = json.loads(line)
            if isinstance(message, dict) and "phase" in message:
                if listener is not None:
                    listener(part, message["phase"], message["done"], message["steps"])
            elif isinstance(message, dict):
                last = message
    return last


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Let a builder end by itself, which is quick where it hears of it between two steps; else kill it."""
    child.terminate()
    try:
        child.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


def _child(task: dict[str, Any]) -> int:
    """Build one engine; progress and the end go to stdout, a line of JSON each."""
    asked_to_stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda which, _frame: asked_to_stop.append(which))

    def report(phase: str, done: int, steps: int) -> bool:
        print(json.dumps({"phase": phase, "done": done, "steps": steps}), flush=True)
        return not asked_to_stop

    try:
        options = Options.from_json(task["options"])
        library = load_library(options.flavor)
        cache = None if task["timing_cache"] is None else Path(task["timing_cache"])
        timed = cache.read_bytes() if cache is not None and cache.is_file() else b""
        shapes: dict[str, Any] = {name: tuple(map(tuple, found)) for name, found in task["shapes"].items()}
        built = build_engine(library, Path(task["onnx"]), shapes, options, report=report, timing_cache=timed)
        Path(task["engine"]).write_bytes(built.engine)
        if cache is not None and built.timing_cache is not None:
            beside = cache.with_name(f".{cache.name}.part")
            beside.write_bytes(built.timing_cache)
            beside.replace(cache)
    except BuildError as error:
        if asked_to_stop:
            return 128 + asked_to_stop[0]
        return _failed(error)
    except OSError as error:
        return _failed(BuildError(f"can't write the engine ({error}); free some space, or choose another folder"))
    print(json.dumps({"tensorrt": library.version}), flush=True)
    return 0


def _failed(error: BuildError) -> int:
    print(json.dumps({"error": str(error), "exit_code": error.exit_code}), flush=True)
    return error.exit_code


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class OneLine(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Say it, and end with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def arguments_parser() -> argparse.ArgumentParser:
    """The command line of ``build.py``."""
    parser = OneLine(prog="build.py", description=__doc__.partition("\n\n")[0])
    parser.add_argument("kit", nargs="?", type=Path, help="the kit's folder; default: where this file is")
    parser.add_argument("-o", "--output", type=Path, default=None, help="folder that gets the bundle; default: beside")
    parser.add_argument("--parts", help="such as encoder,stylizer; default: all")
    parser.add_argument("--min", help="least HEIGHTxWIDTH")
    parser.add_argument("--opt", help="usual HEIGHTxWIDTH")
    parser.add_argument("--max", help="largest HEIGHTxWIDTH")
    parser.add_argument("--batch", help="most images a call, or LEAST,USUAL,MOST")
    parser.add_argument("--workspace", help="most scratch memory, such as 2G")
    parser.add_argument("--opt-level", type=int, help="0 (quick) to 5 (tries everything)")
    parser.add_argument("--timing-cache", type=Path, help="file that keeps what was timed")
    parser.add_argument("--hw-compat", action="store_true", help="for every GPU from compute capability 8.0 on")
    parser.add_argument(
        "--version-compatible", action="store_true", help="for later TensorRT of the same major version"
    )
    parser.add_argument("--flavor", choices=FLAVORS, help="trt, or rtx for TensorRT for RTX")
    parser.add_argument("--compute-capability", help="with --flavor rtx, such as 8.6,8.9,12.0")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    return parser


def options_of(given: argparse.Namespace, before: Options) -> Options:
    """The kit's options with what the command line changes of them."""
    profile = Profile(
        **{
            name: getattr(before.profile, name) if text is None else parse_size(f"--{name}", text)
            for name, text in (("min", given.min), ("opt", given.opt), ("max", given.max))
        },
        batch=before.profile.batch if given.batch is None else parse_batch(given.batch),
    )
    flavor = given.flavor or before.flavor
    kept = before.compute_capabilities if flavor == "rtx" else ()
    return replace(
        before,
        profile=profile,
        flavor=flavor,
        workspace=before.workspace if given.workspace is None else parse_bytes(given.workspace),
        opt_level=before.opt_level if given.opt_level is None else given.opt_level,
        hw_compat=before.hw_compat or given.hw_compat,
        version_compatible=before.version_compatible or given.version_compatible,
        compute_capabilities=kept if given.compute_capability is None else parse_capabilities(given.compute_capability),
    )


def _quoted(path: Path) -> str:
    return subprocess.list2cmdline([str(path)]) if sys.platform == "win32" else shlex.quote(str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Build; returns the exit code: 0 done, 1 failed, 2 bad input, 3 TensorRT or its GPU is not here."""
    given = arguments_parser().parse_args(arguments)
    if given.task is not None:
        return _child(json.loads(given.task))
    kit = (given.kit or Path(__file__).parent).resolve()

    def show(part: str, phase: str, done: int, steps: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{part}: {done} of {steps} ({phase})\033[K", end="", file=sys.stderr, flush=True)

    try:
        options = options_of(given, kit_options(kit))
        parts = None if given.parts is None else given.parts.split(",")
        if trouble := golden_trouble(kit, read_kit(kit), options.profile):
            print(f"build.py: note: {trouble}", file=sys.stderr)
        made = build_bundle(
            kit, given.output or kit.parent, options, parts=parts, timing_cache=given.timing_cache, listener=show
        )
    except BuildError as error:
        print(f"build.py: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("build.py: interrupted", file=sys.stderr)
        return 130
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"wrote {os.fspath(made)}; next: adain-run PHOTO STYLE --backend trt --model {_quoted(made)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
