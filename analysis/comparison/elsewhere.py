"""What one word shares with itself at another place: the baseline of tokens that stay while their text changes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.comparison.alignment import Alignment
from gatescope.analysis.comparison.compare import overlap_of_rows
from gatescope.routing import RoutingRecord

MOST_PAIRS = 50_000
FEWEST_PAIRS = 20


class Elsewhere(NamedTuple):
    """Mean overlap of one word at two places, by layer; `pairs` were compared of `every` there are.

    None where there are fewer than FEWEST_PAIRS.
    """

    share_l: NDArray[np.float64] | None
    pairs: int
    every: int


def same_word_elsewhere(first: RoutingRecord, second: RoutingRecord, found: Alignment, *, seed: int = 0) -> Elsewhere:
    """Which share of a word's experts it has at another place too: pairs of one id that are not aligned.

    Not this    The overlap of the words that stay, weighted as they are: a frequent word makes more pairs.
    """
    one_n, two_n, every = pairs_elsewhere(first.token_t, second.token_t, found, seed=seed)
    if len(one_n) < FEWEST_PAIRS:
        return Elsewhere(None, len(one_n), every)
    share_l = overlap_of_rows(first, second, one_n, two_n).astype(np.float64).mean(axis=0)
    return Elsewhere(share_l, len(one_n), every)


def pairs_elsewhere(
    first_t: NDArray[np.integer],
    second_t: NDArray[np.integer],
    found: Alignment,
    *,
    most: int = MOST_PAIRS,
    seed: int = 0,
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Rows of one id that are not aligned with one another, all or `most` drawn at random, and how many there are.

    Memory and time grow with the tokens and with `most`, not with the number of pairs.
    """
    order_n, order_m = np.argsort(first_t, kind="stable"), np.argsort(second_t, kind="stable")
    found_v, begin_v, count_v = np.unique(first_t[order_n], return_index=True, return_counts=True)
    word_v: NDArray[np.int64] = np.asarray(found_v, np.int64)
    sorted_m = second_t[order_m].astype(np.int64)
    there_v = np.searchsorted(sorted_m, word_v)
    across_v = np.searchsorted(sorted_m, word_v, side="right") - there_v
    end_v: NDArray[np.int64] = np.cumsum(count_v.astype(np.int64) * across_v)
    total = int(end_v[-1]) if len(end_v) else 0
    number_p = _drawn(total, most + len(found.first_n), seed)
    word_p = np.searchsorted(end_v, number_p, side="right")
    start_v: NDArray[np.int64] = end_v - count_v * across_v
    within_p = number_p - start_v[word_p]
    one_p = order_n[begin_v[word_p] + within_p // across_v[word_p]]
    two_p = order_m[there_v[word_p] + within_p % across_v[word_p]]
    partner_n = np.full(len(first_t), -1)
    partner_n[found.first_n] = found.second_n
    is_apart_p = partner_n[one_p] != two_p
    return one_p[is_apart_p][:most], two_p[is_apart_p][:most], total - len(found.first_n)


def _drawn(total: int, most: int, seed: int) -> NDArray[np.int64]:
    """All numbers below `total`, or about `most` different ones at random, in random order."""
    if total <= most:
        return np.arange(total)
    generator = np.random.default_rng(seed)
    return generator.permutation(np.unique(generator.integers(0, total, size=most)))
