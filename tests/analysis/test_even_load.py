"""The sorted load of an even router, held against routers that draw at random."""

import numpy as np
import pytest

from gatescope.analysis.comparison.even_load import even_lorenz, even_ranks
from gatescope.routing.errors import OptionError


def drawn(experts, k, tokens, draws, seed=0):
    """Mean sorted relative load of routers that give every token k experts at random."""
    generator = np.random.default_rng(seed)
    sorted_de = np.empty((draws, experts))
    for draw in range(draws):
        chosen = generator.random((tokens, experts)).argsort(axis=1)[:, :k]
        sorted_de[draw] = np.sort(np.bincount(chosen.ravel(), minlength=experts)) * experts / (tokens * k)
    return sorted_de.mean(axis=0)


def test_sorted_loads_are_those_of_routers_that_draw():
    experts, k, tokens = 32, 4, 1000
    cv = np.sqrt((1 - k / experts) / (k / experts * tokens))
    assert even_ranks(experts, cv) == pytest.approx(drawn(experts, k, tokens, draws=300), abs=0.01)
    assert cv == pytest.approx(0.0837, abs=1e-4)  # so large that equal loads would be off by 0.17


def test_the_curve_is_the_sum_of_the_ranks():
    assert np.diff(even_lorenz(16, 0.2)) * 16 == pytest.approx(even_ranks(16, 0.2))
    assert even_lorenz(16, 0.2)[[0, -1]] == pytest.approx([0, 1])
    assert (np.diff(even_ranks(16, 0.2)) > 0).all()


def test_one_expert_has_it_all_and_none_is_below_zero():
    assert even_ranks(1, 0.3).tolist() == [1.0]
    assert even_ranks(64, 2.0).min() == 0.0
    assert even_ranks(64, 2.0).mean() == pytest.approx(1)


@pytest.mark.parametrize("cv", [-0.1, float("nan")])
def test_a_noise_floor_that_is_none_is_refused(cv):
    with pytest.raises(OptionError, match="noise floor"):
        even_ranks(4, cv)
