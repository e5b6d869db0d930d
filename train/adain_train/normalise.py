"""Rescales VGG-19 so that every filter's mean activation is 1, and its function stays what it was.

Gatys, Ecker & Bethge 2016 (section 2): "we normalized the network by scaling the weights such that the mean
activation of each convolutional filter over images and positions is equal to one. Such re-scaling can be done for
the VGG network without changing its output, because it contains only rectifying linear activation functions and no
normalization or pooling over feature maps." The published AdaIN decoder stands on such a network
(``vgg_normalised``): without it a loss is ruled by the few layers and channels with large activations.

With ``m`` the mean activation of each filter, ``W'[o, i] = W[o, i] * m_in[i] / m[o]`` and ``b'[o] = b[o] / m[o]``
give the features ``f'[o] = f[o] / m[o]``, in every layer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from adain_model import VGG19, Encoder, encoder_id, import_network, save_network
from adain_model.network import PaddedConv
from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_train.data import Framing, check_folder
from adain_train.squares import to_tensor


@dataclass(frozen=True, eq=False)
class Normalised:
    """A rescaled encoder and by what it was rescaled.

    Attributes:
        encoder: the new one.
        means: mean activation of every filter before, by layer, [C] float64.
        dead: how many filters of each layer never fired on the images; they keep their scale.
    """

    encoder: Encoder
    means: Mapping[str, Tensor]
    dead: Mapping[str, int]


@torch.no_grad()
def mean_activations(encoder: Encoder, images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean activation of each filter after its ReLU, over all positions of all images.

    Args:
        encoder: to measure; every 3x3 convolution of it.
        images: each [N, 3, H, W], RGB in [0, 1]; their sizes may differ.

    Returns:
        [C] float64 by layer, such as ``conv3_1``.

    Raises:
        InputError: there are no images.
    """
    totals: dict[str, Tensor] = {}
    cells: dict[str, int] = {}
    for image in images:
        features = image
        for name, step in encoder.named_steps():
            features = step(features)
            if isinstance(step, PaddedConv):
                sums = features.sum(dim=(0, 2, 3), dtype=torch.float64)
                totals[name] = totals[name] + sums if name in totals else sums
                cells[name] = cells.get(name, 0) + features.shape[0] * features.shape[2] * features.shape[3]
    if not totals:
        raise InputError("mean activations need at least one image, and there is none; give --images a folder of them")
    return {name: total / cells[name] for name, total in totals.items()}


def normalise(encoder: Encoder, images: Iterable[Tensor]) -> Normalised:
    """Rescale an encoder's 3x3 convolutions so that each filter's mean activation over the images is 1.

    Args:
        encoder: every 3x3 convolution has a ReLU; it stays as it is. A ``conv0``, which has none, is kept.
        images: see `mean_activations`; a thousand photographs settle every mean well.

    Raises:
        InputError: there are no images, or the encoder has a convolution without a ReLU.
    """
    linear = [name for name, step in encoder.named_steps() if isinstance(step, PaddedConv) and not step.relu]
    if linear:
        raise InputError(f"{encoder.spec.name}: {', '.join(linear)} has no ReLU, so its scale is no mean activation")
    means = mean_activations(encoder, images)
    rescaled = copy.deepcopy(encoder)
    before: Tensor | None = None
    with torch.no_grad():
        for name, step in rescaled.named_steps():
            if not isinstance(step, PaddedConv):
                continue
            scale = torch.where(means[name] > 0, means[name], torch.ones_like(means[name]))
            weight = step.weight.double() / scale[:, None, None, None]
            step.weight.copy_(weight if before is None else weight * before[None, :, None, None])
            if step.bias is not None:
                step.bias.copy_(step.bias.double() / scale)
            before = scale
    return Normalised(rescaled, means, {name: int((mean <= 0).sum()) for name, mean in means.items()})


def normalise_command(
    *,
    weights: Annotated[Path, typer.Option(help="VGG-19 to rescale: torchvision's state dict (.pth, .safetensors).")],
    images: Annotated[Path, typer.Option(help="Folder of photographs that the means are taken over.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The encoder's checkpoint to write, .safetensors.")],
    size: Annotated[int, typer.Option(min=32, help="Pixels of an image's shorter side; none grows.")] = 256,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many images. Default: all.")] = None,
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Rescale VGG-19 so that each filter's mean activation is 1, as vgg_normalised."""
    if output.suffix != ".safetensors":
        raise InputError(f"-o {output}: checkpoints are safetensors; name it {output.stem or 'vgg19'}.safetensors")
    encoder = import_network(weights, None, VGG19).module
    assert isinstance(encoder, Encoder)  # noqa: S101 for the type checker: no decoder was asked for
    framing = Framing(crop=size, shorter_min=size, shorter_max=size, flip=False)
    with console.progress() as bar:
        task = bar.add_task("checking images", total=None)
        photographs = check_folder(images, framing, advance=lambda: bar.advance(task))
        places = range(len(photographs.names))[:count]
        tracked = bar.track(places, description="measuring")
        found = normalise(encoder, (to_tensor(photographs.image(place)) for place in tracked))
    save_network(found.encoder, output)
    layers = {
        name: {
            "smallest": mean.min().item(),
            "median": mean.median().item(),
            "largest": mean.max().item(),
            "dead": found.dead[name],
        }
        for name, mean in found.means.items()
    }
    if as_json:
        result = {
            "output": str(output),
            "encoder_id": encoder_id(found.encoder),
            "images": len(places),
            "images_sha256": photographs.digest,
            "skipped": len(photographs.skipped),
        }
        console.print_json(result | {"mean_activations_before": layers})
        return
    rows = [
        (name, *(f"{layer[key]:.4g}" for key in ("smallest", "median", "largest")), layer["dead"])
        for name, layer in layers.items()
    ]
    if photographs.skipped:
        console.say(photographs.report())
    columns = ("layer", "smallest", "median", "largest", "dead")
    title = f"Mean activation of each layer's filters before, over {len(places)} images; now 1"
    console.show(console.table(title, columns, rows, right="smallest median largest dead"))
    console.say(f"wrote {output} (encoder {encoder_id(found.encoder)}); next: adain-train decoder --encoder {output}")
