"""How alike the routes of tokens near one another are: counts over the tokens of each document, facet by facet.

Two tokens are a pair, and some are a window, only within a document and a facet and where positions are as far apart as
rows: a border between prompt and answer is neither's, and what was left out of a record leaves a gap.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from gatescope.analysis.statistics.jit import compiled

LAGS = (1, 2, 4, 8, 16, 32, 64, 128)
WINDOWS = (2, 4, 8, 16)
AHEAD = 16
LRU, LFU, BEST = 0, 1, 2  # what a cache keeps: the last used, the most used, the next used


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


@compiled
def _common(
    one_k: NDArray[np.unsignedinteger], two_k: NDArray[np.unsignedinteger], experts: int
) -> int:  # pragma: no cover
    """Experts that two tokens both have."""
    common = 0
    for expert in one_k:
        for other in two_k:
            common += expert == other and expert < experts
    return common


@compiled
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


@compiled
def _count_overlaps(
    ids_ltk: NDArray[np.unsignedinteger],
    place_t: NDArray[np.integer],
    position_t: NDArray[np.integer],
    lags: NDArray[np.integer],
    experts: int,
    count_xlbn: NDArray[np.int64],
) -> None:  # pragma: no cover
    layers, tokens, slots = ids_ltk.shape
    filled_t = np.zeros(tokens, np.int64)
    for layer in range(layers):
        for token in range(tokens):
            filled_t[token] = 0
            for slot in range(slots):
                filled_t[token] += ids_ltk[layer, token, slot] < experts
        for at in range(len(lags)):
            lag = lags[at]
            for token in range(tokens - lag):
                after = token + lag
                if place_t[after] == place_t[token] and position_t[after] == position_t[token] + lag:
                    count_n = count_xlbn[place_t[token], layer, at]
                    count_n[0] += _common(ids_ltk[layer, token], ids_ltk[layer, after], experts)
                    count_n[1] += filled_t[token] + filled_t[after]


@compiled
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


@compiled
def _next_uses(
    ids_tk: NDArray[np.unsignedinteger], document_t: NDArray[np.integer], experts: int
) -> NDArray[np.int64]:  # pragma: no cover
    """The row of the document's next token with the same expert, for each slot; past the last row for none."""
    tokens, slots = ids_tk.shape
    next_tk, coming_e = np.full((tokens, slots), tokens, np.int64), np.full(experts, tokens, np.int64)
    for token in range(tokens - 1, -1, -1):
        if token + 1 < tokens and document_t[token + 1] != document_t[token]:
            coming_e[:] = tokens
        for slot in range(slots):
            expert = ids_tk[token, slot]
            if expert < experts:
                next_tk[token, slot] = coming_e[expert]
                coming_e[expert] = token
    return next_tk


@compiled
def _is_before(policy: int, one: int, two: int, rank_en: NDArray[np.int64]) -> bool:  # pragma: no cover
    """Whether a policy would rather keep the first of two experts."""
    is_before: bool
    if policy == BEST:
        is_before = rank_en[one, 2] < rank_en[two, 2]
    elif policy == LFU and rank_en[one, 1] != rank_en[two, 1]:
        is_before = rank_en[one, 1] > rank_en[two, 1]
    else:
        is_before = rank_en[one, 0] > rank_en[two, 0]
    return is_before


@compiled
def _put(
    stack: NDArray[np.int64], depth: int, expert: int, policy: int, rank_en: NDArray[np.int64]
) -> int:  # pragma: no cover
    """Insert an expert whose rank is new: the less wanted goes down, as far as where the expert was. The new depth."""
    carried = expert
    for at in range(depth):
        held = stack[at]
        if held == expert:
            stack[at] = carried
            return depth
        if _is_before(policy, carried, held, rank_en):
            stack[at], carried = carried, held
    stack[depth] = carried
    return depth + 1


@compiled
def find_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    group_t: NDArray[np.integer],
    experts: int,
    policy: int,
    count_glb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Requests by the depth at which the policy's stack has their expert when the token arrives; at 0 where it is not.

    One stack for all sizes (Mattson et al. 1970): its first C are what a cache of C keeps, the C most wanted of what it
    kept before and of the token's own experts.
    """
    layers, tokens, slots = ids_ltk.shape
    stack, rank_en = np.zeros(experts + 1, np.int64), np.zeros((experts, 3), np.int64)  # last use, uses, next use
    for layer in range(layers):
        next_tk, depth, time = _next_uses(ids_ltk[layer], document_t, experts), 0, 0
        for token in range(tokens):
            if token == 0 or document_t[token] != document_t[token - 1]:
                depth, rank_en[:] = 0, 0
            count_b = count_glb[group_t[token], layer]
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    found = 0
                    for at in range(depth):
                        if stack[at] == expert:
                            found = at + 1
                            break
                    count_b[found] += 1
            for slot in range(slots - 1, -1, -1):  # the first choice is the one used last
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    time += 1
                    rank_en[expert, 0] = time
                    rank_en[expert, 1] += 1
                    rank_en[expert, 2] = next_tk[token, slot]
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    depth = _put(stack, depth, expert, policy, rank_en)


@compiled
def keep_by_next_uses(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    place_t: NDArray[np.integer],
    k_l: NDArray[np.integer],
    experts: int,
    hits_xlbn: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Requests, and hits where 1, 2 … times k are kept that the next tokens use most, of equals the last used."""
    layers, tokens, slots = ids_ltk.shape
    kept = np.zeros(experts, np.int64)
    for layer in range(layers):
        for size in range(hits_xlbn.shape[2]):
            room, held, time, ahead = min((size + 1) * k_l[layer], experts), 0, 0, 0
            is_kept_e, last_e, coming_e = (
                np.zeros(experts, np.bool_),
                np.zeros(experts, np.int64),
                np.zeros(experts, np.int64),
            )
            for token in range(tokens):
                if token == 0 or document_t[token] != document_t[token - 1]:
                    is_kept_e[:], coming_e[:], held, ahead = False, 0, 0, token
                while ahead < tokens and ahead <= token + AHEAD and document_t[ahead] == document_t[token]:
                    for slot in range(slots):
                        if ids_ltk[layer, ahead, slot] < experts:
                            coming_e[ids_ltk[layer, ahead, slot]] += 1
                    ahead += 1
                count_n = hits_xlbn[place_t[token], layer, size]
                for slot in range(slots - 1, -1, -1):  # the first choice is the one used last
                    expert = ids_ltk[layer, token, slot]
                    if expert < experts:
                        coming_e[expert] -= 1
                        count_n[0] += 1
                        count_n[1] += is_kept_e[expert]
                        time += 1
                        last_e[expert] = time
                        if not is_kept_e[expert]:
                            kept[held], is_kept_e[expert] = expert, True
                            held += 1
                while held > room:
                    worst = _least_wanted(kept, held, coming_e, last_e)
                    is_kept_e[kept[worst]], kept[worst] = False, kept[held - 1]
                    held -= 1


@compiled
def _least_wanted(
    kept: NDArray[np.int64], held: int, coming_e: NDArray[np.int64], last_e: NDArray[np.int64]
) -> int:  # pragma: no cover
    """Where the kept expert is that the next tokens use least, of equals the one used longest ago."""
    worst = 0
    for at in range(1, held):
        coming, least = coming_e[kept[at]], coming_e[kept[worst]]
        if coming < least or (coming == least and last_e[kept[at]] < last_e[kept[worst]]):
            worst = at
    return worst
