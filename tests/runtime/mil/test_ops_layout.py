"""Operations that move values, or make them from shapes, move them where torch and numpy do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adain_runtime.errors import InputError
from adain_runtime.mil.ops import layout, shapes
from adain_runtime.mil.ops.shapes import fill, gather

torch = pytest.importorskip("torch", reason="torch, which the operations are compared with, is not installed")
F = torch.nn.functional


def counted(*shape, dtype=np.float32):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_pixels_are_shuffled_as_torch_shuffles_them_and_back(batch, channels, factor, height, width):
    x = counted(batch, channels * factor**2, height, width)
    made = layout.pixel_shuffle(x, np.int32(factor))
    np.testing.assert_array_equal(made, F.pixel_shuffle(torch.tensor(x), factor))
    np.testing.assert_array_equal(layout.pixel_unshuffle(made, factor), x)


def test_depth_to_space_puts_the_place_before_the_channel():
    x = counted(1, 8, 2, 3)
    wanted = np.zeros((1, 2, 4, 6), np.float32)
    for i in range(2):
        for j in range(2):
            for channel in range(2):
                wanted[0, channel, i::2, j::2] = x[0, (i * 2 + j) * 2 + channel]
    np.testing.assert_array_equal(layout.depth_to_space(x, 2), wanted)


def test_shapes_change_as_in_numpy():
    x = counted(2, 3, 4)
    assert layout.reshape(x, np.array([0, -1])).shape == (2, 12)
    assert layout.reshape(x, np.array([4, 6])).shape == (4, 6)
    np.testing.assert_array_equal(layout.transpose(x, np.array([2, 0, 1])), x.transpose(2, 0, 1))
    assert layout.expand_dims(x, np.array([0, -1])).shape == (1, 2, 3, 4, 1)
    assert layout.squeeze(x[:1], np.array([0])).shape == (3, 4)
    assert layout.squeeze(x[:1, :1]).shape == (4,)
    assert layout.identity(x) is x
    np.testing.assert_array_equal(layout.tile(x, np.array([1, 2, 3])), np.tile(x, (1, 2, 3)))
    np.testing.assert_array_equal(shapes.shape(x), [2, 3, 4])
    assert shapes.shape(x).dtype == np.int32


def test_values_are_joined_and_cut():
    x, y = counted(2, 3), counted(2, 3) + 100
    np.testing.assert_array_equal(layout.concat([x, y], np.int32(-1)), np.concatenate([x, y], -1))
    np.testing.assert_array_equal(layout.concat([x, y], np.int32(1), True)[0], [0, 100, 1, 101, 2, 102])
    np.testing.assert_array_equal(layout.stack([x, y], np.int32(0)), np.stack([x, y]))
    for found, wanted in zip(layout.split(x, np.int32(1), num_splits=np.int32(3)), np.split(x, 3, 1), strict=True):
        np.testing.assert_array_equal(found, wanted)
    parts = layout.split(x, np.int32(1), split_sizes=np.array([1, 2]))
    assert [part.shape for part in parts] == [(2, 1), (2, 2)]


@settings(deadline=None, max_examples=40)
@given(data=st.data(), shape=hnp.array_shapes(max_dims=3, max_side=5))
def test_a_slice_is_numpys(data, shape):
    x = counted(*shape)
    slices = data.draw(st.tuples(*[st.slices(size) for size in shape]))
    index = [part.indices(size) for part, size in zip(slices, shape, strict=True)]
    open_ends = [part.stop is None or stop < 0 for part, (_, stop, _) in zip(slices, index, strict=True)]
    begin, end, stride = np.array(index).T
    found = layout.slice_by_index(x, begin, end, stride, end_mask=np.array(open_ends))
    np.testing.assert_array_equal(found, x[slices])


def test_slices_open_at_the_beginning_of_one_element_and_by_size():
    x = counted(4, 5)
    arguments = {"begin": np.array([2, 3]), "end": np.array([4, 5])}
    np.testing.assert_array_equal(layout.slice_by_index(x, **arguments, begin_mask=np.array([True, False])), x[:4, 3:5])
    np.testing.assert_array_equal(
        layout.slice_by_index(x, **arguments, squeeze_mask=np.array([True, False])), x[2, 3:5]
    )
    np.testing.assert_array_equal(layout.slice_by_size(x, np.array([1, 2]), np.array([2, -1])), x[1:3, 2:])


def test_elements_are_gathered_and_wrong_indices_refused():
    x = counted(4, 3)
    np.testing.assert_array_equal(gather(x, np.array([3, -1])), x[[3, 3]])
    np.testing.assert_array_equal(gather(x, np.uint16(2), np.int32(1)), x[:, 2])
    with pytest.raises(InputError, match="index 4 of 4"):
        gather(x, np.array([0, 4]))
    with pytest.raises(InputError, match="batch_dims"):
        gather(x, np.array([0]), batch_dims=1)
    np.testing.assert_array_equal(fill(np.array([2, 2]), np.float16(3)), np.full((2, 2), 3))
