"""The contact sheet and the page: every picture in its place, everything in one file, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from adain_parity.gallery import Measurements, Picture, SheetLayout, contact_sheet, gallery_page
from adain_runtime.errors import InputError

CELL = (80, 60)
WHITE = (255, 255, 255)
VOID = {"meta", "img", "input", "br", "hr", "link"}


def flat(color: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, color)


def color_of(row: int, column: int) -> tuple[int, int, int]:
    return 40 + 60 * row, 50 + 40 * column, 90


@pytest.fixture
def grid() -> tuple[list[Picture], list[Picture], list[list[Image.Image]]]:
    """Two contents, three styles, and a colour of its own for each picture."""
    contents = [Picture(f"photo {row}", flat(color_of(row, 0))) for row in (1, 2)]
    styles = [Picture(f"painting {column}", flat(color_of(0, column))) for column in (1, 2, 3)]
    results = [[flat(color_of(row, column)) for column in (1, 2, 3)] for row in (1, 2)]
    return contents, styles, results


class Page(HTMLParser):
    """Tags as they open, with a complaint about any that closes out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(grid, **changes) -> str:
    contents, styles, results = grid
    fields = {
        "title": "A title",
        "sentence": "What is seen.",
        "measurements": Measurements("On this machine", ("backend", "ms"), [("torch", "12"), ("onnx", "7")]),
        "versions": {"torch": "2.14"},
        "command": "make demo",
    }
    return gallery_page(contents, styles, results, **fields | changes)


def pixels_of(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))


def test_every_picture_of_a_sheet_fills_its_own_cell_to_the_edges(grid):
    sheet = np.asarray(contact_sheet(*grid, cell=CELL))
    layout = SheetLayout(2, 3, CELL)
    for row in range(3):
        for column in range(4):
            if row or column:
                left, top, right, bottom = layout.box(row, column)
                assert (right - left, bottom - top) == CELL
                assert (sheet[top:bottom, left:right] == color_of(row, column)).all()


def test_a_sheet_has_room_for_its_cells_and_white_on_all_sides(grid):
    sheet = contact_sheet(*grid, cell=CELL)
    layout = SheetLayout(2, 3, CELL)
    pixels = np.asarray(sheet)
    width, height = sheet.size
    assert width > 4 * CELL[0] + 2 * layout.margin
    assert height > 3 * CELL[1] + 2 * layout.margin
    for edge in (
        pixels[: layout.margin],
        pixels[-layout.margin :],
        pixels[:, : layout.margin],
        pixels[:, -layout.margin :],
    ):
        assert (edge == WHITE).all()


def test_cells_of_a_sheet_never_overlap_and_originals_stand_apart_from_results():
    layout = SheetLayout(2, 3, CELL)
    across = [layout.box(1, column) for column in range(4)]
    gaps = [after[0] - before[2] for before, after in pairwise(across)]
    assert min(gaps) > 0
    assert gaps[0] > gaps[1] == gaps[2]


@pytest.mark.parametrize("name", ["Summertime", "A name that is much too long for one cell of this sheet " * 3])
def test_a_label_is_written_beside_its_picture_and_not_past_it(grid, name):
    contents, styles, results = grid
    named = ([Picture(name, each.image) for each in contents], [Picture(name, styles[0].image), *styles[1:]])
    sheet = contact_sheet(*named, results, cell=CELL)
    bare = contact_sheet(
        [Picture("", each.image) for each in contents], [Picture("", each.image) for each in styles], results, cell=CELL
    )
    layout = SheetLayout(2, 3, CELL)
    left, top, right, _ = layout.box(0, 1)
    above = np.asarray(sheet)[top - layout.label : top, left:right]
    assert (above < 100).any(), "nothing was written"
    assert (above[0] == WHITE).all(), "cut off above"
    assert (above[-1] == WHITE).all(), "cut off below"
    changed = np.argwhere((np.asarray(sheet) != np.asarray(bare)).any(axis=2))
    labels = []
    for column in (1, 2, 3):
        box = layout.box(0, column)
        labels.append((box[0], box[1] - layout.label, box[2], box[1]))
    for row in (1, 2):
        box = layout.box(row, 0)
        labels.append((box[0] - layout.label, box[1], box[0], box[3]))
    for y, x in changed:
        assert any(box[0] <= x < box[2] and box[1] <= y < box[3] for box in labels)


def test_a_picture_of_another_shape_is_cropped_and_not_squeezed():
    wide = flat((200, 0, 0), (300, 60))
    wide.paste((0, 160, 0), (100, 0, 200, 60))  # a middle of 100x60 where the cell shows 80x60
    tall = flat((200, 0, 0), (80, 600))
    tall.paste((0, 160, 0), (0, 100, 80, 300))
    sheet = contact_sheet([Picture("wide", wide)], [Picture("tall", tall)], [[wide]], cell=CELL)
    layout = SheetLayout(1, 1, CELL)
    for row, column in ((1, 0), (0, 1), (1, 1)):
        assert (np.asarray(sheet.crop(layout.box(row, column))) == (0, 160, 0)).all()


def test_transparency_is_put_on_white():
    clear = Image.new("RGBA", (64, 48), (10, 20, 30, 0))
    grey = Picture("grey", flat((90, 90, 90)))
    sheet = contact_sheet([Picture("clear", clear)], [grey], [[grey.image]], cell=CELL)
    box = SheetLayout(1, 1, CELL).box(1, 0)
    assert (np.asarray(sheet.crop(box)) == WHITE).all()


def test_a_sheet_of_one_result_and_a_tiny_cell_is_still_made():
    one = Picture("one", flat((1, 2, 3)))
    sheet = contact_sheet([one], [one], [[one.image]], cell=(16, 16))
    assert sheet.size == SheetLayout(1, 1, (16, 16)).size


@pytest.mark.parametrize("cell", [(15, 60), (60, 0)])
def test_a_cell_too_small_to_see_is_refused(grid, cell):
    with pytest.raises(InputError, match="too small"):
        contact_sheet(*grid, cell=cell)


def test_results_that_do_not_fit_the_grid_are_refused_by_sheet_and_page(grid):
    contents, styles, results = grid
    for wrong in (results[:1], [row[:2] for row in results], []):
        with pytest.raises(InputError, match="row of 3 results"):
            contact_sheet(contents, styles, wrong)
        with pytest.raises(InputError, match="row of 3 results"):
            page_of((contents, styles, wrong))
    with pytest.raises(InputError, match="at least one of each"):
        contact_sheet([], styles, [])


def test_the_page_is_well_formed_and_says_its_language(grid):
    page = Page(page_of(grid))
    assert page.open == []
    assert page.all("html") == [{"lang": "en"}]
    assert "A title" in page.text


def test_the_page_has_every_picture_once_with_a_text_for_who_cannot_see_it(grid):
    images = Page(page_of(grid)).all("img")
    sources = [str(image["src"]) for image in images]
    assert len(sources) == len(set(sources)) == 2 + 3 + 2 * 3
    wanted = {
        **{f"painting {column}, the style": color_of(0, column) for column in (1, 2, 3)},
        **{f"photo {row}, the content": color_of(row, 0) for row in (1, 2)},
        **{
            f"photo {row} in the style of painting {column}": color_of(row, column)
            for row in (1, 2)
            for column in (1, 2, 3)
        },
    }
    assert {str(image["alt"]) for image in images} == set(wanted)
    for image in images:
        found = np.asarray(pixels_of(str(image["src"])).convert("RGB")).astype(int)
        assert np.abs(found - wanted[str(image["alt"])]).max() <= 3  # JPEG


def test_the_page_asks_nothing_of_the_network(grid):
    html = page_of(grid, sources={"photo 1": "from <https://example.org/photo>"})
    page = Page(html)
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "poster", "data", "href"):
            if name in attributes and tag != "a":
                assert str(attributes[name]).startswith("data:"), f"<{tag} {name}> loads something"
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", html)
    policies = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert [str(policy).split(";")[0] for policy in policies] == ["default-src 'none'"]
    assert page.all("a") == [{"href": "https://example.org/photo", "rel": "noreferrer"}]


def test_names_are_text_whatever_is_in_them(grid):
    contents, styles, results = grid
    nasty = '"><script>alert(1)</script>{{command}}'
    html = page_of(([Picture(nasty, contents[0].image), contents[1]], styles, results), title=nasty, command="a && b")
    page = Page(html)
    assert len(page.all("script")) == 1
    assert nasty in page.text
    assert "a && b" in page.text


def test_no_mark_of_the_template_is_left_in_the_page(grid):
    assert not re.search(r"\{\{\w*\}\}", page_of(grid))


def test_a_large_picture_is_reduced_in_the_page_and_its_shape_kept(grid):
    contents, styles, results = grid
    big = Picture("big", flat((7, 7, 7), (400, 200)))
    images = Page(page_of(([big, contents[1]], styles, results), longest_side=100)).all("img")
    found = next(image for image in images if image["alt"] == "big, the content")
    assert (found["width"], found["height"]) == ("100", "50")
    assert pixels_of(str(found["src"])).size == (100, 50)
    assert big.image.size == (400, 200), "the picture that was handed over was changed"


def test_the_table_shows_every_value_and_marks_the_row_that_failed(grid):
    measured = Measurements(
        "On this machine",
        ("backend", "ms"),
        [("torch", "12"), ("onnx", "7")],
        numeric=frozenset({"ms"}),
        failed=frozenset({1}),
        notes=("mnn left out: no mnn",),
    )
    html = page_of(grid, measurements=measured)
    text = Page(html).text
    for value in ("On this machine", "backend", "ms", "torch", "12", "onnx", "7", "mnn left out: no mnn"):
        assert value in text
    assert "<tr class=failed><td>onnx</td><td class=number>7</td></tr>" in html
    assert "<tr><td>torch</td><td class=number>12</td></tr>" in html


def test_a_page_without_sources_has_no_credits(grid):
    assert "Pictures" not in Page(page_of(grid)).text
    assert "Pictures" in Page(page_of(grid, sources={"photo 1": "mine"})).text
