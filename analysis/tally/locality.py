"""How alike the routes of tokens near one another are: counts over the tokens of each document, facet by facet.

Two tokens are a pair, and some are a window, only within a document and a facet and where positions are as far apart as
rows: a border between prompt and answer is neither's, and what was left out of a record leaves a gap.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from gatescope.analysis.statistics.jit import jit

LAGS = (1, 2, 4, 8, 16, 32, 64, 128)
WINDOWS = (2, 4, 8, 16)


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
    _count_repeats(np.ascontiguousarray(ids_tlk), place_t, position_t, token_t, experts, count_xlsn)
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
    _count_overlaps(by_layer(ids_tlk), place_t, position_t, np.array(LAGS), experts, count_xlbn)
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
    ids_ltk = by_layer(ids_tlk)
    for at, window in enumerate(WINDOWS):
        _count_segments(ids_ltk, place_t, position_t, window, experts, count_xlwb[:, :, at])
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


def by_layer(ids_tlk: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """(layers, tokens, slots), each layer's in one piece."""
    return np.ascontiguousarray(ids_tlk.swapaxes(0, 1))


@jit
def _common(
    one_k: NDArray[np.unsignedinteger], two_k: NDArray[np.unsignedinteger], experts: int
) -> int:  # pragma: no cover
    """Experts that two tokens both have."""
    common = 0
    for expert in one_k:
        for other in two_k:
            common += expert == other and expert < experts
    return common


@jit
def _count_repeats(
    ids_tlk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    token_t: NDArray[np.integer],
    experts: int,
    count_xlsn: NDArray[np.int64],
) -> None:  # pragma: no cover
    tokens, layers, _ = ids_tlk.shape
    for token in range(tokens - 1):
        after = token + 1
        if place_t[after] != place_t[token] or position_t[after] != position_t[token] + 1:
            continue
        again = int(token_t[after] == token_t[token])
        for layer in range(layers):
            one_k, two_k = ids_tlk[token, layer], ids_tlk[after, layer]
            if one_k[0] < experts and two_k[0] < experts:
                count_n = count_xlsn[place_t[token], layer, again]
                count_n[0] += 1
                count_n[1] += one_k[0] == two_k[0]
                count_n[2] += _common(one_k, two_k, experts) > 0


@jit
def _count_overlaps(
    ids_ltk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    lags: NDArray[np.integer],
    experts: int,
    count_xlbn: NDArray[np.int64],
) -> None:  # pragma: no cover
    layers, tokens, slots = ids_ltk.shape
    words = (experts + 63) // 64
    filled_t, set_tw = np.zeros(tokens, np.int64), np.zeros((tokens, words), np.uint64)
    by_bits = words <= slots * slots // 4
    for layer in range(layers):
        for token in range(tokens):
            filled_t[token], set_tw[token] = 0, np.uint64(0)
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    filled_t[token] += 1
                    set_tw[token, expert // 64] |= np.uint64(1) << np.uint64(expert % 64)
        for at in range(len(lags)):
            lag = lags[at]
            for token in range(tokens - lag):
                after = token + lag
                if place_t[after] == place_t[token] and position_t[after] == position_t[token] + lag:
                    common = 0
                    if by_bits:
                        for word in range(words):
                            common += int(_bits(set_tw[token, word] & set_tw[after, word]))
                    else:
                        common = _common(ids_ltk[layer, token], ids_ltk[layer, after], experts)
                    count_n = count_xlbn[place_t[token], layer, at]
                    count_n[0] += common
                    count_n[1] += filled_t[token] + filled_t[after]


@jit
def _bits(word: np.uint64) -> np.int64:  # pragma: no cover
    """How many bits of a 64-bit number are set (Warren 2012, Hacker's Delight, figure 5-2)."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@jit
def _count_segments(
    ids_ltk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    window: int,
    experts: int,
    count_xlb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """The histogram of the last tokens is kept up to date as they move on by one."""
    layers, tokens, slots = ids_ltk.shape
    for layer in range(layers):
        times_e, held_b = np.zeros(experts, np.int64), np.zeros(window + 2, np.int64)
        length = 0
        for token in range(tokens):
            goes_on = (
                token > 0 and place_t[token] == place_t[token - 1] and position_t[token] == position_t[token - 1] + 1
            )
            if not goes_on:
                times_e[:], held_b[:], length = 0, 0, 0
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    held_b[times_e[expert]] -= 1
                    times_e[expert] += 1
                    held_b[times_e[expert]] += 1
            if length == window:
                for slot in range(slots):
                    expert = ids_ltk[layer, token - window, slot]
                    if expert < experts:
                        held_b[times_e[expert]] -= 1
                        times_e[expert] -= 1
                        held_b[times_e[expert]] += 1
            else:
                length += 1
            if length == window:
                count_b = count_xlb[place_t[token], layer]
                count_b[0] += 1
                for times in range(1, window + 1):
                    count_b[times] += held_b[times]
