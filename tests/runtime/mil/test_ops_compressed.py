"""Compressed weights and quantised activations: written out, and against coremltools' own decompression."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adain_runtime.errors import BundleError, InputError
from adain_runtime.mil.dtypes import BY_NAME, unpack
from adain_runtime.mil.ops import compressed as ops

WIDTHS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "uint8": 8, "int4": 4, "int8": 8}


@pytest.fixture(scope="module")
def theirs():
    """coremltools' operations of iOS18, which can decompress a value."""
    pytest.importorskip("coremltools", reason="coremltools, which these are compared with, is not installed")
    return importlib.import_module("coremltools.converters.mil.mil.ops.defs.iOS18.compression")


def packed(values, bits):
    """Low bits first, as the format says: element by element into one long number."""
    total = sum((int(value) & ((1 << bits) - 1)) << (number * bits) for number, value in enumerate(values))
    return total.to_bytes((len(values) * bits + 7) // 8, "little")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(WIDTHS)), st.data())
def test_packed_elements_are_read_low_bits_first(name, data):
    bits, signed = WIDTHS[name], name.startswith("int")
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=40))
    np.testing.assert_array_equal(unpack(packed(values, bits), BY_NAME[name], len(values)), values)


def test_another_number_of_bytes_than_the_elements_take_is_refused():
    with pytest.raises(BundleError, match="9 elements of uint3 take 4 bytes, found 3"):
        unpack(b"abc", BY_NAME["uint3"], 9)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["int8", "uint8"]), st.integers(0, 2), st.sampled_from([np.float16, np.float32]), st.booleans())
def test_quantising_is_round_shift_and_clip_and_dequantising_undoes_it(output, axis, dtype, by_axis):
    random = np.random.default_rng(0)
    x = random.normal(0, 3, (3, 4, 5)).astype(dtype)
    scale = (random.random(x.shape[axis]) * 0.05 + 0.01).astype(dtype) if by_axis else dtype(0.03)
    zero = random.integers(0, 20, x.shape[axis]).astype(output) if by_axis else np.array(7, output)
    found = ops.quantize(x, scale, output, zero, np.int32(axis))
    ends = np.iinfo(output)
    wanted = np.empty(x.shape, output)
    for place in np.ndindex(x.shape):
        s, z = (v[place[axis]] if by_axis else v for v in (scale, zero))
        exact = np.float32(x[place]) / np.float32(s)
        wanted[place] = min(max(np.rint(exact) + int(z), ends.min), ends.max)
    assert found.dtype == np.dtype(output)
    np.testing.assert_array_equal(found, wanted)
    back = ops.dequantize(found, scale, zero, np.int32(axis))
    inside = (found > ends.min) & (found < ends.max)
    assert np.abs(back - x)[inside].max() <= 0.51 * np.float32(scale).max()


def test_quantising_halves_goes_to_even():
    np.testing.assert_array_equal(ops.quantize(np.array([0.5, 1.5, 2.5, -0.5]), np.float32(1), "int8"), [0, 2, 2, 0])


def test_quantising_to_another_type_is_refused():
    with pytest.raises(InputError, match="'int4'"):
        ops.quantize(np.zeros(1, np.float32), np.float32(1), "int4")


def test_weights_of_ios16_are_scaled_by_axis():
    data = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    scale, zero = np.array([0.5, 1, 2], np.float16), np.array([0, 1, -1], np.int8)
    wanted = (data - zero[:, None].astype(float)) * scale[:, None]
    np.testing.assert_array_equal(ops.constexpr_affine_dequantize(data, zero, scale, np.int32(0)), wanted)


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(1, 3)] * 3), st.tuples(*[st.integers(1, 3)] * 3), st.booleans())
def test_weights_in_blocks_are_coremltools(theirs, groups, block, with_offset):
    random = np.random.default_rng(0)
    shape = tuple(g * b for g, b in zip(groups, block, strict=True))
    data = random.integers(-100, 100, shape).astype(np.int8)
    scale = (random.random(groups) + 0.1).astype(np.float32)
    offset = random.integers(-9, 9, groups).astype(np.int8) if with_offset else None
    wanted = theirs.constexpr_blockwise_shift_scale.decompress(data, scale, offset)
    np.testing.assert_allclose(ops.constexpr_blockwise_shift_scale(data, scale, offset), wanted, rtol=1e-6)


def test_blocks_that_do_not_divide_the_weights_are_damage():
    with pytest.raises(BundleError, match="blocks"):
        ops.constexpr_blockwise_shift_scale(np.zeros((4, 3), np.int8), np.ones((3, 3), np.float32))
    with pytest.raises(BundleError, match="blocks"):
        ops.constexpr_blockwise_shift_scale(np.zeros((4, 3), np.int8), np.ones(4, np.float32))


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.integers(1, 3)] * 3),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.sampled_from([1, 2, 3, 4, 6, 8]),
    st.sampled_from([1, 2, 3]),
    st.integers(-3, 2),
)
def test_palettes_are_coremltools(theirs, groups, block, bits, vector, axis):
    random = np.random.default_rng(0)
    shape = tuple(g * b for g, b in zip(groups, block, strict=True))
    indices = random.integers(0, 1 << bits, shape).astype(np.uint8)
    lut = random.normal(0, 1, (*groups, 1 << bits, vector)).astype(np.float16)
    where = np.int32(axis) if vector > 1 else None
    wanted = theirs.constexpr_lut_to_dense.decompress(indices, lut, where)
    np.testing.assert_array_equal(ops.constexpr_lut_to_dense(indices, lut, vector_axis=where), wanted)


def test_the_palettes_of_the_formats_own_example():
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
    lut = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float16).reshape(2, 1, 4, 1)
    wanted = [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]
    np.testing.assert_array_equal(ops.constexpr_lut_to_dense(indices, lut), wanted)


def test_a_palette_of_vectors_without_an_axis_is_damage():
    with pytest.raises(BundleError, match="axis"):
        ops.constexpr_lut_to_dense(np.zeros((2, 2), np.uint8), np.zeros((1, 1, 4, 2), np.float16))


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_palettes_of_ios16_are_packed_in_bytes(bits):
    random = np.random.default_rng(bits)
    shape, lut = (3, 5, 2), random.normal(0, 1, 1 << bits).astype(np.float16)
    indices = random.integers(0, 1 << bits, 30)
    data = np.frombuffer(packed(indices, bits), np.uint8)
    found = ops.constexpr_lut_to_dense(data, lut, np.array(shape, np.uint32))
    np.testing.assert_array_equal(found, lut[indices].reshape(shape))


def test_a_palette_of_a_strange_number_of_entries_is_damage():
    with pytest.raises(BundleError, match="entries"):
        ops.constexpr_lut_to_dense(np.zeros(3, np.uint8), np.zeros(5, np.float16), np.array([3]))


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_sparse_weights_are_zero_where_the_mask_is(dtype):
    random = np.random.default_rng(0)
    mask = random.integers(0, 2, (3, 4, 3)).astype(np.uint8)
    values = np.arange(1, mask.sum() + 1).astype(dtype)
    dense = ops.constexpr_sparse_to_dense(values, mask)
    assert dense.dtype == dtype
    np.testing.assert_array_equal(dense[mask == 1], values)
    assert not dense[mask == 0].any()
    old = ops.constexpr_sparse_to_dense(values, np.packbits(mask.ravel(), bitorder="little"), np.array(mask.shape))
    np.testing.assert_array_equal(old, dense)


def test_a_mask_for_another_number_of_values_is_damage():
    with pytest.raises(BundleError, match="mask of 2 elements for 3 values"):
        ops.constexpr_sparse_to_dense(np.ones(3, np.float16), np.array([1, 0, 1], np.uint8))


def test_sparse_integers_and_sparse_palettes_are_coremltools(theirs):
    random = np.random.default_rng(0)
    mask = random.integers(0, 2, (4, 6)).astype(np.uint8)
    count = int(mask.sum())
    scale, offset = (random.random((4, 1)) + 0.1).astype(np.float32), random.integers(-9, 9, (4, 1)).astype(np.int8)
    arguments = (mask, random.integers(-99, 99, count).astype(np.int8), scale, offset)
    wanted = theirs.constexpr_sparse_blockwise_shift_scale.decompress(*arguments)
    for found, want in zip(ops.constexpr_sparse_blockwise_shift_scale(*arguments), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-6)
    for vector, axis in ((1, None), (2, np.int32(1))):
        lut = random.normal(0, 1, (2, 1, 16, vector)).astype(np.float16)
        arguments = (mask, random.integers(0, 16, count).astype(np.uint8), lut, axis)
        wanted = theirs.constexpr_lut_to_sparse.decompress(*arguments)
        for found, want in zip(ops.constexpr_lut_to_sparse(*arguments), wanted, strict=True):
            np.testing.assert_array_equal(found, want)


def test_weights_are_cast():
    assert ops.constexpr_cast(np.ones(2, np.float16), "fp32").dtype == np.float32
    with pytest.raises(InputError, match="'fp7'"):
        ops.constexpr_cast(np.ones(2, np.float16), "fp7")
