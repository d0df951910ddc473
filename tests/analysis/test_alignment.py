"""Alignment of two texts: what stays is the same in both, every token has its place once, by hand and at random."""

import numpy as np
import pytest

from gatescope.analysis.comparison.alignment import MOST_TOKENS, align
from gatescope.routing.errors import OptionError


def test_a_replaced_word_is_removed_and_added():
    found = align(np.array([1, 2, 3, 4]), np.array([1, 9, 8, 4]))
    told = [(step.what, step.first.start, step.first.stop, step.second.start, step.second.stop) for step in found.steps]
    assert told == [("same", 0, 1, 0, 1), ("removed", 1, 3, 1, 1), ("added", 3, 3, 1, 3), ("same", 3, 4, 3, 4)]
    assert (found.removed, found.added, found.begun_alike) == (2, 2, 1)


@pytest.mark.parametrize(
    ("one", "two", "kept"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([5, 1, 2], [1, 2], 2), ([1, 1, 1], [1, 1], 2), ([1], [2], 0)],
)
def test_ends_of_the_range(one, two, kept):
    found = align(np.array(one, int), np.array(two, int))
    assert len(found.first_n) == kept
    assert (found.removed, found.added) == (len(one) - kept, len(two) - kept)


@pytest.mark.parametrize("seed", range(12))
def test_both_texts_can_be_read_back_from_the_steps(seed):
    random = np.random.default_rng(seed)
    one, two = (random.integers(0, 5, random.integers(0, 60)) for _ in range(2))
    found = align(one, two)
    first = [token for step in found.steps for token in one[step.first]]
    second = [token for step in found.steps for token in two[step.second]]
    assert (first, second) == (one.tolist(), two.tolist())
    assert one[found.first_n].tolist() == two[found.second_n].tolist()
    assert (np.diff(found.first_n) > 0).all() and (np.diff(found.second_n) > 0).all()
    assert len(found.first_n) + found.removed == len(one)
    assert all(a.what != b.what for a, b in zip(found.steps[:-1], found.steps[1:], strict=True))


def test_frequent_tokens_are_no_junk():
    text = np.array([7, 1] * 300)
    assert len(align(text, np.concatenate([[3], text, [3]])).first_n) == 600


def test_long_texts_that_begin_alike_are_aligned_and_others_refused():
    text = np.arange(3 * MOST_TOKENS)
    changed = text.copy()
    changed[10] = -1
    assert align(text, changed).removed == 1
    with pytest.raises(OptionError, match="tokens that differ"):
        align(text, text[::-1])
