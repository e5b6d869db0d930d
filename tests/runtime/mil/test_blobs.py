"""weight.bin is read as it was written; a cut or a flipped bit in any header is found."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adain_runtime.errors import BundleError
from adain_runtime.mil.blobs import Blobs
from adain_runtime.mil.dtypes import BY_NAME

HALF, BYTE = BY_NAME["fp16"], BY_NAME["int8"]
FIRST = np.arange(7, dtype=np.float16)
SECOND = np.arange(-40, 40, dtype=np.int8)


def written(path):
    """Two blobs in the format's layout: 64 bytes of header, then for each 64 of header and its data, aligned to 64."""
    data = struct.pack("<II", 2, 2).ljust(64, b"\0")
    for number, values in ((1, FIRST), (4, SECOND)):
        data = data.ljust(-(-len(data) // 64) * 64, b"\0")
        data += struct.pack("<IIQQQ", 0xDEADBEEF, number, values.nbytes, len(data) + 64, 0).ljust(64, b"\0")
        data += values.tobytes()
    path.write_bytes(data)
    return path


@pytest.fixture
def weights(tmp_path):
    return written(tmp_path / "weight.bin")


def test_blobs_are_read(weights):
    blobs = Blobs(weights)
    np.testing.assert_array_equal(blobs.read(64, HALF, 7), FIRST)
    np.testing.assert_array_equal(blobs.read(192, BYTE, 80), SECOND)


@pytest.mark.parametrize(
    ("offset", "dtype", "count", "why"),
    [
        (128, HALF, 7, "names a blob at 128, and none begins there"),
        (64, BYTE, 14, "holds type 1, and the model says 14 elements of int8"),
        (64, HALF, 8, "8 elements of fp16 take 16 bytes, found 14"),
    ],
)
def test_what_a_blob_does_not_hold_is_refused(weights, offset, dtype, count, why):
    with pytest.raises(BundleError, match=why):
        Blobs(weights).read(offset, dtype, count)


def test_every_cut_is_found(weights):
    data = weights.read_bytes()
    for length in range(len(data)):
        weights.write_bytes(data[:length])
        with pytest.raises(BundleError, match="copy or export the package again"):
            Blobs(weights)


def test_bytes_after_the_last_blob_are_found(weights):
    weights.write_bytes(weights.read_bytes() + bytes(128))
    with pytest.raises(BundleError, match="bytes after them"):
        Blobs(weights)


@settings(max_examples=200)
@given(st.sampled_from([*range(8), *range(64, 96), *range(192, 224)]), st.integers(0, 7))
def test_every_flipped_bit_of_a_header_is_found(tmp_path_factory, place, bit):
    path = written(tmp_path_factory.mktemp("flipped") / "weight.bin")
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(BundleError):  # noqa: PT012 where it is found depends on the bit
        blobs = Blobs(path)
        blobs.read(64, HALF, 7)
        blobs.read(192, BYTE, 80)


def test_no_file_at_all_is_told(tmp_path):
    with pytest.raises(BundleError, match=r"weight\.bin: can't be read"):
        Blobs(tmp_path / "weight.bin")
