"""The page of a run in a real browser: it renders, its filters work, and it asks nothing of any network."""

from __future__ import annotations

from collections import Counter

import pytest

from adain_parity.report import write_report
from browser import NAMES, Browser, find_browser
from runs import large_run

SHOWN = "[...document.querySelectorAll('.case')].filter((item) => item.checkVisibility())"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def run(folder):
    return large_run(folder, 500)


@pytest.fixture(scope="module")
def page(folder, run, browser):
    write_report(run, folder)
    return (folder / "parity.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} is on the path")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def shown(browser, of="id"):
    return browser.evaluate(f"{SHOWN}.map((item) => item.{of})")


def test_the_page_asks_for_itself_alone_and_nothing_goes_wrong_in_it(browser, page):
    browser.open(page)
    browser.click(".case .pictures button")
    browser.press("Escape")
    browser.evaluate("scrollTo(0, document.body.scrollHeight)")
    browser.settle()
    assert {url for url in browser.requests if not url.startswith("data:")} == {page}
    assert browser.complaints == []


def test_the_page_forbids_itself_the_network(browser, page):
    browser.open(page)
    asked = "fetch('http://127.0.0.1:9/').then(() => 'asked', (error) => String(error))"
    assert "Failed to fetch" in browser.evaluate(asked)
    assert any("Content Security Policy" in text for text in browser.complaints)


def test_all_cases_are_there_and_the_bad_ones_come_first(browser, page, run):
    browser.open(page)
    verdicts = shown(browser, "dataset.verdict")
    assert Counter(verdicts) == Counter(case.verdict for case in run.cases)
    bad = sum(case.bad for case in run.cases)
    assert set(verdicts[:bad]) == {"crashed", "timed out", "failed"}
    assert verdicts[:2] == ["crashed", "timed out"]
    assert (
        browser.evaluate("document.querySelector('h1').textContent")
        == f"{bad} of 288 cases do not hold against PyTorch"
    )
    assert browser.evaluate("document.querySelectorAll('.matrix .cell').length") == 500


def test_pictures_are_loaded_where_they_are_seen(browser, page):
    browser.open(page)
    every = browser.evaluate("document.querySelectorAll('img[data-picture]').length")
    assert browser.evaluate("document.querySelectorAll('img[src]').length") < every / 4
    image = "document.querySelectorAll('.case[open] .pictures img')[0]"
    browser.evaluate(f"{image}.scrollIntoView()")
    browser.settle()
    assert browser.evaluate(f"{image}.decode().then(() => {image}.naturalWidth)") == 64


def test_every_filter_leaves_what_it_names(browser, page, run):
    for field, value in (("backend", "coreml-reference"), ("precision", "int8"), ("model", "vgg19")):
        browser.open(page)
        browser.choose(field, value)
        wanted = {f"case-{case.id}" for case in run.cases if getattr(case, field) == value}
        assert set(shown(browser)) == wanted
        assert f"{len(wanted)} of 500" in browser.evaluate("document.querySelector('.filters output').textContent")
        away = browser.evaluate("document.querySelectorAll('.matrix .cell.away').length")
        assert away == 500 - len(wanted)


def test_filters_add_up_and_the_address_keeps_them(browser, page, run):
    browser.open(page)
    browser.choose("backend", "mnn")
    browser.choose("precision", "fp32")
    browser.type("input[type=search]", "coffee alpha 0.5")
    wanted = {
        f"case-{case.id}"
        for case in run.cases
        if (case.backend, case.precision, case.content, case.alpha) == ("mnn", "fp32", "coffee", 0.5)
    }
    assert wanted
    assert set(shown(browser)) == wanted
    hash_ = browser.evaluate("location.hash")
    browser.open(page + hash_)
    assert set(shown(browser)) == wanted
    browser.click(".filters button[type=reset]")
    assert len(shown(browser)) == 500
    assert browser.evaluate("location.hash") == ""


def test_the_verdicts_on_top_are_filters_too(browser, page):
    browser.open(page)
    browser.click(".tally [value=failed]")
    assert set(shown(browser, "dataset.verdict")) == {"failed"}
    browser.click(".tally [value=crashed]")
    assert set(shown(browser, "dataset.verdict")) == {"failed", "crashed"}
    assert browser.evaluate("document.querySelector('.tally [value=failed]').getAttribute('aria-pressed')") == "true"
    browser.click(".tally [value=failed]")
    browser.click(".tally [value=crashed]")
    assert len(shown(browser)) == 500


def test_a_search_without_a_find_says_so(browser, page):
    browser.open(page)
    browser.type("input[type=search]", "no case is called that")
    assert shown(browser) == []
    assert browser.evaluate("document.querySelector('.empty').checkVisibility()")


def test_cases_can_be_put_in_the_order_of_the_matrix_or_of_their_time(browser, page, run):
    browser.open(page)
    browser.choose("order", "matrix")
    assert shown(browser) == [f"case-{case.id}" for case in run.cases]
    browser.choose("order", "slowest")
    seconds = [float(text) for text in shown(browser, "dataset.seconds")]
    assert seconds == sorted(seconds, reverse=True)


def test_a_square_of_the_matrix_leads_to_its_case_even_where_a_filter_hid_it(browser, page):
    browser.open(page)
    browser.click(".tally [value=failed]")
    browser.evaluate("document.querySelector('.matrix .cell').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    wanted = browser.evaluate("document.activeElement.hash.slice(1)")
    row = browser.evaluate("document.activeElement.closest('tr').rowIndex")
    assert row == browser.evaluate("document.querySelector('.matrix thead').rows.length") + 1
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.parentElement.id") == wanted
    assert browser.evaluate("document.activeElement.parentElement.open")
    assert len(shown(browser)) == 500


def test_a_picture_is_enlarged_and_the_keys_go_through_pictures_and_cases(browser, page):
    browser.open(page)
    browser.click(".case.is-failed .pictures [data-kind=difference] button")
    pressed = "document.querySelector('.modes [aria-pressed=true]').dataset.mode"
    assert browser.evaluate("document.querySelector('dialog').open")
    assert browser.evaluate(pressed) == "difference"
    for key, mode in (("1", "reference"), ("2", "backend"), ("4", "compare"), (" ", "backend"), (" ", "reference")):
        browser.press(key)
        assert browser.evaluate(pressed) == mode
    title = "document.querySelector('dialog h2').textContent"
    first = browser.evaluate(title)
    browser.press("ArrowRight")
    assert browser.evaluate(title) != first
    browser.press("ArrowLeft")
    assert browser.evaluate(title) == first
    sizes = browser.evaluate(
        "(() => { const b = document.querySelector('.pair').getBoundingClientRect(); return [b.width, b.height]; })()"
    )
    assert min(sizes) > 64
    browser.press("Escape")
    assert not browser.evaluate("document.querySelector('dialog').open")
    assert browser.evaluate("document.activeElement.closest('.case').classList.contains('is-failed')")


def test_a_case_without_a_picture_of_the_backend_shows_the_reference_alone(browser, page):
    browser.open(page)
    browser.click(".case.is-crashed .pictures [data-kind=reference] button")
    assert browser.evaluate("[...document.querySelectorAll('.modes :disabled')].map((b) => b.dataset.mode)") == [
        "backend",
        "difference",
        "compare",
    ]
    browser.press("2")
    assert browser.evaluate("document.querySelector('.modes [aria-pressed=true]').dataset.mode") == "reference"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_is_wider_than_its_window(browser, page, width):
    browser.open(page, width=width, height=800)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_the_dark_page_is_dark(browser, page):
    luminance = (
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
    )
    browser.emulate(scheme="dark")
    browser.open(page)
    assert browser.evaluate(luminance) < 150
    browser.emulate(scheme="light")
    browser.open(page)
    assert browser.evaluate(luminance) > 600


def test_it_prints_what_the_filters_leave_without_the_filters(browser, page):
    browser.open(page)
    browser.click(".tally [value=failed]")
    browser.emulate(media="print")
    assert not browser.evaluate("document.querySelector('.filters').checkVisibility()")
    assert set(shown(browser, "dataset.verdict")) == {"failed"}
    browser.emulate()
    assert browser.pdf().startswith(b"%PDF")
    loaded = "[...document.querySelectorAll('.case.is-failed .pictures img')].every((image) => image.src)"
    assert browser.evaluate(loaded)
