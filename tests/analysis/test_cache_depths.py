"""Depths in the stacks of caches, and segment caches, are those of a plain simulation, token by token."""

import numpy as np
import pytest

from gatescope.analysis.tally.cache_depths import BEST, LFU, LRU, find_depths, keep_by_next_uses
from gatescope.analysis.tally.cache_stacks import AHEAD, bits_needed
from gatescope.analysis.tally.locality import count_overlaps

EMPTY = 255


def routes(seed, *, tokens=120, layers=2, experts=9, slots=3, documents=4, kind=np.uint8):
    """Random sets with favourites, some slots empty, of several documents."""
    generator = np.random.default_rng(seed)
    score_tle = generator.random((tokens, layers, experts)) - generator.random((1, layers, experts))
    ids_tlk = score_tle.argsort(axis=2)[:, :, :slots].astype(kind)
    short = generator.random((tokens, layers)) < 0.1
    ids_tlk[short, -1] = np.iinfo(kind).max
    return ids_tlk, np.sort(generator.integers(0, documents, tokens))


def _next_use(ids_tk, document_t, token, expert):
    later = [t for t in range(token + 1, len(ids_tk)) if document_t[t] == document_t[token] and expert in ids_tk[t]]
    return later[0] if later else len(ids_tk)


def _depths(ids_tk, document_t, experts, policy):
    """The stack as it is told of: the new one begins at the top, whoever is wanted less goes down to where it was."""
    found, stack, rank, uses, time = np.zeros(experts + 1, int), [], {}, {}, 0
    for token, ids_k in enumerate(ids_tk):
        own = [int(e) for e in ids_k if e < experts]
        if token == 0 or document_t[token] != document_t[token - 1]:
            stack, rank, uses = [], {}, {}
        for expert in own:
            found[stack.index(expert) + 1 if expert in stack else 0] += 1
        for expert in own[::-1]:
            time += 1
            uses[expert] = uses.get(expert, 0) + 1
            rank[expert] = {
                LRU: (-time,),
                LFU: (-uses[expert], -time),
                BEST: (_next_use(ids_tk, document_t, token, expert),),
            }[policy]
        for expert in own:
            carried, end = expert, stack.index(expert) if expert in stack else len(stack)
            for at in range(end):
                if rank[carried] < rank[stack[at]]:
                    stack[at], carried = carried, stack[at]
            stack[end : end + 1] = [carried]
    return found


@pytest.mark.parametrize("policy", [LRU, LFU, BEST])
@pytest.mark.parametrize(("experts", "slots"), [(9, 3), (4, 4), (1, 1), (40, 8)])
def test_depths_are_those_of_the_stack(experts, slots, policy):
    ids_tlk, document_t = routes(experts, experts=experts, slots=slots)
    count_glb = np.zeros((2, 2, experts + 1), np.int64)
    group_t = document_t % 2
    find_depths(ids_tlk.swapaxes(0, 1).copy(), document_t, group_t, experts, policy, count_glb)
    for layer in range(2):
        expected = _depths(ids_tlk[:, layer], document_t, experts, policy)
        assert count_glb[:, layer].sum(axis=0).tolist() == expected.tolist()
    own = np.isin(document_t, np.unique(document_t[group_t == 1]))
    expected = _depths(ids_tlk[own, 0], document_t[own], experts, policy)
    assert count_glb[1, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("policy", [LRU, LFU, BEST])
@pytest.mark.parametrize(("experts", "slots", "kind"), [(256, 9, np.uint16), (257, 8, np.uint16), (33, 17, np.uint8)])
def test_depths_of_many_layers_slots_and_experts(experts, slots, kind, policy):
    """More layers, slots and experts than go through a step together, and as many experts as a byte tells apart."""
    ids_tlk, document_t = routes(1, tokens=50, layers=19, experts=experts, slots=slots, kind=kind)
    count_glb = np.zeros((1, 19, experts + 1), np.int64)
    group_t = np.zeros_like(document_t)
    find_depths(ids_tlk.swapaxes(0, 1).copy(), document_t, group_t, experts, policy, count_glb)
    for layer in (0, 15, 16, 18):
        expected = _depths(ids_tlk[:, layer], document_t, experts, policy)
        assert count_glb[0, layer].tolist() == expected.tolist()


@pytest.mark.parametrize("documents", [1, 2])
def test_depths_of_more_tokens_than_two_bytes_count(documents):
    """Two experts by turns: where the next used stay, one stays first for good."""
    tokens = 40_000
    ids_ltk = (np.arange(tokens) % 2).astype(np.uint8)[None, :, None]
    document_t = np.arange(tokens) * documents // tokens
    for policy, expected in ((BEST, [1, 1]), (LRU, [0, 2])):
        count_glb = np.zeros((1, 1, 3), np.int64)
        find_depths(ids_ltk, document_t, np.zeros_like(document_t), 2, policy, count_glb)
        each = (tokens - 2 * documents) // 2
        assert count_glb[0, 0].tolist() == [2 * documents, each * expected[0], each * expected[1]]


def test_an_order_of_tokens_is_as_good_as_the_tokens_in_it():
    ids_tlk, document_t = routes(3, experts=40, slots=8)
    order_t = np.lexsort((np.random.default_rng(0).random(len(document_t)), document_t))
    layered, group_t, k_l = ids_tlk.swapaxes(0, 1).copy(), document_t % 2, np.array([8, 8])
    mixed = ids_tlk[order_t].swapaxes(0, 1).copy()
    found = np.zeros((2, 2, 2, 41), np.int64)
    find_depths(layered, document_t, group_t, 40, LRU, found[0], order_t)
    find_depths(mixed, document_t, group_t, 40, LRU, found[1])
    assert np.array_equal(*found) and found.any()
    hits = np.zeros((2, 2, 2, 3, 2), np.int64)
    keep_by_next_uses(layered, document_t, group_t, k_l, 40, hits[0], order_t)
    keep_by_next_uses(mixed, document_t, group_t, k_l, 40, hits[1])
    assert np.array_equal(*hits) and hits.any()


def _hits(ids_tk, document_t, room):
    """Requests and hits where the experts stay that the next tokens use most, of equals the last used."""
    asked = hits = time = 0
    kept, last = set(), {}
    for token, ids_k in enumerate(ids_tk):
        if token == 0 or document_t[token] != document_t[token - 1]:
            kept = set()
        own = [int(e) for e in ids_k if e != EMPTY]
        asked, hits = asked + len(own), hits + len(kept & set(own))
        for expert in own[::-1]:
            time += 1
            last[expert] = time
        ahead = [
            int(e)
            for t in range(token + 1, min(token + AHEAD + 1, len(ids_tk)))
            if document_t[t] == document_t[token]
            for e in ids_tk[t]
        ]
        kept = set(sorted(kept | set(own), key=lambda e: (ahead.count(e), last[e]))[-room:])
    return [asked, hits]


@pytest.mark.parametrize(("experts", "slots"), [(9, 3), (4, 4), (1, 1), (40, 8)])
def test_segment_caches_keep_what_the_next_tokens_use_most(experts, slots):
    ids_tlk, document_t = routes(experts + 1, experts=experts, slots=slots)
    k_l = np.array([slots, max(1, slots - 1)])
    hits_xlbn = np.zeros((4, 2, 3, 2), np.int64)
    keep_by_next_uses(ids_tlk.swapaxes(0, 1).copy(), document_t, document_t, k_l, experts, hits_xlbn)
    for layer in range(2):
        for size in range(3):
            expected = _hits(ids_tlk[:, layer], document_t, min((size + 1) * int(k_l[layer]), experts))
            assert hits_xlbn[:, layer, size].sum(axis=0).tolist() == expected


def test_segment_caches_of_many_layers_slots_and_experts():
    ids_tlk, document_t = routes(2, tokens=60, layers=19, experts=120, slots=11, documents=2)
    k_l = np.full(19, 11)
    hits_xlbn = np.zeros((2, 19, 3, 2), np.int64)
    keep_by_next_uses(ids_tlk.swapaxes(0, 1).copy(), document_t, document_t, k_l, 120, hits_xlbn)
    for layer in (0, 15, 16, 18):
        for size in range(3):
            expected = _hits(ids_tlk[:, layer], document_t, 11 * (size + 1))
            assert hits_xlbn[:, layer, size].sum(axis=0).tolist() == expected


def test_segment_caches_of_a_document_of_more_uses_than_four_bytes_tell():
    """Eight experts that every token uses are kept from the first token on."""
    tokens = 20_000
    ids_ltk = np.broadcast_to(np.arange(292, 300, dtype=np.uint16), (1, tokens, 8)).copy()
    hits_xlbn, place_t = np.zeros((1, 1, 3, 2), np.int64), np.zeros(tokens, np.int64)
    assert bits_needed(tokens, 8, 300) > 31
    keep_by_next_uses(ids_ltk, place_t, place_t, np.array([8]), 300, hits_xlbn)
    assert (hits_xlbn[0, 0] == [8 * tokens, 8 * (tokens - 1)]).all()


def test_layers_counted_in_several_threads_are_counted_alike(monkeypatch):
    ids_tlk, document_t = routes(7, layers=5)
    found = []
    for number in (1, 3):
        monkeypatch.setattr("gatescope.analysis.statistics.jit.threads", lambda number=number: number)
        count_glb = np.zeros((1, 5, 10), np.int64)
        find_depths(ids_tlk.swapaxes(0, 1).copy(), document_t, np.zeros_like(document_t), 9, LFU, count_glb)
        found.append(count_glb)
    assert np.array_equal(*found) and found[0].sum() == (ids_tlk != EMPTY).sum()


@pytest.mark.parametrize(("experts", "slots"), [(9, 3), (70, 8), (200, 2), (65, 65)])
def test_experts_in_common_are_those_of_the_sets_however_they_are_found(experts, slots):
    ids_tlk, document_t = routes(experts, experts=experts, slots=slots, tokens=60)
    found = count_overlaps(ids_tlk, document_t, np.arange(60), 4, experts)
    for layer in range(2):
        sets = [{int(e) for e in ids_k if e != EMPTY} for ids_k in ids_tlk[:, layer]]
        pairs = [(t, t + 4) for t in range(56) if document_t[t] == document_t[t + 4]]
        expected = [sum(len(sets[a] & sets[b]) for a, b in pairs), sum(len(sets[a]) + len(sets[b]) for a, b in pairs)]
        assert found[:, layer, 2].sum(axis=0).tolist() == expected
