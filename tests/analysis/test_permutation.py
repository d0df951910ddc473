"""Permutations: every shuffle counted where they can be, error rates under the null, and a planted specialist."""

from itertools import permutations as orders

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control, kstest

from gatescope.analysis.statistics.permutation import permutation_test, q_values
from gatescope.routing.errors import OptionError


def _leaning(sums_bge):
    """How much larger each expert's share is under label 1 than under label 0."""
    share_bge = sums_bge / sums_bge.sum(axis=-1, keepdims=True)
    return share_bge[:, 1] - share_bge[:, 0]


def _documents(generator, *, documents=24, experts=12, alike=15.0, tokens=80):
    load_e = generator.dirichlet(np.full(experts, 4.0))
    return generator.multinomial(tokens, generator.dirichlet(load_e * alike, size=documents))


@settings(max_examples=20)
@given(arrays(np.int64, (5, 3), elements=st.integers(0, 9)))
def test_p_is_that_of_counting_every_shuffle(counts_de):
    labels_d = np.array([0, 1, 1, 0, 1])
    every = np.array([counts_de[np.array(order) == 1].sum(axis=0) for order in orders(labels_d)])
    expected = (every >= counts_de[labels_d == 1].sum(axis=0)).mean(axis=0)
    found = permutation_test(counts_de, labels_d, lambda sums_bge: sums_bge[:, 1], permutations=2000)
    np.testing.assert_allclose(found.p_value, expected, atol=0.05)


def test_every_figure_is_that_of_going_through_the_same_deals_one_by_one():
    counts_de, labels_d = _documents(np.random.default_rng(0)), np.arange(24) % 2
    seen = []

    def statistic(sums_bge):
        seen.append(_leaning(sums_bge))
        return seen[-1]

    found = permutation_test(counts_de, labels_d, statistic, permutations=60)
    shuffles = np.concatenate(seen)
    z = (shuffles - shuffles.mean(axis=0)) / shuffles.std(axis=0)
    np.testing.assert_allclose(found.value, shuffles[0])
    np.testing.assert_allclose(found.null_mean, shuffles.mean(axis=0))
    np.testing.assert_allclose(found.z, z[0])
    np.testing.assert_allclose(found.p_value, [np.mean(column >= column[0]) for column in z.T])
    left, so_far = list(range(12)), 0.0
    while left:
        best = max(left, key=lambda expert: z[0, expert])
        so_far = max(so_far, np.mean([max(row[left]) >= z[0, best] for row in z]))
        assert found.family_p[best] == pytest.approx(so_far)
        left.remove(best)


def test_p_values_are_uniform_when_labels_mean_nothing():
    generator, p = np.random.default_rng(1), []
    for draw in range(150):
        found = permutation_test(
            _documents(generator), generator.permutation(24) % 3, _leaning, permutations=199, seed=draw
        )
        p.append(found.p_value[0])
    assert kstest(p, "uniform").pvalue > 0.01


def test_a_family_is_falsely_accused_no_oftener_than_promised():
    generator, accused, alone = np.random.default_rng(2), 0, 0
    for draw in range(300):
        found = permutation_test(_documents(generator), np.arange(24) % 2, _leaning, permutations=199, seed=draw)
        accused += found.family_p.min() <= 0.05
        alone += found.p_value.min() <= 0.05
    assert accused <= 0.05 * 300 + 3 * np.sqrt(0.05 * 0.95 * 300)
    assert accused >= 3  # nor is it so careful that it never speaks
    assert alone > 0.25 * 300  # twelve tests at 5 % each do accuse


def test_false_discoveries_are_as_rare_as_promised_and_true_ones_are_made():
    generator, false_share, found_share = np.random.default_rng(3), [], []
    labels_d = np.arange(60) % 2
    for draw in range(100):
        counts_de = _documents(generator, documents=60, experts=40, alike=60)
        counts_de[labels_d == 1, :4] *= 5
        found = permutation_test(counts_de, labels_d, lambda sums: sums[:, 1] - sums[:, 0], permutations=499, seed=draw)
        q_e = q_values(found.p_value)
        called = q_e <= 0.1
        false_share.append(called[4:].sum() / max(called.sum(), 1))
        found_share.append(called[:4].mean())
    assert np.mean(false_share) <= 0.1 + 3 * np.std(false_share) / 10
    assert np.mean(found_share) > 0.7


def test_a_planted_specialist_is_found_and_it_alone():
    generator = np.random.default_rng(4)
    counts_dle = np.stack([_documents(generator, documents=60, experts=16) for _ in range(3)], axis=1)
    labels_d = np.arange(60) % 2
    counts_dle[labels_d == 1, 1, 5] += 40
    found = permutation_test(counts_dle, labels_d, _leaning)
    assert found.family_p.shape == (3, 16)
    assert np.argwhere(found.family_p <= 0.01).tolist() == [[1, 5]]
    assert found.p_value[1, 5] == found.family_p[1, 5] == pytest.approx(1 / 1001)


def test_strata_absorb_what_lies_between_them():
    strata_d = np.repeat([0, 1], 20)
    labels_d = np.where(np.arange(40) % 10 == 0, 1 - strata_d, strata_d)
    counts_de = np.eye(2, dtype=int)[strata_d] * 5 + 1
    free = permutation_test(counts_de, labels_d, _leaning, permutations=200)
    within = permutation_test(counts_de, labels_d, _leaning, permutations=200, strata_u=strata_d)
    assert free.p_value[1] < 0.01
    assert within.p_value.tolist() == within.family_p.tolist() == [1, 1]


def test_labels_that_cannot_move_prove_nothing():
    found = permutation_test(
        np.array([[9, 1], [1, 9]] * 5), np.arange(10) % 2, _leaning, strata_u=np.arange(10) % 2, permutations=20
    )
    assert found.p_value.tolist() == found.family_p.tolist() == [1, 1]
    assert found.z.tolist() == [0, 0]


def test_a_single_figure_is_its_own_family():
    found = permutation_test(
        np.array([[0], [0], [8], [8]]), np.array([0, 0, 1, 1]), lambda sums: sums[:, 1, 0], permutations=99
    )
    assert found.p_value == found.family_p < 0.3


def test_an_expert_that_is_not_there_is_undefined_and_troubles_nobody():
    counts_de, labels_d = _documents(np.random.default_rng(5), experts=4), np.arange(24) % 2
    masked_de = np.ma.MaskedArray(np.pad(counts_de, ((0, 0), (0, 1))), mask=[[0] * 4 + [1]] * 24)
    few, more = (permutation_test(c, labels_d, _leaning, permutations=50) for c in (counts_de, masked_de))
    np.testing.assert_array_equal(more.family_p, [*few.family_p, np.nan])
    np.testing.assert_array_equal(more.p_value, [*few.p_value, np.nan])


def test_a_deal_that_cannot_be_computed_counts_against_the_claim():
    """Only one of eight documents has the expert: where its label is shuffled away, the ratio is undefined."""
    counts_de, labels_d = np.array([[5.0]] + [[0.0]] * 7), np.array([1, 1, 1, 1, 0, 0, 0, 0])

    def ratio(sums_bge):
        return np.where(sums_bge[:, 1] > 0, sums_bge[:, 1], np.nan)

    assert permutation_test(counts_de, labels_d, ratio, permutations=100).p_value.tolist() == [1]
    assert np.isnan(permutation_test(counts_de, 1 - labels_d, ratio, permutations=100).p_value).all()


def test_no_counts_at_all_are_undefined():
    found = permutation_test(np.zeros((4, 2)), np.array([0, 0, 1, 1]), lambda sums: sums[:, 1] * np.nan, permutations=9)
    assert np.isnan([found.value, found.null_mean, found.z, found.p_value, found.family_p]).all()


def test_chunks_do_not_show_and_a_negative_label_leaves_out(monkeypatch):
    counts_de, labels_d = _documents(np.random.default_rng(6)), np.arange(24) % 3
    whole = permutation_test(counts_de, labels_d, _leaning, permutations=30)
    more_de, more_d = np.concatenate([counts_de, counts_de[:2] * 9]), np.append(labels_d, [-1, -1])
    np.testing.assert_array_equal(permutation_test(more_de, more_d, _leaning, permutations=30).p_value, whole.p_value)
    monkeypatch.setattr("gatescope.analysis.statistics.bootstrap._CHUNK_CELLS", 1)
    np.testing.assert_allclose(permutation_test(counts_de, labels_d, _leaning, permutations=30).z, whole.z)


@pytest.mark.parametrize(
    ("labels_d", "permutations", "complaint"),
    [
        (np.zeros(4, int), 9, "1 label for 4"),
        (np.full(4, -1), 9, "0 label for 0"),
        (np.arange(3), 9, "4 units"),
        (np.arange(4), 0, "0 draws"),
    ],
)
def test_arguments_that_do_not_fit_are_named(labels_d, permutations, complaint):
    with pytest.raises(OptionError, match=complaint):
        permutation_test(np.ones((4, 2)), labels_d, _leaning, permutations=permutations)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.04, 0.2, 0.5, 1.0, np.nan]), min_size=1, max_size=12))
def test_q_values_are_those_of_the_definition(values):
    """The least of p m / rank over all p at least as large, the undefined ones left out."""
    p, known = np.array(values), [value for value in values if value == value]
    tried = {value: len(known) * value / sum(other <= value for other in known) for value in known}
    expected = [min((tried[o] for o in known if o >= value), default=np.nan) for value in values]
    np.testing.assert_allclose(q_values(p), expected)
    if known:
        clean = np.array(known)
        np.testing.assert_allclose(q_values(clean), false_discovery_control(clean))
        np.testing.assert_allclose(q_values(clean, any_dependence=True), false_discovery_control(clean, method="by"))


def test_q_values_keep_their_shape_and_refuse_what_is_no_p():
    assert q_values(np.array([[0.5, np.nan], [np.nan, 0.01]])).tolist()[1][1] == 0.02
    assert np.isnan(q_values(np.full(3, np.nan))).all() and q_values(np.zeros(0)).shape == (0,)
    with pytest.raises(OptionError, match=r"1\.5"):
        q_values(np.array([0.5, 1.5]))
