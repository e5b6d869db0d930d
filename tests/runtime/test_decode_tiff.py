"""Greys of more than 8 bits as TIFF stores them, and files of more than one picture."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from adain_runtime.decode import is_one_of_many
from adain_runtime.image import load_image

WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
WHOLE, REAL = 1, 3


def tiff(path, rows, *, bits, photometric=BLACK_IS_ZERO, kind=WHOLE):
    """A grey TIFF without compression, written out by hand; ``rows`` are its packed bytes."""
    data, (height, width) = b"".join(rows), (len(rows), len(rows[0]) * 8 // bits)
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
        (339, 3, kind),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind_, 1, value) for tag, kind_, value in tags)
    start = 8 + len(data)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, start) + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


def ramp(high, count=32):
    return np.linspace(0, high, count).round()


EXPECTED = ramp(255).astype(int)


def greys(path):
    return load_image(path).rgb[0, :, 0].astype(int)


def test_twelve_bits_are_whole_at_4095(tmp_path):
    values = ramp(4095).astype(int)
    packed = bytearray()
    for first, second in zip(values[::2], values[1::2], strict=True):
        packed += bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
    assert np.abs(greys(tiff(tmp_path / "a.tif", [bytes(packed)], bits=12)) - EXPECTED).max() <= 1


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize(
    ("bits", "values", "kind"),
    [
        (8, ramp(255).astype("<u1"), WHOLE),
        (16, ramp(65535).astype("<u2"), WHOLE),
        (32, (ramp(255) / 255).astype("<f4"), REAL),
    ],
)
def test_white_may_be_zero_at_every_depth(tmp_path, bits, values, kind, photometric):
    path = tiff(tmp_path / "a.tif", [values.tobytes()], bits=bits, photometric=photometric, kind=kind)
    expected = 255 - EXPECTED if photometric == WHITE_IS_ZERO else EXPECTED
    assert np.abs(greys(path) - expected).max() <= 1


def test_whole_numbers_of_32_bits_have_no_sign(tmp_path):
    path = tiff(tmp_path / "a.tif", [ramp(2**32 - 1).astype("<u4").tobytes()], bits=32)
    assert np.abs(greys(path) - EXPECTED).max() <= 1


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_an_animation_and_a_file_of_pages_are_one_of_many(tmp_path, suffix):
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    path = tmp_path / f"a.{suffix}"
    first.save(path)
    assert not is_one_of_many(path)
    first.save(path, save_all=True, append_images=[second])
    assert is_one_of_many(path)
    assert load_image(path).rgb[0, 0, 0] > 200  # the first


def test_what_can_not_be_looked_at_is_one(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg")
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    assert [is_one_of_many(tmp_path / name) for name in ("a.jpg", "b.gif", "none.png")] == [False] * 3
