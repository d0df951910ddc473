"""Intervals: every draw counted where they can be, and how often they hold the truth of simulated routers."""

import math
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gatescope.analysis.statistics.bootstrap import bootstrap, over_layers, percentiles
from gatescope.analysis.statistics.information import mutual_information_bits
from gatescope.analysis.statistics.load import max_violation
from gatescope.routing.errors import OptionError


def _share(sums_be):
    return sums_be[..., 0] / sums_be.sum(axis=-1)


def _gini(sums_be):
    sorted_be = np.sort(sums_be, axis=-1)
    experts = sums_be.shape[-1]
    rank_e = 2 * np.arange(1, experts + 1) - experts - 1
    return (rank_e * sorted_be).sum(axis=-1) / (experts * sums_be.sum(axis=-1))


def _violation(sums_be):
    return sums_be.max(axis=-1) / sums_be.mean(axis=-1) - 1


def _documents(generator, load_e, *, documents, alike=20.0, tokens=100):
    """Documents of unequal length, each with a load of its own around the router's: alike tokens."""
    own_de = generator.dirichlet(load_e * alike, size=documents)
    return generator.multinomial(1 + generator.poisson(tokens, documents), own_de)


@settings(max_examples=25)
@given(arrays(np.int64, (3, 2), elements=st.integers(1, 9)), st.integers(0, 9))
def test_draws_are_those_of_counting_every_draw(counts_de, seed):
    """Three units: all nine pairs, each 1.5 times its sum, equally likely; outer draws decide the ends."""
    every = np.array([_share(counts_de[list(pair)].sum(axis=0) * 1.5) for pair in product(range(3), repeat=2)])
    found = bootstrap(counts_de, _share, seed=seed, resamples=2000)
    value = _share(counts_de.sum(axis=0))
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == (pytest.approx(every.min()), pytest.approx(every.max()))
    assert found.bias == pytest.approx(every.mean() - value, abs=5 * every.std() / np.sqrt(2000) + 1e-12)


def test_sums_vary_as_sums_of_so_many_units_do_however_few():
    """The variance of a sum of n independent units is n times that of one, in each stratum: no factor (n - 1) / n."""
    generator = np.random.default_rng(0)
    counts_u, strata_u = generator.integers(0, 50, 12), np.repeat([0, 1, 2], [2, 3, 7])
    seen = []

    def total(sums_b):
        seen.append(sums_b)
        return sums_b

    bootstrap(counts_u, total, resamples=40_000, strata_u=strata_u)
    draws = np.concatenate(seen[1:])
    expected = sum(len(part) * part.var(ddof=1) for part in (counts_u[strata_u == s] for s in range(3)))
    assert draws.var() == pytest.approx(expected, rel=0.03)
    assert draws.mean() == pytest.approx(counts_u.sum(), rel=0.01)


def test_correction_takes_off_what_resampling_adds():
    """A square rises by the variance in every draw: the corrected value is the square less the variance."""
    counts_u = np.array([1.0, 3.0, 5.0, 7.0])
    plain = bootstrap(counts_u, np.square, resamples=50_000)
    corrected = bootstrap(counts_u, np.square, resamples=50_000, bias_corrected=True)
    variance = 4 * counts_u.var(ddof=1)
    assert plain.value == 256 and plain.bias == corrected.bias == pytest.approx(variance, rel=0.05)
    assert corrected.value == pytest.approx(256 - variance, rel=0.02)
    assert plain.low - corrected.low == pytest.approx(2 * plain.bias)
    assert plain.high - corrected.high == pytest.approx(plain.bias)
    clipped = bootstrap(counts_u, np.square, bias_corrected=True, bounds=(200, 300))
    assert (clipped.low, clipped.high) == (200, 300)


def _covered(statistic, load_e, *, simulations, bias_corrected=False, seed=1, **shape):
    """Share of simulated studies whose interval holds the statistic of the router itself."""
    generator, truth = np.random.default_rng(seed), statistic(load_e)
    held = 0
    for draw in range(simulations):
        counts_de = _documents(generator, load_e, **shape)
        found = bootstrap(counts_de, statistic, resamples=300, seed=draw, bias_corrected=bias_corrected)
        held += found.low <= truth <= found.high
    return held / simulations


UNEVEN = np.array([0.05, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25])


def test_intervals_of_a_share_hold_it_nineteen_times_of_twenty():
    assert 0.91 <= _covered(_share, UNEVEN, documents=40, simulations=400) <= 0.98


@pytest.mark.parametrize("statistic", [_gini, _violation])
@pytest.mark.parametrize("documents", [15, 40, 100])
def test_corrected_intervals_of_unevenness_hold_it_about_as_often(statistic, documents):
    held = _covered(statistic, UNEVEN, documents=documents, simulations=300, bias_corrected=True)
    assert 0.90 <= held <= 0.98


MANY = np.random.default_rng(5).dirichlet(np.full(32, 5.0))


@pytest.mark.parametrize("statistic", [_gini, _violation])
def test_corrected_intervals_hold_where_documents_are_very_unlike(statistic):
    held = _covered(statistic, MANY, documents=60, alike=10.0, simulations=300, bias_corrected=True)
    assert 0.90 <= held <= 0.99


def test_without_the_correction_noise_passes_for_unevenness():
    assert _covered(_gini, MANY, documents=60, alike=10.0, simulations=200) < 0.6


def test_at_the_end_of_the_range_no_interval_holds_the_truth_as_the_documentation_says():
    assert _covered(_gini, np.full(16, 1 / 16), documents=60, simulations=100, bias_corrected=True) < 0.6


@pytest.mark.slow
def test_tokens_taken_for_the_unit_give_intervals_far_too_narrow():
    generator, held = np.random.default_rng(2), 0
    for draw in range(50):
        counts_de = _documents(generator, UNEVEN, documents=30, alike=5.0)
        expert_t = np.repeat(np.tile(np.arange(8), 30), counts_de.ravel())
        found = bootstrap(np.eye(8)[expert_t], _share, resamples=100, seed=draw)
        held += found.low <= UNEVEN[0] <= found.high
    assert held < 35


def test_strata_keep_what_differs_between_them_out_of_the_interval():
    counts_de, strata_d = np.repeat([[9, 1], [2, 8]], 10, axis=0), np.repeat([4, 7], 10)
    within = bootstrap(counts_de, _share, strata_u=strata_d)
    assert within.low == pytest.approx(0.55) and within.high == pytest.approx(0.55)
    free = bootstrap(counts_de, _share)
    assert free.high - free.low > 0.2


def test_groups_are_summed_apart_and_are_the_strata():
    counts_de, groups_d = np.repeat([[9, 1], [2, 8]], 10, axis=0), np.repeat([4, 7], 10)
    found = bootstrap(counts_de, _share, groups_u=groups_d)
    np.testing.assert_allclose(found.value, [0.9, 0.2])
    np.testing.assert_allclose(found.high, [0.9, 0.2])
    more_de, more_d = np.concatenate([counts_de, [[500, 0]]]), np.append(groups_d, -1)
    np.testing.assert_array_equal(bootstrap(more_de, _share, groups_u=more_d), found)
    mixed_d = np.arange(20) % 2
    assert (bootstrap(counts_de, _share, groups_u=mixed_d).value == [0.55, 0.55]).all()


def test_information_about_groups_is_inflated_and_corrected():
    generator = np.random.default_rng(3)
    counts_de = _documents(generator, UNEVEN, documents=60)
    groups_d = np.arange(60) % 5
    plain = bootstrap(counts_de, mutual_information_bits, groups_u=groups_d)
    corrected = bootstrap(counts_de, mutual_information_bits, groups_u=groups_d, bias_corrected=True, bounds=(0, 3))
    assert plain.low > 0.01 > corrected.low
    assert corrected.low == 0


def test_functions_of_layers_serve_and_absent_experts_stay_absent():
    counts_dle = np.ma.MaskedArray(np.array([[[2, 2, 0], [1, 2, 3]]] * 4), mask=[[[0, 0, 1], [0, 0, 0]]] * 4)
    found = bootstrap(counts_dle, over_layers(max_violation))
    np.testing.assert_allclose([found.value, found.low, found.high], [[0, 0.5]] * 3)
    np.testing.assert_allclose(found.bias, [0, 0], atol=1e-12)


def test_several_tables_are_drawn_together():
    counts_de, tokens_d = np.array([[1, 4], [2, 8], [3, 12]]), np.array([5, 10, 15])
    found = bootstrap((counts_de, tokens_d), lambda sums_be, tokens_b: sums_be / tokens_b[:, None])
    np.testing.assert_allclose([found.value, found.low, found.high], [[0.2, 0.8]] * 3)


def test_a_group_lies_inside_its_interval_and_a_higher_level_is_wider():
    counts_de = _documents(np.random.default_rng(4), UNEVEN, documents=30)
    narrow, wide = (bootstrap(counts_de, _share, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_the_same_seed_gives_the_same_and_chunks_do_not_show(monkeypatch):
    counts_de, strata_d = _documents(np.random.default_rng(6), UNEVEN, documents=20), np.arange(20) % 3
    whole = bootstrap(counts_de, _gini, resamples=50, seed=3, strata_u=strata_d)
    assert bootstrap(counts_de, _gini, resamples=50, seed=3, strata_u=strata_d) == whole
    assert bootstrap(counts_de, _gini, resamples=50, seed=4, strata_u=strata_d) != whole
    monkeypatch.setattr("gatescope.analysis.statistics.bootstrap._CHUNK_CELLS", 1)
    np.testing.assert_allclose(bootstrap(counts_de, _gini, resamples=50, seed=3, strata_u=strata_d), whole, atol=1e-12)


@pytest.mark.parametrize("strata_u", [None, np.array([0, 0, 0, 1])])
def test_a_unit_alone_has_a_value_and_no_interval(strata_u):
    counts_de = np.array([[1, 3]] * (1 if strata_u is None else 4))
    found = bootstrap(counts_de, _share, strata_u=strata_u)
    assert found.value == 0.25
    assert np.isnan([found.low, found.high, found.bias]).all()


def test_a_layer_without_assignments_is_undefined_and_the_others_are_not():
    found = bootstrap(np.array([[[0, 0], [1, 3]]] * 5), over_layers(max_violation), bias_corrected=True)
    for values in found:
        assert np.isnan(values).tolist() == [True, False]


def test_no_units_at_all_are_undefined():
    assert np.isnan(bootstrap(np.zeros((0, 2, 3)), over_layers(max_violation)).value).tolist() == [True, True]


def test_a_statistic_that_draws_often_leave_undefined_has_no_interval():
    """One of four documents reaches the layer: 27 draws in 64 miss it."""
    counts_dle = np.zeros((4, 1, 2))
    counts_dle[0] = [1, 3]
    found = bootstrap(counts_dle, over_layers(max_violation))
    assert found.value[0] == 0.5 and np.isnan([found.low[0], found.high[0]]).all()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"resamples": 0}, "0 draws"),
        ({"level": 95}, "level of 95"),
        ({"strata_u": np.zeros(3, int)}, "one stratum per unit"),
        ({"groups_u": np.zeros(4)}, "group of type float64"),
        ({"statistic": lambda sums_be: sums_be.sum()}, "answers 1 draws"),
        ({"counts_u": (np.ones((4, 2)), np.ones(3))}, "the same units"),
        ({"counts_u": np.array(3)}, "the same units"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, complaint):
    with pytest.raises(OptionError, match=complaint):
        bootstrap(**({"counts_u": np.ones((4, 2)), "statistic": _share} | options))


def test_a_large_study_takes_seconds():
    counts_dle = np.random.default_rng(7).integers(0, 100, (500, 16, 64))
    started = time.perf_counter()
    bootstrap(counts_dle, over_layers(max_violation), bias_corrected=True)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("draws", [1, 2, 7, 100, 1000])
def test_ends_of_the_middle_are_those_of_the_draws_in_order(draws, level):
    generator = np.random.default_rng(draws)
    draws_bc = generator.integers(0, 20, (draws, 70)) / 7  # many ties
    draws_bc[generator.random(draws_bc.shape) < 0.03] = np.nan
    draws_bc[:, 3], draws_bc[:, 4] = np.inf, np.nan
    found = percentiles(draws_bc.reshape(draws, 7, 10), level)
    for column, (low, high) in enumerate(zip(*(each.ravel() for each in found), strict=True)):
        known = sorted(draws_bc[~np.isnan(draws_bc[:, column]), column])
        if not known or len(known) < level * draws:
            assert np.isnan([low, high]).all()
        else:
            last = len(known) - 1
            expected = known[math.floor((1 - level) / 2 * last)], known[math.ceil((1 + level) / 2 * last)]
            assert (low, high) == expected
