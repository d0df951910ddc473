"""Loads of a cache, document by document: against a cache that is written out, and against the measured hit rate."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.comparison import cache_spread
from gatescope.analysis.comparison.cache_spread import Depths, loads_per_token, lru_depths_by_document
from gatescope.routing.record import Document
from tests.records import build_record

TOKENS, DOCUMENTS, EXPERTS = 240, 6, 6


@pytest.fixture
def record():
    random = np.random.default_rng(11)
    ids_tlk = np.argsort(random.random((TOKENS, 2, EXPERTS)), axis=-1)[..., :2].astype(np.uint8)
    built = build_record(["·"] * TOKENS, experts=EXPERTS, ids_tlk=ids_tlk, rejected_tl=None, margin_tl=None)
    return replace(
        built,
        flag_t=np.zeros(TOKENS, np.uint8),
        document_t=np.repeat(np.arange(DOCUMENTS, dtype=np.int32), TOKENS // DOCUMENTS),
        position_t=np.tile(np.arange(TOKENS // DOCUMENTS, dtype=np.int32), DOCUMENTS),
        documents=tuple(Document(str(number)) for number in range(DOCUMENTS)),
    )


def misses(record, layer: int, kept: int, document: int) -> int:
    """A cache as anybody would write it: what is not among the `kept` used last when its token arrives is loaded."""
    cache, missed = OrderedDict(), 0
    for row in np.flatnonzero(record.document_t == document):
        experts = record.ids_tlk[row, layer].tolist()
        missed += sum(expert not in cache for expert in experts)
        for expert in reversed(experts):  # the first choice is the one used last
            cache.pop(expert, None)
            cache[expert] = True
        while len(cache) > kept:
            cache.popitem(last=False)
    return missed


@pytest.mark.parametrize("kept", [(1, 1), (3, 3), (2, 5), (6, 6)])
def test_loads_are_those_of_a_cache_written_out(record, kept):
    depths = lru_depths_by_document(record, np.ones(TOKENS, bool))
    found = loads_per_token(depths, np.array(kept), resamples=100)
    by_document = [sum(misses(record, layer, kept[layer], number) for layer in range(2)) for number in range(DOCUMENTS)]
    assert found.mean == pytest.approx(sum(by_document) / TOKENS)
    assert found.asked == 4, "two layers, two experts a token"
    assert found.documents == DOCUMENTS
    assert (found.low < found.mean < found.high) == (kept != (6, 6)), "with room for all, every document loads six"
    per_token = np.array(by_document) / (TOKENS // DOCUMENTS)
    assert (found.light, found.heavy) == pytest.approx(tuple(np.quantile(per_token, [0.1, 0.9])))


def test_tokens_that_do_not_count_fill_the_cache_but_are_not_counted(record):
    counted_t = record.position_t >= 20
    depths = lru_depths_by_document(record, counted_t)
    assert depths.tokens_b.tolist() == [20] * DOCUMENTS
    assert depths.count_bld.sum() == counted_t.sum() * 4
    assert depths.count_bld[:, :, 0].sum() == 0, "after twenty tokens every expert of six was seen"


def test_documents_are_counted_in_blocks_of_neighbours_where_there_are_many(record, monkeypatch):
    monkeypatch.setattr(cache_spread, "MOST_BLOCKS", 2)
    whole = lru_depths_by_document(record, np.ones(TOKENS, bool))
    assert whole.tokens_b.tolist() == [120, 120]
    kept = np.array([3, 3])
    expected = sum(misses(record, layer, 3, number) for layer in range(2) for number in range(3)) / 120
    first = Depths(whole.count_bld[:1], whole.tokens_b[:1])
    assert loads_per_token(first, kept).mean == pytest.approx(expected)


def test_one_document_has_no_interval():
    depths = Depths(np.array([[[2, 1, 1]]]), np.array([2]))
    found = loads_per_token(depths, np.array([1]))
    assert (found.mean, found.asked) == (1.5, 2.0)
    assert np.isnan(found.low) and np.isnan(found.high)


def test_nothing_that_counts_is_no_number():
    found = loads_per_token(Depths(np.zeros((1, 1, 3), np.int64), np.array([0])), np.array([1]))
    assert np.isnan(found.mean) and np.isnan(found.asked) and np.isnan(found.heavy)


def test_an_expert_counts_by_its_size():
    # Layer 0 misses 2 of 3 requests with nothing but 1 kept, layer 1 misses 1 of 2; two tokens.
    depths = Depths(np.array([[[2, 1, 0], [1, 0, 1]]]), np.array([2]))
    found = loads_per_token(depths, np.array([1, 2]), np.array([10.0, 100.0]))
    assert found.mean == (2 * 10 + 1 * 100) / 2
    assert found.asked == (3 * 10 + 2 * 100) / 2
