"""Tokens that route alike: overlaps, their chance and the word's share, against hand calculations."""

import numpy as np
import pytest

from gatescope.analysis.token.similarity import (
    FEW_DOCUMENTS,
    chance_overlap,
    context_share_of,
    nearest,
    overlap_of,
    same_word,
    shared_experts,
)
from gatescope.routing import Document, Provenance, RouterRule, RoutingRecord


def record_of(routes, words, documents, *, experts=4, k=2):
    """A record with the given routes (tokens, layers, slots), word ids and documents."""
    ids_tlk = np.array(routes, np.uint8)
    tokens, layers = ids_tlk.shape[:2]
    document_t = np.array(documents, np.int32)
    return RoutingRecord(
        ids_tlk=ids_tlk,
        weight_tlk=None,
        token_t=np.array(words, np.int32),
        document_t=document_t,
        position_t=np.arange(tokens, dtype=np.int32),
        flag_t=np.zeros(tokens, np.uint8),
        documents=tuple(Document(f"text {n}", id=str(n)) for n in range(max(documents) + 1)),
        layers=tuple(
            RouterRule(layer=n, block=n, module="m", experts=experts, k=k, score="softmax") for n in range(layers)
        ),
        provenance=Provenance(model="m", fingerprint="f", dtype="float32", device="cpu"),
    )


ROUTES = [[[0, 1], [2, 3]], [[1, 0], [2, 0]], [[2, 3], [0, 1]], [[0, 2], [3, 255]]]


def everything(record):
    return np.ones(record.tokens, bool)


def test_experts_in_common_are_counted_layer_by_layer_whatever_their_order():
    record = record_of(ROUTES, [7, 8, 9, 8], [0, 0, 0, 0])
    shared_tl = shared_experts(record, record.ids_tlk[0])
    assert shared_tl.tolist() == [[2, 2], [2, 1], [0, 0], [1, 1]]
    assert overlap_of(shared_tl, record.layers).tolist() == [1.0, 0.75, 0.0, 0.5]


def test_an_empty_slot_is_shared_with_nobody():
    record = record_of(ROUTES, [7, 8, 9, 8], [0, 0, 0, 0])
    assert shared_experts(record, record.ids_tlk[3])[3].tolist() == [2, 1]


def test_chance_is_what_dealing_each_layer_on_its_own_gives():
    """Every way to take layer 0 from one token and layer 1 from another, one by one."""
    record = record_of(ROUTES, [7, 8, 9, 8], [0, 0, 0, 0])
    shared_tl = shared_experts(record, record.ids_tlk[0])
    shuffled = [(a + b) / 4 for a in shared_tl[:, 0].tolist() for b in shared_tl[:, 1].tolist()]
    points, tail = chance_overlap(shared_tl, record.layers)
    assert points.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tail.tolist() == pytest.approx([np.mean([each >= point for each in shuffled]) for point in points.tolist()])


def test_layers_of_different_k_count_alike():
    rules = tuple(
        RouterRule(layer=n, block=n, module="m", experts=4, k=k, score="softmax") for n, k in enumerate((1, 2))
    )
    points, tail = chance_overlap(np.array([[1, 1], [0, 2]]), rules)
    # layer 0 gives 1 or 0 of 1, layer 1 gives 1/2 or 2/2: means 0.25, 0.5, 0.75, 1, each in one of four ways
    assert points.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tail.tolist() == [1, 1, 0.75, 0.5, 0.25]


def test_the_nearest_tokens_are_of_other_words_one_of_each():
    record = record_of(ROUTES, [7, 8, 9, 8], [0, 0, 0, 0])
    found = nearest(record, 0, is_counted_t=everything(record))
    assert found.row_n.tolist() == [1, 2], "row 3 is the word of row 1 again, and further off"
    assert found.overlap_n.tolist() == [0.75, 0.0]
    assert (found.best, found.tokens) == (0.75, 3)
    assert found.random == pytest.approx((0.75 + 0 + 0.5) / 3)
    # drawn from rows 1 to 3: layer 0 shares 2, 0, 1 and layer 1 shares 1, 0, 1; only (2, 1) reaches 0.75, twice of nine
    assert found.expected == pytest.approx(3 * 2 / 9)


def test_the_chance_of_the_nearest_is_the_median_of_the_best_of_so_many():
    rng = np.random.default_rng(1)
    routes = np.stack([rng.permuted(np.tile(np.arange(8), (400, 1)), axis=1)[:, :2] for _ in range(3)], axis=1)
    record = record_of(routes, np.arange(400), [0] * 400, experts=8)
    found = nearest(record, 0, is_counted_t=everything(record))
    shared_tl = shared_experts(record, record.ids_tlk[0])[1:]
    shuffled = [
        np.stack([rng.choice(shared_tl[:, n], 399) for n in range(3)], axis=1).sum(axis=1).max() for _ in range(801)
    ]
    assert found.by_chance == pytest.approx(np.median(shuffled) / 6, abs=1e-9)


def test_without_other_words_nothing_is_near():
    record = record_of(ROUTES, [7, 7, 7, 7], [0, 0, 0, 0])
    found = nearest(record, 0, is_counted_t=everything(record))
    assert len(found.row_n) == 0 and np.isnan(found.best) and found.tokens == 0


def same(record, row, document=0):
    own_t = np.arange(record.tokens) == row
    word = int(record.token_t[row])
    return same_word(record, record.ids_tlk[row], word, own_t=own_t, document=document, is_counted_t=everything(record))


def test_a_word_is_compared_in_other_documents_alone():
    routes = [[[0, 1]], [[0, 1]], [[0, 2]], [[2, 3]], [[1, 3]]]
    record = record_of(routes, [7, 7, 7, 8, 8], [0, 0, 1, 1, 1])
    found = same(record, 0)
    assert found.row_n.tolist() == [2], "row 1 is the same word, of the same document"
    assert found.same_l.tolist() == [0.5]
    assert found.other_l.tolist() == [0.25], "of rows 3 and 4"
    assert found.share == pytest.approx(1 - (0.5 - 0.25) / (1 - 0.25))
    assert (found.is_apart, found.documents) == (True, 1)
    assert np.isnan(found.low), "one document tells nothing of the spread"


def test_in_a_single_document_its_other_tokens_are_compared():
    record = record_of([[[0, 1]], [[1, 0]], [[2, 3]]], [7, 7, 8], [0, 0, 0])
    found = same(record, 0)
    assert (found.is_apart, found.row_n.tolist(), found.share) == (False, [1], 0.0)


def test_a_word_that_comes_once_has_no_share():
    found = same(record_of([[[0, 1]], [[1, 0]]], [7, 8], [0, 0]), 0)
    assert len(found.row_n) == 0 and np.isnan(found.share)


def test_the_interval_is_over_documents():
    """Documents in which the word keeps all experts or none: the spread of a mean of 0 and 1 is known."""
    documents = 40
    routes = [[[0, 1]]] + [[[0, 1]] if n % 2 else [[2, 3]] for n in range(documents)] + [[[2, 3]]]
    words = [7] + [7] * documents + [8]
    record = record_of(routes, words, [0, *range(1, documents + 1), documents])
    found = same(record, 0)
    assert found.documents == documents >= FEW_DOCUMENTS
    assert found.share == pytest.approx(0.5)
    half = 1.96 * np.sqrt(0.25 / documents)
    assert found.low == pytest.approx(0.5 - half, abs=0.03) and found.high == pytest.approx(0.5 + half, abs=0.03)


def test_nothing_can_differ_where_others_share_all():
    assert np.isnan(context_share_of(1.0, 1.0))
