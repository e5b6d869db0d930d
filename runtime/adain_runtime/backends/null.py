"""A backend that computes shapes only, so that everything above the backends is tested without any of them."""

from __future__ import annotations

import os

import numpy as np

from adain_runtime.backend import Array, Options, Probe
from adain_runtime.bundle import Bundle, find_bundle
from adain_runtime.session import BaseSession, dimensions_of, output_shape

NAME = "null"


class NullBackend:
    """Opens a bundle of any target and gives outputs of the right names, types and shapes."""

    name = NAME

    def probe(self) -> Probe:
        """Always there."""
        return Probe(True, "computes shapes only: grey images, for tests and dry runs")

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """Any bundle's folder, or an embedded ONNX model by name."""
        return find_bundle(model, "onnx")

    def open(self, bundle: Bundle, options: Options) -> NullSession:
        """Open a bundle of any target."""
        options.only(NAME)
        return NullSession(bundle, "shapes only")


BACKEND = NullBackend()


_VALUES = {"mean": 0.0, "std": 1.0}


class NullSession(BaseSession):
    """Images and features are 0.5 everywhere, means 0 and standard deviations 1."""

    def _run(self, part: str, feeds: dict[str, Array]) -> dict[str, Array]:
        graph = self.bundle.part(part)
        dimensions = dimensions_of(graph.inputs, feeds)
        return {
            tensor.name: np.full(
                output_shape(tensor, dimensions), _VALUES.get(tensor.name, 0.5), np.dtype(tensor.dtype)
            )
            for tensor in graph.outputs
        }
