"""Sums at the same word, and under sign flips, are those of the formula written plainly."""

import numpy as np
import pytest

from gatescope.analysis.labels.sign_flips import flipped_sums
from gatescope.analysis.labels.words import by_id


def _n_log_n(count):
    return float(count * np.log2(count)) if count else 0.0


def _plainly(ids_tlk, token_t, document_t, group_d, stratum_d, sign_bd, least):
    """Word by word: counts of documents with their departures flipped, and chi-squared of those added up by label."""
    layers, empty = ids_tlk.shape[1], np.iinfo(ids_tlk.dtype).max
    once_cl, flipped_lb = np.zeros((4, layers)), np.zeros((layers, len(sign_bd)))
    for word in np.unique(token_t):
        own_t = np.flatnonzero(token_t == word)
        labels = group_d[document_t[own_t]]
        often = [label for label in np.unique(labels) if np.count_nonzero(labels == label) >= least]
        kept_t = own_t[np.isin(labels, often)]
        for layer in range(layers if len(often) >= 2 else 0):
            count_de = np.zeros((len(group_d), empty))
            for t in kept_t:
                for expert in ids_tlk[t, layer][ids_tlk[t, layer] != empty]:
                    count_de[document_t[t], expert] += 1
            count_ge = np.array([count_de[group_d == label].sum(axis=0) for label in often])
            entropy = _n_log_n(count_ge.sum()) - sum(map(_n_log_n, count_ge.sum(axis=1)))
            table = sum(map(_n_log_n, count_ge.ravel())) - sum(map(_n_log_n, count_ge.sum(axis=0)))
            once_cl[:, layer] += entropy + table, entropy, count_ge.sum(), _chi_squared(count_ge, count_ge)
            flipped_lb[layer] += [
                _chi_squared(_flipped(count_de, group_d, stratum_d, sign_d, often), count_ge) for sign_d in sign_bd
            ]
    return once_cl, flipped_lb


def _flipped(count_de, group_d, stratum_d, sign_d, often):
    """A table by label of documents whose departures were flipped, and of what is then predicted once more."""
    flipped_ge = np.zeros((len(often), count_de.shape[1]))
    for stratum in np.unique(stratum_d):
        own_d = np.flatnonzero((stratum_d == stratum) & (count_de.sum(axis=1) > 0))
        size_d, total = count_de[own_d].sum(axis=1), count_de[own_d].sum()
        share_e = count_de[own_d].sum(axis=0) / max(total, 1)
        weight_d = size_d / max(total, 1)
        moved_de = count_de[own_d] - size_d[:, None] * share_e
        for row_e, weight, sign in zip(moved_de, weight_d, sign_d[own_d], strict=True):
            row_e *= sign / np.sqrt(1 - weight) if weight < 1 else 0
        again_e = share_e + moved_de.sum(axis=0) / max(total, 1)
        for row_e, label in zip(flipped_ge, often, strict=True):
            is_own_d = group_d[own_d] == label
            # the first share is the prediction, the second of what was flipped: only what departs from that counts
            row_e += size_d[is_own_d].sum() * (2 * share_e - again_e) + moved_de[is_own_d].sum(axis=0)
    return flipped_ge


def _chi_squared(table_ge, count_ge):
    expected_ge = count_ge.sum(axis=1, keepdims=True) * count_ge.sum(axis=0) / max(count_ge.sum(), 1)
    some_ge = expected_ge > 0
    return ((table_ge - expected_ge)[some_ge] ** 2 / expected_ge[some_ge]).sum()


def _case(seed, *, tokens=400, words=9, documents=12, experts=7, layers=3, slots=2):
    generator = np.random.default_rng(seed)
    ids_tlk = generator.random((tokens, layers, experts)).argsort(axis=2)[:, :, :slots].astype(np.uint8)
    ids_tlk[generator.random(ids_tlk.shape) < 0.05] = 255
    document_t = np.sort(generator.integers(0, documents, tokens))
    return ids_tlk, generator.zipf(1.5, tokens) % words, document_t


def _signs(draws, documents):
    return np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (draws, documents))


@pytest.mark.parametrize("most", [0, 4096], ids=["word by word", "one form of the signs"])
@pytest.mark.parametrize("groups", [2, 3, 6, 9])
@pytest.mark.parametrize("least", [1, 5, 40])
@pytest.mark.parametrize("strata", [1, 3])
def test_sums_are_those_of_the_formula(groups, least, strata, most, monkeypatch):
    monkeypatch.setattr("gatescope.analysis.labels.sign_flips.MOST_DOCUMENTS", most)
    ids_tlk, token_t, document_t = _case(groups)
    generator = np.random.default_rng(7)
    arrays = generator.integers(0, groups, 12), generator.integers(0, strata, 12), _signs(7, 12)
    *once_cl, flipped_lb = flipped_sums(by_id(ids_tlk, token_t, document_t), *arrays, groups, least)
    expected_cl, expected_lb = _plainly(ids_tlk, token_t, document_t, *arrays, least)
    np.testing.assert_allclose(once_cl, expected_cl, rtol=0, atol=1e-8)
    np.testing.assert_allclose(flipped_lb, expected_lb, rtol=0, atol=1e-8)


def test_by_hand_two_documents_a_label_that_agree_and_all_signs():
    """Four documents of a token each, expert given by label: departures of a half, all as large.

    Chi-squared is 4. A document is a quarter of its prediction, so that its square counts 4/3; a label whose two
    documents agree is 4/3 of as far off as it was. With the signs of one label flipped against the other's both labels
    are off the same way, which the prediction follows; flipped within each label, nothing is left.
    """
    table = by_id(np.array([0, 0, 1, 1], np.uint8)[:, None, None], np.zeros(4, int), np.arange(4))
    sign_bd = np.array([[1, 1, 1, 1], [-1, -1, -1, -1], [1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, -1]], np.int8)
    sums = flipped_sums(table, np.array([0, 0, 1, 1]), np.zeros(4, int), sign_bd, 2, 2)
    assert (sums.bits_l, sums.entropy_l, sums.total_l, sums.squares_l) == (4, 4, 4, 4)
    assert np.allclose(sums.flipped_lb[0], [16 / 3, 16 / 3, 0, 0, 4 / 3])


def test_a_word_that_a_stratum_has_under_one_label_tells_nothing_there():
    """Each label's documents lie in a stratum of their own: what parts them may be that, and no sign moves it."""
    ids_tlk = np.array([0, 0, 1, 0, 1, 1, 1, 0], np.uint8)[:, None, None]
    table = by_id(ids_tlk, np.zeros(8, int), np.arange(8) // 2)
    group_d = np.array([0, 0, 1, 1])
    sums = flipped_sums(table, group_d, group_d, _signs(20, 4), 2, 2)
    assert sums.squares_l[0] > 0 and np.allclose(sums.flipped_lb, sums.squares_l[0])


def test_both_ways_count_the_words_to_the_same_bit(monkeypatch):
    """What does not depend on signs is added up in one order, whichever way draws are made."""
    table = by_id(*_case(5, tokens=900, words=60))
    arrays = np.arange(12) % 3, np.arange(12) // 6, _signs(3, 12)
    *formed, _ = flipped_sums(table, *arrays, 3, 5)
    monkeypatch.setattr("gatescope.analysis.labels.sign_flips.MOST_DOCUMENTS", 0)
    *counted, _ = flipped_sums(table, *arrays, 3, 5)
    assert np.array_equal(formed, counted)


@pytest.mark.parametrize("most", [0, 4096], ids=["word by word", "one form of the signs"])
def test_draws_do_not_depend_on_how_many_there_are_nor_on_the_number_of_threads(monkeypatch, most):
    monkeypatch.setattr("gatescope.analysis.labels.sign_flips.MOST_DOCUMENTS", most)
    ids_tlk, token_t, document_t = _case(3, tokens=900, words=60)
    table, sign_bd = by_id(ids_tlk, token_t, document_t), _signs(600, 12)
    group_d, stratum_d = np.arange(12) % 3, np.arange(12) // 6
    whole = flipped_sums(table, group_d, stratum_d, sign_bd, 3, 5)
    parts = [
        flipped_sums(table, group_d, stratum_d, sign_bd[start : start + 250], 3, 5).flipped_lb
        for start in range(0, 600, 250)
    ]
    assert np.array_equal(whole.flipped_lb, np.concatenate(parts, axis=1))
    monkeypatch.setattr("gatescope.analysis.labels.sign_flips.threads", lambda: 5)
    monkeypatch.setattr("gatescope.analysis.statistics.jit.threads", lambda: 5)
    for one, threaded in zip(whole, flipped_sums(table, group_d, stratum_d, sign_bd, 3, 5), strict=True):
        assert np.array_equal(one, threaded)


def test_no_word_at_all_gives_sums_of_nothing():
    table = by_id(np.zeros((0, 2, 1), np.uint8), np.zeros(0, int), np.zeros(0, int))
    sums = flipped_sums(table, np.zeros(0, int), np.zeros(0, int), np.zeros((2, 0), np.int8), 1, 10)
    assert [each.tolist() for each in sums] == [[0, 0]] * 4 + [[[0, 0], [0, 0]]]
