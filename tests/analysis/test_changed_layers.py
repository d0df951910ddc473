"""In how many layers a token that two texts share went to other experts."""

import numpy as np

from gatescope.analysis.comparison.alignment import align
from gatescope.analysis.comparison.changed_layers import changed_layers


def test_layers_whose_set_of_experts_differs_are_counted_whatever_the_order(make_record):
    before = make_record(pieces=["a", "b", "c"], ids_tlk=np.array([[[0, 1], [2, 3]]] * 3, np.uint8))
    ids_tlk = np.array([[[1, 0], [2, 3]], [[0, 2], [2, 3]], [[3, 2], [0, 3]]], np.uint8)  # none, one layer, both
    after = make_record(pieces=["a", "b", "c"], ids_tlk=ids_tlk)
    changed = changed_layers(before, after, align(before.token_t, after.token_t))
    assert changed.layers_n.tolist() == [0, 1, 2]
    assert changed.known_n.tolist() == [2, 2, 2]


def test_tokens_are_met_where_the_alignment_finds_them(make_record):
    before = make_record(token_t=np.array([5, 6, 7], np.int32))
    other_tlk = ((before.ids_tlk + np.array([0, 0, 1], np.uint8)[:, None, None]) % 4).astype(np.uint8)
    after = make_record(token_t=np.array([5, 9, 7], np.int32), ids_tlk=other_tlk)
    found = align(before.token_t, after.token_t)
    changed = changed_layers(before, after, found)
    assert found.second_n.tolist() == [0, 2]
    assert changed.layers_n.tolist() == [0, 2]


def test_a_layer_without_an_expert_counts_nowhere(make_record):
    ids_tlk = np.array([[[0, 1], [255, 255]]] * 3, np.uint8)
    weight_tlk = np.array([[[0.75, 0.25], [0, 0]]] * 3, np.float16)
    record = make_record(ids_tlk=ids_tlk, weight_tlk=weight_tlk)
    changed = changed_layers(record, record, align(record.token_t, record.token_t))
    assert changed.layers_n.tolist() == [0, 0, 0]
    assert changed.known_n.tolist() == [1, 1, 1]
