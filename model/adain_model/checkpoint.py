"""Networks as files: safetensors, with the spec in the metadata; and what identifies their weights.

A file holds ``encoder.conv1_1.weight`` and so on, in float32 or (at half the size) float16; an encoder may
stand alone. The metadata is one entry, because safetensors writes several in an order that changes from run
to run, and the same network has to be the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adain_model.network import Encoder, Network
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file
from adain_runtime.spec import NetworkSpec

FORMAT_VERSION = 1
EMBEDDED = "lite"
"""The network that the package carries."""

_METADATA = "adain_edge"
_FIELDS = {"format_version", "parts", "spec"}
_PARTS: dict[tuple[str, ...], type[Network] | type[Encoder]] = {
    ("decoder", "encoder"): Network,
    ("encoder",): Encoder,
}
_STORED = (torch.float32, torch.float16)
_WEIGHTS = Path(__file__).parent / "weights"
_ENCODER_FIELDS = ("encoder", "downsample", "padding", "color_conv", "encoder_relu", "correction", "eps")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found sound.

    Attributes:
        path: where it was.
        module: the network, or the encoder where that is all there is; float32, eval mode, gradients off.
        storage: how the file stores the weights.
    """

    path: Path
    module: Network | Encoder
    storage: Literal["float32", "float16"]


def save_network(network: Network | Encoder, path: Path | str, *, half: bool = False) -> None:
    """Write a network, or an encoder alone; the same weights give the same bytes.

    Args:
        network: what to write.
        path: where to; a file that stands there is replaced when the new one is whole.
        half: store float16, half the size; loading gives float32 again, rounded.

    Raises:
        InputError: a weight is not finite (or too large for float16), or the file can't be written.
    """
    path = Path(path)
    tensors = {}
    for name, tensor in _named_tensors(network).items():
        stored = tensor.detach().cpu().to(torch.float16 if half else torch.float32).contiguous()
        if not stored.isfinite().all():
            kind = "float16" if half else "float32"
            raise InputError(f"{path}: {name} holds values that are not finite in {kind}: not written")
        tensors[name] = stored
    parts = sorted({name.partition(".")[0] for name in tensors})
    header = {"format_version": FORMAT_VERSION, "parts": parts, "spec": network.spec.to_json()}
    with replacing_file(path) as part:
        part.write_bytes(save(tensors, {_METADATA: _canonical(header)}))


def load_network(path: Path | str) -> Network:
    """Read a network: float32, eval mode, gradients off.

    Raises:
        InputError: the file is missing, damaged, not a checkpoint, or holds an encoder alone.
    """
    module = load_checkpoint(path).module
    if isinstance(module, Encoder):
        raise InputError(
            f"{path}: holds an encoder and no decoder, and a whole network is wanted; import both with "
            "`adain-model import --encoder ... --decoder ... -o FILE`, or train a decoder for it"
        )
    return module


def load_encoder(path: Path | str) -> Encoder:
    """Read the encoder of a network or of an encoder's own checkpoint: float32, eval mode, gradients off.

    Raises:
        InputError: the file is missing, damaged or not a checkpoint.
    """
    module = load_checkpoint(path).module
    return module.encoder if isinstance(module, Network) else module


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read whatever a checkpoint holds, and check all of it.

    Args:
        path: a file, or the name of an embedded network; a file of that name comes first.

    Raises:
        InputError: the file is missing, damaged or not a checkpoint, or not what its spec says.
    """
    path = find_checkpoint(path)
    header, tensors = _read(path)
    spec, kind = _described(path, header)
    try:
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            module: Network | Encoder = kind(spec)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise InputError(f"{path}: its spec {spec.name!r} can't be built: {error}") from error
    _check_tensors(path, spec, _named_tensors(module), tensors)
    # Copies, because what safetensors gives may be a view of the file, which can change under it.
    wide = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
    if isinstance(module, Encoder):
        wide = {name.removeprefix("encoder."): tensor for name, tensor in wide.items()}
    module.load_state_dict(wide, strict=True, assign=True)
    module.eval().requires_grad_(False)
    halved = any(tensor.dtype == torch.float16 for tensor in tensors.values())
    return Checkpoint(path=path, module=module, storage="float16" if halved else "float32")


def weights_sha256(network: Network | Encoder) -> str:
    """Digest of all that a result depends on: the spec, and the weights as float32 however stored."""
    return _digest(network.spec.to_json(), _named_tensors(network)).hexdigest()


def encoder_id(network: Network | Encoder) -> str:
    """Sixteen hexadecimal digits that name an encoder: a style fits networks with its encoder's id."""
    encoder = network.encoder if isinstance(network, Network) else network
    plain = encoder.spec.to_json()
    description = {field: plain[field] for field in _ENCODER_FIELDS}
    return _digest(description, _named_tensors(encoder)).hexdigest()[:16]


def embedded_checkpoint(name: str = EMBEDDED) -> Path:
    """Where the package keeps a checkpoint of its own.

    Raises:
        InputError: it carries none of this name.
    """
    known = sorted(file.stem for file in _WEIGHTS.glob("*.safetensors"))
    if name not in known:
        raise InputError(f"no embedded network {name!r}; there is {', '.join(known) or 'none'}, or give a file's path")
    return _WEIGHTS / f"{name}.safetensors"


def find_checkpoint(model: Path | str) -> Path:
    """A checkpoint's file; of a bare word that is no file, the embedded network of that name.

    Raises:
        InputError: such a word, and no network of that name is embedded.
    """
    path = Path(model)
    bare = path.name == os.fspath(model) and not path.suffix
    return embedded_checkpoint(path.name) if bare and not path.is_file() else path


def _named_tensors(module: Network | Encoder) -> dict[str, Tensor]:
    prefix = "encoder." if isinstance(module, Encoder) else ""
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def _canonical(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> hashlib._Hash:
    digest = hashlib.sha256(_canonical(description).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().to(torch.float32).contiguous()
        digest.update(f"\n{name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().astype("<f4", copy=False).tobytes())
    return digest


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
        raise InputError(f"{path}: is no file; expected a checkpoint file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _METADATA not in metadata:
                raise InputError(
                    f"{path}: safetensors without a network spec (metadata {sorted(metadata)}); expected a "
                    f"checkpoint of adain-edge: `adain-model import --encoder {path} -o FILE` makes one"
                )
            return metadata[_METADATA], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such checkpoint; check the path, or make one with `adain-model import`"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}; expected a checkpoint file") from error
    except (SafetensorError, ValueError) as error:
        fix = "copy or import it again"
        if path.suffix in {".pth", ".pt"}:
            fix = f"a torch file is read by `adain-model import --encoder {path} -o FILE`"
        raise InputError(f"{path}: not a whole safetensors file ({error}); expected a checkpoint: {fix}") from error


def _described(path: Path, header: str) -> tuple[NetworkSpec, type[Network] | type[Encoder]]:
    again = "make it again with `adain-model import`"
    try:
        fields = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its metadata is not JSON ({error}); {again}") from error
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise InputError(f"{path}: its metadata names no format version, expected {FORMAT_VERSION}; {again}")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path}: written in format {version} by a newer adain-edge, this one reads {FORMAT_VERSION}; "
            "pip install --upgrade adain-edge"
        )
    if version != FORMAT_VERSION or set(fields) != _FIELDS:
        raise InputError(
            f"{path}: format {version} with the fields {sorted(fields)}, expected format {FORMAT_VERSION} "
            f"with {sorted(_FIELDS)}; {again}"
        )
    try:
        spec = NetworkSpec.from_json(fields["spec"])
    except InputError as error:
        raise InputError(f"{path}: {error}; {again}") from error
    parts = fields["parts"]
    for known, kind in _PARTS.items():
        if parts == list(known):
            return spec, kind
    raise InputError(f"{path}: holds the parts {parts}, expected {' or '.join(map(str, map(list, _PARTS)))}; {again}")


def _check_tensors(path: Path, spec: NetworkSpec, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    again = "it is not what its spec says: make it again with `adain-model import`"
    if missing := wanted.keys() - found.keys():
        raise InputError(f"{path}: {spec.name} wants {_some(missing)}, not found; {again}")
    if extra := found.keys() - wanted.keys():
        raise InputError(f"{path}: {spec.name} has no place for {_some(extra)}; {again}")
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{list(tensor.shape)}, expected {list(wanted[name].shape)}"
            raise InputError(f"{path}: {name} is {shapes}; {again}")
        if tensor.dtype not in _STORED:
            raise InputError(f"{path}: {name} is {_plain(tensor.dtype)}, expected float32 or float16; {again}")
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} holds NaN or infinity; use an earlier checkpoint of that training")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
