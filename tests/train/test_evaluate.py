"""Evaluation: a row against its losses written out, pairs that are balanced, and examples that are what they say."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from adain_model import Network
from adain_runtime.errors import InputError, QualityError
from adain_train.evaluate import choose_pairs, evaluate
from adain_train.losses import Perceptual
from adain_train.squares import to_pixels
from networks import SPECS, make_network


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(1, 3, 24, 24, generator=generator) for _ in range(5)]


@pytest.fixture
def perceptual(teacher):
    return Perceptual(teacher.encoder)


@pytest.fixture
def student() -> Network:
    return make_network(SPECS["strided"], seed=8)


def wide(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


@pytest.mark.parametrize(("contents", "styles"), [(3, 4), (4, 2), (5, 5), (1, 1), (20, 23)])
def test_all_pairs_are_each_pair_once(contents, styles):
    pairs = choose_pairs(contents, styles, None, seed=0)
    assert sorted(pairs) == sorted(product(range(contents), range(styles)))


def test_a_subset_of_pairs_uses_contents_and_styles_evenly_and_is_the_seeds_own():
    pairs = choose_pairs(5, 7, 10, seed=1)
    assert len(pairs) == 10
    assert all(sum(pair[0] == content for pair in pairs) == 2 for content in range(5))
    assert len({style for _, style in pairs[:7]}) == 7
    assert pairs == choose_pairs(5, 7, None, seed=1)[:10]
    assert pairs != choose_pairs(5, 7, 10, seed=2)


@pytest.mark.parametrize(("contents", "styles"), [(20, 23), (4, 23), (10, 40), (6, 4)])
def test_any_first_part_has_each_content_and_style_as_often_as_every_other_or_once_more(contents, styles):
    pairs = choose_pairs(contents, styles, None, seed=3)
    for count in range(1, len(pairs) + 1):
        for side, number in ((0, contents), (1, styles)):
            used = Counter(pair[side] for pair in pairs[:count])
            assert max(used.values()) - min(used.get(each, 0) for each in range(number)) <= 1


@pytest.mark.parametrize("count", [0, 7])
def test_a_subset_larger_than_all_pairs_or_empty_is_refused(count):
    with pytest.raises(InputError, match="give 1 to 6"):
        choose_pairs(2, 3, count, seed=0)


def test_a_models_row_is_the_papers_losses_of_its_outputs_written_out(images, perceptual, student):
    contents, styles, pairs = images[:2], images[2:4], [(0, 1), (1, 0)]
    found = evaluate({"student": student}, perceptual, contents, styles, pairs, examples=0)
    content_losses, style_losses, kept = [], [], []
    for c, s in pairs:
        output = student(contents[c], styles[s]).clamp(0, 1)
        taps, wanted = perceptual.taps(output), perceptual.taps(styles[s])
        features = perceptual.taps(contents[c])[-1]
        x, y = wide(features), wide(wanted[-1])
        std_x, std_y = (np.sqrt(v.var(axis=(2, 3), ddof=1, keepdims=True) + 1e-5) for v in (x, y))
        target = (x - x.mean((2, 3), keepdims=True)) / std_x * std_y + y.mean((2, 3), keepdims=True)
        content_losses.append(np.mean((wide(taps[-1]) - target) ** 2))
        kept.append(np.mean((wide(taps[-1]) - x) ** 2))
        style_losses.append(
            sum(
                np.mean((f.mean((2, 3)) - w.mean((2, 3))) ** 2)
                + np.mean(
                    (np.sqrt(f.var(axis=(2, 3), ddof=1) + 1e-5) - np.sqrt(w.var(axis=(2, 3), ddof=1) + 1e-5)) ** 2
                )
                for f, w in zip(map(wide, taps), map(wide, wanted), strict=True)
            )
        )
    row = found.rows[1]
    assert (row.name, row.pairs) == ("student", 2)
    assert row.mean.content == pytest.approx(np.mean(content_losses), rel=1e-4)
    assert row.mean.style == pytest.approx(np.mean(style_losses), rel=1e-4)
    assert row.mean.to_content == pytest.approx(np.mean(kept), rel=1e-4)
    assert row.error.style == pytest.approx(np.std(style_losses, ddof=1) / np.sqrt(2), rel=1e-3)
    assert row.parameters == sum(parameter.numel() for parameter in student.parameters())
    assert row.macs_per_pixel > 0
    assert row.milliseconds > 0


def test_the_others_losses_are_compared_with_one_models_pair_by_pair(images, perceptual, student):
    pairs = [(0, 0), (0, 1), (1, 0)]
    models = {"a": student, "b": make_network(SPECS["pooled"])}
    found = evaluate(models, perceptual, images[:2], images[2:4], pairs, examples=1, against="a")
    rows = {row.name: row for row in found.rows}
    assert list(found.scores) == list(rows) == ["no style", "a", "b"]
    for name, row in rows.items():
        scores = [found.scores[name][pair] for pair in pairs]
        assert row.mean.content == pytest.approx(np.mean([score.content for score in scores]))
        assert row.mean.style == pytest.approx(np.mean([score.style for score in scores]))
    assert rows["a"].times is None
    for name in ("no style", "b"):
        ratios = rows[name].times
        assert ratios.content == pytest.approx(rows[name].mean.content / rows["a"].mean.content)
        assert ratios.style == pytest.approx(rows[name].mean.style / rows["a"].mean.style)
        assert ratios.style_error > 0
    shown = {row.name: row for row in found.examples}
    assert shown["b"].times.style == pytest.approx(shown["b"].mean.style / shown["a"].mean.style)
    assert shown["b"].times.style_error is None
    alone = evaluate(models, perceptual, images[:2], images[2:4], pairs)
    assert {row.times for row in alone.rows} == {None}


def test_no_style_is_the_content_itself(images, perceptual):
    row = evaluate({}, perceptual, images[:1], images[1:], [(0, 0), (0, 3)]).rows[0]
    assert row.name == "no style"
    assert (row.mean.to_content, row.mean.vgg_distance) == (0, 0)
    assert row.mean.ssim == pytest.approx(1)
    assert row.mean.style > 0
    assert row.milliseconds is None


def test_the_optimisation_is_measured_after_its_steps_on_the_example_pairs(images, perceptual, student):
    pairs = [(0, 0), (1, 1), (0, 1)]
    found = evaluate({"s": student}, perceptual, images[:2], images[2:4], pairs, examples=2, steps=(3, 20))
    assert found.example_pairs == ((0, 0), (1, 1))
    assert [row.name for row in found.rows] == ["no style", "s"]
    rows = {row.name: row for row in found.examples}
    assert list(rows) == ["no style", "s", "optimisation, 3 steps", "optimisation, 20 steps"]
    assert {row.pairs for row in found.examples} == {2}
    for step in (3, 20):
        row = rows[f"optimisation, {step} steps"]
        assert row.mean.content == pytest.approx(np.mean([run.content[step] for run in found.optimised]), rel=1e-5)
        assert row.mean.style == pytest.approx(np.mean([run.style[step] for run in found.optimised]), rel=1e-5)
    assert rows["optimisation, 20 steps"].mean.style < rows["no style"].mean.style
    start = [run.content[0] for run in found.optimised]
    assert rows["no style"].mean.content == pytest.approx(np.mean(start), rel=1e-5)


def test_the_sheets_pictures_are_the_examples_in_the_order_of_their_rows(images, perceptual, student):
    found = evaluate({"s": student}, perceptual, images[:2], images[2:4], [(1, 0)], examples=1, steps=(2,))
    content, style, stylised, optimised = found.sheet[0]
    np.testing.assert_array_equal(content, to_pixels(images[1]))
    np.testing.assert_array_equal(style, to_pixels(images[2]))
    np.testing.assert_allclose(stylised, to_pixels(student(images[1], images[2]).clamp(0, 1)), atol=1)
    np.testing.assert_array_equal(optimised, to_pixels(found.optimised[0].images[2]))


def test_an_output_that_is_not_finite_names_the_model(images, perceptual, student):
    with torch.no_grad():
        student.decoder.conv1_2.bias.fill_(float("nan"))
    with pytest.raises(QualityError, match="broken: its output"):
        evaluate({"broken": student}, perceptual, images[:1], images[1:2], [(0, 0)])


def test_a_size_that_a_model_does_not_take_is_refused(perceptual, student):
    image = torch.zeros(1, 3, 20, 20)
    with pytest.raises(InputError, match="s: the image is 20x20"):
        evaluate({"s": student}, perceptual, [image], [image], [(0, 0)])
