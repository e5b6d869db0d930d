"""Bundles made from small networks."""

from __future__ import annotations

import pytest

from adain_export.target import Int8, Request, get_target
from calibrations import calibrated
from networks import SPECS, make_network


@pytest.fixture(scope="session", params=SPECS)
def network(request):
    return make_network(SPECS[request.param])


@pytest.fixture(scope="session")
def pooled():
    return make_network(SPECS["pooled"])


@pytest.fixture(scope="session")
def strided():
    return make_network(SPECS["strided"])


@pytest.fixture(scope="session", params=["fp32", "fp16", "int8", "int8-fp16"])
def exported(request, network, tmp_path_factory):
    """(network, bundle) of an ONNX export."""
    target = get_target("onnx")
    out = tmp_path_factory.mktemp("bundles")
    int8 = Int8(calibrated(network)) if "int8" in request.param else None
    precision = "fp16" if "fp16" in request.param else "fp32"
    return network, target.export(network, Request(network.spec.name, precision, int8=int8), out)
