"""Nulls: the published table, every set counted where they can be, and simulated routers."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from gatescope.analysis.labels.matched import load_matched
from gatescope.analysis.statistics.load import load_cv_floor
from gatescope.analysis.statistics.nulls import chance, noise_floor, overlap_chances
from gatescope.analysis.tally.pairs import fixed_k_chance
from gatescope.routing import RouterRule
from gatescope.routing.errors import OptionError


def _rule(experts, k, groups=1, kept=1, score="softmax"):
    return RouterRule(
        layer=0, block=0, module="mlp", experts=experts, k=k, score=score, groups=groups, groups_kept=kept
    )


TABLE = {  # experts, k: token share, slot share, any shared, overlap, Jaccard, co-activation, Gini if truncated
    (8, 2): (0.2500, 0.1250, 0.4643, 0.2500, 0.1786, 0.1429, 0.7500),
    (32, 4): (0.1250, 0.0312, 0.4306, 0.1250, 0.0750, 0.0968, 0.8750),
    (64, 8): (0.1250, 0.0156, 0.6791, 0.1250, 0.0705, 0.1111, 0.8750),
    (64, 6): (0.0938, 0.0156, 0.4601, 0.0938, 0.0532, 0.0794, 0.9062),
    (128, 8): (0.0625, 0.0078, 0.4123, 0.0625, 0.0343, 0.0551, 0.9375),
    (128, 4): (0.0312, 0.0078, 0.1206, 0.0312, 0.0181, 0.0236, 0.9688),
    (256, 8): (0.0312, 0.0039, 0.2271, 0.0312, 0.0169, 0.0275, 0.9688),
    (384, 8): (0.0208, 0.0026, 0.1563, 0.0208, 0.0112, 0.0183, 0.9792),
    (896, 16): (0.0179, 0.0011, 0.2523, 0.0179, 0.0093, 0.0168, 0.9821),
}
FLOORS = {  # experts, k, tokens: Gini, MaxVio, CV, each of one simulated router
    (8, 2, 1_000): (0.026, 0.08, 0.047),
    (8, 2, 10_000): (0.008, 0.02, 0.015),
    (8, 2, 100_000): (0.003, 0.01, 0.005),
    (64, 8, 1_000): (0.046, 0.20, 0.082),
    (64, 8, 10_000): (0.015, 0.06, 0.027),
    (64, 8, 100_000): (0.004, 0.02, 0.008),
    (128, 8, 1_000): (0.068, 0.32, 0.121),
    (128, 8, 10_000): (0.022, 0.11, 0.039),
    (128, 8, 100_000): (0.007, 0.03, 0.012),
    (256, 8, 1_000): (0.099, 0.50, 0.175),
    (256, 8, 10_000): (0.031, 0.16, 0.055),
    (256, 8, 100_000): (0.010, 0.05, 0.018),
    (384, 8, 1_000): (0.122, 0.67, 0.216),
    (384, 8, 10_000): (0.038, 0.21, 0.068),
    (384, 8, 100_000): (0.012, 0.06, 0.022),
    (896, 16, 1_000): (0.133, 0.84, 0.236),
    (896, 16, 10_000): (0.042, 0.25, 0.074),
    (896, 16, 100_000): (0.013, 0.08, 0.024),
}


@pytest.mark.parametrize("geometry", TABLE, ids=str)
def test_every_row_of_the_table_to_the_printed_digits(geometry):
    found = [share_l[0] for share_l in chance([_rule(*geometry)])]
    np.testing.assert_allclose(found, TABLE[geometry], rtol=0, atol=0.5000001e-4)


def test_the_published_chance_that_first_or_second_choice_repeats():
    """Mixtral of Experts, table 5: 12.5 % for the first choice, about 46 % for either."""
    found = chance([_rule(8, 2)])
    assert found.slot_share_l[0] == 0.125
    assert round(100 * found.any_shared_l[0], 1) == 46.4


@pytest.mark.parametrize(("experts", "k"), [(4, 1), (5, 2), (6, 3), (6, 5), (3, 3)])
def test_chances_agree_with_counting_every_pair_of_sets(experts, k):
    sets = [set(chosen) for chosen in combinations(range(experts), k)]
    shared = np.array([len(one & other) for one in sets for other in sets])
    jaccard = np.mean([len(one & other) / len(one | other) for one in sets for other in sets])
    found = chance([_rule(experts, k)])
    np.testing.assert_allclose(
        overlap_chances(_rule(experts, k)), np.bincount(shared, minlength=k + 1) / len(shared), atol=1e-12
    )
    assert found.any_shared_l[0] == pytest.approx((shared > 0).mean())
    assert found.overlap_l[0] == pytest.approx(shared.mean() / k)
    assert found.jaccard_l[0] == pytest.approx(jaccard)
    both = np.mean([{0, 1} <= chosen for chosen in sets]) / (k / experts)
    assert found.coactivation_l[0] == pytest.approx(both)


def test_layers_of_different_geometry_and_a_single_expert():
    found = chance([_rule(8, 2), _rule(1, 1)])
    assert found.token_share_l.tolist() == [0.25, 1.0]
    assert np.isnan(found.coactivation_l).tolist() == [False, True]
    assert found.any_shared_l[1] == found.jaccard_l[1] == 1.0


def _limited_sets(generator, tokens, experts, k, groups, kept):
    """The choice of a router limited to its groups of best experts, token by token, in the plainest way."""
    sets = []
    for _ in range(tokens):
        score_e = generator.normal(size=experts)
        members = np.arange(experts).reshape(groups, -1)
        best = sorted(range(groups), key=lambda group: -score_e[members[group]].max())[:kept]
        allowed = members[best].ravel().tolist()
        sets.append(set(sorted(allowed, key=lambda expert: -score_e[expert])[:k]))
    return sets


def test_a_limit_to_groups_keeps_the_mean_overlap_and_spreads_it():
    """The mean follows from even rates alone; two of two groups of two: sharing is all or nothing, by hand 1 in 2."""
    pairs = _rule(4, 2, groups=2, kept=1)
    np.testing.assert_allclose(overlap_chances(pairs), [0.5, 0, 0.5], atol=0.002)
    found, free = chance([pairs]), chance([_rule(4, 2)])
    assert found.overlap_l[0] == free.overlap_l[0] == 0.5
    assert found.any_shared_l[0] < free.any_shared_l[0]
    assert found.jaccard_l[0] > free.jaccard_l[0]


def test_a_limit_to_groups_agrees_with_a_plain_simulation():
    sets = _limited_sets(np.random.default_rng(1), 4000, 16, 4, 4, 2)
    shared = np.array([len(one & other) for one, other in zip(sets[::2], sets[1::2], strict=True)])
    expected = np.bincount(shared, minlength=5) / len(shared)
    found = overlap_chances(_rule(16, 4, groups=4, kept=2))
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / len(shared)))
    assert (found * np.arange(5)).sum() / 4 == pytest.approx(4 / 16, abs=0.002)
    assert abs(found[0] - overlap_chances(_rule(16, 4))[0]) > 0.02


def test_a_token_is_not_compared_with_itself():
    """Two tokens share all 4 of 64 experts in far fewer than 1 of 10,000 pairs; 4,000 tokens are that many more."""
    assert overlap_chances(_rule(64, 4, groups=8, kept=4))[4] < 1e-4


def test_a_group_of_a_sigmoid_router_counts_by_its_best_two():
    by_two = overlap_chances(_rule(32, 4, groups=4, kept=1, score="sigmoid"))
    by_one = overlap_chances(_rule(32, 4, groups=4, kept=1))
    np.testing.assert_allclose(by_two, by_one, atol=0.01)
    assert (by_two != by_one).any()
    assert (overlap_chances(_rule(32, 4, groups=4, kept=4)) == overlap_chances(_rule(32, 4))).all()


@pytest.mark.parametrize("groups_kept", [(3, 2), (4, 0), (8, 1)])
def test_groups_that_cannot_hold_the_experts_are_named(groups_kept):
    with pytest.raises(OptionError, match="groups"):
        chance([_rule(8, 3, *groups_kept)])


def _even_counts(generator, draws, experts, k, tokens):
    """Counts of routers that choose k of their experts at random for every token."""
    chosen = np.argpartition(generator.random((draws, tokens, experts)), k - 1, axis=2)[:, :, :k]
    return np.stack([np.bincount(one.ravel(), minlength=experts) for one in chosen])


def _gini(counts_e):
    return np.abs(counts_e[:, None] - counts_e).sum() / (2 * len(counts_e) * counts_e.sum())


@pytest.mark.parametrize(("experts", "k", "tokens"), [(2, 1, 1), (3, 2, 7), (8, 2, 40), (32, 4, 300)])
def test_floors_agree_with_routers_without_preferences(experts, k, tokens):
    counts_be = _even_counts(np.random.default_rng(2), 2000, experts, k, tokens)
    mean = tokens * k / experts
    ginis = np.array([_gini(counts_e) for counts_e in counts_be])
    violations = counts_be.max(axis=1) / mean - 1
    found = noise_floor([_rule(experts, k)], tokens=tokens, draws=2000)
    assert found.gini_l[0] == pytest.approx(ginis.mean(), abs=4 * ginis.std() / np.sqrt(2000) + 1e-9)
    assert found.max_violation_l[0] == pytest.approx(violations.mean(), abs=6 * violations.std() / np.sqrt(2000) + 1e-9)
    assert found.cv_l[0] ** 2 == pytest.approx((counts_be.var(axis=1) / mean**2).mean(), rel=0.1)


@pytest.mark.parametrize("geometry", FLOORS, ids=str)
def test_every_published_floor_is_a_likely_draw(geometry):
    """The figures are one simulated router each, so they spread around what is expected as single routers do.

    A CV of E experts has a relative deviation of about 1 / sqrt(2 (E - 1)), a Gini the same, the largest of E normals
    one of 0.2 to 0.4 of its own mean. Four of them and half a printed digit cover 54 figures.
    """
    experts, k, tokens = geometry
    gini, violation, cv = FLOORS[geometry]
    found = noise_floor([_rule(experts, k)], tokens=tokens, draws=200)
    spread = 4 / np.sqrt(2 * (experts - 1))
    assert found.gini_l[0] == pytest.approx(gini, rel=spread, abs=0.0006)
    assert found.cv_l[0] == pytest.approx(cv, rel=spread, abs=0.0006)
    assert found.max_violation_l[0] == pytest.approx(violation, rel=0.16 if experts > 8 else 1, abs=0.006)


@pytest.mark.slow
def test_simulated_and_normal_floors_meet():
    for geometry, apart in {(8, 2): 0.05, (64, 8): 0.05, (896, 16): 0.06}.items():
        below, beyond = (noise_floor([_rule(*geometry)], tokens=tokens) for tokens in (20_000, 20_001))
        assert below.max_violation_l[0] == pytest.approx(beyond.max_violation_l[0], rel=apart)


def test_floors_of_very_much_text_follow_the_normal_limit():
    """The mean distance of normal counts is 2 / sqrt(π) deviations, so half of it over the mean is CV / sqrt(π).

    Distances run over other experts only, deviations from a mean that holds the own count: sqrt((E - 1) / E).
    """
    rule, tokens = _rule(64, 8), 10_000_000
    expected = load_cv_floor([rule], tokens=tokens)[0] / np.sqrt(np.pi) * np.sqrt(63 / 64)
    assert noise_floor([rule], tokens=tokens).gini_l[0] == pytest.approx(expected, rel=1e-4)


def test_a_limit_to_groups_hardly_moves_the_floors_and_moves_them_as_simulated():
    limited = _rule(16, 4, groups=4, kept=1)
    generator = np.random.default_rng(3)
    counts = []
    for _ in range(400):
        group_t = generator.integers(4, size=60)
        counts.append(np.repeat(np.bincount(group_t, minlength=4), 4))  # a group of four is all that a token can use
    found = noise_floor([limited], tokens=60)
    assert found.gini_l[0] == pytest.approx(np.mean([_gini(counts_e) for counts_e in counts]), rel=0.06)
    assert found.max_violation_l[0] == pytest.approx(np.mean([max(c) for c in counts]) / 15 - 1, rel=0.15)
    free = noise_floor([_rule(16, 4)], tokens=60)
    assert found.max_violation_l[0] < 0.85 * free.max_violation_l[0]
    assert found.cv_l[0] == free.cv_l[0]


def test_floors_of_nothing_and_of_everything():
    assert all(np.isnan(floor_l).all() for floor_l in noise_floor([_rule(8, 2)], tokens=0))
    assert [float(floor_l[0]) for floor_l in noise_floor([_rule(4, 4)], tokens=10)] == [0, 0, 0]
    assert [float(floor_l[0]) for floor_l in noise_floor([_rule(1, 1)], tokens=10)] == [0, 0, 0]
    with pytest.raises(OptionError, match="-1 tokens"):
        noise_floor([_rule(8, 2)], tokens=-1)
    with pytest.raises(OptionError, match="0 draws"):
        noise_floor([_rule(8, 2)], tokens=5, draws=0)


def _weighed_sets(odds_e, k):
    """Every set of k experts and its chance when sets weigh as the product of their experts' odds."""
    sets = [list(chosen) for chosen in combinations(range(len(odds_e)), k)]
    weight = np.array([np.prod(odds_e[chosen]) for chosen in sets])
    return [set(chosen) for chosen in sets], weight / weight.sum()


def _inclusion(sets, weight, experts):
    return np.array([sum(w for chosen, w in zip(sets, weight, strict=True) if e in chosen) for e in range(experts)])


odds = st.lists(st.floats(0.02, 50), min_size=5, max_size=5).map(np.array)


@settings(max_examples=30)
@given(odds, odds, st.integers(1, 4))
@example(np.ones(5), np.array([1, 1, 35, 0.0234375, 0.0234375]), 4)  # all but one chosen: slow from the front
def test_load_matched_chances_agree_with_weighing_every_set(first, second, k):
    sets, weight = _weighed_sets(first, k)
    _, others = _weighed_sets(second, k)
    rates, other_rates = _inclusion(sets, weight, 5), _inclusion(sets, others, 5)
    joint = weight[:, None] * others
    shared = np.array([[len(one & other) for other in sets] for one in sets])
    found = load_matched(rates[None], other_rates[None])
    assert found.overlap_l[0] == pytest.approx((joint * shared).sum() / k, abs=1e-6)
    assert found.same_slot_l[0] == pytest.approx(rates @ other_rates / k**2)
    assert found.any_shared_l[0] == pytest.approx(joint[shared > 0].sum(), abs=1e-6)
    assert found.jaccard_l[0] == pytest.approx((joint * shared / (2 * k - shared)).sum(), abs=1e-6)
    both = np.array(
        [[_inclusion(sets, weight * [{i, j} <= s for s in sets], 5)[i] for j in range(5)] for i in range(5)]
    )
    np.testing.assert_allclose(fixed_k_chance(rates, k).pair_ef, both, atol=1e-6)


@pytest.mark.parametrize("geometry", TABLE, ids=str)
def test_even_loads_give_the_uniform_null(geometry):
    experts, k = geometry
    matched, free = load_matched(np.full((1, experts), k / experts)), chance([_rule(experts, k)])
    assert matched.any_shared_l[0] == pytest.approx(free.any_shared_l[0], abs=1e-9)
    assert matched.jaccard_l[0] == pytest.approx(free.jaccard_l[0], abs=1e-9)
    assert matched.overlap_l[0] == pytest.approx(free.overlap_l[0])
    assert matched.same_slot_l[0] == pytest.approx(free.slot_share_l[0])


def test_absent_experts_empty_layers_and_certain_experts():
    rates_le = np.array([[0.5, 0.5, 1.0, np.nan], [np.nan] * 4, [1.0, 1.0, 0.0, 0.0]])
    found = load_matched(rates_le)
    np.testing.assert_allclose(found.overlap_l, [0.75, np.nan, 1])
    np.testing.assert_allclose(found.jaccard_l, [(1 + 1 / 3) / 2, np.nan, 1])
    pairs = fixed_k_chance(rates_le[0, :3], 2).pair_ef
    np.testing.assert_allclose(pairs, [[0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 1]], atol=1e-9)


def test_two_experts_of_which_one_is_chosen():
    assert load_matched(np.array([[0.6, 0.4]])).overlap_l[0] == pytest.approx(0.6**2 + 0.4**2)
    assert load_matched(np.array([[0.6, 0.4]])).any_shared_l[0] == pytest.approx(0.6**2 + 0.4**2)


def test_very_uneven_loads_of_many_experts_are_matched():
    weight = np.random.default_rng(4).gamma(0.3, size=256)
    rates = norm.cdf(np.log(weight + 1e-12) / 2)
    rates *= 8 / rates.sum()
    pairs = fixed_k_chance(rates, 8).pair_ef
    np.testing.assert_allclose(pairs.sum(axis=1) - rates, 7 * rates, atol=1e-7)
    np.testing.assert_allclose(np.diag(pairs), rates)


@pytest.mark.parametrize(
    ("rates", "others", "complaint"),
    [
        ([[0.5, 0.4]], None, "sum to 0.9"),
        ([[1.5, 0.5]], None, "1.5"),
        ([[0.5, 0.5]], [[1.0, 1.0]], "1 and 2 experts"),
        ([[0.5, 0.5]], [[0.5, 0.25, 0.25]], "shapes"),
        ([0.5, 0.5], None, "shapes"),
    ],
)
def test_rates_that_are_none_are_named(rates, others, complaint):
    with pytest.raises(OptionError, match=complaint):
        load_matched(np.array(rates), None if others is None else np.array(others))
