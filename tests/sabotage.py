"""Backends that are wrong, each in one small way: what the parity harness is measured by.

Each runs ONNX bundles. A fault in what is done around a graph wraps the session; a fault in the graph is edited into a
copy of the bundle. They are found by entry points, in the test's process and in a case's own (`installed`).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from adain_parity.composition import composed_feeds
from adain_parity.onnx_layers import layer_of
from adain_runtime.backend import GROUP, Array, Options, Probe
from adain_runtime.backends.onnx import OnnxBackend, OnnxSession
from adain_runtime.bundle import MANIFEST, Bundle, describe_file

Arrays = Mapping[str, Array]
Run = Callable[[OnnxSession, str, Arrays], Arrays]
Edit = Callable[[ModelProto], None]


@dataclass(frozen=True)
class Fault:
    """One way to be wrong, and what must be said of it.

    Attributes:
        name: of the backend, and in the table.
        what: is wrong, for people.
        run: in the place of the session's own, or
        edit: of every part's graph.
        stage: that must be blamed; None where the process doesn't live to be measured.
        layer: that must be blamed; None where no layer of a graph is at fault.
        verdict: that the case must have.
        reason: a part of its reason.
        provider: that the case asks for.
        device: that the session claims.
        style: that it is run with.
    """

    name: str
    what: str
    run: Run | None = None
    edit: Edit | None = None
    stage: str | None = None
    layer: str | None = None
    verdict: str = "failed"
    reason: str = ""
    provider: str = ""
    device: str = ""
    style: str = "summertime"


# What is done around a graph


def noise(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    outputs = OnnxSession.run(session, part, feeds)
    rng = np.random.default_rng(0)
    return {n: v + rng.normal(0, 1e-3, v.shape).astype(v.dtype) if n == "image" else v for n, v in outputs.items()}


def nan_in_one_pixel(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    outputs = OnnxSession.run(session, part, feeds)
    if "image" in outputs:
        outputs["image"][0, 1, 5, 7] = np.nan
    return outputs


def bgr(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    turned = {n: np.ascontiguousarray(v[:, ::-1]) if n == "image" else v for n, v in feeds.items()}
    return OnnxSession.run(session, part, turned)


def seam(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    """Decodes the left and the right half by themselves, without what the one sees of the other."""
    if part == "stylizer":
        features = OnnxSession.run(session, "encoder", {"image": feeds["image"]})["features"]
        return seam(session, "decoder", composed_feeds(features, feeds, session.bundle.manifest.spec))
    if part != "decoder":
        return OnnxSession.run(session, part, feeds)
    middle = feeds["features"].shape[3] // 2
    halves = [
        OnnxSession.run(session, part, {**feeds, "features": np.ascontiguousarray(half)})["image"]
        for half in (feeds["features"][..., :middle], feeds["features"][..., middle:])
    ]
    return {"image": np.concatenate(halves, axis=3)}


def hang(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    while True:
        time.sleep(60)


def segfault(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def hog(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    kept = []
    while True:
        kept.append(np.ones(1 << 22))  # 32 MB, touched
        time.sleep(0.001)


def honest(session: OnnxSession, part: str, feeds: Arrays) -> Arrays:
    return OnnxSession.run(session, part, feeds)


# What is in a graph


def conv(model: ModelProto, layer: str) -> NodeProto | None:
    return next((node for node in model.graph.node if layer_of(node) == layer), None)


def swap_channels(model: ModelProto) -> None:
    """Two output channels of one convolution: those of the largest biases, since a ReLU silences some channels."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    layer, biases = "encoder.conv3_1", ("encoder.conv3_1.bias", "encoder.conv3_1.shifted_bias")  # float's, and int8's
    bias = next((tensors[name] for name in biases if name in tensors), None)
    if bias is None:
        return
    one, other = np.argsort(numpy_helper.to_array(bias))[-2:]
    for name in (f"{layer}.weight", f"{layer}.weight.int8", *biases):
        if name in tensors:
            values = numpy_helper.to_array(tensors[name]).copy()
            values[[one, other]] = values[[other, one]]
            tensors[name].CopyFrom(numpy_helper.from_array(values, name))


def pads_of(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Pad"]


def off_by_one_pad(model: ModelProto) -> None:
    """Before one convolution, two on top and left and none below and right."""
    node = conv(model, "encoder.conv3_1")
    if node is None:
        return
    ways, pad = {output: n for n in model.graph.node for output in n.output}, node
    while pad.op_type != "Pad":
        pad = ways[pad.input[0]]
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 2, 2, 0, 0, 0, 0]), "sabotage.pads"))
    pad.input[1] = "sabotage.pads"


def zero_padding(model: ModelProto) -> None:
    for pad in pads_of(model):
        for attribute in pad.attribute:
            if attribute.name == "mode":
                attribute.s = b"constant"


def square_roots(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Sqrt"]


def maker(model: ModelProto, tensor: str) -> NodeProto:
    return next(node for node in model.graph.node if tensor in node.output)


def other_variance(model: ModelProto) -> None:
    """Unbiased where the network's is biased, and the other way about."""
    for root in square_roots(model):
        add = maker(model, root.input[0])
        power, variance = None, add.input[0]
        while power is None:  # back to the squares, and from there to the features
            node = maker(model, variance)
            power = node if node.op_type in ("Pow", "Mul") and node.input[0] == maker_input(model, node) else None
            variance = node.input[0]
        features = maker(model, power.input[0]).input[0]
        unbiased = "correction_1" in model.doc_string
        names = [f"sabotage.{word}" for word in ("shape", "h", "w", "two", "three", "one")]
        for name, value in zip(names[3:], (np.array([2]), np.array([3]), np.array([1], np.float32)), strict=True):
            model.graph.initializer.append(numpy_helper.from_array(value, name))
        made = [
            helper.make_node("Shape", [features], ["sabotage.shape"]),
            helper.make_node("Gather", ["sabotage.shape", "sabotage.two"], ["sabotage.h"]),
            helper.make_node("Gather", ["sabotage.shape", "sabotage.three"], ["sabotage.w"]),
            helper.make_node("Mul", ["sabotage.h", "sabotage.w"], ["sabotage.n"]),
            helper.make_node("Cast", ["sabotage.n"], ["sabotage.cells"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Sub", ["sabotage.cells", "sabotage.one"], ["sabotage.less"]),
            helper.make_node(
                "Div",
                ["sabotage.less", "sabotage.cells"] if unbiased else ["sabotage.cells", "sabotage.less"],
                ["sabotage.factor"],
            ),
            helper.make_node("Mul", [add.input[0], "sabotage.factor"], ["sabotage.variance"]),
        ]
        place = list(model.graph.node).index(add)
        add.input[0] = "sabotage.variance"
        for node in reversed(made):
            model.graph.node.insert(place, node)


def maker_input(model: ModelProto, node: NodeProto) -> str:
    """What a squaring node squares: its first input, where a subtraction made that."""
    found = [other for other in model.graph.node if node.input[0] in other.output and other.op_type == "Sub"]
    return node.input[0] if found else ""


def larger_eps(model: ModelProto) -> None:
    """Ten times the network's."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for root in square_roots(model):
        add = maker(model, root.input[0])
        tensor = constants[add.input[1]]
        values = np.array(numpy_helper.to_array(tensor) * 10)
        model.graph.initializer.append(numpy_helper.from_array(values, "sabotage.eps"))
        add.input[1] = "sabotage.eps"


def dropped_relu(model: ModelProto) -> None:
    """Behind one convolution of the decoder, which the phase rewrite has made another of."""
    node = conv(model, "decoder.conv2_1")
    if node is None:
        return
    relu = next(n for n in model.graph.node if node.output[0] in n.input)
    assert relu.op_type in ("Relu", "Clip")  # int8 makes a Clip of it, whose codes end where it does
    for reader in model.graph.node:
        reader.input[:] = [node.output[0] if name == relu.output[0] else name for name in reader.input]
    model.graph.node.remove(relu)


def overflow(model: ModelProto) -> None:
    """A layer's output goes through half precision at a scale where what is over 0.1 is infinite."""
    node = conv(model, "encoder.conv2_1")
    if node is None:
        return
    half = "Cast" in {reader.op_type for reader in model.graph.node if node.output[0] in reader.input}
    dtype = onnx.TensorProto.FLOAT
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    if weights.get(node.input[2]) == onnx.TensorProto.FLOAT16 or half:
        dtype = onnx.TensorProto.FLOAT16
    scale = np.array(655040.0, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(scale, "sabotage.scale"))
    before = node.output[0]
    node.output[0] = "sabotage.conv"
    place = list(model.graph.node).index(node) + 1
    made = [
        helper.make_node("Cast", ["sabotage.conv"], ["sabotage.wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["sabotage.wide", "sabotage.scale"], ["sabotage.scaled"]),
        helper.make_node("Cast", ["sabotage.scaled"], ["sabotage.half"], to=onnx.TensorProto.FLOAT16),
        helper.make_node("Cast", ["sabotage.half"], ["sabotage.back"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["sabotage.back", "sabotage.scale"], ["sabotage.again"]),
        helper.make_node("Cast", ["sabotage.again"], [before], to=dtype),
    ]
    for new in reversed(made):
        model.graph.node.insert(place, new)


FAULTS = (
    Fault("noise", "noise of sigma 0.001 on the image", run=noise, stage="decoder"),
    Fault(
        "swapped-channel",
        "two channels of encoder.conv3_1 swapped",
        edit=swap_channels,
        stage="encoder",
        layer="encoder.conv3_1",
    ),
    Fault(
        "off-by-one-pad",
        "padding before encoder.conv3_1 shifted by one",
        edit=off_by_one_pad,
        stage="encoder",
        layer="encoder.conv3_1",
    ),
    Fault(
        "zero-padding",
        "zero in the place of reflect padding",
        edit=zero_padding,
        stage="encoder",
        layer="encoder.conv1_1",
    ),
    Fault("other-variance", "unbiased for biased variance", edit=other_variance, stage="adain", layer="adain.std"),
    Fault(
        "larger-eps",
        "eps 1e-4 for 1e-5 (style of one colour)",
        edit=larger_eps,
        stage="adain",
        layer="adain.std",
        style="flat",
    ),
    Fault(
        "dropped-relu", "no ReLU behind decoder.conv2_1", edit=dropped_relu, stage="decoder", layer="decoder.conv2_1"
    ),
    Fault("nan-in-one-pixel", "NaN in one pixel", run=nan_in_one_pixel, stage="decoder", reason="not finite"),
    Fault("bgr", "BGR for RGB", run=bgr, stage="encoder"),
    Fault(
        "fp16-overflow",
        "encoder.conv2_1 overflows in half precision",
        edit=overflow,
        stage="encoder",
        layer="encoder.conv2_1",
        reason="not finite",
    ),
    Fault("seam", "a seam where two tiles meet", run=seam, stage="decoder"),
    Fault("hang", "never ends", run=hang, verdict="timed out", reason="did not end within"),
    Fault("segfault", "a segmentation fault", run=segfault, verdict="crashed", reason="SIGSEGV"),
    Fault("memory-hog", "takes memory without end", run=hog, verdict="crashed", reason="MB of memory"),
    Fault(
        "silent-fallback",
        "the CPU for CUDA, and says so",
        run=honest,
        provider="cuda",
        reason="CPUExecutionProvider ran it",
    ),
    Fault(
        "lying-provider",
        "the CPU for CUDA, and says CUDA",
        run=honest,
        provider="cuda",
        device="CUDAExecutionProvider",
        reason="to the last bit",
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}


class Sabotaged(OnnxBackend):
    """The ONNX backend with a fault."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.name = fault.name

    def probe(self) -> Probe:
        return Probe(True, f"sabotaged: {self.fault.what}")

    def open(self, bundle: Bundle, options: Options) -> TamperedSession:
        edited = bundle if self.fault.edit is None else edited_bundle(bundle, self.fault.edit)
        return TamperedSession(edited, replace(options, provider=None), self.fault, owned=edited is not bundle)


class TamperedSession(OnnxSession):
    """Runs as its fault says; says which device it is told to."""

    def __init__(self, bundle: Bundle, options: Options, fault: Fault, *, owned: bool) -> None:
        super().__init__(bundle, options)
        self._fault, self._owned = fault, owned

    @property
    def device(self) -> str:
        return self._fault.device or super().device

    def run(self, part: str, feeds: Arrays) -> dict[str, Array]:
        return dict((self._fault.run or honest)(self, part, feeds))

    def close(self) -> None:
        super().close()
        if self._owned:
            shutil.rmtree(self.bundle.path.parent, ignore_errors=True)


def edited_bundle(bundle: Bundle, edit: Edit) -> Bundle:
    """A copy of a bundle whose graphs are edited, sound by its own manifest."""
    folder = Path(tempfile.mkdtemp(prefix="sabotage-")) / bundle.path.name
    folder.mkdir()
    for part in bundle.manifest.parts.values():
        model = onnx.load(str(bundle.path / part.file))
        model.doc_string = f"correction_{bundle.manifest.spec.correction}"
        edit(model)
        onnx.save(model, str(folder / part.file))
    files = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(replace(bundle.manifest, files=files).to_json(), encoding="utf-8")
    return Bundle.open(folder)


def installed(folder: Path) -> str:
    """Register all faults as backends in a folder for PYTHONPATH; gives the path that has them and this module."""
    info = folder / "sabotage-1.0.dist-info"
    info.mkdir(parents=True)
    lines = "\n".join(f"{fault.name} = sabotage:BACKENDS.{fault.name.replace('-', '_')}" for fault in FAULTS)
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n", encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sabotage\nVersion: 1.0\n", encoding="utf-8")
    return os.pathsep.join([str(folder), str(Path(__file__).parent)])


class BACKENDS:
    """The backends by the names that entry points can spell."""


for _fault in FAULTS:
    setattr(BACKENDS, _fault.name.replace("-", "_"), Sabotaged(_fault))
