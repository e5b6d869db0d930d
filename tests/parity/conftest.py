"""Fixtures of the parity tests: small networks, exported once."""

from __future__ import annotations

import pytest

from adain_export.target import Request, get_target
from networks import SPECS, make_network


@pytest.fixture(scope="session", params=list(SPECS))
def exported_small(request, tmp_path_factory):
    """(network, its fp32 ONNX bundle) of both shapes of network."""
    network = make_network(SPECS[request.param])
    folder = tmp_path_factory.mktemp(f"parity-{request.param}")
    return network, get_target("onnx").export(network, Request(request.param), folder)
