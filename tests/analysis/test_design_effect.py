"""Is the text enough: published figures, other implementations, and simulated documents whose alikeness is known."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway

from gatescope.analysis.statistics.bootstrap import bootstrap, over_layers
from gatescope.analysis.statistics.design_effect import design_effect, rarefaction, split_half, tokens_needed
from gatescope.analysis.statistics.load import max_violation
from gatescope.routing import RouterRule
from gatescope.routing.errors import OptionError


def _rule(experts, k, layer=0):
    return RouterRule(layer=layer, block=0, module="mlp", experts=experts, k=k, score="softmax")


def _shares(sums_be):
    return sums_be / sums_be.sum(axis=-1, keepdims=True)


def _alike(generator, rate, correlation, tokens_d):
    """Tokens of each document that use an expert; any two of a document have the given correlation."""
    spread = 1 / correlation - 1
    return generator.binomial(tokens_d, generator.beta(rate * spread, (1 - rate) * spread, size=len(tokens_d)))


documents = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=2, max_size=6)


@settings(max_examples=60)
@given(documents)
def test_correlation_is_that_of_an_analysis_of_variance_over_the_tokens(pairs):
    tokens_d = np.array([tokens for tokens, _ in pairs])
    count_d = np.array([min(count, tokens) for tokens, count in pairs])
    tokens, units = tokens_d.sum(), len(tokens_d)
    rows = [np.repeat([1.0, 0.0], [count, size - count]) for count, size in zip(count_d, tokens_d, strict=True)]
    assume(tokens > units and any(row.std() > 0 for row in rows) and 0 < count_d.sum() < tokens)
    ratio = f_oneway(*rows).statistic
    size = (tokens - (tokens_d**2).sum() / tokens) / (units - 1)
    assert design_effect(count_d, tokens_d).correlation == pytest.approx((ratio - 1) / (ratio + size - 1), abs=1e-9)


@pytest.mark.parametrize(("correlation", "factor"), [(0.01, 6), (0.05, 26)])
def test_published_factors_for_documents_of_500_tokens(correlation, factor):
    tokens_d = np.full(4000, 500)
    found = design_effect(_alike(np.random.default_rng(0), 0.125, correlation, tokens_d), tokens_d)
    assert found.correlation == pytest.approx(correlation, rel=0.1)
    assert found.factor == pytest.approx(factor, rel=0.08)
    assert found.effective_tokens == pytest.approx(2_000_000 / factor, rel=0.08)


def test_the_error_is_how_much_rates_of_unequal_documents_vary():
    generator = np.random.default_rng(1)
    tokens_d = generator.choice([5, 40, 300], size=150)
    found = [design_effect(_alike(generator, 0.2, 0.04, tokens_d), tokens_d) for _ in range(300)]
    assert np.std([one.rate for one in found]) == pytest.approx(np.mean([one.error for one in found]), rel=0.12)


def test_the_error_agrees_with_the_bootstrap():
    generator = np.random.default_rng(2)
    tokens_d = generator.integers(50, 300, size=200)
    count_d = _alike(generator, 0.3, 0.05, tokens_d)
    interval = bootstrap((count_d, tokens_d), lambda counts_b, tokens_b: counts_b / tokens_b)
    assert (interval.high - interval.low) / 3.92 == pytest.approx(design_effect(count_d, tokens_d).error, rel=0.15)


def test_every_expert_of_every_layer_has_its_own():
    tokens_d = np.array([10, 10, 10])
    counts_dle = np.array([[[10, 5, 0]], [[0, 5, 0]], [[0, 5, 0]]])
    masked = np.ma.MaskedArray(np.pad(counts_dle, ((0, 0), (0, 0), (0, 1))), mask=[[[0, 0, 0, 1]]] * 3)
    found = design_effect(masked, tokens_d)
    np.testing.assert_allclose(found.factor, [[10, 1, np.nan, np.nan]])
    np.testing.assert_allclose(found.rate, [[1 / 3, 0.5, 0, np.nan]])
    by_layer = design_effect(counts_dle, tokens_d[:, None])
    np.testing.assert_allclose(by_layer.factor, found.factor[:, :3])


def test_tokens_alone_in_their_documents_are_independent_and_one_document_tells_nothing():
    single = design_effect(np.array([1, 0, 0, 1]), np.ones(4))
    assert (single.factor, single.effective_tokens) == (1, 4) and np.isnan(single.correlation)
    assert single.error == pytest.approx(0.25)
    for counts_d, tokens_d in (([3], [9]), ([3, 0], [9, 0]), ([0, 0], [0, 0])):
        alone = design_effect(np.array(counts_d), np.array(tokens_d))
        assert np.isnan([alone.factor, alone.correlation, alone.effective_tokens, alone.error]).all()
    assert design_effect(np.array([3]), np.array([9])).rate == pytest.approx(1 / 3)


@pytest.mark.parametrize(("counts", "tokens"), [([3, 1], [2, 2]), ([-1, 1], [2, 2]), ([1, 1], [2, 2, 2]), ([1], 2)])
def test_counts_that_are_not_of_the_tokens_are_named(counts, tokens):
    with pytest.raises(OptionError, match="tokens"):
        design_effect(np.array(counts), np.array(tokens))


NEEDED = {(8, 2): 1.2e3, (64, 8): 2.7e3, (64, 6): 3.7e3, (128, 8): 5.8e3, (256, 8): 11.9e3}


@pytest.mark.parametrize("geometry", NEEDED, ids=str)
def test_published_numbers_of_tokens(geometry):
    assert tokens_needed([_rule(*geometry)]).load_l[0] == pytest.approx(NEEDED[geometry], abs=50)


def test_published_numbers_of_tokens_for_many_experts_pairs_and_transitions():
    assert tokens_needed([_rule(384, 8)]).load_l[0] == pytest.approx(18e3, abs=500)
    assert tokens_needed([_rule(896, 16)]).load_l[0] == pytest.approx(21e3, abs=500)
    large = tokens_needed([_rule(256, 8)])
    assert large.pairs_l[0] == pytest.approx(58_000, abs=500)
    assert large.transitions_l[0] == pytest.approx(3.3e6, abs=5e4)


def test_numbers_of_tokens_grow_with_the_design_effect_and_with_what_is_asked():
    layers = [_rule(8, 1), _rule(16, 2, layer=1)]
    plain, alike = tokens_needed(layers), tokens_needed(layers, design_effect=6)
    np.testing.assert_allclose(np.array(alike), 6 * np.array(plain))
    assert np.isnan(plain.pairs_l).tolist() == [True, False]
    assert plain.transitions_l.tolist() == [50 * 8 * 16, 50 * 16 * 16]
    np.testing.assert_allclose(tokens_needed(layers, within=0.05).load_l, 4 * plain.load_l)
    for options in ({"within": 0}, {"per_cell": -1}, {"design_effect": 0.5}, {"level": 1}):
        with pytest.raises(OptionError):
            tokens_needed(layers, **options)


def test_the_number_of_tokens_gives_the_promised_interval():
    tokens = round(tokens_needed([_rule(64, 8)]).load_l[0])
    rates = np.random.default_rng(3).binomial(tokens, 1 / 8, size=4000) / tokens
    assert np.mean(np.abs(rates * 8 - 1) <= 0.1) == pytest.approx(0.95, abs=0.015)


def _study(generator, load_e, documents=30):
    return generator.multinomial(50, generator.dirichlet(load_e * 40, size=documents))


def test_reliability_is_how_well_a_second_study_agrees():
    generator, promised, kept = np.random.default_rng(4), [], []
    for _ in range(60):
        load_e = generator.dirichlet(np.full(30, 12.0))
        one, other = (_study(generator, load_e) for _ in range(2))
        promised.append(split_half(one, _shares, halves=50).reliability)
        kept.append(np.corrcoef(_shares(one.sum(axis=0)), _shares(other.sum(axis=0)))[0, 1])
    assert np.mean(promised) == pytest.approx(np.mean(kept), abs=0.03)
    assert 0.5 < np.mean(kept) < 0.95


def test_halves_agree_with_halving_in_every_way():
    counts_de = np.random.default_rng(5).integers(0, 20, (6, 5))
    every, apart = [], []
    for half in combinations(range(6), 3):
        one, other = (_shares(counts_de[list(rows)].sum(axis=0)) for rows in (half, set(range(6)) - set(half)))
        every.append(np.corrcoef(one, other)[0, 1])
        apart.append((one - other) ** 2)
    found = split_half(counts_de, _shares, halves=3000)
    assert found.correlation == pytest.approx(np.mean(every), abs=5 * np.std(every) / np.sqrt(3000))
    np.testing.assert_allclose(found.error, np.sqrt(np.mean(apart, axis=0)) / 2, rtol=0.1)
    r = float(found.correlation)
    assert found.reliability == pytest.approx(2 * r / (1 + r) if r > 0 else 0)


def test_the_error_of_halves_agrees_with_the_bootstrap():
    counts_de = _study(np.random.default_rng(6), np.full(4, 0.25), documents=80)
    interval, halves = bootstrap(counts_de, _shares), split_half(counts_de, _shares, halves=1000)
    np.testing.assert_allclose((interval.high - interval.low) / 3.92, halves.error, rtol=0.15)


def test_chance_differences_are_not_reliable():
    generator = np.random.default_rng(7)
    found = split_half(np.stack([_study(generator, np.full(64, 1 / 64)) for _ in range(20)], axis=1), _shares)
    assert found.correlation.shape == found.reliability.shape == (20,)
    assert np.mean(found.correlation) == pytest.approx(0, abs=0.1)
    assert (found.reliability >= 0).all() and found.reliability.min() == 0


def test_halves_take_from_every_stratum_and_group_alike():
    counts_de, labels_d = np.repeat([[8, 2], [1, 9]], [4, 6], axis=0), np.repeat([0, 1], [4, 6])
    assert split_half(counts_de, _shares, strata_u=labels_d).error.tolist() == [0, 0]
    assert split_half(counts_de, _shares).error[0] > 0.02
    grouped = split_half(counts_de, _shares, groups_u=labels_d)
    assert grouped.error.shape == (2, 2) and grouped.correlation == pytest.approx([1, 1])


def test_halves_that_cannot_be_correlated_are_undefined():
    one = split_half(np.array([[3, 1]]), _shares)
    assert np.isnan([one.correlation, one.reliability, *one.error]).all()
    flat = split_half(np.full((6, 4), 5), _shares)
    assert np.isnan(flat.correlation) and flat.error.tolist() == [0, 0, 0, 0]
    figure = split_half(np.array([[3, 1], [1, 3]] * 4), lambda sums_be: _shares(sums_be)[:, 0])
    assert np.isnan(figure.correlation) and figure.error > 0
    silent = split_half(np.zeros((4, 2, 3)), over_layers(max_violation))
    assert np.isnan(silent.correlation) and np.isnan(silent.error).all()


def test_a_missing_expert_does_not_hide_the_others():
    counts_de = _study(np.random.default_rng(8), np.array([0.1, 0.2, 0.3, 0.4]))
    padded = np.pad(counts_de, ((0, 0), (0, 1)))
    absent = lambda sums_be: np.where(np.arange(5) == 4, np.nan, _shares(sums_be))  # noqa: E731
    assert split_half(padded, absent).correlation == pytest.approx(split_half(counts_de, _shares).correlation)


def test_a_curve_is_the_mean_of_all_choices_of_so_many():
    counts_de = np.random.default_rng(9).integers(0, 9, (6, 4))
    curve = rarefaction(counts_de, lambda sums_be: (sums_be >= 8).sum(axis=1), points=5, draws=3000)
    assert curve.units_n.tolist() == [2, 3, 5, 6]  # 2, 2.6, 3.5, 4.6 and 6, rounded
    for size, mean in zip(curve.units_n, curve.mean_n, strict=True):
        every = [(counts_de[list(rows)].sum(axis=0) >= 8).sum() for rows in combinations(range(6), size)]
        assert mean == pytest.approx(np.mean(every), abs=5 * np.std(every) / np.sqrt(3000) + 1e-9)
    assert curve.low_n[-1] == curve.high_n[-1] == (counts_de.sum(axis=0) >= 8).sum()
    assert (curve.low_n <= curve.mean_n).all() and (curve.mean_n <= curve.high_n).all()


def test_a_curve_takes_from_strata_in_proportion():
    strata_d = np.repeat([0, 1], [8, 4])
    counts_d2 = np.eye(2)[strata_d]
    curve = rarefaction(counts_d2, _shares, points=3, draws=50, strata_u=strata_d)
    assert curve.units_n.tolist() == [2, 5, 12]
    np.testing.assert_allclose(curve.mean_n[1, 0], 2 / 3, atol=0.08)
    assert curve.low_n[1, 0] >= 3 / 5 and curve.high_n[1, 0] <= 4 / 5


def test_unevenness_falls_as_documents_are_added():
    counts_dle = _study(np.random.default_rng(10), np.full(16, 1 / 16), documents=64)[:, None]
    curve = rarefaction(counts_dle, over_layers(max_violation))
    assert curve.mean_n.shape == (8, 1)
    assert (np.diff(curve.mean_n[:, 0]) < 0).all()


def test_curves_of_little():
    assert rarefaction(np.array([[1, 3]]), _shares).units_n.tolist() == [1]
    assert rarefaction(np.ones((5, 2)), _shares, points=1).units_n.tolist() == [5]
    assert np.isnan(rarefaction(np.zeros((4, 1, 2)), over_layers(max_violation)).mean_n).all()
    with pytest.raises(OptionError, match="no units"):
        rarefaction(np.zeros((0, 2)), _shares)
    with pytest.raises(OptionError, match="0 draws"):
        rarefaction(np.ones((5, 2)), _shares, draws=0)
    with pytest.raises(OptionError, match="0 draws"):
        split_half(np.ones((5, 2)), _shares, halves=0)
