"""Means over pairs: standard errors that hold where pairs share contents and styles, ratios, and means by style."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from adain_train.pair_statistics import standard_error, style_means, times

CONTENTS, STYLES = 12, 15
CROSSED = list(product(range(CONTENTS), range(STYLES)))


def drawn(rng: np.random.Generator, of_content: float, of_style: float, of_pair: float) -> np.ndarray:
    """[N] values of crossed pairs, made of what their content, their style and the pair itself add."""
    contents, styles = rng.normal(0, of_content, CONTENTS), rng.normal(0, of_style, STYLES)
    return np.array([contents[c] + styles[s] for c, s in CROSSED]) + rng.normal(0, of_pair, len(CROSSED))


def test_pairs_that_share_nothing_have_the_usual_standard_error():
    values = np.random.default_rng(1).normal(size=(30, 2))
    found = standard_error(values, [(i, i) for i in range(30)])
    np.testing.assert_allclose(found, values.std(axis=0, ddof=1) / np.sqrt(30))


@pytest.mark.parametrize("parts", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 1, 0.7)], ids=str)
def test_it_is_the_spread_of_the_mean_over_other_contents_and_styles(parts):
    """Drawn 800 times: the mean square of the errors found is the variance of the means."""
    rng = np.random.default_rng(2)
    runs = [drawn(rng, *parts) for _ in range(800)]
    true = np.std([run.mean() for run in runs])
    found = np.sqrt(np.mean([standard_error(run, CROSSED) ** 2 for run in runs]))
    too_large = 1.25 if parts == (0, 0, 1) else 1.08  # of the three sums the largest is taken, by chance or not
    assert 0.92 * true < found < too_large * true


def test_where_all_pairs_have_one_content_styles_are_what_varies():
    values = np.random.default_rng(3).normal(size=20)
    expected = values.std(ddof=1) / np.sqrt(20)
    assert standard_error(values, [(0, s) for s in range(20)]) == pytest.approx(expected)
    assert standard_error(values, [(c, 0) for c in range(20)]) == pytest.approx(expected)


def test_a_ratio_is_that_of_the_means_and_what_is_hard_for_both_drops_out_of_its_error():
    hard = 3 + drawn(np.random.default_rng(4), 0.5, 1, 0.1) ** 2
    ratio, error = times(1.5 * hard, hard, CROSSED)
    assert ratio == pytest.approx(1.5)
    assert error == pytest.approx(0, abs=1e-12)
    assert standard_error(hard, CROSSED) > 0.1


def test_the_error_of_a_ratio_is_its_spread_over_other_contents_and_styles():
    rng, ratios, errors = np.random.default_rng(5), [], []
    for _ in range(800):
        hard = 5 + drawn(rng, 0.3, 0.5, 0.1)
        ratio, error = times(1.3 * hard + drawn(rng, 0.1, 0.3, 0.2), hard, CROSSED)
        ratios.append(ratio)
        errors.append(error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(ratios), rel=0.07)


def test_means_by_style_are_of_the_styles_that_occur():
    values = np.array([[1.0, 10], [2, 20], [3, 30], [7, 70]])
    styles, means = style_means(values, [(0, 4), (1, 2), (1, 4), (0, 9)])
    assert styles == [2, 4, 9]
    np.testing.assert_array_equal(means, [[2, 20], [2, 20], [7, 70]])
