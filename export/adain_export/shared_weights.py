"""Several ONNX models over one weights file, so that no weight is stored twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from adain_runtime.errors import QualityError

WEIGHTS_FILE = "weights.bin"
_ALIGNMENT = 64  # bytes; a cache line, and what SIMD loads want of a mapped file
_INLINE_BYTES = 256  # shapes, pads and small biases stay in the graph, where shape inference reads them


def save_sharing(models: Mapping[str, ModelProto], folder: Path) -> None:
    """Write ``NAME.onnx`` for each model and one ``weights.bin``; equal tensors are stored once.

    Raises:
        QualityError: a model is not valid ONNX.
    """
    stored: dict[str, tuple[int, int]] = {}
    with (folder / WEIGHTS_FILE).open("wb") as weights:
        for model in models.values():
            for tensor in model.graph.initializer:
                data = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(data) < _INLINE_BYTES:
                    continue
                key = hashlib.sha256(data).hexdigest()
                if key not in stored:
                    weights.write(bytes(-weights.tell() % _ALIGNMENT))
                    stored[key] = (weights.tell(), len(data))
                    weights.write(data)
                _point_to(tensor, *stored[key])
    for name, model in models.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        try:
            onnx.checker.check_model(path, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise QualityError(f"{path.name} is not valid ONNX: {error}") from error


def _point_to(tensor: TensorProto, offset: int, length: int) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS_FILE), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
