"""Pairs of one word at two places, against all of them counted out."""

import tracemalloc

import numpy as np
import pytest

from gatescope.analysis.comparison.alignment import Alignment, align
from gatescope.analysis.comparison.elsewhere import FEWEST_PAIRS, pairs_elsewhere, same_word_elsewhere


def counted_out(first_t, second_t, found):
    stay = set(zip(found.first_n.tolist(), found.second_n.tolist(), strict=True))
    return {
        (one, two)
        for one, word in enumerate(first_t.tolist())
        for two, other in enumerate(second_t.tolist())
        if word == other and (one, two) not in stay
    }


@pytest.mark.parametrize("seed", range(4))
def test_few_pairs_are_all_there(seed):
    random = np.random.default_rng(seed)
    first_t, second_t = random.integers(0, 6, 40), random.integers(2, 9, 50)
    found = align(first_t, second_t)
    one_p, two_p, every = pairs_elsewhere(first_t, second_t, found)
    expected = counted_out(first_t, second_t, found)
    assert set(zip(one_p.tolist(), two_p.tolist(), strict=True)) == expected
    assert len(one_p) == every == len(expected)


def test_texts_without_a_word_in_common_have_no_pairs():
    one_p, two_p, every = pairs_elsewhere(np.arange(3), np.arange(5, 9), align(np.arange(3), np.arange(5, 9)))
    assert len(one_p) == len(two_p) == every == 0


def test_of_many_pairs_every_token_has_its_share():
    """2,000 tokens of two words: 2 million pairs, of which as many come from the last tenth as from the first."""
    first_t = np.tile([3, 4], 1000)
    apart = Alignment((), np.zeros(0, np.intp), np.zeros(0, np.intp))
    one_p, two_p, every = pairs_elsewhere(first_t, first_t, apart, most=20_000)
    assert every == 2_000_000
    assert 19_000 < len(one_p) <= 20_000 and len(set(zip(one_p.tolist(), two_p.tolist(), strict=True))) == len(one_p)
    assert (first_t[one_p] == first_t[two_p]).all()
    for rows in (one_p, two_p):
        tenth = np.bincount(rows // 200, minlength=10) / len(rows)
        assert tenth == pytest.approx([0.1] * 10, abs=0.01)


def test_memory_does_not_grow_with_the_pairs():
    """30,000 tokens of one word have 900 million pairs: a table of them would take as many bytes."""
    first_t = np.zeros(30_000, np.int32)
    apart = Alignment((), np.zeros(0, np.intp), np.zeros(0, np.intp))
    tracemalloc.start()
    pairs_elsewhere(first_t, first_t, apart)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_the_share_is_that_of_the_pairs(records):
    """One word six times, at even places with expert 0, at odd ones with 1: of 30 pairs apart 12 have the same one."""
    ids = np.tile([[[0]], [[1]]], (3, 1, 1))
    text = records(ids, experts=2, token_t=np.full(6, 5, np.int32))
    found = same_word_elsewhere(text, text, align(text.token_t, text.token_t))
    assert (found.share_l.tolist(), found.pairs, found.every) == ([pytest.approx(12 / 30)], 30, 30)
    short = text.take(slice(0, 4))
    few = same_word_elsewhere(short, short, align(short.token_t, short.token_t))
    assert few == (None, 12, 12) and few.pairs < FEWEST_PAIRS
