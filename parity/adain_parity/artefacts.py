"""The networks of a run, and the bundles that are made of them: exported once for a state of the code, then kept.

An export runs in a process of its own, ``python -m adain_parity.artefacts ORDER.json``: a converter that crashes fails
the cases that wanted its bundle, not the run.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from PIL import Image

import adain_calib
import adain_export
import adain_model
import adain_runtime
from adain_export import records
from adain_export.calibration import Calibration
from adain_export.target import GraphRequest, Int8, Precision, Request, Target, get_target, target_names
from adain_parity.machine import tools
from adain_parity.matrix import Limits, parse_size
from adain_parity.pictures import find_picture
from adain_parity.sandbox import run_module
from adain_runtime.backend import require
from adain_runtime.bundle import Bundle
from adain_runtime.errors import AdainError, InputError
from adain_runtime.files import sha256_file
from adain_runtime.results import make_folder, write_json
from adain_runtime.trt.cudart import CudaError, Cudart

if TYPE_CHECKING:
    from adain_model.network import Network

_CALIBRATION_PAIRS, _CALIBRATION_SIZE = 16, 256
_CALIBRATION_PICTURES = {"content": ("cat", "noise"), "style": ("summertime", "flat")}
EXPORT_LIMITS = Limits(seconds=900, memory_mb=16000)
"""An export's, where the cases' own are less."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network of a run.

    Attributes:
        name: in case ids.
        checkpoint: its file.
        network: as the file has it.
        weights_sha256: by which a bundle is known to be made of it.
    """

    name: str
    checkpoint: Path
    network: Network
    weights_sha256: str


@runtime_checkable
class Requested(Protocol):
    """A target with precisions or options of its own. A protocol, so that a target offers it by a method alone."""

    def request_for(
        self, name: str, precision: str, sizes: tuple[tuple[int, int], ...], calibration: Callable[[], Calibration]
    ) -> Request:
        """The request that gives a bundle of a precision's label.

        Args:
            name: the model's.
            precision: a label as a manifest has it.
            sizes: (height, width) of the images that the bundle will be run on.
            calibration: gives one, for a precision that needs it.

        Raises:
            InputError: a precision that the target doesn't have.
        """
        ...


@dataclass(frozen=True)
class Order:
    """What an export's process is to do.

    Attributes:
        target: its name.
        precision: the bundle's label.
        checkpoint: the network's file.
        sizes: HEIGHTxWIDTH of the images that the bundle will be run on.
        calibration: for int8, the file; it is made where it isn't there.
        folder: that gets the bundle.
        result: JSON file that gets the bundle's path or the error.
    """

    target: str
    precision: str
    checkpoint: str
    sizes: tuple[str, ...]
    calibration: str
    folder: str
    result: str


@dataclass(frozen=True)
class Made:
    """What became of an export: a bundle's folder, or why there is none."""

    path: str = ""
    error: str = ""
    unavailable: bool = False


def open_models(names: Sequence[str], folder: Path) -> list[Model]:
    """Networks by embedded name or file.

    Args:
        names: of the matrix, or given.
        folder: where a relative path starts.

    Raises:
        InputError: no such network, or one that stands there twice.
    """
    from adain_model.checkpoint import embedded_checkpoint, load_network, weights_sha256

    paths = [folder / name if name.endswith(".safetensors") else embedded_checkpoint(name) for name in names]
    networks = [load_network(path) for path in paths]
    digests = [weights_sha256(network) for network in networks]
    specs = [network.spec.name for network in networks]
    models = []
    for path, network, digest in zip(paths, networks, digests, strict=True):
        if digests.count(digest) > 1:
            raise InputError(f"models: {path} stands there twice, by its weights; leave one out")
        name = network.spec.name if specs.count(network.spec.name) == 1 else path.stem
        models.append(Model(name, path, network, digest))
    names = [model.name for model in models]
    if twins := [name for name in names if names.count(name) > 1]:
        raise InputError(f"models: two are called {twins[0]}; give their files names of their own")
    return models


_LOCKS: defaultdict[str, Lock] = defaultdict(Lock)
_OF_LOCKS = Lock()


def _lock(path: Path | str) -> Lock:
    """One for each file or folder, since exports that share one are begun at once."""
    with _OF_LOCKS:
        return _LOCKS[str(path)]


def bundle_for(
    model: Model,
    target: str,
    precision: str,
    calibration: Path | None,
    cache_folder: Path,
    *,
    sizes: Sequence[str] = (),
    limits: Limits = EXPORT_LIMITS,
) -> Made:
    """A bundle of a network, exported unless the same code has made it here before.

    Args:
        model: of what.
        target: exports it.
        precision: the label.
        calibration: for int8, a file of adain-calib; None makes one from the package's pictures.
        cache_folder: where bundles are kept, each in a folder that its origin names.
        sizes: HEIGHTxWIDTH of the images that the bundle will be run on.
        limits: of the time and memory that the export may take.
    """
    seen = sha256_file(calibration) if calibration else "own"
    fixed = sizes if _reads_sizes(target) else ()
    origin = [model.weights_sha256, target, precision, seen, *fixed, *_device(target), *_others(target), code_digest()]
    folder = cache_folder / hashlib.sha256("\n".join(origin).encode()).hexdigest()[:12]
    own = cache_folder / f"calibration-{model.weights_sha256[:8]}-{code_digest()[:8]}.json"
    order = Order(
        target=target,
        precision=precision,
        checkpoint=str(model.checkpoint),
        sizes=tuple(sizes),
        calibration=str(calibration or own),
        folder=str(folder),
        result=str(folder / "result.json"),
    )
    with ExitStack() as held:
        held.enter_context(_lock(folder))
        if calibration is None and "8" in precision and not own.is_file():  # the first export in int8 makes it
            held.enter_context(_lock(own))
        return _found_or_made(order, limits)


def _found_or_made(order: Order, limits: Limits) -> Made:
    folder, result = Path(order.folder), Path(order.result)
    for found in sorted(folder.glob(f"*-{order.precision}/manifest.json")):
        try:
            return Made(str(Bundle.open(found.parent).path))
        except AdainError:
            continue  # damaged: exported again
    make_folder(folder)
    write_json(folder / "order.json", records.to_plain(order))
    ended = run_module(__name__, [str(folder / "order.json")], limits, folder / "stderr.txt")
    if not ended:
        return Made(error=f"the export to {order.target} {order.precision}: {ended.reason}")
    return records.read(Made, result.name, json.loads(result.read_text(encoding="utf-8")))


def _others(target: str) -> tuple[str, ...]:
    """Nothing, or for another package's target what no bundle before had: its code isn't ours to follow."""
    own = target not in target_names() or type(get_target(target)).__module__.startswith("adain_export.")
    return () if own else (str(time_ns()),)


def _device(target: str) -> tuple[str, ...]:
    """What engines are for, beside what every bundle depends on: this GPU."""
    if target != "trt":
        return ()
    try:
        cuda = Cudart()
        return (cuda.capability(),)  # whose question makes no context, as that for its memory would
    except CudaError:  # then none are built
        return ()


def _reads_sizes(target: str) -> bool:
    return target in target_names() and isinstance(get_target(target), Requested)


@cache
def code_digest() -> str:
    """Digest of the code and the versions that a bundle depends on."""
    digest = hashlib.sha256(json.dumps(tools(), sort_keys=True).encode())
    for package in (adain_model, adain_runtime, adain_export, adain_calib):
        folder = Path(cast(str, package.__file__)).parent
        for path in sorted((*folder.rglob("*.py"), *folder.rglob("*.toml"))):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def export(order: Order) -> Made:
    """Make a bundle in this process."""
    try:
        target = get_target(order.target)
        require(f"target {order.target}", target.probe())
        from adain_model.checkpoint import load_network

        network = load_network(order.checkpoint)
        bundle = target.export(network, _request(target, network, order), Path(order.folder))
    except AdainError as error:
        return Made(error=" ".join(str(error).split()), unavailable=error.exit_code == 3)
    return Made(str(bundle.path))


def _request(target: Target, network: Network, order: Order) -> Request:
    """What a target is asked for: by its own reading of a label where it has one, such as sizes that it fixes."""
    if isinstance(target, Requested):
        sizes = tuple(parse_size(size) for size in order.sizes)
        return target.request_for(
            network.spec.name, order.precision, sizes, lambda: _calibration(network, Path(order.calibration))
        )
    if order.precision in ("fp32", "fp16"):
        return Request(network.spec.name, cast(Precision, order.precision))
    if order.precision in ("int8", "int8-fp16"):
        calibration = _calibration(network, Path(order.calibration))
        precision: Precision = "fp16" if order.precision.endswith("fp16") else "fp32"
        return Request(network.spec.name, precision, int8=Int8(calibration))
    if order.precision == "fp32-w16":
        return GraphRequest(network.spec.name, weights="fp16")
    has = "fp32, fp16, int8, int8-fp16, fp32-w16"
    raise InputError(f"target {order.target} has no precision {order.precision}; it has {has}")


def _calibration(network: Network, path: Path) -> Calibration:
    """The calibration in a file; made from the package's pictures, mirrored, where there is none."""
    if not path.is_file():
        _calibrate(network, path)
    return Calibration.load(path)


def _calibrate(network: Network, path: Path) -> None:
    from adain_calib.collect import calibration_of, collect, observe
    from adain_calib.images import open_folder
    from adain_calib.pairs import draw_pairs

    pictures = path.with_suffix("")
    folders = {}
    for kind, names in _CALIBRATION_PICTURES.items():
        folder = pictures / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            pixels = find_picture(name, folder).pixels(_CALIBRATION_SIZE, _CALIBRATION_SIZE)
            Image.fromarray(pixels[:, ::-1]).save(folder / f"{name}.png")
        folders[kind] = open_folder(folder, most=len(names), seed=0)
    contents, styles = folders["content"], folders["style"]
    sizes: Mapping[str, Any] = {"size": _CALIBRATION_SIZE, "alpha_range": network.spec.alpha_range}
    pairs = draw_pairs(contents.files, styles.files, _CALIBRATION_PAIRS, seed=0, **sizes)
    calibration_of(network, pairs, collect(observe(network), pairs, contents, styles)).save(path)


if __name__ == "__main__":
    _order = records.read(Order, sys.argv[1], json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    write_json(Path(_order.result), records.to_plain(export(_order)))
