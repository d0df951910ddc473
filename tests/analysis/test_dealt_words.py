"""Sums of many deals at once are those of each deal by itself, by the formula written plainly."""

import numpy as np
import pytest

from gatescope.analysis.labels.dealt_words import Sums, dealt_sums
from gatescope.analysis.labels.words import by_id
from gatescope.analysis.statistics.information import of_deals


def _n_log_n(count):
    return float(count * np.log2(count)) if count else 0.0


def _plainly(ids_tlk, token_t, document_t, group_d, least):
    """The three sums of one deal, layer by layer: labels, words and experts counted one by one."""
    _, layers, _ = ids_tlk.shape
    empty = np.iinfo(ids_tlk.dtype).max
    found = np.zeros((3, layers))
    for word in np.unique(token_t):
        own_t = np.flatnonzero(token_t == word)
        labels = group_d[document_t[own_t]]
        often = [label for label in np.unique(labels) if np.count_nonzero(labels == label) >= least]
        if len(often) < 2:
            continue
        kept_t = own_t[np.isin(labels, often)]
        for layer in range(layers):
            rows = [(group_d[document_t[t]], e) for t in kept_t for e in ids_tlk[t, layer] if e != empty]
            table = np.zeros((max(often) + 1, int(max((e for _, e in rows), default=0)) + 1))
            for label, expert in rows:
                table[label, expert] += 1
            found[0, layer] += sum(map(_n_log_n, table.ravel())) - sum(map(_n_log_n, table.sum(axis=0)))
            found[1, layer] += _n_log_n(table.sum()) - sum(map(_n_log_n, table.sum(axis=1)))
            found[2, layer] += table.sum()
    return found


def _case(seed, *, tokens=400, words=9, documents=12, experts=7, layers=3, slots=2):
    generator = np.random.default_rng(seed)
    ids_tlk = generator.random((tokens, layers, experts)).argsort(axis=2)[:, :, :slots].astype(np.uint8)
    ids_tlk[generator.random(ids_tlk.shape) < 0.05] = 255
    document_t = np.sort(generator.integers(0, documents, tokens))
    return ids_tlk, generator.zipf(1.5, tokens) % words, document_t


@pytest.mark.parametrize("groups", [2, 3, 6, 9, 300])
@pytest.mark.parametrize("least", [1, 5, 40])
def test_every_deal_gives_the_sums_of_the_formula(groups, least):
    ids_tlk, token_t, document_t = _case(groups)
    group_bd = np.random.default_rng(1).integers(0, groups, (7, 12))
    sums = np.array(dealt_sums(by_id(ids_tlk, token_t, document_t), group_bd, groups, least))
    for deal, group_d in enumerate(group_bd):
        expected = _plainly(ids_tlk, token_t, document_t, group_d, least)
        assert np.allclose(sums[:, :, deal], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tokens", [6, 30, 70, 300, 1200])
def test_words_of_any_number_of_tokens_are_counted_in_numbers_that_hold_them(tokens):
    ids_tlk, _, document_t = _case(tokens, tokens=tokens, experts=2, slots=1, documents=5)
    word_t = np.zeros(tokens, int)
    group_bd = np.random.default_rng(2).integers(0, 4, (9, 5))
    table = by_id(ids_tlk, word_t, document_t)
    sums = np.array(dealt_sums(table, group_bd[:, table.met_d], 4, 1))
    for deal, group_d in enumerate(group_bd):
        assert np.allclose(sums[:, :, deal], _plainly(ids_tlk, word_t, document_t, group_d, 1), rtol=0, atol=1e-9)


def test_more_tokens_than_sixteen_bits_count_are_counted():
    """Three documents with 30,000 tokens of one word and expert, each under its own label, or two under one."""
    size = 30_000
    ids_tlk = np.zeros((3 * size, 1, 1), np.uint8)
    table = by_id(ids_tlk, np.zeros(3 * size, int), np.arange(3 * size) // size)
    found = dealt_sums(table, np.array([[0, 1, 2], [0, 0, 1]]), 3, 10)
    one, two, all_three = (n * size * np.log2(n * size) for n in (1, 2, 3))
    assert np.allclose(found.inner_lb[0], [3 * one - all_three, two + one - all_three], rtol=1e-12)
    assert np.allclose(found.outer_lb[0], [all_three - 3 * one, all_three - two - one], rtol=1e-12)
    assert found.total_lb[0].tolist() == [3 * size, 3 * size]


def test_deals_do_not_depend_on_how_many_there_are_nor_on_the_number_of_threads(monkeypatch):
    ids_tlk, token_t, document_t = _case(3, tokens=900, words=60)
    table = by_id(ids_tlk, token_t, document_t)
    group_bd = np.random.default_rng(4).integers(0, 3, (600, 12))
    whole = dealt_sums(table, group_bd, 3, 5)
    parts = [dealt_sums(table, group_bd[start : start + 250], 3, 5) for start in range(0, 600, 250)]
    joined = Sums(*(np.concatenate(each, axis=1) for each in zip(*parts, strict=True)))
    monkeypatch.setattr("gatescope.analysis.labels.dealt_words.threads", lambda: 5)
    for one, other, threaded in zip(whole, joined, dealt_sums(table, group_bd, 3, 5), strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, threaded)


def test_no_word_at_all_gives_sums_of_nothing():
    table = by_id(np.zeros((0, 2, 1), np.uint8), np.zeros(0, int), np.zeros(0, int))
    assert [each.tolist() for each in dealt_sums(table, np.zeros((2, 0), int), 1, 10)] == [[[0, 0], [0, 0]]] * 3


@pytest.mark.parametrize("groups", [2, 4, 9])
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float64])
@pytest.mark.parametrize("largest", [9, 1 << 23])
def test_sums_by_dealt_label_are_exact_whatever_floats_hold_them(kind, largest, groups):
    generator = np.random.default_rng(5)
    count_dle = generator.integers(0, min(largest, np.iinfo(np.uint8).max if kind is np.uint8 else largest), (20, 2, 3))
    count_dle[0, 0, 0] = 1
    group_bd = generator.integers(0, groups, (50, 20))
    for group in (0, groups - 1):
        found = of_deals(count_dle.astype(kind), group_bd, groups, lambda sums_bge, own=group: sums_bge[:, own, 2])
        expected = [[count_dle[group_d == group, layer, 2].sum() for layer in range(2)] for group_d in group_bd]
        assert found.tolist() == expected


def test_sums_of_predicted_counts_keep_their_fractions():
    count_dle = np.array([[[0.1]], [[0.2]], [[1 << 20]]])
    found = of_deals(count_dle, np.array([[0, 0, 1], [0, 1, 1]]), 2, lambda sums_bge: sums_bge[:, 0, 0])
    assert found[:, 0].tolist() == [0.1 + 0.2, 0.1]
