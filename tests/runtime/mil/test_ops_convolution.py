"""Convolutions, pooling, padding and upsampling compute what torch computes, for any shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adain_runtime.errors import InputError
from adain_runtime.mil.ops import convolution
from adain_runtime.mil.ops.convolution import conv
from adain_runtime.mil.ops.padding import pad
from adain_runtime.mil.ops.pooling import max_pool, upsample_nearest_neighbor

torch = pytest.importorskip("torch", reason="torch, which the operations are compared with, is not installed")
F = torch.nn.functional

sizes = st.integers(1, 9)


def random(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(dtype)


def close(found, wanted, tolerance=2e-6):
    assert found.shape == tuple(wanted.shape)
    scale = max(1.0, float(np.abs(np.asarray(wanted)).max(initial=0)))
    np.testing.assert_allclose(found, np.asarray(wanted), rtol=0, atol=tolerance * scale)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), sizes, sizes),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.integers(1, 2),
    st.booleans(),
)
def test_a_convolution_is_torchs(shape, kernel, strides, dilations, amounts, groups, with_bias):
    batch, inputs, outputs, height, width = shape
    x = random(0, batch, inputs * groups, height, width)
    weight, bias = random(1, outputs * groups, inputs, *kernel), random(2, outputs * groups)
    top, bottom, left, right = amounts
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if height + top + bottom < reach[0] or width + left + right < reach[1]:
        return  # nothing to slide over
    padded = F.pad(torch.from_numpy(x).double(), (left, right, top, bottom))
    wanted = F.conv2d(
        padded,
        torch.from_numpy(weight).double(),
        torch.from_numpy(bias).double() if with_bias else None,
        strides,
        0,
        dilations,
        groups,
    )
    found = conv(
        x,
        weight,
        bias if with_bias else None,
        np.array(strides),
        "custom",
        np.array(amounts),
        np.array(dilations),
        groups,
    )
    close(found, wanted)


@pytest.mark.parametrize("strip_bytes", [1, 1 << 12, 8 << 20])
def test_a_convolution_is_the_same_in_strips_of_any_height(strip_bytes, monkeypatch):
    monkeypatch.setattr(convolution, "_STRIP_BYTES", strip_bytes)
    x, weight = random(0, 2, 5, 33, 17), random(1, 7, 5, 3, 3)
    close(conv(x, weight, strides=np.array([2, 1])), F.conv2d(torch.tensor(x), torch.tensor(weight), stride=(2, 1)))


@pytest.mark.parametrize(("size", "stride"), [(8, 1), (8, 2), (9, 2), (7, 3)])
def test_padding_by_same_is_tensorflows_and_puts_the_odd_one_after_or_before(size, stride):
    x, weight = random(0, 1, 2, size, size), random(1, 2, 2, 4, 4)
    steps = np.array([stride, stride])
    missing = max((-(-size // stride) - 1) * stride + 4 - size, 0)
    for pad_type, before in (("same", missing // 2), ("same_lower", missing - missing // 2)):
        after = missing - before
        padded = F.pad(torch.tensor(x), (before, after, before, after))
        found = conv(x, weight, strides=steps, pad_type=pad_type)
        assert found.shape[2] == -(-size // stride)
        close(found, F.conv2d(padded, torch.tensor(weight), stride=stride))


def test_a_convolution_in_one_dimension_is_torchs():
    x, weight, bias = random(0, 2, 3, 11), random(1, 4, 3, 3), random(2, 4)
    found = conv(x, weight, bias, np.array([2]), "custom", np.array([1, 1]), np.array([2]))
    close(found, F.conv1d(torch.tensor(x), torch.tensor(weight), torch.tensor(bias), 2, 1, 2))


def test_float16_is_summed_in_float32_or_rounded_after_every_32_products():
    x, weight = random(0, 1, 64, 5, 5, dtype=np.float16), random(1, 2, 64, 3, 3, dtype=np.float16)
    exact = F.conv2d(torch.tensor(x).double(), torch.tensor(weight).double()).numpy()
    wide = conv(x, weight)
    assert wide.dtype == np.float32
    close(wide, exact)
    poor = conv(x, weight, accumulate="float16")
    np.testing.assert_array_equal(poor, poor.astype(np.float16))
    assert 1e-3 < np.abs(poor - exact).max() < 0.2
    columns = np.stack([x[0, :, i : i + 3, j : j + 3].ravel() for i in range(3) for j in range(3)], 1).astype(
        np.float32
    )
    total = np.zeros((2, 9), np.float16)
    for start in range(0, 576, 32):
        chunk = slice(start, start + 32)
        total = total + (weight.reshape(2, -1).astype(np.float32)[:, chunk] @ columns[chunk]).astype(np.float16)
    np.testing.assert_allclose(poor.reshape(2, 9), total, rtol=0, atol=2e-2)  # the order within 32 is the library's


def test_float32_is_never_summed_in_float16():
    x, weight = random(0, 1, 8, 5, 5), random(1, 2, 8, 3, 3)
    np.testing.assert_array_equal(conv(x, weight, accumulate="float16"), conv(x, weight))


def test_a_convolution_over_other_channels_or_three_dimensions_is_refused():
    with pytest.raises(InputError, match="3 channels by weights for 4"):
        conv(random(0, 1, 3, 5, 5), random(1, 2, 4, 3, 3))
    with pytest.raises(InputError, match="one and two dimensions"):
        conv(random(0, 1, 3, 5, 5, 5), random(1, 2, 3, 3, 3, 3))
    with pytest.raises(InputError, match="pad_type 'odd'"):
        conv(random(0, 1, 3, 5, 5), random(1, 2, 3, 3, 3), pad_type="odd")


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(3, 9), st.integers(3, 9)),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 1),
    st.sampled_from([np.float32, np.float16]),
)
def test_max_pooling_is_torchs(shape, window, stride, ceil, amount, dtype):
    amount = min(amount, window // 2)  # all that torch takes
    x = random(0, *shape, dtype=dtype)
    wanted = F.max_pool2d(torch.tensor(x).float(), window, stride, amount, ceil_mode=ceil).to(torch.tensor(x).dtype)
    found = max_pool(
        x, np.array([window] * 2), np.array([stride] * 2), "custom", np.array([amount] * 4), ceil_mode=ceil
    )
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted.numpy())


def test_pooling_keeps_what_is_not_a_number():
    x = random(0, 1, 1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    found = max_pool(x, np.array([2, 2]), np.array([2, 2]))
    assert np.isnan(found[0, 0, 0, 0])
    assert np.isfinite(found).sum() == 3


def test_pooling_in_other_dimensions_is_refused():
    with pytest.raises(InputError, match="two dimensions"):
        max_pool(random(0, 1, 2, 8), np.array([2]))


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(3, 7), st.integers(3, 7)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.sampled_from(["constant", "reflect", "replicate"]),
    st.sampled_from([np.float32, np.float16]),
)
def test_padding_is_torchs(shape, amounts, mode, dtype):
    x = random(0, *shape, dtype=dtype)
    top, bottom, left, right = amounts
    wanted = F.pad(
        torch.tensor(x).float(), (left, right, top, bottom), mode=mode, **({"value": 2.5} if mode == "constant" else {})
    )
    found = pad(x, np.array([0, 0, 0, 0, *amounts]), mode, 2.5)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted.numpy().astype(dtype))
    np.testing.assert_array_equal(pad(x, np.array(amounts), mode, 2.5), found)


def test_padding_that_core_ml_does_not_do_is_refused():
    x = random(0, 1, 2, 4, 4)
    with pytest.raises(InputError, match="beyond the last two"):
        pad(x, np.array([0, 0, 1, 1, 0, 0, 0, 0]), "reflect")
    with pytest.raises(InputError, match="too small"):
        pad(x, np.array([4, 0, 0, 0]), "reflect")
    with pytest.raises(InputError, match="'wrap'"):
        pad(x, np.array([1, 1, 1, 1]), "wrap")


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_upsampling_repeats_every_element(dtype):
    x = (random(0, 2, 3, 4, 5) * 50).astype(dtype)
    wanted = F.interpolate(torch.tensor(x).float(), scale_factor=(2, 3), mode="nearest").numpy().astype(dtype)
    np.testing.assert_array_equal(upsample_nearest_neighbor(x, np.float32(2), np.int32(3)), wanted)


@pytest.mark.parametrize("factor", [1.5, 0.5])
def test_upsampling_by_a_fraction_is_refused(factor):
    with pytest.raises(InputError, match="whole numbers"):
        upsample_nearest_neighbor(random(0, 1, 1, 4, 4), factor, 2)
