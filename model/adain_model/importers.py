"""Weights that people have, as networks: pytorch-AdaIN's files and torchvision's VGG-19.

Three layouts are told apart by their keys: sequential (``0.weight``, ``2.weight``: pytorch-AdaIN's
``vgg_normalised.pth`` and ``decoder.pth``), the same behind ``encoder.`` and ``decoder.`` in one file, and
torchvision's VGG-19 (``features.0.weight``). Convolutions are matched in numeric order and their shapes
checked against the spec. A pickle is only ever read with ``weights_only=True``: it can hold tensors, and
can't run code.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adain_model.network import Decoder, Encoder, Network
from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec

Layout = Literal["sequential", "prefixed", "torchvision"]
Part = Literal["encoder", "decoder"]

_TORCH_FILES = (b"PK\x03\x04", b"\x80")  # a zip archive, or a bare pickle as torch wrote before 1.6

# ImageNet's statistics of RGB in [0, 1], which torchvision's VGG-19 was trained behind.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Source:
    """What was read from one file for one half of the network.

    Attributes:
        part: ``encoder`` or ``decoder``.
        path: the file.
        layout: how its keys were laid out.
        used: (layer, key) of each convolution taken, in order.
        ignored: what the file also holds for this half, beyond the spec.
    """

    part: Part
    path: Path
    layout: Layout
    used: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """An imported network and where it came from.

    Attributes:
        module: the network, or the encoder where no decoder was given; eval mode, gradients off.
        sources: the files, encoder first.
    """

    module: Network | Encoder
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class _Convolution:
    key: str
    weight: Tensor
    bias: Tensor


def import_network(encoder: Path, decoder: Path | None, spec: NetworkSpec) -> Imported:
    """Read an encoder, and a decoder where there is one, into a network of this spec.

    Args:
        encoder: a ``.pth`` state dict or a ``.safetensors`` file.
        decoder: the same, or None for an encoder alone; it may be the encoder's file.
        spec: what the weights are for; what lies beyond it in the files is ignored, and named in the result.

    Raises:
        InputError: a file is missing, damaged, would run code, has another layout, or does not fit the spec.
    """
    with torch.device("meta"):
        module: Network | Encoder = Encoder(spec) if decoder is None else Network(spec)
    source = _fill(module if isinstance(module, Encoder) else module.encoder, "encoder", encoder)
    sources = [source]
    if decoder is not None and isinstance(module, Network):
        sources.append(_fill(module.decoder, "decoder", decoder))
    module.eval().requires_grad_(False)
    return Imported(module=module, sources=tuple(sources))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a ``.safetensors`` file or, weights only, from a torch file.

    Raises:
        InputError: the file is missing or damaged, would run code, or holds more than named tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .pth or .safetensors file of weights")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: can't be read ({error}); download or copy it again") from error
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: holds a {type(found).__name__}, expected a state dict; {_RESAVE}")
    for name, value in found.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not (isinstance(name, str) and plain):
            kind = "a tensor that is not dense" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(f"{path}: {name!r} is {kind}, expected a state dict of tensors; {_RESAVE}")
    return dict(found)


_RESAVE = "save the weights alone: torch.save(model.state_dict(), FILE)"


def _unpickled(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice to its callers, about files we go on to refuse
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(_refusal(path, error)) from error


def _refusal(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(16)
    if not head.startswith(_TORCH_FILES):
        return f"{path}: not a torch file (it begins with {head!r}); a web page, a Git LFS pointer? get it again"
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in reason:
        named = re.search(r"GLOBAL ([\w.]+)", reason)
        asks = f" (it asks for {named[1]})" if named else ""
        return (
            f"{path}: refused, because it holds more than tensors{asks}, and unpickling that can run code; "
            f"expected a state dict: if you trust its author, {_RESAVE} where it was made"
        )
    short = reason if len(reason) < 120 else f"{reason[:117]}..."
    return f"{path}: not a whole torch file ({short}); download or copy it again"


def _fill(chain: Encoder | Decoder, part: Part, path: Path) -> Source:
    state = read_state_dict(path)
    layout, found = _convolutions(path, part, state)
    spec = chain.spec
    wanted = [(name, step) for name, step in chain.named_steps() if isinstance(step, nn.Conv2d)]
    if layout == "torchvision":
        if not spec.color_conv:
            raise InputError(
                f"{path}: torchvision's VGG-19 wants ImageNet-normalised images, and the {spec.name} spec "
                "has no conv0 to hold that; use --spec vgg19"
            )
        found.insert(0, _imagenet_normalization())
    if len(found) < len(wanted):
        raise InputError(
            f"{path}: {len(found)} {part} convolutions, and {spec.name} wants {len(wanted)} "
            f"({wanted[0][0]} to {wanted[-1][0]}); is it the right file, or the right --spec?"
        )
    for (name, step), convolution in zip(wanted, found, strict=False):
        step.load_state_dict(_fitting(path, f"{part}.{name}", step, convolution), assign=True)
    if part == "decoder" and len(found) > len(wanted):
        raise InputError(
            f"{path}: {len(found)} decoder convolutions, and {spec.name} ends after {len(wanted)}; a decoder "
            "can't be cut: is it the right file, or the right --spec?"
        )
    used = tuple((name, convolution.key) for (name, _), convolution in zip(wanted, found, strict=False))
    beyond = tuple(convolution.key for convolution in found[len(wanted) :])
    others = () if layout == "prefixed" else _other_keys(layout, state)
    return Source(part=part, path=path, layout=layout, used=used, ignored=beyond + others)


def _convolutions(path: Path, part: Part, state: Mapping[str, Tensor]) -> tuple[Layout, list[_Convolution]]:
    patterns: dict[Layout, str] = {"sequential": r"(\d{1,9})", "prefixed": rf"{part}\.(\d{{1,9}})"}
    if part == "encoder":
        patterns["torchvision"] = r"features\.(\d{1,9})"
    for layout, pattern in patterns.items():
        places = {int(match[1]): match[1] for key in state if (match := re.fullmatch(pattern + r"\.weight", key))}
        if not places:
            continue
        stem = {"sequential": "", "prefixed": f"{part}.", "torchvision": "features."}[layout]
        found = []
        for place in sorted(places):
            key = f"{stem}{places[place]}"
            if f"{key}.bias" not in state:
                raise InputError(f"{path}: {key}.weight has no {key}.bias beside it; expected both of each convolution")
            found.append(_Convolution(key, state[f"{key}.weight"], state[f"{key}.bias"]))
        return layout, found
    some = ", ".join(sorted(state)[:3]) or "none"
    known = "0.weight" + (", features.0.weight" if part == "encoder" else "") + f" or {part}.0.weight"
    raise InputError(f"{path}: no {part} was recognised by its keys ({some}); expected keys such as {known}")


def _fitting(path: Path, name: str, step: nn.Conv2d, convolution: _Convolution) -> dict[str, Tensor]:
    fitting = {}
    for field, tensor in (("weight", convolution.weight), ("bias", convolution.bias)):
        wanted = getattr(step, field).shape
        if tensor.shape != wanted:
            raise InputError(
                f"{path}: {convolution.key}.{field} is {list(tensor.shape)}, {name} wants {list(wanted)}; "
                "is it the right file, or the right --spec?"
            )
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InputError(f"{path}: {convolution.key}.{field} is not finite floating point; take another copy")
        fitting[field] = tensor.detach().to(torch.float32, copy=True).contiguous()
    return fitting


def _imagenet_normalization() -> _Convolution:
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    weight = torch.diag(1.0 / std)[:, :, None, None]
    return _Convolution("ImageNet normalisation", weight, -torch.tensor(IMAGENET_MEAN, dtype=torch.float64) / std)


def _other_keys(layout: Layout, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    stem = r"features\.\d+" if layout == "torchvision" else r"\d+"
    return tuple(sorted(key for key in state if not re.fullmatch(stem + r"\.(weight|bias)", key)))
