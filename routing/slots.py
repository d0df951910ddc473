"""What can be said of all slots of many tokens at once: looked at slot by slot, so that each comparison is of a column.

A token has a few slots only, and arrays end in them: comparing along the last axis takes most of its time to begin
anew. Turned over, a portion at a time, the same comparison is ten times faster.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROWS = 1 << 15
"""Rows that are turned over together: they stay in the processor's cache."""


class Extremes(NamedTuple):
    """Least and greatest number of each layer, (layers,); all 0 where there are no tokens."""

    least_l: NDArray[np.integer]
    greatest_l: NDArray[np.integer]


def extremes(number_tlk: NDArray[np.integer]) -> Extremes:
    """The least and the greatest number of each layer.

    >>> extremes(np.array([[[3, 1], [5, 5]], [[2, 0], [9, 7]]]))
    Extremes(least_l=array([0, 5]), greatest_l=array([3, 9]))
    """
    tokens, layers, slots = number_tlk.shape
    if not tokens or not slots:
        nothing_l = np.zeros(layers, number_tlk.dtype)
        return Extremes(nothing_l, nothing_l)
    flat_tn = number_tlk.reshape(tokens, layers * slots)
    least, greatest = (ends(flat_tn, axis=0).reshape(layers, slots) for ends in (np.min, np.max))
    return Extremes(least.min(axis=1), greatest.max(axis=1))


def has_twice(number_tlk: NDArray[np.integer]) -> bool:
    """Whether any token has one number in two slots of a layer.

    >>> has_twice(np.array([[[3, 1, 2], [1, 3, 2]]])), has_twice(np.array([[[3, 1, 2], [1, 3, 1]]]))
    (False, True)
    """
    return any(
        bool((one_n == other_n).any()) for slot_kn in _turned(number_tlk) for one_n, other_n in combinations(slot_kn, 2)
    )


def is_falling(half_tlk: NDArray[np.float16]) -> bool:
    """Whether all numbers are finite, none has a minus sign, and along its slots none rises: by their bits alone.

    Without a sign, the bits of half floats as a whole number are in the order of the floats.

    >>> rows = [[2, 1, 0], [1, 2, 0], [1, 0, -1], [np.inf, 1, 0], [np.nan, 0, 0]]
    >>> [is_falling(np.array([[row]], np.float16)) for row in rows]
    [True, False, False, False, False]
    """
    return all(
        bool((bits_kn[0] <= GREATEST).all() and (bits_kn[-1] >= 0).all())
        and all(bool((next_n <= one_n).all()) for one_n, next_n in pairwise(bits_kn))
        for bits_kn in _turned(np.asarray(half_tlk, np.float16).view(np.int16))
    )


GREATEST = np.finfo(np.float16).max.view(np.int16)
"""The bits of the largest finite half float; those of infinity and of NaN are larger, or negative."""


def _turned(number_tlk: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A column for each slot, a portion of the tokens and layers at a time."""
    slots = number_tlk.shape[2]
    flat_nk = number_tlk.reshape(-1, slots) if slots else number_tlk.reshape(0, 0)
    for first in range(0, len(flat_nk), ROWS):
        yield np.ascontiguousarray(flat_nk[first : first + ROWS].T)
