"""Caches: against simulators that keep plain sets, against every choice there is, by hand, and on real routes."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Document, Flag
from tests.analysis.conftest import make_record

DEPTHS = ["lru_depths", "mixed_lru_depths", "lfu_depths", "best_depths"]
NAMES = [*DEPTHS, "segment_hits", "assignments", "tokens"]


def found(name, record, **ask):
    return METRICS[name](tally(record, only=NAMES), MetricOptions(**({"resamples": 0} | ask)))


def documents_of(record, layer):
    """Each document's lists of experts, token by token."""
    for document in range(len(record.documents)):
        rows = np.flatnonzero(record.document_t == document)
        yield [[e for e in record.ids_tlk[row, layer].tolist() if e != record.empty] for row in rows]


def simulated(record, layer, size, wanted):
    """Hits of a cache that keeps the experts with the greatest `wanted(token, expert, last, uses, tokens)`."""
    hits = 0
    for tokens in documents_of(record, layer):
        kept, last, uses, time = set(), {}, {}, 0
        for at, experts in enumerate(tokens):
            hits += len(kept & set(experts))
            for expert in reversed(experts):  # the first choice is the one used last
                time += 1
                last[expert], uses[expert] = time, uses.get(expert, 0) + 1
            order = sorted(kept | set(experts), key=lambda e, at=at: wanted(at, e, last, uses, tokens), reverse=True)
            kept = set(order[:size])
    return hits


def recent(_at, expert, last, _uses, _tokens):
    return last[expert]


def frequent(_at, expert, last, uses, _tokens):
    return uses[expert], last[expert]


def used_soon(at, expert, last, _uses, tokens):
    return sum(expert in experts for experts in tokens[at + 1 : at + 17]), last[expert]


def best(record, layer, size):
    """The most hits of all ways to choose what is kept after each token."""
    hits = 0
    for tokens in documents_of(record, layer):
        reached = {frozenset(): 0}
        for experts in tokens:
            after: dict[frozenset, int] = {}
            for kept, so_far in reached.items():
                gained = so_far + len(kept & set(experts))
                pool = sorted(kept | set(experts))
                for keep in combinations(pool, min(size, len(pool))):
                    after[frozenset(keep)] = max(after.get(frozenset(keep), 0), gained)
            reached = after
        hits += max(reached.values())
    return hits


def long_record(seed, documents=3, experts=5, tokens=60, slots=2):
    """Documents of some length whose tokens stay with an expert for a while."""
    generator = np.random.default_rng(seed)
    score = generator.gumbel(size=(tokens, 2, experts)) + np.repeat(generator.normal(0, 2, (6, 2, experts)), 10, axis=0)
    ids = np.argsort(-score, axis=2)[..., :slots].astype(np.uint8)
    ids[generator.random(tokens) < 0.1, 0, 1:] = 255
    document_t = np.sort(generator.integers(0, documents, tokens))
    token_t = generator.integers(0, 50, tokens).astype(np.int32)
    return make_record(ids, experts=experts, documents=document_t, token_t=token_t)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_one_pass_gives_what_a_cache_of_each_size_gives(seed):
    record = long_record(seed)
    counted = tally(record, only=NAMES)
    for name, wanted in (("lru_depths", recent), ("lfu_depths", frequent)):
        hits = counted.pooled(name)[:, 1:].cumsum(axis=1)
        slow = [[simulated(record, layer, size + 1, wanted) for size in range(5)] for layer in range(2)]
        assert hits.tolist() == slow, name
    segment = counted.table("segment_hits").sum(axis=(0, 1))
    slow = [[simulated(record, layer, size, used_soon) for size in (2, 4, 5)] for layer in range(2)]
    assert segment[..., 1].tolist() == slow
    assert segment[..., 0].tolist() == [[int((record.ids_tlk[:, layer] < 5).sum())] * 3 for layer in range(2)]


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_no_choice_of_what_to_keep_does_better_than_the_best(seed):
    record = long_record(seed, tokens=60).take(np.arange(0, 60, 3))
    hits = tally(record, only=NAMES).pooled("best_depths")[:, 1:].cumsum(axis=1)
    assert hits.tolist() == [[best(record, layer, size + 1) for size in range(5)] for layer in range(2)]


def test_hits_by_hand():
    """0 1 | 0 2 | 1 0, then a document that starts afresh: 0."""
    record = make_record([[[0, 1]], [[0, 2]], [[1, 0]], [[0, 255]]], experts=3, documents=[0, 0, 0, 1])
    assert found("lru_hit_rate", record).value[0].tolist() == [2 / 7, 2 / 7, 3 / 7]  # 1 was used before 0 and 2
    assert found("belady_hit_rate", record).value[0].tolist() == [2 / 7, 3 / 7, 3 / 7]  # 2 need not be kept
    assert found("lfu_hit_rate", record).value[0].tolist() == [2 / 7, 2 / 7, 3 / 7]
    efficiency = found("cache_efficiency", record)
    assert efficiency.value[0].tolist() == [[1, 1], [2 / 3, 2 / 3], [1, 1]]
    assert efficiency.labels["b"] == ("1", "2", "3") and efficiency.labels["c"][0] == "least recently used"


def test_fixed_experts_are_those_of_the_other_documents():
    ids = np.array([[[0]], [[0]], [[1]], [[2]], [[2]], [[1]]], np.uint8)
    record = make_record(ids, experts=4, documents=[0, 0, 0, 1, 1, 1])
    # the first document by the second's 2, 1 (0 and 3 unused, half each): 0, 1, 2; the second likewise: 0, 1, 2
    assert found("static_hit_rate", record).value[0].tolist() == [0, 2 / 6, 4 / 6, 1]
    alone = make_record(ids[:3], experts=4)
    assert np.isnan(found("static_hit_rate", alone).value).all()


def test_layers_of_their_own_width_and_without_requests():
    record = make_record([[[0], [1], [255]], [[0], [3], [255]]], experts=[2, 5, 3])
    result = found("lru_hit_rate", record)
    assert result.value[0, :2].tolist() == [0.5, 0.5] and np.isnan(result.value[0, 2:]).all()
    assert result.value[1].tolist() == [0] * 5 and np.isnan(result.value[2]).all()
    assert np.isnan(found("segment_cache_hits", record).value[2]).all()
    assert np.isnan(found("cache_efficiency", record).value[1:]).all()


def test_a_prompt_fills_the_cache_for_what_is_generated():
    flag_t = np.array([0, 0, Flag.GENERATED, Flag.GENERATED], np.uint8)
    record = make_record([[[0]], [[1]], [[1]], [[0]]], experts=2, flag_t=flag_t)
    assert found("lru_hit_rate", record, facets=(TokenRole.PROMPT,)).value[0].tolist() == [0, 0]
    assert found("lru_hit_rate", record, facets=(TokenRole.GENERATED,)).value[0].tolist() == [0.5, 1]


def test_order_that_is_chance_gains_nothing():
    generator = np.random.default_rng(0)
    score = generator.gumbel(size=(20_000, 1, 16)) + np.linspace(0, 2, 16)
    ids = np.argsort(-score, axis=2)[..., :2].astype(np.uint8)
    document_t = np.repeat(np.arange(40), 500)
    record = make_record(ids, experts=16, documents=document_t, token_t=generator.integers(0, 999, 20_000, np.int32))
    record = replace(record, documents=tuple(Document("", id=str(n)) for n in range(40)))
    lru = found("lru_hit_rate", record)
    assert np.abs(lru.value - lru.null).max() < 0.01 and (np.diff(lru.value[0]) > 0).all()
    assert np.abs(found("segment_cache_excess", record).value).max() < 0.02
    # independent requests: with one expert kept, that of the token before is asked for by chance
    share = np.bincount(ids[:, 0].ravel(), minlength=16) / 20_000
    first = np.bincount(ids[:, 0, 0], minlength=16) / 20_000
    assert lru.value[0, 0] == pytest.approx((share * first).sum() / 2, abs=0.01)
    fixed = found("static_hit_rate", record).value[0]
    np.testing.assert_allclose(fixed, np.sort(share / 2)[::-1].cumsum(), atol=0.003)


def test_order_that_is_kept_is_gained():
    ids = np.repeat(np.random.default_rng(1).integers(0, 32, 100), 20)[:, None, None].astype(np.uint8)
    record = make_record(ids, experts=32)
    result = found("lru_hit_rate", record)
    assert result.value[0, 0] > 0.95 and result.null[0, 0] < 0.06
    assert found("segment_cache_excess", record).value[0, 0] > 0.9


def test_how_tokens_are_mixed_depends_on_their_document_alone():
    record = long_record(8, documents=4)
    backwards = np.concatenate([np.flatnonzero(record.document_t == d) for d in (3, 2, 1, 0)])
    arrays = {name: array[backwards] for name, array in record.arrays()}
    other = replace(record, **arrays | {"document_t": 3 - record.document_t[backwards]})
    one, two = (tally(each, only=NAMES) for each in (record, other))
    for name in DEPTHS:
        np.testing.assert_array_equal(one.pooled(name), two.pooled(name))
    assert (one.pooled("mixed_lru_depths") != one.pooled("lru_depths")).any()  # mixed they are
    segment = one.table("segment_hits").sum(axis=0)
    np.testing.assert_array_equal(segment, two.table("segment_hits").sum(axis=0))
    assert (segment[..., 1] != segment[..., 2]).any()


@pytest.mark.slow
def test_gpt_oss_caches(gptoss):
    counted = tally(gptoss, only=NAMES)
    ask = MetricOptions(resamples=50)
    lru, lfu, most = (METRICS[name](counted, ask).value for name in ("lru_hit_rate", "lfu_hit_rate", "belady_hit_rate"))
    assert (lru <= most + 1e-12).all() and (lfu <= most + 1e-12).all()
    np.testing.assert_allclose(lru[:, -1], most[:, -1])  # all are kept: only first uses miss
    firsts = len(np.unique(gptoss.document_t[:, None].astype(np.int64) * 32 + gptoss.ids_tlk[:, 5]))
    assert lru[5, -1] == pytest.approx(1 - firsts / (4 * gptoss.tokens))
    null = METRICS["lru_hit_rate"](counted, ask).null
    assert (lru[11, 1:8] > null[11, 1:8] + 0.09).all()  # the order of tokens, beyond their documents' loads
    segment = METRICS["segment_cache_hits"](counted, ask)
    assert (segment.value <= most[:, [3, 7, 11]] + 1e-12).all() and (segment.value > lru[:, [3, 7, 11]]).all()
    assert ((segment.low < segment.value) & (segment.value < segment.high)).all()
    assert segment.labels["b"] == ("1 k", "2 k", "3 k")
