"""The comparison is silent on what models did and names every fault that is planted in it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from tests.hooks import zoo
from tests.hooks.conformance import FLOAT16, Found, differences, differences_of_all
from tests.hooks.formulas import Layer, expected

FAMILIES = ("deepseek_v3", "beam", "longcat_flash")
"""Biased and in groups; scaled after the experts; with experts that pass the token on."""


@cache
def recorded(name: str) -> tuple[list[Layer], list[Found]]:
    """What is expected of a family, and what its routers answered and its experts were given."""
    specimen = zoo.specimen(name)
    layers = expected(name, specimen.model, specimen.inputs)
    logits, routes, handles = [], [], []
    for layer in layers:
        router = specimen.model.get_submodule(layer.router_path)
        experts = specimen.model.get_submodule(layer.experts_path)
        handles.append(router.register_forward_hook(lambda _m, _a, answer: logits.append(answer[0].double().numpy())))
        handles.append(experts.register_forward_pre_hook(lambda _m, a: routes.append([v.numpy() for v in a[1:3]])))
    with torch.no_grad():
        specimen.model(**specimen.inputs)
    for handle in handles:
        handle.remove()
    found = [
        Found(scores, ids, weights * layer.after)
        for layer, scores, (ids, weights) in zip(layers, logits, routes, strict=True)
    ]
    return layers, found


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture
def layer(name):
    return recorded(name)[0][0]


@pytest.fixture
def found(name):
    """A copy of the first layer's record, to be spoilt."""
    return Found(*(np.array(part) for part in recorded(name)[1][0][:3]))


def shuffled(found: Found) -> Found:
    order = np.array([2, 0, 1])
    return found._replace(ids_nk=found.ids_nk[:, order], weights_nk=found.weights_nk[:, order])


def test_it_is_silent_on_what_the_model_did_in_any_order_of_the_slots(name):
    layers, found = recorded(name)
    assert differences_of_all(layers, found) == []
    assert differences_of_all(layers, [shuffled(record) for record in found]) == []


def test_it_is_silent_on_half_precision_where_that_is_allowed(layer, found):
    half = Found(found.logits_ne.astype(np.float16), found.ids_nk, found.weights_nk.astype(np.float16))
    assert differences(layer, *half, tolerance=FLOAT16) == []
    assert differences(layer, *half)


def test_a_record_without_logits_is_compared_in_ids_and_weights(layer, found):
    assert differences(layer, None, found.ids_nk, found.weights_nk) == []
    assert differences(layer, None, found.ids_nk, found.weights_nk * 1.02)


def one_wrong_id(layer, found):
    unused = np.flatnonzero(layer.dense_ne[3] == 0)[0]
    found.ids_nk[3, 0] = unused
    return f"token 3: experts {sorted(found.ids_nk[3].tolist())} found"


def an_expert_left_out(_layer, found):
    found.ids_nk[5, 1], found.weights_nk[5, 1] = -1, 0
    return "token 5: experts"


def all_weights_off(_layer, found):
    found.weights_nk[:] *= 1.02
    return "every weight is 1.02 times"


def one_weight_off(_layer, found):
    found.weights_nk[7, 2] *= 1.02
    return "(+2.00%)"


def weights_of_two_slots_swapped(_layer, found):
    found.weights_nk[:, :2] = found.weights_nk[:, 1::-1]
    return "more like these"


def a_weight_that_is_no_number(_layer, found):
    found.weights_nk[1, 1] = np.nan
    return "weight nan found"


def an_id_twice(_layer, found):
    found.ids_nk[2, 1] = found.ids_nk[2, 0]
    return "token 2: an expert is named twice"


def a_weight_in_an_empty_slot(_layer, found):
    found.ids_nk[4, 2] = -1
    return "token 4: an empty slot has weight"


def an_id_of_no_expert(layer, found):
    found.ids_nk[4, 2] = layer.dense_ne.shape[1]
    return "are none of"


def one_wrong_logit(_layer, found):
    found.logits_ne[6, 1] += 0.01
    return "token 6, expert 1: logit"


def probabilities_for_logits(_layer, found):
    found.logits_ne[:] = 1 / (1 + np.exp(-found.logits_ne))
    return "more like these"


def tokens_in_another_order(_layer, found):
    for part in found[:3]:
        part[:] = part[::-1].copy()
    return "expected"


FAULTS = (
    one_wrong_id,
    an_expert_left_out,
    all_weights_off,
    one_weight_off,
    weights_of_two_slots_swapped,
    a_weight_that_is_no_number,
    an_id_twice,
    a_weight_in_an_empty_slot,
    an_id_of_no_expert,
    one_wrong_logit,
    probabilities_for_logits,
    tokens_in_another_order,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_named(layer, found, fault):
    named = fault(layer, found)
    wrong = differences(layer, *found)
    assert any(named in sentence for sentence in wrong), wrong
    assert all(sentence.startswith(layer.router_path) for sentence in wrong)


def test_ids_taken_from_the_logits_are_told_from_those_that_ran(layer, found):
    best_nk = np.argsort(-found.logits_ne, axis=-1)[:, :3]
    wrong = differences(layer, found.logits_ne, best_nk, found.weights_nk)
    assert any("the ids are the best logits" in sentence for sentence in wrong), wrong


def test_rows_that_are_missing_doubled_or_others_are_counted(layer, found):
    padding_dropped = Found(*(part[3:] for part in found[:3]))
    assert "21 rows found, 24 tokens expected" in differences(layer, *padding_dropped)[0]
    doubled = Found(*(np.concatenate([part, part]) for part in found[:3]))
    assert "48 rows found, 24 tokens expected, all recorded again" in differences(layer, *doubled)[0]
    assert "rows [1, 2," in differences(layer, *found[:3], np.arange(1, 25))[0]


def test_rows_of_one_kind_of_token_must_be_said_to_be_those(layer, found):
    some = replace(layer, rows_n=np.arange(24) * 2)
    assert differences(some, *found[:3], np.arange(24) * 2) == []
    assert "which rows these are is not recorded" in differences(some, *found[:3])[0]


def test_a_shifted_layer_is_named_as_the_one_it_is():
    layers, found = recorded("deepseek_v3")
    wrong = differences_of_all(layers, [*found[1:], found[0]])
    assert wrong[0] == f"layer 0 holds what {layers[1].router_path} did, not {layers[0].router_path}"
    assert len(wrong) == len(layers)
    assert differences_of_all(layers, found[:-1]) == [f"{len(layers) - 1} layers found, {len(layers)} expected"]


def test_weights_before_and_after_the_blocks_own_factor_are_two_things():
    layers, found = recorded("beam")
    handed = [record._replace(weights_nk=record.weights_nk / 2.5) for record in found]
    assert differences_of_all(layers, handed, after=False) == []
    assert "every weight is 0.4 times" in differences_of_all(layers, handed)[0]


def test_a_table_may_name_an_expert_twice():
    dense_ne = np.array([[0.0, 2.0], [1.0, 1.0]])
    table = Layer("router", "experts", np.zeros((2, 2)), dense_ne, np.full(2, np.inf), may_repeat=True)
    ids_nk = np.array([[1, 1], [0, 1]])
    assert differences(table, None, ids_nk, np.ones((2, 2))) == []
    assert "named twice" in differences(replace(table, may_repeat=False), None, ids_nk, np.ones((2, 2)))[0]


@pytest.mark.parametrize(("tied", "margin", "named"), [(2, 0.0, None), (3, 0.0, "3 of 200"), (1, 1e-5, "token 0")])
def test_ties_are_excused_while_they_are_few(tied, margin, named):
    dense_ne = np.tile([1.0, 0, 0], (200, 1))
    margin_n, ids_nk = np.ones(200), np.zeros((200, 1), int)
    margin_n[:tied], ids_nk[:tied] = margin, 1
    layer = Layer("router", "experts", np.tile([1.0, 1, 0], (200, 1)), dense_ne, margin_n)
    wrong = differences(layer, layer.logits_ne, ids_nk, np.ones((200, 1)))
    assert (wrong == []) if named is None else named in wrong[0]
