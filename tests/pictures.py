"""Pictures and files made by hand for the tests, so that what they hold doesn't depend on what Pillow writes."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

sides = st.integers(1, 12)
rgb_arrays = st.tuples(sides, sides).flatmap(lambda hw: arrays(np.uint8, (*hw, 3)))
rgba_arrays = st.tuples(sides, sides).flatmap(lambda hw: arrays(np.uint8, (*hw, 4)))


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save_picture(path, width, height, seed=0):
    """A smooth picture of a few colours, as a file."""
    Image.fromarray(noise(6, 5, seed=seed)).resize((width, height), Image.Resampling.BICUBIC).save(path)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# Files made by hand, so that what they hold doesn't depend on what Pillow writes.


def png(size, depth, colour, rows, trns=None):
    width, height = size

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = [
        chunk(b"IHDR", header),
        chunk(b"tRNS", trns) if trns else b"",
        chunk(b"IDAT", data),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def icc(space, device_class, pcs, tags):
    """An ICC version 2 profile."""
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        padded = content + b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += padded
    header = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"", 0x02400000, device_class, space, pcs, b"", b"acsp")
    header = header.ljust(68, b"\0") + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(*values):
    return b"XYZ \0\0\0\0" + fixed(*values)


def gamma(exponent):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


# Columns are the red, green and blue primaries in XYZ, adapted to D50.
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def display_p3():
    columns = {name: xyz(*P3[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(2.2))
    return icc(b"RGB ", b"mntr", b"XYZ ", {b"wtpt": xyz(0.9642, 1.0, 0.8249), **columns, **curves})


def srgb_encode(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


CYAN_INK = (60, 60, 40)  # CIE Lab that the strange press below prints for full cyan: a salmon red


def strange_press():
    """A CMYK profile whose cyan prints red, so that a conversion that passes it over can't be mistaken."""
    clut = bytearray()
    for corner in range(16):  # C is the slowest
        c, myk = corner >> 3, corner & 7
        lightness, a, b = (0, 0, 0) if myk else CYAN_INK if c else (100, 0, 0)
        clut += bytes((round(lightness * 255 / 100), a + 128, b + 128))
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * 4 + clut + ramp * 3
    return icc(b"CMYK", b"prtr", b"Lab ", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"A2B0": table})


def lab_to_srgb(lightness, a, b):
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    d50 = np.array([0.9642, 1.0, 0.8249])
    return srgb_encode(np.linalg.inv(SRGB) @ (d50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))))


# Where the four corners a b / c d of the stored image are seen, for each value of the EXIF tag.
SEEN = {1: "ab/cd", 2: "ba/dc", 3: "dc/ba", 4: "cd/ab", 5: "ac/bd", 6: "ca/db", 7: "db/ca", 8: "bd/ac"}


def lossless(suffix):
    return {"lossless": True, "exact": True} if suffix == "webp" else {}
