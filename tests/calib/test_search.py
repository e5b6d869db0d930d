"""The search keeps its target, takes in what it can, and says so where nothing does."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_calib.scoring import CEILING, Scores
from adain_calib.search import check_target, foretold, search
from adain_runtime.errors import InputError, QualityError

# Mean squared error of two pairs and share of the multiply-accumulates, layer by layer.
NETWORK = {"a": (1e-4, 2e-4, 0.1), "b": (2e-4, 1e-4, 0.4), "c": (1e-5, 1e-5, 0.2), "d": (4e-4, 4e-4, 0.3)}


def scores_of(errors):
    return Scores(tuple(np.minimum(-10 * np.log10(errors), CEILING).tolist()), (1.0,) * len(errors))


class Additive:
    """Layers whose squared errors add up, times something where they are several; remembers what it was asked."""

    def __init__(self, network, together=1.0):
        self.errors = {name: np.array(values[:-1]) for name, values in network.items()}
        self.macs = {name: values[-1] for name, values in network.items()}
        self.alone = {name: scores_of(errors) for name, errors in self.errors.items()}
        self.together, self.asked = together, []

    def __call__(self, layers):
        self.asked.append(tuple(layers))
        total = np.sum([self.errors[layer] for layer in layers], axis=0)
        return scores_of(total * (self.together if len(layers) > 1 else 1))

    def search(self, target):
        return search(self.alone, self.macs, self, target)

    def total(self, layers):
        return sum(self.macs[layer] for layer in layers)

    def largest(self, target):
        every = chain.from_iterable(combinations(self.errors, count) for count in range(1, len(self.errors) + 1))
        return max(self.total(layers) for layers in every if self(layers).mean_psnr >= target)


def test_all_layers_where_they_keep_the_target_and_in_the_networks_order():
    found = Additive(NETWORK).search(31)
    assert found.layers == ("a", "b", "c", "d")
    assert found.scores.mean_psnr >= 31


@pytest.mark.parametrize("target", [31, 32, 33, 34, 35, 36, 37, 38, 40, 45, 50])
def test_of_a_few_layers_it_finds_the_largest_set(target):
    network = Additive(NETWORK)
    found = network.search(target)
    assert found.scores == network(found.layers)
    assert found.scores.mean_psnr >= target
    assert network.total(found.layers) == pytest.approx(network.largest(target))


def test_a_layer_in_for_another_is_found_where_taking_in_alone_stops():
    # best work for its error: small; but small and large together miss the target, and large alone keeps it
    network = Additive({"small": (1e-5, 0.1), "large": (9.5e-5, 0.9)})
    assert network.search(40).layers == ("large",)


@pytest.mark.parametrize("together", [0.5, 2.0, 8.0])
def test_where_errors_dont_add_up_the_set_that_was_really_run_decides(together):
    network = Additive(NETWORK, together)
    for target in (30, 34, 38):
        found = network.search(target)
        assert found.scores == network(found.layers)
        assert found.scores.mean_psnr >= target


@given(
    layers=st.lists(st.tuples(*[st.floats(1e-6, 1e-3)] * 2, st.floats(0.01, 1)), min_size=1, max_size=6),
    target=st.floats(28, 50),
)
def test_it_keeps_the_target_and_no_layer_more_would(layers, target):
    network = Additive({f"layer{place}": values for place, values in enumerate(layers)})
    if max(scores.mean_psnr for scores in network.alone.values()) < target:
        with pytest.raises(QualityError, match="no convolution can be int8"):
            network.search(target)
        return
    found = network.search(target)
    assert network(found.layers).mean_psnr >= target
    for other in network.errors.keys() - set(found.layers):
        assert network([*found.layers, other]).mean_psnr < target


def test_a_target_that_no_layer_keeps_says_what_is_reachable():
    with pytest.raises(QualityError, match=r"no convolution can be int8 at 60 dB: .* c, leaves 50\.0 dB alone"):
        Additive(NETWORK).search(60)


def test_without_layers_that_may_be_int8_it_says_so():
    with pytest.raises(QualityError, match="there is none between the first and the last"):
        search({}, {}, Additive({}), 35)


@pytest.mark.parametrize("target", [0, -35, float("nan"), float("inf"), CEILING, 1e9])
def test_a_target_that_is_no_psnr_is_refused(target):
    with pytest.raises(InputError, match="out of range; give one over 0 and below 100"):
        check_target(target)


def test_what_is_foretold_is_the_mean_over_pairs_of_errors_that_add_up():
    assert foretold([np.array([1e-3, 1e-4])]) == pytest.approx(35)
    assert foretold([np.array([5e-4, 5e-5])] * 2) == pytest.approx(35)
    assert foretold([]) == CEILING


def test_few_sets_are_run():
    rng = np.random.default_rng(0)
    network = Additive({f"l{i}": (*rng.uniform(1e-6, 1e-4, 3), rng.uniform(0.01, 0.1)) for i in range(16)})
    network.search(35)
    assert len(set(network.asked)) < 60
