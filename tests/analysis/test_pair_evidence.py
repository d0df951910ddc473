"""Pairs beyond chance: the test is calibrated where documents differ, finds what is planted, and needs documents."""

import numpy as np
import pytest

from gatescope.analysis.comparison.pair_evidence import FEWEST, cluster_order, excess_share, expected_of, pair_test
from gatescope.analysis.tally.pairs import count_pairs, fixed_k_chance
from gatescope.routing import RouterRule


def routes(documents, tokens, generator, *, experts=8, twice=1, planted=0.0):
    """Random pairs of experts, loads uneven; each drawn for `twice` tokens in a row, so that tokens are alike.

    The null itself: of independent coins with odds w, exactly two heads are a pair with a chance in proportion to the
    product of its odds. `planted`: share of the pairs that are experts 0 and 1 whatever was drawn.
    """
    odds_e, (one, two) = np.linspace(0.5, 2, experts), np.triu_indices(experts, 1)
    chance = odds_e[one] * odds_e[two] / (odds_e[one] * odds_e[two]).sum()
    drawn = generator.choice(len(one), size=documents * tokens // twice, p=chance)
    ids_tk = np.stack([one[drawn], two[drawn]], axis=1)
    ids_tk[generator.random(len(ids_tk)) < planted] = (0, 1)
    return np.repeat(ids_tk, twice, axis=0).astype(np.uint8), np.repeat(np.arange(documents), tokens)


def expected(ids_tk, experts=8):
    """Shared tokens by chance at the observed loads."""
    share_e = np.bincount(ids_tk.ravel(), minlength=experts) / len(ids_tk)
    found = fixed_k_chance(share_e, ids_tk.shape[1]).pair_ef * len(ids_tk)
    np.fill_diagonal(found, np.nan)
    return found


@pytest.mark.parametrize("twice", [1, 20])
def test_as_many_chance_pairs_are_called_as_the_level_says(twice):
    generator = np.random.default_rng(3)
    called = []
    for _ in range(60):
        ids_tk, document_t = routes(100, 80, generator, twice=twice)
        p_ef = pair_test(ids_tk, document_t, expected(ids_tk)).p_ef
        called.append((p_ef[np.triu_indices(8, 1)] < 0.05).mean())
    assert 0.03 < np.mean(called) < 0.08


def test_tokens_that_repeat_do_not_make_a_finding():
    """The same data taken for independent tokens would call many times as many pairs."""
    ids_tk, _ = routes(60, 40, np.random.default_rng(5), twice=20)
    count_ef = count_pairs(ids_tk[:, None], np.zeros(len(ids_tk), int), 1, 8)[0, 0]
    naive = np.abs(count_ef - expected(ids_tk)) / np.sqrt(expected(ids_tk))
    assert (naive[np.triu_indices(8, 1)] > 1.96).mean() > 0.3


def test_a_planted_pair_is_found_and_symmetric():
    ids_tk, document_t = routes(60, 40, np.random.default_rng(7), planted=0.05)
    found = pair_test(ids_tk, document_t, expected(ids_tk))
    assert found.q_ef[0, 1] < 1e-6
    assert found.z_ef[0, 1] > 5
    assert found.z_ef == pytest.approx(found.z_ef.T, nan_ok=True)
    assert found.q_ef == pytest.approx(found.q_ef.T, nan_ok=True)
    assert (found.q_ef >= found.p_ef - 1e-15)[np.triu_indices(8, 1)].all()
    assert np.isnan(np.diagonal(found.p_ef)).all()


def test_the_error_is_that_of_documents_left_out_in_turn():
    """Against the jackknife, which fits chance anew without each document and knows nothing of the linear form."""
    ids_tk, document_t = routes(40, 30, np.random.default_rng(11), planted=0.05)
    left = []
    for number in range(40):
        rest = ids_tk[document_t != number]
        count_ef = count_pairs(rest[:, None], np.zeros(len(rest), int), 1, 8)[0, 0]
        left.append(count_ef - expected(rest))
    total = count_pairs(ids_tk[:, None], np.zeros(len(ids_tk), int), 1, 8)[0, 0] - expected(ids_tk)
    left = np.array(left)
    error = np.sqrt((39 / 40) * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    above = np.triu_indices(8, 1)
    z = pair_test(ids_tk, document_t, expected(ids_tk)).z_ef
    assert z[above] == pytest.approx((total / error)[above], rel=0.15, abs=0.15)


def test_chance_of_some_tokens_is_that_of_their_loads():
    ids_tk, _ = routes(20, 30, np.random.default_rng(2))
    rule = RouterRule(layer=3, block=3, module="mlp", experts=8, k=2, score="softmax")
    assert expected_of(ids_tk, rule, 9)[:8, :8] == pytest.approx(expected(ids_tk), nan_ok=True)
    assert np.isnan(expected_of(ids_tk, rule, 9)[8]).all()


def test_few_documents_are_not_tested():
    ids_tk, document_t = routes(FEWEST - 1, 100, np.random.default_rng(0))
    found = pair_test(ids_tk, document_t, expected(ids_tk))
    assert np.isnan(found.p_ef).all()
    assert found.documents == FEWEST - 1


def test_an_expert_without_tokens_and_an_unknown_null_stay_unknown():
    ids_tk, document_t = routes(20, 30, np.random.default_rng(1), experts=7)
    chance_ef = np.full((8, 8), np.nan)
    chance_ef[:7, :7] = expected(ids_tk, 7)
    found = pair_test(ids_tk, document_t, chance_ef)
    assert np.isnan(found.q_ef[7]).all()
    assert np.isfinite(found.q_ef[:7, :7][np.triu_indices(7, 1)]).all()


def test_the_excess_is_what_would_have_to_move():
    """Of 12 shared tokens two lie above chance: 2 × 2 in the symmetric table of 24."""
    nan = np.nan
    pairs = np.array([[[nan, 6.0, 2.0], [6.0, nan, 4.0], [2.0, 4.0, nan]]])
    chance = np.array([[[nan, 4.0, 4.0], [4.0, nan, 4.0], [4.0, 4.0, nan]]])
    assert excess_share(pairs, chance) == pytest.approx([4 / 24])
    assert np.isnan(excess_share(np.full((1, 2, 2), nan), np.full((1, 2, 2), nan))).all()


def test_clusters_are_neighbours_and_every_expert_is_there_once():
    group_e = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    lift_ef = np.where(group_e[:, None] == group_e, 5.0, 0.5)
    lift_ef[4] = lift_ef[:, 4] = np.nan
    order = cluster_order(lift_ef)
    assert sorted(order.tolist()) == list(range(9))
    assert order[-1] == 4
    assert np.count_nonzero(np.diff(group_e[order[:-1]])) == 2


@pytest.mark.parametrize("experts", [1, 2])
def test_too_few_experts_to_cluster_keep_their_order(experts):
    assert cluster_order(np.full((experts, experts), np.nan)).tolist() == list(range(experts))
