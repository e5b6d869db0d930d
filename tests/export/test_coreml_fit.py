"""Rounded weights that give what the float ones gave: palettes and int8 codes chosen by what enters a convolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

from adain_export.coreml import fit
from adain_export.coreml.codes import codes_for, palette_rows
from adain_export.coreml.compress import ready_for_codes
from adain_export.coreml.request import CoremlRequest, plan
from adain_export.target import get_target
from adain_runtime.errors import QualityError
from adain_runtime.mil import Package
from networks import WIDE, make_network

LARGE = ["encoder.conv2_1", "encoder.conv3_1", "encoder.conv4_1", "decoder.conv4_1", "decoder.conv3_1"]
LARGE += ["decoder.conv2_1", "decoder.conv1_1"]


def request_of(weights, system="iOS18", precision="fp16"):
    return CoremlRequest("w", precision, ("stylizer",), sizes=((32, 32),), weights=weights, system=system)


def codes_of(weights, kind, precision="fp16"):
    request = request_of(kind, precision=precision)
    return codes_for(weights.numpy().astype(np.float32), request, plan(request, WIDE))


def nearest(weights, codes):
    return torch.stack([codes.rounded(weights[:, at].contiguous(), at) for at in range(weights.shape[1])], 1)


def correlated(generator, count):
    """A covariance as neighbours in a picture have it."""
    places = torch.arange(count, dtype=torch.float64)
    smooth = torch.exp(-(places[:, None] - places).abs() / 20)
    scale = torch.rand(count, generator=generator, dtype=torch.float64) + 0.2
    return smooth * scale[:, None] * scale


def lost(weights, rounded, covariance):
    """The mean square of what rounding takes from each output."""
    error = weights - rounded
    return ((error @ covariance) * error).sum().item()


@pytest.fixture(scope="module")
def wide():
    return make_network(WIDE)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from(["int8", "pal8", "pal6", "pal4"]), st.integers(1, 3))
def test_outputs_lose_less_than_half_of_what_nearest_values_take(seed, kind, groups):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(16 * groups, 180, generator=generator, dtype=torch.float64)
    covariance, codes = correlated(generator, 180), codes_of(weights, kind)
    found = fit.round_weights(weights, covariance, codes)
    assert lost(weights, found, covariance) < 0.5 * lost(weights, nearest(weights, codes), covariance)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from(["int8", "pal8", "pal6", "pal4"]), st.sampled_from(["fp16", "fp32"]))
def test_every_weight_is_one_that_can_be_stored(seed, kind, precision):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(32, 150, generator=generator, dtype=torch.float64)
    codes = codes_of(weights, kind, precision)
    found = fit.round_weights(weights, correlated(generator, 150), codes)
    np.testing.assert_array_equal(nearest(found, codes), found)
    for row in found:
        assert len(row.unique()) <= {"pal6": 64, "pal4": 16}.get(kind, 256)


@pytest.mark.parametrize("power", [1.0, 0.0, 1e-12])
def test_inputs_that_have_nothing_to_do_with_one_another_leave_the_nearest(power):
    weights = torch.randn(16, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    codes = codes_of(weights, "pal4")
    found = fit.round_weights(weights, power * torch.eye(40, dtype=torch.float64), codes)
    np.testing.assert_array_equal(found, nearest(weights, codes))


def test_inputs_that_are_always_equal_are_no_trouble():
    weights = torch.randn(16, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    covariance, codes = torch.ones(40, 40, dtype=torch.float64), codes_of(weights, "pal4")
    assert lost(weights, fit.round_weights(weights, covariance, codes), covariance) < 0.1 * lost(
        weights, nearest(weights, codes), covariance
    )


def test_the_weight_that_sets_the_step_of_int8_keeps_its_code_and_an_empty_output_stays_empty():
    weights = torch.randn(16, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights[3] = 0
    codes = codes_of(weights, "int8")
    found = fit.round_weights(weights, correlated(torch.Generator().manual_seed(1), 90), codes)
    np.testing.assert_array_equal(found.abs().amax(1), weights.abs().amax(1).half().double())
    assert not found[3].any()


def test_a_network_keeps_the_mean_of_every_output_and_what_is_not_asked_for(wide):
    made = ready_for_codes(wide, request_of("pal4"), plan(request_of("pal4"), WIDE))
    before = {name: values.clone() for name, values in wide.state_dict().items()}
    means = {}

    def look(name):
        def hook(step, inputs):
            windows = fit._windows(step, inputs[0])[:-1]
            for network in (wide, made):
                layer = network.get_submodule(name)
                output = layer.weight.flatten(1) @ windows + layer.bias[:, None]
                means.setdefault((name, network is made), []).append(output.double().mean(1))

        return hook

    hooks = [wide.get_submodule(name).register_forward_pre_hook(look(name)) for name in LARGE]
    fit._stylise_samples(wide)
    for hook in hooks:
        hook.remove()
    for name in LARGE:
        float_mean, rounded_mean = (torch.stack(means[name, rounded]).mean(0) for rounded in (False, True))
        assert (float_mean - rounded_mean).abs().max() < 1e-4
    changed = {name for name, values in made.state_dict().items() if not torch.equal(values, before[name])}
    assert changed == {f"{name}.{kind}" for name in LARGE for kind in ("weight", "bias")}
    assert all(torch.equal(values, before[name]) for name, values in wide.state_dict().items())


def test_weights_that_are_stored_as_they_are_stay_what_they_are(wide):
    assert ready_for_codes(wide, request_of("none"), plan(request_of("none"), WIDE)) is wide


@pytest.mark.parametrize(
    ("system", "outputs", "rows"), [("iOS18", 32, 16), ("iOS18", 16, 16), ("iOS18", 24, 24), ("iOS17", 32, 32)]
)
def test_sixteen_outputs_share_a_palette_where_groups_divide_them(system, outputs, rows):
    assert palette_rows(outputs, plan(request_of("pal6", system), WIDE)) == rows


@pytest.mark.parametrize(
    ("kind", "system"), [("pal6", "iOS18"), ("pal4", "iOS16"), ("int8", "iOS18"), ("int8", "iOS16")]
)
def test_a_package_holds_the_weights_that_were_chosen(wide, kind, system, tmp_path):
    request = CoremlRequest(
        "w", parts=("stylizer",), sizes=((32, 32),), weights=kind, system=system, rewrites=(), allow_low_quality=True
    )
    package = Package.open(get_target("coreml").export(wide, request, tmp_path).graph("stylizer"))
    chosen = ready_for_codes(wide, request, plan(request, WIDE))
    stored = {name: values for name, values in package.plan(package.default).constants.items() if np.ndim(values) == 4}
    found = {tuple(values.shape): values for values in stored.values()}
    for name in LARGE:
        wanted = chosen.get_parameter(f"{name}.weight").numpy()
        close = 0 if kind != "int8" else 1e-3  # a code times its step, rounded to half
        np.testing.assert_allclose(found[wanted.shape].astype(np.float32), wanted, rtol=close, atol=0)


def test_what_is_not_negative_has_the_256_codes_of_uint8(pooled, tmp_path):
    from adain_export.target import Int8
    from calibrations import calibrated

    found = calibrated(pooled)
    signed = replace(found.layers["decoder.conv3_1"], shifted=False)
    calibration = replace(found, layers={**found.layers, "decoder.conv3_1": signed})
    request = CoremlRequest("a", sizes=((32, 32),), parts=("stylizer",), int8=Int8(calibration), allow_low_quality=True)
    package = Package.open(get_target("coreml").export(pooled, request, tmp_path).graph("stylizer"))
    kinds = {"uint8": 0, "int8": 0}
    for operation in package.functions[package.default].block.operations:
        if operation.kind == "quantize":
            (output,) = operation.outputs
            kinds[output.type.dtype.name] += 1
    computed = [calibration.layers[name] for name in calibration.int8 if name != "decoder.conv4_1"]
    shifted = sum(layer.shifted for layer in computed)
    assert 0 < shifted <= kinds["uint8"]
    assert kinds["int8"] >= len(computed) - shifted > 0


def test_a_network_that_has_diverged_is_told_and_no_bug():
    network = make_network(WIDE)
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith("weight"):
                values.mul_(1e20)
    with pytest.raises(QualityError, match=r"what enters .* is not finite on the sample pictures"):
        fit.fitted(network, lambda _: pytest.fail("nothing can be rounded"), LARGE)
