"""Backend ``torch``: the reference of every other, run from a checkpoint."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from adain_runtime.backend import Array, Options, Probe, check_target
from adain_runtime.bundle import MANIFEST, Bundle, describe_file
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.manifest import PART_NAMES, Manifest, Sizes
from adain_runtime.parts import part_interface
from adain_runtime.session import BaseSession

if TYPE_CHECKING:
    import torch

    from adain_model.network import Network

NAME = "torch"
SUFFIX = ".safetensors"
_INSTALL = "pip install torch"


class TorchBackend:
    """Runs checkpoints in PyTorch, float32; the device is ``cpu``, ``cuda`` or ``mps``."""

    name = NAME

    def probe(self) -> Probe:
        """Whether torch is installed; it is not imported for this, which takes seconds."""
        from importlib.metadata import version

        if find_spec("torch") is None:
            return Probe(False, "torch is not installed", _INSTALL)
        return Probe(True, f"torch {version('torch')}; the reference, from a checkpoint")

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """A checkpoint FILE.safetensors, or an embedded one by name, described as a bundle of one file.

        Raises:
            InputError: no such checkpoint, or a bundle folder, which holds graphs and no checkpoint.
        """
        from adain_model.checkpoint import embedded_checkpoint

        path = Path(model)
        if path.is_dir() and (path.suffix == SUFFIX or (path / MANIFEST).exists()):
            raise InputError(f"{path}: backend torch runs a checkpoint FILE{SUFFIX}, not an exported bundle")
        return checkpoint_bundle(path if path.suffix == SUFFIX else embedded_checkpoint(os.fspath(model)))

    def open(self, bundle: Bundle, options: Options) -> TorchSession:
        """Load the checkpoint.

        Raises:
            UnavailableError: the device is not here.
        """
        check_target(bundle, NAME, NAME)
        options.only(NAME, "threads", "provider", "allow_fallback", "exact")
        from adain_model.checkpoint import load_network

        network = load_network(bundle.graph("stylizer"))
        return TorchSession(bundle, network, _device(options), options.threads)


BACKEND = TorchBackend()


class TorchSession(BaseSession):
    """An open network."""

    def __init__(self, bundle: Bundle, network: Network, device: str, threads: int | None = None) -> None:
        super().__init__(bundle, device)
        self._network = network.to(device)
        self._threads = threads

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        import torch

        before = torch.get_num_threads()
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            with torch.inference_mode(), _whole_float32(self.device):
                tensors = {name: torch.from_numpy(values).to(self.device) for name, values in feeds.items()}
                return {name: value.cpu().numpy() for name, value in self._compute(part, tensors).items()}
        finally:
            torch.set_num_threads(before)

    def _compute(self, part: str, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        from adain_model.norms import adain

        network, spec = self._network, self._network.spec
        if part == "decoder":
            target = feeds["features"] * feeds["scale"] + feeds["shift"]
            return {"image": network.decoder(target).clamp(0, 1)}
        features = network.encoder(feeds["image"])
        if part == "encoder":
            mean, std = network.stats(features)
            return {"features": features, "mean": mean, "std": std}
        target = adain(
            features,
            feeds["mean"],
            feeds["std"],
            alpha=feeds["alpha"],
            correction=spec.correction,
            eps=spec.eps,
        )
        return {"image": network.decoder(target).clamp(0, 1)}


def checkpoint_bundle(path: Path) -> Bundle:
    """Describe a checkpoint as a bundle, so that it is opened and run as every other."""
    from adain_model.checkpoint import encoder_id, load_network, weights_sha256

    network = load_network(path)
    manifest = Manifest(
        name=network.spec.name,
        target=NAME,
        precision="fp32",
        spec=network.spec,
        weights_sha256=weights_sha256(network),
        encoder_id=encoder_id(network),
        parts={part: part_interface(part, network.spec, path.name) for part in PART_NAMES},
        files={path.name: describe_file(path)},
        sizes=Sizes(multiple=network.spec.stride, minimum=2 * network.spec.stride),
        tools={"python": platform.python_version()},
    )
    return Bundle(path.parent, manifest)


def _device(options: Options) -> str:
    import torch

    device = options.provider or "cpu"
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if here.get(device.split(":")[0], False):
        return device
    if options.allow_fallback:
        return "cpu"
    has = ", ".join(name for name, available in here.items() if available)
    raise UnavailableError(f"backend torch: no device {device!r} here, only {has}; choose it or add --allow-fallback")


_LOCK = Lock()
_runs: list[str] = []
"""What cuDNN's own choice was, once for each run on a GPU that is under way."""


@contextmanager
def _whole_float32(device: str) -> Iterator[None]:
    """On a GPU, cuDNN's convolutions without TF32, whose mantissa has 10 bits: others are held to this backend.

    The switch is the whole process's, so the last of several runs at once puts it back.
    """
    if not device.startswith("cuda"):
        yield
        return
    import torch

    switch = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    with _LOCK:
        _runs.append(_runs[0] if _runs else switch.fp32_precision)
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        with _LOCK:
            before = _runs.pop()
            if not _runs:
                switch.fp32_precision = before
