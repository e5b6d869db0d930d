"""From a part's torch module to a Core ML model, with coremltools."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from adain_export.coreml.compress import with_int8_activations, with_small_weights
from adain_export.coreml.graphs import FLOAT32_SCOPE, graph
from adain_export.coreml.request import CoremlRequest, Plan, Size
from adain_runtime.parts import part_interface

if TYPE_CHECKING:
    from adain_model.network import Network

OUTPUTS = {"encoder": ("features", "mean", "std"), "decoder": ("image",), "stylizer": ("stylized",)}
"""What a model's outputs are called: all names of a graph are unique, and the stylizer takes an ``image`` already."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch and coremltools say to themselves: warnings of versions, bars, advice for other models."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def tools() -> ModuleType:
    """coremltools, imported without its log lines about what is missing off a Mac."""
    with quiet():
        import coremltools
    module: ModuleType = coremltools
    return module


def converted(part: str, network: Network, request: CoremlRequest, plan: Plan, size: Size | None) -> Any:  # noqa: ANN401
    """A part as a Core ML model with one function.

    Args:
        part: ``encoder``, ``decoder`` or ``stylizer``.
        network: rewritten as it is to be exported, float32.
        request: what was asked for.
        plan: what came of it.
        size: the only height and width that it takes; None for those of the plan.

    Returns:
        a ``coremltools.models.MLModel``.
    """
    import torch

    module, example = graph(part, network, size, 255.0 if request.io == "image" else 1.0)
    with torch.no_grad(), quiet():
        ct = tools()
        traced = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
        model = ct.convert(
            traced,
            convert_to="mlprogram",
            inputs=_inputs(ct, part, network, request, plan, size),
            outputs=_outputs(ct, part, request),
            compute_precision=ct.precision.FLOAT32 if request.precision == "fp32" else _half(ct),
            minimum_deployment_target=getattr(ct.target, plan.system),
            pass_pipeline=_pipeline(ct, request),
            skip_model_load=True,
        )
        return with_small_weights(model, request, plan)


def _inputs(
    ct: ModuleType, part: str, network: Network, request: CoremlRequest, plan: Plan, size: Size | None
) -> list[Any]:
    stride, channels = network.spec.stride, network.spec.channels
    made: list[Any] = []
    for tensor in part_interface(part, network.spec, "").inputs:
        over_map = tensor.name in ("features", "scale", "shift")
        if tensor.name == "image" or over_map:
            step, planes = (stride, channels) if over_map else (1, 3)
            shape = _shape(ct, plan, size, lambda s, step=step, planes=planes: (1, planes, s[0] // step, s[1] // step))
        else:
            shape = tuple(axis if isinstance(axis, int) else 1 for axis in tensor.shape)
        if tensor.name == "image" and request.io == "image":
            made.append(ct.ImageType("image", shape=shape, scale=1 / 255, color_layout=ct.colorlayout.RGB))
        else:
            half = tensor.name == "features" and request.precision == "fp16"
            made.append(ct.TensorType(tensor.name, shape=shape, dtype=np.float16 if half else np.float32))
    return made


def _shape(ct: ModuleType, plan: Plan, size: Size | None, dimensions: Callable[[Size], tuple[int, ...]]) -> Any:  # noqa: ANN401
    if size is not None:
        return dimensions(size)
    if plan.shapes == "enumerated":
        return ct.EnumeratedShapes(shapes=[dimensions(s) for s in plan.sizes], default=dimensions(plan.default))
    low, high = plan.bounds
    smallest, largest, usual = dimensions((low, low)), dimensions((high, high)), dimensions(plan.default)
    return ct.Shape(
        [
            usual[axis] if axis < 2 else ct.RangeDim(smallest[axis], largest[axis], default=usual[axis])
            for axis in range(4)
        ]
    )


def _outputs(ct: ModuleType, part: str, request: CoremlRequest) -> list[Any]:
    if part != "encoder" and request.io == "image":
        return [ct.ImageType(OUTPUTS[part][0], color_layout=ct.colorlayout.RGB)]
    return [
        ct.TensorType(name, dtype=np.float16 if name == "features" and request.precision == "fp16" else np.float32)
        for name in OUTPUTS[part]
    ]


def _pipeline(ct: ModuleType, request: CoremlRequest) -> Any:  # noqa: ANN401
    pipeline = ct.PassPipeline.DEFAULT
    return pipeline if request.int8 is None else with_int8_activations(pipeline, request.int8.calibration)


def _half(ct: ModuleType) -> Any:  # noqa: ANN401
    """Everything in float16 but the modules of `FLOAT32_SCOPE`."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    def to_half(op: Any) -> bool:  # noqa: ANN401
        return FLOAT32_SCOPE not in op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME, [])

    return ct.transform.FP16ComputePrecision(op_selector=to_half)
