"""Arithmetic, activations, normalisation and reductions against float64 and torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adain_runtime.errors import InputError
from adain_runtime.mil.ops import OPS
from adain_runtime.mil.ops.elementwise import cast
from adain_runtime.mil.ops.normalisation import batch_norm, instance_norm
from adain_runtime.mil.ops.reductions import reduce_max, reduce_mean, reduce_min, reduce_sum, reduce_sum_square

torch = pytest.importorskip("torch", reason="torch, which the operations are compared with, is not installed")
F = torch.nn.functional

UNARY = {
    "abs": np.abs,
    "ceil": np.ceil,
    "exp": np.exp,
    "floor": np.floor,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "round": np.rint,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "square": np.square,
    "tanh": np.tanh,
}
POSITIVE = {
    "inverse": lambda x: 1 / (x + 1e-4),
    "log": np.log,
    "rsqrt": lambda x: 1 / np.sqrt(x + 1e-12),
    "sqrt": np.sqrt,
}
BINARY = {
    "add": np.add,
    "floor_div": np.floor_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "real_div": np.divide,
    "sub": np.subtract,
}
COMPARISONS = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "not_equal": np.not_equal,
}
LOGIC = {"logical_and": np.logical_and, "logical_or": np.logical_or}

shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)


def values(dtype, low=-8, high=8):
    return shapes.flatmap(lambda shape: hnp.arrays(dtype, shape, elements=st.floats(low, high, width=16)))


@pytest.mark.parametrize("kind", sorted(UNARY))
@settings(deadline=None, max_examples=20)
@given(data=st.data(), dtype=st.sampled_from([np.float16, np.float32]))
def test_a_function_of_each_element_is_that_of_float64(kind, data, dtype):
    x = data.draw(values(dtype))
    np.testing.assert_allclose(OPS[kind].compute(x), UNARY[kind](x.astype(np.float64)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(POSITIVE))
@settings(deadline=None, max_examples=20)
@given(data=st.data(), dtype=st.sampled_from([np.float16, np.float32]))
def test_a_function_of_positive_elements_is_that_of_float64(kind, data, dtype):
    x = data.draw(values(dtype, 0.125, 8))
    np.testing.assert_allclose(OPS[kind].compute(x), POSITIVE[kind](x.astype(np.float64)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(BINARY))
@settings(deadline=None, max_examples=20)
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4),
    dtype=st.sampled_from([np.float16, np.float32, np.int32]),
)
def test_arithmetic_broadcasts_and_is_that_of_float64(kind, shapes, dtype):
    random = np.random.default_rng(0)
    x, y = (random.integers(1, 30, shape).astype(dtype) for shape in shapes.input_shapes)
    found = OPS[kind].compute(x, y)
    assert found.shape == shapes.result_shape
    wide = np.int64 if dtype is np.int32 else np.float64
    wanted = BINARY[kind](x.astype(wide), y.astype(wide))
    if kind == "real_div" and dtype is np.int32:
        wanted = x // y
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", sorted(COMPARISONS))
def test_comparisons_are_numpys(kind):
    x, y = np.array([1, 2, 3], np.float16), np.array([2, 2, 2], np.float16)
    found = OPS[kind].compute(x, y)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, COMPARISONS[kind](x, y))


@pytest.mark.parametrize("kind", sorted(LOGIC))
def test_logic_is_numpys(kind):
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    np.testing.assert_array_equal(OPS[kind].compute(x, y), LOGIC[kind](x, y))
    np.testing.assert_array_equal(OPS["logical_not"].compute(x), ~x)


def test_a_power_a_clip_and_a_choice():
    x = np.array([0.5, 2, 3], np.float16)
    np.testing.assert_allclose(OPS["pow"].compute(x, np.float16(2)), [0.25, 4, 9])
    np.testing.assert_array_equal(OPS["clip"].compute(x, np.float16(1), np.float16(2.5)), [1, 2, 2.5])
    np.testing.assert_array_equal(OPS["select"].compute(x > 1, x, -x), [-0.5, 2, 3])
    np.testing.assert_array_equal(OPS["inverse"].compute(x, np.float32(0)), 1 / x.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_leaky_activations_are_torchs(dtype):
    x = np.random.default_rng(0).normal(0, 2, (2, 3, 4)).astype(dtype)
    slope = np.array([0.1, 0.5, 2], dtype)
    wide, slopes = torch.tensor(x).float(), torch.tensor(slope).float()
    np.testing.assert_allclose(OPS["leaky_relu"].compute(x, slope[0]), F.leaky_relu(wide, float(slope[0])), rtol=1e-6)
    np.testing.assert_allclose(OPS["prelu"].compute(x, slope), F.prelu(wide, slopes), rtol=1e-6)
    found = OPS["clamped_relu"].compute(x, slope[0], dtype(1.5))
    np.testing.assert_allclose(found, F.leaky_relu(wide, float(slope[0])).clamp(max=1.5), rtol=1e-6)


def test_the_sigmoid_of_large_numbers_is_finite():
    np.testing.assert_array_equal(OPS["sigmoid"].compute(np.array([-60000, 60000], np.float16)), [0, 1])


@pytest.mark.parametrize(
    ("given_values", "dtype", "wanted"),
    [
        ([1.9, -1.9, 0.5], "int32", [1, -1, 0]),
        ([300, -300, 5], "int8", [127, -128, 5]),
        ([300, -3, 5], "uint8", [255, 0, 5]),
        ([70000, -70000, 1.0001], "fp16", [np.inf, -np.inf, 1]),
        ([0, 2, -1], "bool", [False, True, True]),
        ([1, 65000.5, 2], "uint16", [1, 65000, 2]),
    ],
)
def test_a_cast_is_toward_zero_and_keeps_to_what_the_type_holds(given_values, dtype, wanted):
    np.testing.assert_array_equal(cast(np.array(given_values, np.float32), dtype), wanted)


def test_a_cast_to_a_type_that_is_none_is_refused():
    for name in ("string", "fp7"):
        with pytest.raises(InputError, match=name):
            cast(np.zeros(1, np.float32), name)


@settings(deadline=None, max_examples=30)
@given(
    hnp.array_shapes(min_dims=3, max_dims=4, min_side=2, max_side=6),
    st.sampled_from([np.float16, np.float32]),
    st.booleans(),
)
def test_instance_normalisation_is_torchs(shape, dtype, affine):
    random = np.random.default_rng(0)
    x = random.normal(3, 2, shape).astype(dtype)
    gamma, beta = random.normal(1, 0.1, (2, shape[1])).astype(dtype)
    wide = [torch.tensor(v).double() for v in (x, gamma, beta)]
    wanted = F.instance_norm(wide[0], weight=wide[1] if affine else None, bias=wide[2] if affine else None, eps=1e-3)
    found = instance_norm(x, *((gamma, beta) if affine else ()), epsilon=np.float32(1e-3))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=5e-6)


def test_instance_normalisation_of_large_float16_needs_float32_sums():
    x = np.random.default_rng(0).normal(3000, 500, (1, 2, 16, 16)).astype(np.float16)
    wanted = F.instance_norm(torch.tensor(x).double()).numpy()
    np.testing.assert_allclose(instance_norm(x), wanted, atol=1e-5)
    with np.errstate(all="ignore"):
        assert not np.allclose(instance_norm(x, accumulate="float16"), wanted, atol=0.1)


def test_batch_normalisation_is_torchs():
    random = np.random.default_rng(0)
    x, (mean, variance, gamma, beta) = random.normal(0, 1, (2, 3, 4, 5)), random.random((4, 3)) + 0.1
    wanted = F.batch_norm(*map(torch.tensor, (x, mean, variance, gamma, beta)), eps=1e-5)
    found = batch_norm(*(v.astype(np.float32) for v in (x, mean, variance, gamma, beta)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), keep=st.booleans(), dtype=st.sampled_from([np.float16, np.float32]))
def test_reductions_are_those_of_float64(data, keep, dtype):
    x = data.draw(values(dtype))
    axes = data.draw(st.lists(st.integers(-x.ndim, x.ndim - 1), min_size=1, unique_by=lambda a: a % x.ndim))
    over, wide = tuple(a % x.ndim for a in axes), x.astype(np.float64)
    arguments = (x, np.array(axes), np.bool_(keep))
    for found, wanted in (
        (reduce_sum(*arguments), wide.sum(over, keepdims=keep)),
        (reduce_mean(*arguments), wide.mean(over, keepdims=keep)),
        (reduce_sum_square(*arguments), (wide**2).sum(over, keepdims=keep)),
        (reduce_max(*arguments), wide.max(over, keepdims=keep)),
        (reduce_min(*arguments), wide.min(over, keepdims=keep)),
    ):
        assert found.shape == np.shape(wanted)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5)


def test_a_reduction_is_over_everything_by_default():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert reduce_sum(x) == 276
    assert reduce_max(x).shape == ()


def test_sums_in_float16_are_made_one_after_the_other():
    x = np.random.default_rng(0).random((2, 3000)).astype(np.float16)
    total = np.zeros(2, np.float16)
    for column in x.T:
        total = total + column
    np.testing.assert_array_equal(reduce_sum(x, np.array([1]), accumulate="float16"), total)
    assert (np.abs(total.astype(np.float64) - x.astype(np.float64).sum(1)) > 1).all()
    assert np.isinf(reduce_sum(np.full(40, 3000, np.float16), accumulate="float16"))
    assert reduce_sum(np.full(40, 3000, np.float16)) == 120000
    assert np.isinf(reduce_sum_square(np.array([300], np.float16), accumulate="float16"))
    assert reduce_mean(np.full(64, 0.1, np.float32), accumulate="float16") == np.float32(0.1)
