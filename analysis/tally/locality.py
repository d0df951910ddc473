"""How alike the routes of tokens near one another are: counts over the tokens of each document, facet by facet.

Two tokens are a pair, and some are a window, only within a document and a facet and where positions are as far apart as
rows: a border between prompt and answer is neither's, and what was left out of a record leaves a gap.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.lanes import bits, both, load, plus, spread, store
from gatescope.analysis.tally.layers import by_layer

LAGS = (1, 2, 4, 8, 16, 32, 64, 128)
WINDOWS = (2, 4, 8, 16)
WORDS = 8
"""Words of 64 bits of which bits are counted together."""


def count_repeats(
    ids_tlk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    token_t: NDArray[np.integer],
    places: int,
    experts: int,
) -> NDArray[np.int64]:
    """Pairs of neighbours, with what is the same in both: first choice, any choice.

    Shapes      place_t tells each token's document and facet as one number. To (places, layers, 2, 3): other token or
                the same token again; pairs in which both have an expert, same first choice, any expert in common.

    >>> ids_tlk = np.array([[[0, 1]], [[0, 2]], [[1, 0]]], np.uint8)
    >>> count_repeats(ids_tlk, np.zeros(3, int), np.arange(3), np.array([5, 5, 7]), 1, 3)[0, 0].tolist()
    [[1, 0, 1], [1, 1, 1]]
    """
    count_xlsn = np.zeros((places, ids_tlk.shape[1], 2, 3), np.int64)
    _count_repeats(by_layer(ids_tlk), runs_of(place_t, position_t), place_t, token_t, experts, count_xlsn)
    return count_xlsn


def count_overlaps(
    ids_tlk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    places: int,
    experts: int,
) -> NDArray[np.int64]:
    """Experts that tokens `LAGS` apart have in common, and how many both have: (places, layers, lags, 2).

    >>> ids_tlk = np.array([[[0, 1]], [[0, 2]], [[1, 255]]], np.uint8)
    >>> count_overlaps(ids_tlk, np.zeros(3, int), np.arange(3), 1, 3)[0, 0, :2].tolist()
    [[1, 7], [1, 3]]
    """
    count_xlbn = np.zeros((places, ids_tlk.shape[1], len(LAGS), 2), np.int64)
    runs = runs_of(place_t, position_t)
    _count_overlaps(by_layer(ids_tlk), runs, place_t, position_t, np.array(LAGS), experts, count_xlbn)
    return count_xlbn


def count_segments(
    ids_tlk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    places: int,
    experts: int,
) -> NDArray[np.int64]:
    """How often an expert is active 1, 2, 3 … times in so many tokens on end; at 0 the number of such segments.

    Shapes      (places, layers, windows, longest + 1), all experts of a layer together, segments from every token on.

    >>> ids_tlk = np.array([[[0, 1]], [[0, 2]], [[0, 2]]], np.uint8)
    >>> count_segments(ids_tlk, np.zeros(3, int), np.arange(3), 1, 3)[0, 0, 0, :3].tolist()
    [2, 2, 3]
    """
    count_xlwb = np.zeros((places, ids_tlk.shape[1], len(WINDOWS), WINDOWS[-1] + 1), np.int64)
    _count_segments(by_layer(ids_tlk), runs_of(place_t, position_t), place_t, experts, count_xlwb)
    return count_xlwb


def best_segment_score(count_b: NDArray[np.number]) -> NDArray[np.float64]:
    """Best F1 of predicting experts active for a whole window, those at least so many times active in it.

    Shapes      (…, m + 1) to (…): experts by their activations in a window, 0 … m; what is at 0 does not count.
    Units       1, from 0 to 1.
    Undefined   NaN where no expert is active.
    Source      Segment Routing best Performance, 2505.16056: one threshold for all experts of a layer.

    One expert active all 4 times, two once: predict the first, 2 · 4 / (4 + 6).

    >>> float(best_segment_score(np.array([9, 2, 0, 0, 1])))
    0.8
    """
    count_b = np.asarray(count_b, np.float64)
    times_b = np.arange(count_b.shape[-1])
    right_b = _from_the_top(count_b * times_b)[..., 1:]
    predicted_b = (times_b[-1] * _from_the_top(count_b))[..., 1:]
    below_b = predicted_b + right_b[..., :1]
    out_b = np.zeros(below_b.shape)
    score = np.divide(2 * right_b, below_b, out=out_b, where=below_b > 0).max(axis=-1)
    return np.where(right_b[..., 0] > 0, score, np.nan)


def segment_score_by_chance(share_e: NDArray[np.float64], window: int = WINDOWS[-1]) -> float:
    """The best segment score if every token chose each expert on its own, with the given shares of tokens.

    Undefined   NaN where no expert has a share.

    >>> [round(segment_score_by_chance(np.array([1 / n])), 3) for n in (4, 8, 16, 32)]
    [0.452, 0.321, 0.237, 0.199]
    """
    times_b = np.arange(window + 1)
    chance_b = binom.pmf(times_b, window, np.clip(share_e, 0, 1)[:, None]).sum(axis=0)
    return float(best_segment_score(chance_b))


def _from_the_top(value_b: NDArray[np.number]) -> NDArray[np.number]:
    """Sums of each place and all above it."""
    return value_b[..., ::-1].cumsum(axis=-1)[..., ::-1]


def runs_of(place_t: NDArray[np.integer], position_t: NDArray[np.integer]) -> NDArray[np.intp]:
    """Where tokens begin that follow one another without a gap, and the end of all.

    >>> runs_of(np.array([0, 0, 0, 1]), np.array([4, 5, 7, 8])).tolist()
    [0, 2, 3, 4]
    """
    is_new_t = np.ones(len(place_t) + 1, np.bool_)
    is_new_t[1:-1] = (np.diff(place_t) != 0) | (np.diff(position_t) != 1)
    return np.flatnonzero(is_new_t).astype(np.intp)


@jit
def _sets_of(
    ids_tk: NDArray[np.unsignedinteger], experts: int, words: int, set_x: NDArray[np.uint64]
) -> None:  # pragma: no cover
    """The experts of each token as bits, so many words a token."""
    tokens, slots = ids_tk.shape
    set_x[: tokens * words] = 0
    for token in range(tokens):
        for slot in range(slots):
            expert = ids_tk[token, slot]
            if expert < experts:
                set_x[token * words + expert // 64] |= np.uint64(1) << np.uint64(expert % 64)


@jit
def _count_repeats(
    ids_ltk: NDArray[np.unsignedinteger],
    start_r: NDArray[np.integer],
    place_t: NDArray[np.integer],
    token_t: NDArray[np.integer],
    experts: int,
    count_xlsn: NDArray[np.int64],
) -> None:  # pragma: no cover
    layers, words = len(ids_ltk), (experts + 63) // 64
    set_x = np.empty(_longest(start_r) * words, np.uint64)
    for layer in range(layers):
        for run in range(len(start_r) - 1):
            first, end = start_r[run], start_r[run + 1]
            ids_tk = ids_ltk[layer, first:end]
            _sets_of(ids_tk, experts, words, set_x)
            count_sn = count_xlsn[place_t[first], layer]
            for token in range(end - first - 1):
                if ids_tk[token, 0] < experts and ids_tk[token + 1, 0] < experts:
                    common = np.uint64(0)
                    for word in range(token * words, (token + 1) * words):
                        common |= set_x[word] & set_x[word + words]
                    count_n = count_sn[int(token_t[first + token] == token_t[first + token + 1])]
                    count_n[0] += 1
                    count_n[1] += ids_tk[token, 0] == ids_tk[token + 1, 0]
                    count_n[2] += common != 0


@jit
def _count_overlaps(
    ids_ltk: NDArray[np.unsignedinteger],
    start_r: NDArray[np.integer],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    lags: NDArray[np.integer],
    experts: int,
    count_xlbn: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Stretch by stretch of tokens that lie in one run, as do those so far behind them: these are pairs, or none is."""
    layers, tokens, _ = ids_ltk.shape
    words = (experts + 63) // 64
    set_x, before_t = np.empty(tokens * words, np.uint64), np.zeros(tokens + 1, np.int64)  # slots filled so far
    end_t = np.empty(tokens, np.int64)
    for run in range(len(start_r) - 1):
        end_t[start_r[run] : start_r[run + 1]] = start_r[run + 1]
    for layer in range(layers):
        _sets_of(ids_ltk[layer], experts, words, set_x)
        for token in range(tokens):
            filled = 0
            for expert in ids_ltk[layer, token]:
                filled += expert < experts
            before_t[token + 1] = before_t[token] + filled
        for at in range(len(lags)):
            lag, one = lags[at], 0
            while one < tokens - lag:
                other = one + lag
                size = min(end_t[one] - one, end_t[other] - other)
                if place_t[other] == place_t[one] and position_t[other] == position_t[one] + lag:
                    count_n = count_xlbn[place_t[one], layer, at]
                    count_n[0] += _common_bits(set_x, one * words, other * words, size * words)
                    count_n[1] += before_t[one + size] - before_t[one] + before_t[other + size] - before_t[other]
                one += size


@jit
def _common_bits(set_x: NDArray[np.uint64], one: int, other: int, size: int) -> int:  # pragma: no cover
    """Bits in common of so many words from one place on and from another on."""
    whole, sums_x = size - size % WORDS, np.empty(WORDS + 1, np.uint64)
    common = spread(set_x, 0, WORDS)
    for at in range(0, whole, WORDS):
        common = plus(common, bits(both(load(set_x, one + at, WORDS), load(set_x, other + at, WORDS))))
    rest = spread(set_x, 0, 1)
    for at in range(whole, size):
        rest = plus(rest, bits(both(load(set_x, one + at, 1), load(set_x, other + at, 1))))
    store(sums_x, 0, common)
    store(sums_x, WORDS, rest)
    total = np.int64(0)
    for at in range(WORDS + 1):
        total += np.int64(sums_x[at])
    return int(total)


@jit
def _count_segments(
    ids_ltk: NDArray[np.unsignedinteger],
    start_r: NDArray[np.integer],
    place_t: NDArray[np.integer],
    experts: int,
    count_xlwb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """By the moments at which an expert comes to be active so many times in a window, or no more so.

    From then to the end of the run it is counted in every window to come: taken off again when it no longer is. How
    often an expert is active in the four windows is one number, a byte for each. Slots take turns with two rows of
    sums: adding to one place twice in a row would have to wait.
    """
    layers, _, slots = ids_ltk.shape
    longest = WINDOWS[-1]
    rows = len(WINDOWS) * (longest + 2)
    times_e, at_least_x = np.zeros(experts, np.uint32), np.zeros(rows, np.int64)
    more_x, fewer_x = np.zeros(2 * rows, np.int64), np.zeros(2 * rows, np.int64)
    for layer in range(layers):
        for run in range(len(start_r) - 1):
            first, end = start_r[run], start_r[run + 1]
            times_e[:], more_x[:], fewer_x[:] = 0, 0, 0
            for token in range(first, end):
                for slot in range(slots):
                    expert = ids_ltk[layer, token, slot]
                    if expert < experts:
                        times = times_e[expert]
                        times_e[expert] = times + np.uint32(0x01010101)
                        for at in range(len(WINDOWS)):
                            count = int((times >> np.uint32(8 * at)) & np.uint32(255))
                            more_x[(slot & 1) * rows + at * (longest + 2) + count + 1] += end - max(
                                token, first + WINDOWS[at] - 1
                            )
                for at in range(len(WINDOWS)):
                    if token - first >= WINDOWS[at]:
                        for slot in range(slots):
                            expert = ids_ltk[layer, token - WINDOWS[at], slot]
                            if expert < experts:
                                times = times_e[expert]
                                times_e[expert] = times - np.uint32(1 << 8 * at)
                                count = int((times >> np.uint32(8 * at)) & np.uint32(255))
                                fewer_x[(slot & 1) * rows + at * (longest + 2) + count] += end - token
            for at in range(rows):
                at_least_x[at] = more_x[at] + more_x[rows + at] - fewer_x[at] - fewer_x[rows + at]
            for at in range(len(WINDOWS)):
                count_b = count_xlwb[place_t[first], layer, at]
                if end - first >= WINDOWS[at]:
                    count_b[0] += end - first - WINDOWS[at] + 1
                    for count in range(1, WINDOWS[at] + 1):
                        place = at * (longest + 2) + count
                        count_b[count] += at_least_x[place] - at_least_x[place + 1]


@jit
def _longest(start_r: NDArray[np.integer]) -> int:  # pragma: no cover
    """Tokens of the longest run."""
    longest = 0
    for run in range(len(start_r) - 1):
        longest = max(longest, start_r[run + 1] - start_r[run])
    return longest
