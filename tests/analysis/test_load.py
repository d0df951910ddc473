"""Counts, shares and evenness: by hand, against simulated even routers, and on a real model's routes."""

import json
import time

import numpy as np
import pytest

from gatescope.analysis.statistics import load
from gatescope.analysis.statistics.information import excess_information
from gatescope.analysis.statistics.load import (
    assignment_share,
    counts_by_document,
    expert_counts,
    load_cv,
    load_cv_floor,
    max_violation,
    max_violation_floor,
    token_share,
)
from gatescope.routing import EMPTY8, EMPTY16, RouterRule
from gatescope.routing.errors import OptionError


def _rules(experts: int, k: int) -> list[RouterRule]:
    return [RouterRule(layer=0, block=0, module="mlp", experts=experts, k=k, score="softmax")]


def test_counts_are_slots_by_layer_and_empty_slots_are_nobodys(records):
    record = records([[[0, 1], [2, 0]], [[1, 0], [2, EMPTY8]], [[1, 2], [EMPTY8, EMPTY8]]], experts=3)
    assert expert_counts(record).tolist() == [[2, 3, 1], [1, 0, 2]]
    assert expert_counts(record).dtype == np.int64


def test_sixteen_bit_ids_count_alike(records):
    record = records([[[299, 0]], [[299, EMPTY16]]], experts=300, kind=np.uint16)
    counts_le = expert_counts(record)
    assert counts_le[0, 299] == 2 and counts_le[0, 0] == 1 and counts_le.sum() == 3


def test_experts_that_a_layer_does_not_have_are_absent_not_unused(records):
    record = records([[[0, 1], [3, 1]], [[1, 0], [3, 2]]], experts=[2, 4])
    assert expert_counts(record).tolist() == [[2, 2, None, None], [0, 1, 1, 2]]
    assert counts_by_document(record).tolist() == [[[2, 2, None, None], [0, 1, 1, 2]]]


def test_some_of_the_rows_can_be_counted(records):
    record = records([[[0]], [[1]], [[1]], [[2]]], experts=3)
    for rows_t in (slice(1, 3), np.array([1, 2]), np.array([False, True, True, False])):
        assert expert_counts(record, rows_t=rows_t).tolist() == [[0, 2, 0]]


def test_a_record_without_tokens_counts_nothing(records):
    record = records(np.zeros((0, 2, 2)), experts=3)
    assert expert_counts(record).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert np.isnan(load_cv(expert_counts(record))).all()
    assert np.isnan(max_violation(expert_counts(record))).all()
    assert np.isnan(assignment_share(expert_counts(record)).share_le).all()
    assert np.isnan(token_share(expert_counts(record), record.layers, tokens=0).share_le).all()


def test_documents_are_counted_apart_and_add_up(records):
    record = records([[[0, 1]], [[1, 2]], [[1, EMPTY8]]], experts=3, documents=[0, 0, 2])
    counts_dle = counts_by_document(record)
    assert counts_dle.tolist() == [[[1, 2, 1]], [[0, 0, 0]], [[0, 1, 0]]]
    assert counts_dle.sum(axis=0).tolist() == expert_counts(record).tolist()


def test_counts_agree_with_counting_one_by_one(records):
    generator = np.random.default_rng(0)
    ids_tlk = np.argsort(generator.random((200, 3, 11)), axis=2)[:, :, :4]
    counts_le = np.zeros((3, 11), int)
    for token in ids_tlk:
        for layer, slots in enumerate(token):
            for expert in slots:
                counts_le[layer, expert] += 1
    assert expert_counts(records(ids_tlk, experts=11)).tolist() == counts_le.tolist()


def test_the_two_shares_differ_by_k_and_name_their_uniform_values(records):
    record = records([[[0, 1], [3, 1]], [[1, 0], [3, 2]]], experts=[2, 4])
    counts_le = expert_counts(record)
    of_assignments, of_tokens = assignment_share(counts_le), token_share(counts_le, record.layers, tokens=2)
    np.testing.assert_array_equal(of_assignments.share_le, [[0.5, 0.5, np.nan, np.nan], [0, 0.25, 0.25, 0.5]])
    np.testing.assert_array_equal(of_tokens.share_le, [[1, 1, np.nan, np.nan], [0, 0.5, 0.5, 1]])
    assert np.nansum(of_assignments.share_le, axis=1).tolist() == [1, 1]
    assert np.nansum(of_tokens.share_le, axis=1).tolist() == [2, 2]
    assert of_assignments.uniform_l.tolist() == [1 / 2, 1 / 4]
    assert of_tokens.uniform_l.tolist() == [2 / 2, 2 / 4]


def test_all_on_one_expert_is_the_upper_end():
    counts_le = np.array([[0, 0, 0, 12]])
    assert max_violation(counts_le).tolist() == [3.0]
    assert load_cv(counts_le) == pytest.approx(np.sqrt(3))


def test_absent_experts_do_not_make_a_layer_uneven(records):
    record = records([[[0, 1], [3, 1]], [[1, 0], [0, 2]]], experts=[2, 4])
    assert load_cv(expert_counts(record)).tolist() == [0, 0]
    assert max_violation(expert_counts(record)).tolist() == [0, 0]


PUBLISHED_FLOORS = [  # experts, k, tokens, (MaxVio, CV): each simulated from one even router
    (8, 2, 1_000, 0.08, 0.047),
    (8, 2, 10_000, 0.02, 0.015),
    (64, 8, 1_000, 0.20, 0.082),
    (64, 8, 10_000, 0.06, 0.027),
    (128, 8, 1_000, 0.32, 0.121),
    (128, 8, 10_000, 0.11, 0.039),
    (256, 8, 1_000, 0.50, 0.175),
    (384, 8, 1_000, 0.67, 0.216),
    (896, 16, 1_000, 0.84, 0.236),
]


@pytest.mark.parametrize(("experts", "k", "tokens", "violation", "cv"), PUBLISHED_FLOORS)
def test_floors_agree_with_published_simulations(experts, k, tokens, violation, cv):
    """A published draw spreads around its expectation: three standard deviations of a CV of so many experts."""
    spread = max(0.12, 3 / np.sqrt(2 * (experts - 1)))
    assert load_cv_floor(_rules(experts, k), tokens=tokens)[0] == pytest.approx(cv, rel=spread, abs=0.0006)
    assert max_violation_floor(_rules(experts, k), tokens=tokens)[0] == pytest.approx(violation, rel=spread, abs=0.006)


@pytest.mark.parametrize(("experts", "k"), [(8, 2), (64, 8), (128, 8)])
def test_floors_agree_with_a_simulated_even_router(records, experts, k):
    generator = np.random.default_rng(4)
    violations, squares = [], []
    for _ in range(60):
        ids_tlk = np.argpartition(generator.random((1000, 1, experts)), k, axis=2)[:, :, :k]
        counts_le = expert_counts(records(ids_tlk, experts=experts))
        violations.append(max_violation(counts_le)[0])
        squares.append(load_cv(counts_le)[0] ** 2)
    root_mean_square = np.sqrt(np.mean(squares))
    assert root_mean_square == pytest.approx(load_cv_floor(_rules(experts, k), tokens=1000)[0], rel=0.1)
    assert np.mean(violations) == pytest.approx(max_violation_floor(_rules(experts, k), tokens=1000)[0], rel=0.1)


def test_a_layer_that_uses_all_its_experts_has_no_floor():
    assert load_cv_floor(_rules(4, 4), tokens=10).tolist() == [0]
    assert max_violation_floor(_rules(1, 1), tokens=10).tolist() == [0]
    assert np.isnan(max_violation_floor(_rules(4, 2), tokens=0)).all()
    with pytest.raises(OptionError, match="-1 tokens"):
        load_cv_floor(_rules(4, 2), tokens=-1)


@pytest.mark.slow
def test_load_entropy_of_real_routes_agrees_with_the_independent_figures(gptoss, realdata):
    expected = json.loads((realdata / "expected.json").read_text())["gptoss20b"]
    assert (gptoss.tokens, len(gptoss.layers), gptoss.slots) == (expected["tokens"], expected["layers"], expected["k"])
    counts_le = expert_counts(gptoss)
    assert (counts_le.sum(axis=1) == expected["tokens"] * expected["k"]).all()
    share_le = assignment_share(counts_le).share_le
    entropy_l = -(share_le * np.log(share_le, where=share_le > 0, out=np.zeros_like(share_le))).sum(axis=1) / np.log(32)
    assert entropy_l[[0, 11, 23]].round(4).tolist() == expected["normalised_load_entropy_L0_11_23"]


def test_documents_of_real_routes_add_up(gptoss):
    counts_dle = counts_by_document(gptoss)
    assert (counts_dle.sum(axis=0) == expert_counts(gptoss)).all()
    assert (counts_dle.sum(axis=2) == 4 * np.bincount(gptoss.document_t)[:, None]).all()


def test_olmoe_token_shares_agree_with_the_published_ones(realdata):
    """Maximum and minimum of 100 x share of tokens, layers 0, 7 and 15 of five domains."""
    expected = json.loads((realdata / "expected.json").read_text())["olmoe"]["max_min_std"]
    counts = json.loads((realdata / "olmoe" / "domain_counts.json").read_text())
    checked = 0
    for place, (highest, lowest, deviation) in expected.items():
        if place not in counts:
            continue
        entry = counts[place]
        percent_e = 100 * token_share(np.array([entry["counts"]]), _rules(64, 8), tokens=entry["tokens"]).share_le[0]
        assert percent_e.max() == pytest.approx(highest, abs=1e-3)
        assert percent_e.min() == pytest.approx(lowest, abs=1e-3)
        assert percent_e.std() == pytest.approx(deviation, rel=0.01)
        checked += 1
    assert checked == 15


def test_the_kinds_of_question_differ_in_routing_beyond_what_documents_do_by_chance(gptoss, realdata):
    """Dataset of each example as its label: real, so far above the null; shuffled at random, not."""
    datasets = [example["dataset"] for example in json.loads((realdata / "gptoss20b" / "examples.json").read_text())]
    _, labels_d = np.unique(datasets, return_inverse=True)
    counts_dle = counts_by_document(gptoss)[:, [0, 11, 23]]
    for layer in excess_information(counts_dle, labels_d, permutations=99):
        assert layer.p_value == 0.01 and layer.z > 20 and layer.null_mean_bits > 0
    shuffled_d = np.random.default_rng(0).permutation(labels_d)
    for layer in excess_information(counts_dle, shuffled_d, permutations=99):
        assert layer.p_value > 0.01 and abs(layer.excess_bits) < layer.null_mean_bits


def test_counting_keeps_up_with_fifty_million_assignments_a_second():
    generator = np.random.default_rng(5)
    ids_tlk = np.argsort(generator.random((20_000, 1, 64)), axis=2)[:, :, :8].repeat(24, axis=1).astype(np.uint8)
    whose_t = (np.arange(20_000) // 100).astype(np.int32)
    load.count_by(ids_tlk[:1], whose_t[:1], 1, 64)
    start = time.process_time()
    load.count_by(ids_tlk, whose_t, 200, 64)
    assert ids_tlk.size / (time.process_time() - start) >= 50e6
