"""The page of a run as text: whole, safe whatever the names, self-contained, and readable in its colours."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adain_parity import page as page_module
from adain_parity.curve_plot import curve_svg
from adain_parity.embedded_pictures import REDUCED_SIDE, embed_pictures
from adain_parity.page import parity_page
from adain_parity.results import LayerError, Pictures
from runs import BLAME, CRASHED, FAILED, SKIPPED, a_case, a_run, draw_pictures, every_verdict, large_run

VOID = {"meta", "img", "input"}
CSS = (Path(page_module.__file__).with_name("page") / "page.css").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Tags as they open and text as it stands, with a complaint about any tag that closes out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_tag_is_closed_and_every_name_is_given_once(tmp_path):
    for run in (every_verdict(), large_run(tmp_path, 60), a_run(), a_run(SKIPPED, required=("trt",))):
        page = Page(parity_page(run, tmp_path))
        ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
        assert len(ids) == len(set(ids))
        assert sum(attributes.get("class", "").startswith("case ") for attributes in page.attributes("details")) == len(
            run.cases
        )
        links = {attributes["href"] for attributes in page.attributes("a")}
        assert links == {f"#case-{case.id}" for case in run.cases}


def test_nothing_on_the_page_is_from_elsewhere(tmp_path):
    html = parity_page(large_run(tmp_path, 60), tmp_path)
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object", "embed", "base"}
    for _, attributes in page.tags:
        assert not {"src", "srcset", "action", "formaction", "background"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in html
    assert "@import" not in html
    policy = next(a["content"] for a in page.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_names_that_look_like_html_stay_text(tmp_path):
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"
    case = replace(FAILED, id="e", backend=evil, model=evil, style=evil, reason=evil, device=evil, last_words=evil)
    case = replace(case, blame=replace(BLAME, sentence=evil, layer=evil, curve=(LayerError(evil, 0, 1.0, 0.1),)))
    page = Page(parity_page(a_run(case, command=evil, tools={evil: evil}), tmp_path))
    assert len(page.attributes("script")) == 2
    assert page.attributes("img") == []
    assert any(evil in text for text in page.texts)


def test_the_page_says_what_was_compared_and_how(tmp_path):
    text = " ".join(Page(parity_page(every_verdict(), tmp_path)).texts)
    for said in (
        "4 of 5 cases do not hold against PyTorch",
        "Matrix made-up: 6 cases of 1 network in 4 min 12 s, 2026-01-02 03:04:05 UTC.",
        "torch 0.0 in float32 on cpu",
        "adain-parity run --matrix made-up",
        "a made-up processor",
        "died of signal 11 (SIGSEGV) in the stylizer",
        "Segmentation fault & more",
        "stylizer, 12.3 ms in one run, loading included",
        BLAME.sentence,
    ):
        assert said in text


def test_a_picture_is_embedded_once_however_many_cases_show_it(tmp_path):
    (tmp_path / "pictures").mkdir()
    case = a_case()
    drawn = draw_pictures(tmp_path, 1, case)
    cases = [replace(case, id=name, pictures=drawn) for name in "abc"]
    found = embed_pictures(cases, tmp_path)
    assert len(found.uris) == 5
    assert found.shown["a"] == found.shown["c"]
    assert (found.missing, found.reduced) == ((), 0)
    kind, _, data = found.uris[found.shown["a"].reference].partition(",")
    assert kind == "data:image/webp;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(float)
    made = np.asarray(Image.open(tmp_path / drawn.reference)).astype(float)
    assert np.abs(shown - made).mean() < 4
    html = parity_page(a_run(*cases), tmp_path)
    stored = json.loads(re.search(r'<script type="application/json" id="pictures">(.*?)</script>', html, re.DOTALL)[1])
    assert stored == list(found.uris)


def test_a_dark_difference_is_embedded_without_loss(tmp_path):
    rng = np.random.default_rng(3)
    made = (rng.random((96, 96, 3)) < 0.02).astype(np.uint8) * 8
    Image.fromarray(made).save(tmp_path / "d.png")
    pictures = Pictures("none.png", "none.png", "none.png", None, "d.png")
    found = embed_pictures([a_case(pictures=pictures)], tmp_path)
    data = found.uris[found.shown["a"].difference].partition(",")[2]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), made)
    assert found.missing == ("none.png",)


def test_a_page_stays_light_and_the_last_cases_pay_for_it(tmp_path):
    run = large_run(tmp_path, 6, side=192)
    cases = [case for case in run.cases if case.pictures]
    whole = embed_pictures(cases, tmp_path)
    half = sum(len(uri) for uri in whole.uris) * 3 // 8
    light = embed_pictures(cases, tmp_path, budget=half)
    assert whole.reduced == 0 < light.reduced
    assert sum(map(len, light.uris)) < sum(map(len, whole.uris))
    sizes = [max(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size) for uri in light.uris]
    assert sizes[0] == 192
    assert sizes[-1] == REDUCED_SIDE


def test_pictures_that_are_not_there_or_not_beneath_are_named_and_not_followed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (folder / "broken.png").write_bytes(b"no picture")
    case = a_case(pictures=Pictures("../secret.png", str(tmp_path / "secret.png"), "gone.png", "broken.png"))
    found = embed_pictures([case], folder)
    assert found.uris == ()
    assert set(found.missing) == {"../secret.png", str(tmp_path / "secret.png"), "gone.png", "broken.png"}
    html = parity_page(a_run(case), folder)
    assert "4 pictures are not where the run says they are" in html
    assert "gone.png is not there" in html


def test_a_case_that_gave_no_picture_says_so(tmp_path):
    (tmp_path / "pictures").mkdir()
    case = replace(CRASHED, pictures=draw_pictures(tmp_path, 1, CRASHED))
    assert parity_page(a_run(case), tmp_path).count("no picture came out") == 2


def curve(*errors, tolerance=1e-3):
    return [LayerError(f"encoder.conv{i}", i, error, tolerance) for i, error in enumerate(errors)]


def test_a_curve_rises_where_the_error_does_and_marks_the_blamed_layer():
    svg = curve_svg(curve(1e-6, 1e-5, 1e-2, None), blamed="encoder.conv2", label="error")
    heights = [float(y) for y in re.findall(r'<circle [^>]*cy="([\d.]+)"', svg)]
    assert heights == sorted(heights, reverse=True)
    allowed = float(re.search(r'class="tolerance" d="M[\d.]+ ([\d.]+)', svg)[1])
    assert heights[1] > allowed > heights[2]
    assert svg.count("cross") == 1
    assert svg.count('class="error"') == 1
    assert "<title>encoder.conv2: 0.01, allowed 0.001</title>" in svg
    assert svg.count(">encoder.conv2</text>") == 1
    assert 'aria-label="error"' in svg


@pytest.mark.parametrize(
    "errors", [(0.0,), (None,), (0.0, 0.0), (1e30, 1e-30), (1e-3, 1e-3), tuple(1e-4 for _ in range(300))]
)
def test_every_point_of_a_curve_is_within_the_plot(errors):
    svg = curve_svg(curve(*errors), blamed=None, label="error")
    for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg):
        assert 0 < float(x) < 760
        assert 20 < float(y) < 270
    assert "nan" not in svg
    assert len(re.findall(r'class="layer"', svg)) <= 30


def luminance(color: str) -> float:
    wide = color if len(color) == 7 else "#" + "".join(2 * digit for digit in color[1:])
    parts = [int(wide[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_accessibility_asks_for(scheme):
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", blocks[0 if scheme == "light" else 1]))
    for text in ("ink", "quiet", "bad", "good", "slow"):
        for ground in ("paper", "card"):
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    pairs = (("on-solid", "bad"), ("on-solid", "slow"), ("good", "good-wash"), ("quiet", "idle-wash"))
    for text, ground in pairs:
        assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    assert contrast(colors["focus"], colors["paper"]) >= 3
