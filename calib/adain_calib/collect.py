"""Run a network on pairs and see what enters each convolution: histograms, and from them a calibration."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING

from adain_calib.histogram import Histogram, require_finite
from adain_calib.images import ImageFolder
from adain_calib.pairs import Pairs, Sample
from adain_calib.ranges import PERCENTILE, ranges_of
from adain_calib.stylise import Floats, decoder_feeds, style_of
from adain_export import rewrites
from adain_export.calibration import Calibration, inner_layers, layer_names, layers_after_relu
from adain_export.conv_nodes import conv_layers, entering
from adain_export.improvements import Improvements
from adain_export.layer_range import LayerRange, Method, as_float32
from adain_export.onnx_model import part_model
from adain_export.origin import IMAGE_DIGITS, Origin
from adain_model.checkpoint import encoder_id, weights_sha256
from adain_model.network import Network
from adain_runtime import telemetry
from adain_runtime.parts import part_interface
from adain_runtime.spec import NetworkSpec

if TYPE_CHECKING:
    import onnxruntime
    from onnx import ModelProto

_TOOLS = ("adain-edge", "numpy", "onnxruntime")
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class ObservedPart:
    """A part's graph in onnxruntime that also gives what enters each of its convolutions.

    Attributes:
        session: the graph.
        outputs: the part's own.
        watched: layer name to the tensor that enters it.
    """

    session: onnxruntime.InferenceSession
    outputs: tuple[str, ...]
    watched: Mapping[str, str]

    def run(self, feeds: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """The part's outputs by name, and by layer what enters each convolution."""
        tensors = [name for name in dict.fromkeys(self.watched.values()) if name not in feeds]
        made = self.session.run([*self.outputs, *tensors], dict(feeds))
        found = dict(feeds) | dict(zip((*self.outputs, *tensors), made, strict=True))
        return (
            {name: found[name] for name in self.outputs},
            {layer: found[tensor] for layer, tensor in self.watched.items()},
        )


@dataclass(frozen=True)
class ObservedNetwork:
    """Encoder and decoder of a network, each layer of it one convolution that can be looked into."""

    spec: NetworkSpec
    encoder_id: str
    encoder: ObservedPart
    decoder: ObservedPart


def observe(network: Network, *, threads: int | None = None) -> ObservedNetwork:
    """Trace a network's parts, with the colour conversion folded and no other rewrite, and open them in onnxruntime.

    Args:
        network: as its checkpoint has it, float32.
        threads: of onnxruntime; None leaves it the choice.
    """
    folded = copy.deepcopy(network)
    rewrites.apply(folded, ("fold-color",))
    encoder, decoder = (
        _open(part_model(part, folded, part_interface(part, network.spec, f"{part}.onnx")), threads)
        for part in ("encoder", "decoder")
    )
    return ObservedNetwork(network.spec, encoder_id(network), encoder, decoder)


def collect(
    network: ObservedNetwork,
    pairs: Pairs,
    contents: ImageFolder,
    styles: ImageFolder | None,
    *,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Histogram]:
    """Histograms of what enters each convolution, over all pairs.

    The encoder sees every image once, contents and styles; the decoder every pair. An image is encoded when its turn
    comes and dropped when its pairs are done, so that memory grows with neither.

    Args:
        network: from `observe`.
        pairs: what to run.
        contents: the images of ``pairs.contents``.
        styles: the images of ``pairs.styles``; None where there are none.
        advance: called after each image and each pair, `steps_of` times, for a progress bar.

    Returns:
        layer name to histogram, in the order the layers run.

    Raises:
        InputError: an image that can't be read or is too small.
        QualityError: an activation that is not finite; names the layer and the images.
    """
    found = {layer: Histogram(layer) for layer in (*network.encoder.watched, *network.decoder.watched)}

    def run(part: ObservedPart, feeds: Mapping[str, Floats], source: str, times: int = 1) -> dict[str, Floats]:
        outputs, entered = part.run(feeds)
        for layer, values in entered.items():
            found[layer].add(values, times=times, source=source)
        for name, values in outputs.items():
            require_finite(f"the {name} that the network gives", values, source)
        advance()
        return outputs

    def encode(folder: ImageFolder, index: int) -> dict[str, Floats]:
        image = folder.planes(index, size=pairs.size, stride=network.spec.stride)
        return run(network.encoder, {"image": image}, folder.files[index].name)

    known = [style_of(encode(styles, i), network.encoder_id) for i in range(len(pairs.styles))] if styles else []
    for content, samples in _by_content(pairs):
        encoded = encode(contents, content)
        for sample, times in samples.items():
            run(network.decoder, decoder_feeds(encoded, sample, known), _describe(pairs, sample), times)
    return found


def steps_of(pairs: Pairs) -> int:
    """How often `collect` advances."""
    return len(pairs.styles) + sum(1 + len(samples) for _, samples in _by_content(pairs))


def calibration_of(
    network: Network,
    pairs: Pairs,
    histograms: Mapping[str, Histogram],
    *,
    method: Method = "mse",
    percentile: float = PERCENTILE,
    signed: bool = False,
    improvements: Improvements | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Calibration:
    """The calibration of a network from what was collected.

    Args:
        network: as its checkpoint has it.
        pairs: that the histograms were collected on.
        histograms: of every layer.
        method: whose ranges are the calibration's own.
        percentile: of the method of that name, in percent.
        signed: give no layer shifted codes, not even those that only see what a ReLU lets through.
        improvements: that the network had when the histograms were collected; None for none.
        advance: called after each layer, for a progress bar.

    Raises:
        InputError: no percentage over 0.
    """
    layers = {}
    shifted = frozenset[str]() if signed else layers_after_relu(network)
    for name in layer_names(network):
        histogram = histograms[name]
        layers[name] = LayerRange(
            as_float32(histogram.minimum),
            as_float32(histogram.maximum),
            ranges_of(histogram, shifted=name in shifted, percentile=percentile),
            histogram.digest,
            shifted=name in shifted,
        )
        advance()
    origin = Origin(
        pairs=pairs.digest,
        samples=len(pairs.samples),
        contents=len(pairs.contents),
        styles=len(pairs.styles),
        seed=pairs.seed,
        size=pairs.size,
        percentile=float(percentile),
        tools={tool: version(tool) for tool in _TOOLS},
        images=tuple(sorted({file.sha256[:IMAGE_DIGITS] for file in (*pairs.contents, *pairs.styles)})),
    )
    return Calibration(
        network.spec.name,
        weights_sha256(network),
        encoder_id(network),
        method,
        origin,
        layers,
        inner_layers(tuple(layers)),
        improvements=improvements or Improvements(),
    )


def _open(model: ModelProto, threads: int | None) -> ObservedPart:
    telemetry.opt_out()
    import onnx
    import onnxruntime

    outputs = tuple(info.name for info in model.graph.output)
    inputs = {info.name for info in model.graph.input}
    watched = {layer: entering(model, node) for layer, node in conv_layers(model).items() if _calibrated(layer)}
    for tensor in dict.fromkeys(watched.values()):
        if tensor not in inputs | set(outputs):
            info = onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
            model.graph.output.append(info)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return ObservedPart(session, outputs, watched)


def _calibrated(layer: str) -> bool:
    """Not the colour convolution, which stays where zero padding keeps it from being folded."""
    return not layer.endswith(".conv0")


def _by_content(pairs: Pairs) -> Iterator[tuple[int, Counter[Sample]]]:
    """Each content with its samples, and how often each of these was drawn."""
    ordered = sorted(pairs.samples, key=lambda sample: sample.content)
    for content, samples in groupby(ordered, key=lambda sample: sample.content):
        yield content, Counter(samples)


def _describe(pairs: Pairs, sample: Sample) -> str:
    content = pairs.contents[sample.content].name
    if not sample.styles:
        return f"{content} decoded as itself"
    return f"{content} under {' + '.join(pairs.styles[i].name for i in sample.styles)} at alpha {sample.alpha:g}"
