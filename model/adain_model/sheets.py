"""Contact sheets: pictures in rows under named columns, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adain_runtime.errors import InputError

Pixels: TypeAlias = NDArray[np.uint8]
_PAPER, _INK = (255, 255, 255), (32, 31, 29)


def picture_grid(columns: Sequence[str], rows: Sequence[Sequence[Pixels]], *, cell: int = 256) -> Image.Image:
    """Pictures in rows under named columns, white around.

    Args:
        columns: a name for each; it is set smaller, in more lines, or cut where it has no room.
        rows: as many square pictures [S, S, 3] uint8 each; a picture of ``cell`` pixels is not resampled.
        cell: pixels of a picture's side on the sheet.

    Raises:
        InputError: no rows, or a row of another length than ``columns``.
    """
    if not rows or any(len(row) != len(columns) for row in rows):
        found = [len(row) for row in rows]
        raise InputError(f"a sheet of {len(columns)} columns wants as many pictures in each row, found {found}")
    gutter, size = max(4, cell // 32), max(11, cell // 16)
    font = ImageFont.load_default(size)
    titles = [_wrapped(name, font, cell) for name in columns]
    head = gutter + (size + 4) * max(title.count("\n") + 1 for title in titles)
    width = gutter + len(columns) * (cell + gutter)
    sheet = Image.new("RGB", (width, head + gutter + len(rows) * (cell + gutter)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = gutter + column * (cell + gutter)
        draw.multiline_text(
            (left + cell / 2, head + gutter / 2), title, _INK, font, anchor="md", align="center", spacing=4
        )
        for row, pictures in enumerate(rows):
            image = Image.fromarray(pictures[column])
            if image.size != (cell, cell):
                image = image.resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(image, (left, head + gutter + row * (cell + gutter)))
    return sheet


def _wrapped(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    lines = [""]
    for word in name.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    cut = []
    for line in lines:
        shown = line
        while len(shown) > 1 and font.getlength(shown if shown == line else f"{shown}...") > room:
            shown = shown[:-1]
        cut.append(shown if shown == line else f"{shown}...")
    return "\n".join(cut)
