"""Pairs of experts: counts by hand and by a slow count, the null against drawings, published lifts."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics.pairs import expected_pairs
from gatescope.analysis.tally.pairs import (
    MOST_CELLS,
    adjacent_rank_pairs,
    count_pairs,
    fits,
    fixed_k_chance,
    product_lift,
)
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_pairs_are_those_a_slow_count_finds(seed):
    record = random_record(seed)
    found = tally(record).by_group["coactivation"]
    for group, pairs_lef in found.items():
        slow = np.zeros_like(pairs_lef)
        for row, ids_lk in zip(range(record.tokens), record.ids_tlk.tolist(), strict=True):
            facet = TokenRole.FORMAT if record.flag_t[row] & 3 else TokenRole.GENERATED if record.flag_t[row] & 4 else 0
            if ("", "", facet) != group:
                continue
            for layer, ids_k in enumerate(ids_lk):
                for expert in ids_k:
                    slow[layer, expert, expert] += 1
                for one, two in combinations(ids_k, 2):
                    slow[layer, one, two] += 1
                    slow[layer, two, one] += 1
        np.testing.assert_array_equal(pairs_lef, slow)


def test_rows_add_up_to_k_minus_1_times_the_experts_own_count():
    ids_tlk = np.argsort(np.random.default_rng(1).random((200, 3, 9)), axis=-1)[..., :4].astype(np.uint8)
    pairs_lef = count_pairs(ids_tlk, np.zeros(200, int), 1, 9)[0]
    own_le = np.diagonal(pairs_lef, axis1=1, axis2=2)
    np.testing.assert_array_equal(pairs_lef.sum(axis=2) - own_le, 3 * own_le)
    adjacent_lef = adjacent_rank_pairs(ids_tlk, 9)
    assert (adjacent_lef.sum(axis=2) <= 2 * own_le).all() and adjacent_lef.sum() == 200 * 3 * 2 * 3


def test_neighbours_in_rank_by_hand():
    found = adjacent_rank_pairs(np.array([[[2, 0, 1]], [[1, 2, 255]]], np.uint8), 3)[0]
    assert found.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_share_and_lift_by_hand():
    record = make_record([[[0, 1]], [[1, 0]], [[0, 2]], [[2, 3]]], experts=4)
    share = METRICS["coactivation_share"](tally(record)).value[0]
    assert share[0].tolist()[1:] == [2 / 3, 1 / 3, 0] and share[1].tolist()[0] == 1 and np.isnan(share[0, 0])
    support = METRICS["coactivation_support"](tally(record))
    assert support.value[0, 0].tolist()[1:] == [2, 1, 0] and support.tokens == 4
    lift = METRICS["coactivation_lift"](tally(record))
    np.testing.assert_allclose(lift.value * support.null, support.value)
    assert any("fewer than 50 tokens" in warning for warning in lift.warnings)


def enumerated(weight_e, k):
    """All sets of k with their probabilities in proportion to the product of weights."""
    sets = list(combinations(range(len(weight_e)), k))
    chance_s = np.array([np.prod([weight_e[e] for e in chosen]) for chosen in sets])
    return sets, chance_s / chance_s.sum()


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), experts=st.integers(2, 8), k=st.integers(1, 4))
def test_the_null_is_that_of_all_sets_written_down(seed, experts, k):
    k = min(k, experts - 1)
    weight_e = np.exp(np.random.default_rng(seed).normal(0, 1.5, experts))
    sets, chance_s = enumerated(weight_e, k)
    member_se = np.array([[e in chosen for e in range(experts)] for chosen in sets], float)
    found = fixed_k_chance(member_se.T @ chance_s, k)
    np.testing.assert_allclose(found.pair_ef, member_se.T @ (chance_s[:, None] * member_se), atol=1e-8)
    disjoint = chance_s @ ((member_se @ member_se.T) == 0) @ chance_s
    assert found.disjoint == pytest.approx(disjoint, abs=1e-8)


def test_experts_that_are_always_or_never_chosen():
    found = fixed_k_chance(np.array([1.0, 0.5, 0.5, 0.0]), 2)
    assert found.disjoint == 0
    assert found.pair_ef.tolist() == [[1, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 0]]
    assert fixed_k_chance(np.ones(3), 3).pair_ef.tolist() == np.ones((3, 3)).tolist()


@pytest.mark.slow
def test_swaps_that_keep_every_margin_agree_with_the_null():
    """Sets of 3 of 8 with uneven loads, mixed by swaps that keep rows and columns: their pairs then."""
    generator = np.random.default_rng(7)
    gumbel_te = generator.gumbel(size=(3000, 8)) + np.linspace(0, 2.5, 8)
    gumbel_te[::2, :3] += 2.0  # pairs that are no chance
    chosen_te = np.zeros((3000, 8), bool)
    np.put_along_axis(chosen_te, np.argsort(-gumbel_te, axis=1)[:, :3], True, axis=1)
    observed_ef = chosen_te.T.astype(float) @ chosen_te
    expected_ef = fixed_k_chance(chosen_te.mean(axis=0), 3).pair_ef * 3000
    mixed = np.zeros((8, 8))
    for sweep in range(95):
        _curveball(chosen_te, generator)
        mixed += (sweep >= 15) * (chosen_te.T.astype(float) @ chosen_te)
    off = ~np.eye(8, dtype=bool)
    mixed, expected = mixed[off] / 80, expected_ef[off]
    error = np.sqrt(2 * mixed / 80)  # of 80 counts, each half like the one before
    assert (np.abs(expected - mixed) < 4.5 * error).all()
    product = np.outer(chosen_te.mean(axis=0), chosen_te.sum(axis=0))[off]
    assert (np.abs(product - mixed) > 20 * error).any()  # which shares multiplied are far from
    assert (np.abs(observed_ef[off] - mixed) > 20 * error).any()  # and so are the pairs themselves


def _curveball(chosen_te, generator):
    """Rows in random pairs trade what only one of the two has (Strona et al. 2014)."""
    order = generator.permutation(len(chosen_te))
    for one, two in zip(order[::2], order[1::2], strict=True):
        differ = np.flatnonzero(chosen_te[one] != chosen_te[two])
        given = int(chosen_te[one, differ].sum())
        generator.shuffle(differ)
        chosen_te[one, differ], chosen_te[two, differ] = False, True
        chosen_te[one, differ[:given]], chosen_te[two, differ[:given]] = True, False


def test_a_random_router_has_lift_1():
    ids_tlk = np.argsort(np.random.default_rng(3).random((40_000, 1, 8)), axis=-1)[..., :2].astype(np.uint8)
    found = METRICS["coactivation_lift"](tally(make_record(ids_tlk, experts=8), only=["coactivation", "tokens"]))
    assert np.abs(found.value[np.isfinite(found.value)] - 1).max() < 0.12  # 1429 expected: 4.5 deviations
    assert np.nanmean(found.value) == pytest.approx(1, abs=0.01) and not found.warnings
    share = product_lift(1429, 10_000, 10_000, 40_000)
    assert share == pytest.approx(4 / 7, abs=1e-3)  # what the product of shares makes of an even choice of 2 of 8


def test_where_the_null_does_not_apply_it_says_so():
    record = make_record([[[0, 1], [0, 255]], [[1, 255], [2, 255]]], experts=3)
    pairs = tally(record).pooled("coactivation")
    expected, warnings = expected_pairs(pairs, record.layers)
    assert np.isnan(expected).all() and warnings == (
        "No null in layers [0]: some tokens have fewer than k experts there.",
    )
    found = METRICS["coactivation_share"](tally(record), MetricOptions())
    assert found.value[0, 0, 1] == 1 and found.value[0, 1, 0] == 0.5
    with pytest.raises(OptionError, match="add up to k=2"):
        fixed_k_chance(np.array([0.5, 0.5]), 2)
    assert fits(58, 256) and not fits(60, 896) and MOST_CELLS < 60 * 896**2


def test_lifts_as_published_for_qwen3(realdata):
    """48 layers of Qwen3-30B-A3B: count times tokens over both experts' counts, stored to two decimals."""
    published = json.loads((realdata / "qwen3_30b_coactivation" / "coactivation_qwen3-30b-a3b.json").read_text())
    expected = json.loads((realdata / "expected.json").read_text())["mbolt_qwen3_30b"]
    for layer in published["layers"]:
        one, two, count, lift = np.array(layer["pairs"]).T
        heat_e = np.array(layer["heat"])
        assert heat_e.sum() == expected["heat_sum_every_layer"] == 8 * published["n_decode_tokens"]
        found = product_lift(count, heat_e[one.astype(int)], heat_e[two.astype(int)], published["n_decode_tokens"])
        np.testing.assert_allclose(found, lift, atol=0.00501)
    first = published["layers"][0]["pairs"][0]
    assert first == expected["layer0_first_pair"]


def test_chance_for_the_loads_of_qwen3_sums_as_sets_of_8_must(realdata):
    published = json.loads((realdata / "qwen3_30b_coactivation" / "coactivation_qwen3-30b-a3b.json").read_text())
    for layer in published["layers"][::12]:
        share_e = np.array(layer["heat"]) / published["n_decode_tokens"]
        pair_ef = fixed_k_chance(share_e, 8).pair_ef
        np.testing.assert_allclose(pair_ef.sum(axis=1) - share_e, 7 * share_e, rtol=1e-6, atol=1e-8)
        assert (pair_ef[~np.eye(128, dtype=bool)] <= np.outer(share_e, share_e)[~np.eye(128, dtype=bool)] + 1e-9).all()
