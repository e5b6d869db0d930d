"""Half precision where it breaks first: features a thousand times as large, whose squares no float16 holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

from adain_export import check
from adain_export.coreml import convert
from adain_export.coreml.request import CoremlRequest, plan
from adain_export.graphs import StylizerPart
from adain_runtime.mil import Package
from networks import SPECS, make_network

REQUEST = CoremlRequest("x", sizes=((64, 64),), io="tensor")


@pytest.fixture(scope="module")
def loud():
    """A network whose features are a thousand times what they were, and whose decoder takes that back."""
    network = make_network(SPECS["strided"])
    with torch.no_grad():
        for parameter in network.encoder.conv4_2.parameters():
            parameter.mul_(1000)
        network.decoder.conv4_1.weight.div_(1000)
    return network


@pytest.fixture(scope="module")
def package_of(loud, tmp_path_factory):
    def make(part):
        path = tmp_path_factory.mktemp(part) / "x.mlpackage"
        with convert.quiet():
            convert.converted(part, loud, REQUEST, plan(REQUEST, loud.spec), (64, 64)).save(str(path))
        return Package.open(path)

    return make


@pytest.mark.parametrize("part", ["encoder", "stylizer"])
def test_loud_features_stay_finite_and_within_a_hundredth_of_float32(package_of, loud, part):
    feeds = check.part_feeds(part, loud, 1, 64, 64)
    wanted = list(check.in_torch(part, loud, feeds).values())
    if part == "encoder":
        assert np.abs(wanted[0]).max() > 1000
        assert wanted[2].max() ** 2 > np.finfo(np.float16).max
    package = package_of(part)
    for sums in ("float32", "float16") if part == "encoder" else ("float32",):
        for values, found in zip(wanted, package.run("main", feeds, accumulate=sums).values(), strict=True):
            assert np.abs(values - found).max() <= 0.01 * np.abs(values).max()


def test_the_naive_formula_fails_the_same(package_of, loud, monkeypatch):
    """Statistics written out among the other operations, so that they become float16 with them."""
    naive, example = StylizerPart(loud), convert.graph("stylizer", loud, (64, 64), 1.0)[1]
    monkeypatch.setattr(convert, "graph", lambda *_: (naive.eval(), example))
    feeds = check.part_feeds("stylizer", loud, 1, 64, 64)
    wanted = check.in_torch("stylizer", loud, feeds)["image"]
    with np.errstate(all="ignore"):
        found = [value.values for value in package_of("stylizer").trace("main", feeds)][-1]
    assert not np.abs(wanted - found).max() <= 0.01 * np.abs(wanted).max()
