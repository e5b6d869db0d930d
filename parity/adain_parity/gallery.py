"""Contents down, styles across: as one picture for documents, and as one HTML page that a person opens."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont, ImageOps

from adain_runtime.errors import InputError

CELL = (360, 270)
_PAGE = Path(__file__).with_name("gallery.html")
_PAPER, _INK, _QUIET = (255, 255, 255), (32, 31, 29), (128, 124, 117)
_JPEG_QUALITY = 88
_CENTERING = (0.5, 0.3)  # across, down: what is cut off a tall picture is cut off its foot, because heads are up
_NARROWEST_COLUMN = 190  # CSS pixels; a page with less room for a column lets the grid scroll in a box of its own

Results: TypeAlias = Sequence[Sequence[Image.Image]]
"""``results[content][style]``."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A content or a style, with the name that people read."""

    name: str
    image: Image.Image


@dataclass(frozen=True)
class Measurements:
    """A table of text under the pictures.

    Attributes:
        caption: what was measured, on what.
        columns: its head.
        rows: as many cells each as columns.
        numeric: columns that are set flush right.
        failed: indices of rows that are not good enough.
        notes: lines under the table.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[str] = frozenset()
    failed: frozenset[int] = frozenset()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class SheetLayout:
    """Where everything on a contact sheet is, in pixels.

    Row 0 are the styles and column 0 the contents; the corner between them holds no picture.

    Attributes:
        rows: contents.
        columns: styles.
        cell: width and height of a picture.
    """

    rows: int
    columns: int
    cell: tuple[int, int] = CELL

    @property
    def text(self) -> int:
        """Height of a label's type."""
        return max(11, round(min(self.cell) * 0.075))

    @property
    def label(self) -> int:
        """Room for a label: above the styles, left of the contents."""
        return 2 * self.text

    @property
    def margin(self) -> int:
        """White on all four sides."""
        return max(16, round(min(self.cell) * 0.16))

    @property
    def gutter(self) -> int:
        """Between two results."""
        return max(3, round(min(self.cell) * 0.03))

    @property
    def gap(self) -> int:
        """Between the originals and the results."""
        return 4 * self.gutter

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        _, _, right, bottom = self.box(self.rows, self.columns)
        return right + self.margin, bottom + self.margin

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a picture."""
        start = self.margin + self.label
        width, height = self.cell
        left = start + column * (width + self.gutter) + (self.gap - self.gutter if column else 0)
        top = start + row * (height + self.gutter) + (self.gap - self.gutter if row else 0)
        return left, top, left + width, top + height


def contact_sheet(
    contents: Sequence[Picture],
    styles: Sequence[Picture],
    results: Results,
    *,
    cell: tuple[int, int] = CELL,
) -> Image.Image:
    """One picture of everything: contents down, styles across, white around.

    Args:
        contents: at least one; set in the first column.
        styles: at least one; set in the first row.
        results: ``results[content][style]``.
        cell: width and height of every picture, which is scaled to fill it and cropped.

    Raises:
        InputError: no contents or styles, not one result for each pair, or a cell below 16 pixels.
    """
    _check(contents, styles, results)
    if min(cell) < 16:
        raise InputError(f"a cell of {cell[0]}x{cell[1]} pixels is too small; give at least 16x16")
    layout = SheetLayout(len(contents), len(styles), cell)
    sheet = Image.new("RGB", layout.size, _PAPER)
    grid = [[None, *(style.image for style in styles)]]
    grid += [[content.image, *row] for content, row in zip(contents, results, strict=True)]
    for row, images in enumerate(grid):
        for column, image in enumerate(images):
            if image is not None:
                fitted = ImageOps.fit(_on_white(image), cell, Image.Resampling.LANCZOS, centering=_CENTERING)
                sheet.paste(fitted, layout.box(row, column)[:2])
    for column, style in enumerate(styles, start=1):
        left, top, _, _ = layout.box(0, column)
        sheet.paste(_label(style.name, cell[0], layout), (left, top - layout.label))
    for row, content in enumerate(contents, start=1):
        left, top, _, _ = layout.box(row, 0)
        upright = _label(content.name, cell[1], layout).transpose(Image.Transpose.ROTATE_90)
        sheet.paste(upright, (left - layout.label, top))
    _key(sheet, layout)
    return sheet


def gallery_page(
    contents: Sequence[Picture],
    styles: Sequence[Picture],
    results: Results,
    *,
    title: str,
    sentence: str,
    measurements: Measurements,
    versions: Mapping[str, str],
    command: str,
    sources: Mapping[str, str] | None = None,
    longest_side: int = 1024,
) -> str:
    """One HTML file with everything in it: pictures as data, no script or font from elsewhere, no network.

    Args:
        contents: at least one; the rows.
        styles: at least one; the columns.
        results: ``results[content][style]``.
        title: of the page.
        sentence: what is seen, under the title.
        measurements: the table under the pictures.
        versions: name to version of what made the page.
        command: what makes it again.
        sources: a picture's name to where it comes from, for the credits.
        longest_side: larger pictures are reduced to this many pixels.

    Raises:
        InputError: no contents or styles, or not one result for each pair.
    """
    _check(contents, styles, results)
    fields = {
        "title": escape(title),
        "sentence": escape(sentence),
        "columns": str(len(styles)),
        "wide": str((len(styles) + 1) * _NARROWEST_COLUMN),
        "grid": _grid(contents, styles, results, longest_side),
        "measurements": _table(measurements),
        "versions": _definitions(versions),
        "command": escape(command),
        "credits": _credits(sources or {}),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: fields[mark[1]], _PAGE.read_text(encoding="utf-8"))


def _check(contents: Sequence[Picture], styles: Sequence[Picture], results: Results) -> None:
    found = [len(row) for row in results]
    if not contents or not styles or found != [len(styles)] * len(contents):
        raise InputError(
            f"{len(contents)} contents and {len(styles)} styles, at least one of each, need a row of "
            f"{len(styles)} results for every content; found rows of {found}"
        )


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*_PAPER, 255)), layer).convert("RGB")


def _label(text: str, room: int, layout: SheetLayout) -> Image.Image:
    """A strip of ``room`` x ``layout.label`` pixels with the text in its middle, cut with an ellipsis where it must."""
    strip = Image.new("RGB", (room, layout.label), _PAPER)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(layout.text)
    shown = text
    while shown and draw.textlength(shown if shown == text else f"{shown}...", font) > room:
        shown = shown[:-1].rstrip()
    shown = shown if shown == text else f"{shown}..."
    draw.text((room / 2, layout.label * 0.4), shown, _INK, font, anchor="mm")
    return strip


def _key(sheet: Image.Image, layout: SheetLayout) -> None:
    """In the empty corner: which way the styles go, and which way the contents."""
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(layout.text)
    left, top, right, bottom = layout.box(0, 0)
    shaft, head, line = round(layout.text * 1.4), round(layout.text * 0.3), max(1, layout.text // 12)
    if draw.textlength("content", font) + shaft > right - left or 5 * layout.text > bottom - top:
        return

    def arrow(x: float, y: float, dx: int, dy: int) -> None:
        tip = (x + dx * shaft, y + dy * shaft)
        draw.line([(x, y), tip], _QUIET, line)
        for side in (-1, 1):
            wing = (tip[0] - head * (dx + side * dy), tip[1] - head * (dy + side * dx))
            draw.line([tip, wing], _QUIET, line)

    middle = ((left + right) / 2, (top + bottom) / 2)
    draw.text((right - shaft - layout.text / 2, middle[1]), "style", _QUIET, font, anchor="rm")
    arrow(right - shaft, middle[1], 1, 0)
    draw.text((middle[0], bottom - shaft - layout.text / 2), "content", _QUIET, font, anchor="ms")
    arrow(middle[0], bottom - shaft, 0, 1)


def _img(image: Image.Image, alt: str, longest_side: int) -> str:
    flat = _on_white(image)
    flat.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    flat.save(encoded, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    data = base64.b64encode(encoded.getvalue()).decode("ascii")
    width, height = flat.size
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(alt)}">'


def _grid(contents: Sequence[Picture], styles: Sequence[Picture], results: Results, longest_side: int) -> str:
    def original(scope: str, kind: str, picture: Picture) -> str:
        image = _img(picture.image, f"{picture.name}, the {kind}", longest_side)
        return f'<th scope="{scope}"><figure>{image}<figcaption>{escape(picture.name)}</figcaption></figure></th>'

    lines = ["<thead><tr>", '<td class="key"><span>style</span><span>content</span></td>']
    lines += [original("col", "style", style) for style in styles]
    lines += ["</tr></thead>", "<tbody>"]
    for content, row in zip(contents, results, strict=True):
        lines += ["<tr>", original("row", "content", content)]
        for style, result in zip(styles, row, strict=True):
            image = _img(result, f"{content.name} in the style of {style.name}", longest_side)
            lines.append(f'<td><button type="button" class="cell">{image}</button></td>')
        lines.append("</tr>")
    return "\n".join([*lines, "</tbody>"])


def _table(measured: Measurements) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if column in measured.numeric else ''}>{escape(value)}</{tag}>"
            for column, value in zip(measured.columns, values, strict=True)
        )

    lines = [f'<p class="caption" id="measured">{escape(measured.caption)}</p>']
    lines.append('<div class="measured"><table aria-describedby="measured">')
    lines.append(f"<thead><tr>{cells('th', measured.columns)}</tr></thead><tbody>")
    for i, row in enumerate(measured.rows):
        lines.append(f"<tr{' class=failed' if i in measured.failed else ''}>{cells('td', row)}</tr>")
    lines.append("</tbody></table></div>")
    if measured.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in measured.notes)
        lines.append(f'<ul class="notes">{notes}</ul>')
    return "\n".join(lines)


def _linked(text: str) -> str:
    """Escaped text, its Markdown links in angle brackets made links to follow."""
    return re.sub(r"&lt;(https?://[^\s&]+)&gt;", r'<a href="\1" rel="noreferrer">\1</a>', escape(text))


def _definitions(values: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{_linked(value)}</dd></div>" for name, value in values.items())


def _credits(sources: Mapping[str, str]) -> str:
    if not sources:
        return ""
    return f'<section><h2>Pictures</h2><dl class="credits">{_definitions(sources)}</dl></section>'
