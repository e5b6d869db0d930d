"""The list of pairs: balanced, from a seed, and the same when it comes back from its file."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_calib.images import ImageFile
from adain_calib.pairs import Pairs, draw_pairs, plain_pairs, style_uses
from adain_runtime.errors import InputError


def images(count, kind="image"):
    return tuple(ImageFile(f"{kind}{i}.jpg", f"{i:064x}") for i in range(count))


def drawn(contents=3, styles=4, count=20, seed=0, **more):
    return draw_pairs(images(contents), images(styles), count, seed=seed, size=64, **more)


COUNTS = st.integers(1, 40)


@given(COUNTS, COUNTS, st.integers(1, 90), st.integers(0, 2**40))
def test_every_content_and_every_style_is_used_equally_often_or_once_more(contents, styles, count, seed):
    pairs = drawn(contents, styles, count, seed)
    assert len(pairs.samples) == count
    for total, uses in (
        (contents, Counter(sample.content for sample in pairs.samples)),
        (styles, Counter(style for sample in pairs.samples for style in sample.styles)),
    ):
        often = [uses[i] for i in range(total)]
        assert max(often) - min(often) <= 1


@given(st.integers(1, 9), st.integers(1, 90), st.integers(0, 99))
def test_half_of_the_pairs_have_alpha_1_and_a_quarter_mix_two_styles(styles, count, seed):
    samples = drawn(styles=styles, count=count, seed=seed).samples
    assert sum(sample.alpha == 1 for sample in samples) >= count / 2
    mixes = [sample for sample in samples if len(sample.styles) == 2]
    assert len(mixes) == (count // 4 if styles > 1 else 0)
    assert sum(len(sample.styles) for sample in samples) <= style_uses(count)
    for sample in mixes:
        assert sample.styles[0] != sample.styles[1]
    for sample in samples:
        assert sum(sample.weights) == pytest.approx(1)
        assert 0 <= sample.alpha <= 1


def test_alpha_comes_from_the_whole_of_the_specs_range():
    alphas = [sample.alpha for sample in drawn(count=200, alpha_range=(-0.5, 2.0)).samples]
    assert alphas.count(1.0) >= 100
    assert min(alphas) < -0.3
    assert max(alphas) > 1.8
    assert {sample.alpha for sample in drawn(count=1, alpha_range=(0.0, 0.5)).samples} == {0.5}


def test_the_same_seed_gives_the_same_pairs_and_another_gives_others():
    assert drawn(seed=3) == drawn(seed=3)
    assert drawn(seed=3).digest == drawn(seed=3).digest
    assert drawn(seed=3).samples != drawn(seed=4).samples


def test_plain_pairs_are_contents_decoded_as_themselves_as_many():
    pairs = plain_pairs(images(3), 20, seed=0, size=64)
    assert len(pairs.samples) == 20
    assert pairs.styles == ()
    assert {(sample.styles, sample.weights, sample.alpha) for sample in pairs.samples} == {((), (), 0.0)}
    assert sorted(Counter(sample.content for sample in pairs.samples).values()) == [6, 7, 7]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contents": 0}, "no content images"),
        ({"styles": 0}, "no style images"),
        ({"count": 0}, "0 pairs"),
        ({"seed": -1}, "seed of -1"),
    ],
)
def test_nothing_to_draw_from_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        drawn(**change)


def test_a_size_under_64_is_refused():
    with pytest.raises(InputError, match="size of 32 pixels"):
        draw_pairs(images(1), images(1), 4, seed=0, size=32)


def test_few_pairs_and_single_images_are_warned_about():
    assert drawn(count=64).warnings() == []
    few, content, style = drawn(contents=1, styles=1, count=63).warnings()
    assert "63 pairs are few" in few
    assert "one content image, image0.jpg" in content
    assert "one style image, image0.jpg" in style


@pytest.mark.parametrize("pairs", [drawn(), plain_pairs(images(2), 4, seed=1, size=64)])
def test_a_list_comes_back_from_its_file_with_its_digest(pairs, tmp_path):
    path = tmp_path / "pairs.json"
    pairs.save(path)
    assert Pairs.load(path) == pairs
    assert Pairs.load(path).digest == pairs.digest


def change(plain, where, value):
    *parents, last = where
    for key in parents:
        plain = plain[key]
    if value is None:
        del plain[last]
    else:
        plain[last] = value


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (["seed"], None, "no field seed"),
        (["surplus"], 1, "unknown field surplus"),
        (["schema_version"], 2, "newer"),
        (["schema_version"], True, "schema_version"),
        (["size"], 8, "size: expected a whole number, at least 64"),
        (["contents"], [], "at least one content"),
        (["contents", 0, "name"], "../a.jpg", "without a folder"),
        (["contents", 0, "sha256"], "abc", r"contents\[0\]\.sha256"),
        (["samples"], {}, "expected a list"),
        (["samples", 1, "content"], 3, r"samples\[1\]\.content.*below 3"),
        (["samples", 1, "styles"], [9], "below 4"),
        (["samples", 0, "weights"], [], "one for each style"),
        (["samples", 0, "weights"], [-1.0], "one for each style"),
        (["samples", 0, "alpha"], "1", "finite number"),
        (["samples", 0, "alpha"], float("nan"), "finite number"),
    ],
)
def test_a_list_edited_into_nonsense_is_refused_and_names_the_file_and_the_field(tmp_path, where, value, said):
    path = tmp_path / "pairs.json"
    plain = json.loads(draw_pairs(images(3), images(4), 4, seed=5, size=64).to_json())
    change(plain, where, value)
    path.write_text(json.dumps(plain))
    with pytest.raises(InputError, match=rf"pairs\.json: .*{said}"):
        Pairs.load(path)
