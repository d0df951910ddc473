"""Quantities per token and layer: values by hand, absence as NaN, and the sentence a figure carries."""

import dataclasses
import json

import numpy as np
import pytest

from gatescope.analysis.token.routing_trace import (
    QUANTITIES,
    entropy,
    margin,
    next_token_loss,
    overlap,
    takeaway,
    top_expert,
    top_weight,
)
from gatescope.routing import EMPTY8, Flag

ROUTES = [  # tokens of layers of two experts each
    [[0, 1], [2, 3]],
    [[1, 0], [3, 0]],
    [[2, 1], [0, 1]],
]


def test_overlap_is_the_share_of_experts_kept_from_the_token_before(records):
    assert overlap(records(ROUTES, experts=4))[1:].tolist() == [[1.0, 0.5], [0.5, 0.5]]


def test_overlap_is_absent_without_a_previous_token(records):
    values_tl = overlap(records(ROUTES, experts=4, documents=[0, 0, 1]))
    assert np.isnan(values_tl[[0, 2]]).all() and np.isfinite(values_tl[1]).all()
    gap = records(ROUTES, experts=4, position_t=np.array([0, 1, 5], np.int32))
    assert np.isnan(overlap(gap)[2]).all() and np.isfinite(overlap(gap)[1]).all()
    assert overlap(records(np.zeros((0, 2, 2)), experts=4)).shape == (0, 2)
    assert np.isnan(overlap(records(ROUTES[:1], experts=4))).all()


def test_overlap_is_absent_beside_a_dropped_token_and_empty_slots_never_repeat(records):
    dropped = records([[[0, 1]], [[EMPTY8, EMPTY8]], [[0, EMPTY8]], [[0, EMPTY8]]], experts=4)
    np.testing.assert_array_equal(overlap(dropped), [[np.nan], [np.nan], [np.nan], [0.5]])


def test_overlap_divides_by_the_layer_own_k(records):
    record = records([[[0, 1], [2, EMPTY8]], [[1, 3], [2, EMPTY8]]], experts=4)
    assert [rule.k for rule in record.layers] == [2, 1]
    assert overlap(record)[1].tolist() == [0.5, 1.0]
    assert QUANTITIES["overlap"].null_l(record).tolist() == [0.5, 0.25]


def test_overlap_of_random_routes_is_k_over_e(records):
    generator = np.random.default_rng(0)
    record = records(np.argsort(generator.random((4000, 3, 32)), axis=2)[:, :, :4], experts=32)
    null_l = QUANTITIES["overlap"].null_l(record)
    assert null_l.tolist() == [0.125] * 3
    np.testing.assert_allclose(np.nanmean(overlap(record), axis=0), null_l, atol=0.01)


def test_entropy_is_shown_in_bits_though_recorded_in_nats(records):
    record = records(ROUTES, experts=4, entropy_tl=np.full((3, 2), np.log(4), np.float16))
    np.testing.assert_allclose(entropy(record), 2.0, rtol=1e-3)
    assert QUANTITIES["entropy"].null_l(record).tolist() == [2.0, 2.0]


def test_margins_are_what_was_recorded(records):
    margin_tl = np.array([[0.5, 0.25], [0.125, np.nan], [0, 1]], np.float16)
    np.testing.assert_array_equal(margin(records(ROUTES, experts=4, margin_tl=margin_tl)), margin_tl)


def test_the_first_weight_is_absent_where_there_is_no_expert(records):
    weight_tlk = np.array([[[0.75, 0.25]], [[0, 0]]], np.float16)
    record = records([[[3, 1]], [[EMPTY8, EMPTY8]]], experts=4, weight_tlk=weight_tlk)
    np.testing.assert_array_equal(top_weight(record), [[0.75], [np.nan]])
    assert top_expert(record).tolist() == [[3], [-1]]


@pytest.mark.parametrize(
    ("changes", "null"),
    [
        ({"score": "softmax", "is_renormalised": True}, 0.5),
        ({"score": "softmax", "is_renormalised": True, "scale": 2.5}, 1.25),
        ({"score": "softmax"}, 0.25),
        ({"score": "sigmoid"}, np.nan),
    ],
)
def test_the_weight_of_an_indifferent_router_follows_its_rule(records, changes, null):
    record = records(ROUTES, experts=4)
    layers = tuple(dataclasses.replace(rule, **changes) for rule in record.layers)
    null_l = QUANTITIES["top1-weight"].null_l(dataclasses.replace(record, layers=layers))
    np.testing.assert_array_equal(null_l, [null, null])


def test_what_was_not_recorded_is_nan_and_says_so(records):
    record = records(ROUTES, experts=4)
    for quantity in QUANTITIES.values():
        values_tl = quantity.values(record)
        assert values_tl.shape == (3, 2) and values_tl.dtype == np.float32
        if not quantity.is_available(record):
            assert np.isnan(values_tl).all()
            assert takeaway(record, quantity) == f"This capture holds no {quantity.title}."
    assert [slug for slug, quantity in QUANTITIES.items() if quantity.is_available(record)] == ["overlap"]
    assert np.isnan(next_token_loss(record)).all()
    assert next_token_loss(records(ROUTES, experts=4, loss_t=np.arange(3, dtype=np.float32))).tolist() == [0, 1, 2]


def test_every_quantity_says_what_it_is_and_what_not():
    for slug, quantity in QUANTITIES.items():
        assert quantity.slug == slug
        assert quantity.says.endswith(".") and quantity.not_this.startswith("not ")
        assert quantity.low != quantity.high and quantity.unit and quantity.title
        assert bool(quantity.null_words) == (quantity.null is not None)


def test_the_takeaway_names_the_layer_the_token_and_how_many_were_counted(records):
    margin_tl = np.array([[0.5, 0.25], [0.125, 0.5], [0.375, 0.0625]], np.float16)
    record = records(ROUTES, experts=4, margin_tl=margin_tl, pieces={2: " cat\n"})
    assert takeaway(record, QUANTITIES["margin"]) == (
        "The last expert chosen beat the next by 0.271 on average in layer 1, where it is smallest; "
        "lowest at token 2 “ cat↵” in layer 1, 0.0625. N = 3 tokens."
    )


def test_the_takeaway_says_how_often_an_extreme_occurs_and_what_chance_gives(records):
    record = records([[[0, 1]], [[1, 0]], [[1, 0]]], experts=4, pieces={1: "b"})
    assert takeaway(record, QUANTITIES["overlap"]) == (
        "Overlap with the previous token is 1 on average (share of k; chance: 0.5); "
        "highest first at token 1 “b” in layer 0, 1 (2 times). N = 2 tokens."
    )


def test_the_takeaway_leaves_out_tokens_of_the_format_unless_there_are_no_others(records):
    margin_tl = np.array([[0, 0], [0.25, 0.5], [0.5, 0.5]], np.float16)
    flags = np.array([Flag.SPECIAL, 0, Flag.GENERATED], np.uint8)
    record = records(ROUTES, experts=4, margin_tl=margin_tl, flag_t=flags)
    assert "at token 1 “<1>” in layer 0, 0.25. N = 2 tokens." in takeaway(record, QUANTITIES["margin"])
    only = dataclasses.replace(record, flag_t=np.full(3, Flag.TEMPLATE, np.uint8))
    assert "at token 0 “<0>”" in takeaway(only, QUANTITIES["margin"])


def test_the_takeaway_names_the_block_and_the_document_where_there_is_a_choice(records):
    margin_tl = np.array([[1, 1], [0.5, 1], [1, 0.25]], np.float16)
    record = records(ROUTES, experts=4, margin_tl=margin_tl, documents=[0, 0, 1])
    layers = tuple(dataclasses.replace(rule, block=rule.layer + 3) for rule in record.layers)
    sentence = takeaway(dataclasses.replace(record, layers=layers), QUANTITIES["margin"])
    assert "of document 1 in layer 1 (block 4), 0.25" in sentence


def test_a_layer_without_values_does_not_disturb_the_others(records):
    margin_tl = np.array([[np.nan, 0.5], [np.nan, 0.25], [np.nan, np.nan]], np.float16)
    sentence = takeaway(records(ROUTES, experts=4, margin_tl=margin_tl), QUANTITIES["margin"])
    assert sentence.startswith(
        "The last expert chosen beat the next by 0.375 on average in layer 1, where it is smallest;"
    ) and sentence.endswith("N = 2 tokens.")


def test_consecutive_choices_of_real_routes_agree_with_the_independent_figures(gptoss, realdata):
    expected = json.loads((realdata / "expected.json").read_text())["gptoss20b"]
    places = [0, 11, 23]
    values_tl = overlap(gptoss)[:, places]
    is_next_t = np.isfinite(values_tl[:, 0])
    any_percent_l = 100 * (values_tl[is_next_t] > 0).mean(axis=0)
    assert any_percent_l.round(2).tolist() == expected["consecutive_any_of_top4_pct_L0_11_23"]
    first_tl = top_expert(gptoss)[:, places]
    same_percent_l = 100 * (first_tl[1:] == first_tl[:-1])[is_next_t[1:]].mean(axis=0)
    assert same_percent_l.round(2).tolist() == expected["consecutive_same_first_choice_pct_L0_11_23"]
