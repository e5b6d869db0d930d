"""A PNG's one transparent colour, of every depth that the format has."""

from __future__ import annotations

import struct
import zlib

import pytest

from adain_runtime.image import load_image


def stored_png(bits: int, kind: int, width: int, row: bytes, key: bytes) -> bytes:
    """A PNG of one row, written out: Pillow writes grey of no depth but 1, 8 and 16."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0)
    data = zlib.compress(b"\0" + row)
    chunks = [(b"IHDR", head), (b"tRNS", key), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


@pytest.mark.parametrize(
    ("bits", "kind", "row", "key"),
    [
        (1, 0, b"\x80", b"\0\1"),
        (2, 0, b"\xc0", b"\0\3"),
        (2, 0, b"\x40", b"\0\1"),
        (4, 0, b"\xf0", b"\0\x0f"),
        (4, 0, b"\x50", b"\0\x05"),
        (8, 0, b"\xff\0", b"\0\xff"),
        (16, 0, b"\xff\xff\0\0", b"\xff\xff"),
        (8, 2, b"\xff" * 3 + b"\0" * 3, b"\0\xff" * 3),
        (16, 2, b"\xff" * 6 + b"\0" * 6, b"\xff\xff" * 3),
        (16, 2, b"\0\1" * 3 + b"\xff" * 6, b"\0\1" * 3),
    ],
)
def test_a_transparent_colour_is_found_at_every_depth(tmp_path, bits, kind, row, key):
    (tmp_path / "a.png").write_bytes(stored_png(bits, kind, 2, row, key))
    assert load_image(tmp_path / "a.png").alpha.tolist() == [[0, 255]]
