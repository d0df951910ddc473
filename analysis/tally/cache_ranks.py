"""Depths in the stacks of caches that know what was: an expert's depth is how many are wanted more, its rank.

All experts of a layer have a rank, those not used yet behind the others; a use moves one ahead, and those that it
passes back by one. Of one layer's experts as many as fill a register move together.
"""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.lanes import is_less, load, minus, plus, spread, store

EXPERTS = 32
"""Experts whose ranks are moved together; ranks are filled up to a multiple of it."""
AT_ONCE = 8
LAYERS = 8


@jit
def last_used_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    start_d: NDArray[np.integer],
    order_t: NDArray[np.integer],
    group_t: NDArray[np.integer],
    rank_x: NDArray[np.unsignedinteger],
    count_glb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Requests by their depth where the last used is wanted most, of tokens in an order; at 0 if it was not used yet.

    rank_x: room for two ranks of every expert, each in whole EXPERTS, of a kind that holds as many.
    """
    layers, _, slots = ids_ltk.shape
    experts, width = count_glb.shape[2] - 1, len(rank_x) // 2
    used_e, rank_k = np.zeros(experts, np.bool_), np.zeros(-(-slots // AT_ONCE) * AT_ONCE, rank_x.dtype)
    for layer in range(layers):
        for document in range(len(start_d) - 1):
            before, after = np.int64(0), np.int64(width)
            _rank_by_number(rank_x, width)
            used_e[:] = False
            for token in range(start_d[document], start_d[document + 1]):
                count_b, ids_k = count_glb[group_t[token], layer], ids_ltk[layer, order_t[token]]
                for slot in range(slots):
                    expert = ids_k[slot]
                    rank_k[slot] = 0
                    if expert < experts:
                        rank_k[slot] = rank_x[before + expert]
                        count_b[np.int64(rank_k[slot]) + 1 if used_e[expert] else 0] += 1
                        used_e[expert] = True
                _move_back(rank_x, before, before, after, width, rank_k, 0)
                for at in range(AT_ONCE, len(rank_k), AT_ONCE):
                    _move_back(rank_x, before, after, after, width, rank_k, at)
                ahead = 0
                for slot in range(slots):  # the first choice is the one used last
                    if ids_k[slot] < experts:
                        rank_x[after + ids_k[slot]] = ahead
                        ahead += 1
                before, after = after, before


@jit
def _move_back(
    rank_x: NDArray[np.unsignedinteger],
    before: int | np.int64,
    so_far: int | np.int64,
    after: int | np.int64,
    width: int,
    rank_k: NDArray[np.unsignedinteger],
    at: int,
) -> None:  # pragma: no cover
    """Every expert goes back by one for each of AT_ONCE that were behind it and are now used."""
    a, b = spread(rank_x, rank_k[at], EXPERTS), spread(rank_x, rank_k[at + 1], EXPERTS)
    c, d = spread(rank_x, rank_k[at + 2], EXPERTS), spread(rank_x, rank_k[at + 3], EXPERTS)
    e, f = spread(rank_x, rank_k[at + 4], EXPERTS), spread(rank_x, rank_k[at + 5], EXPERTS)
    g, h = spread(rank_x, rank_k[at + 6], EXPERTS), spread(rank_x, rank_k[at + 7], EXPERTS)
    for place in range(0, width, EXPERTS):
        rank = load(rank_x, before + place, EXPERTS)
        one = plus(plus(is_less(rank, a), is_less(rank, b)), plus(is_less(rank, c), is_less(rank, d)))
        two = plus(plus(is_less(rank, e), is_less(rank, f)), plus(is_less(rank, g), is_less(rank, h)))
        store(rank_x, after + place, minus(load(rank_x, so_far + place, EXPERTS), plus(one, two)))


@jit
def most_used_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    start_d: NDArray[np.integer],
    group_t: NDArray[np.integer],
    rank_x: NDArray[np.unsignedinteger],
    count_glb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Requests by their depth where the most used is wanted most, of equals the last used; at 0 if not used yet.

    rank_x: room for a rank of every expert of LAYERS, each layer's in whole EXPERTS, of a kind that holds as many.

    Layers take turns slot by slot: where one expert is moved to is known only when the one before it has moved.
    """
    layers, _, slots = ids_ltk.shape
    experts, width, longest = count_glb.shape[2] - 1, len(rank_x) // LAYERS, 0
    for document in range(len(start_d) - 1):
        longest = max(longest, start_d[document + 1] - start_d[document])
    uses_ne = np.zeros((LAYERS, experts), np.int32)
    more_ny = np.zeros((LAYERS, longest + 2), np.int32)  # experts of more than so many uses
    for begin in range(0, layers, LAYERS):
        few = min(LAYERS, layers - begin)
        for document in range(len(start_d) - 1):
            uses_ne[:], more_ny[:] = 0, 0
            _rank_by_number(rank_x, width)
            for token in range(start_d[document], start_d[document + 1]):
                for n in range(few):
                    count_b = count_glb[group_t[token], begin + n]
                    for slot in range(slots):
                        expert = ids_ltk[begin + n, token, slot]
                        if expert < experts:
                            count_b[np.int64(rank_x[n * width + expert]) + 1 if uses_ne[n, expert] else 0] += 1
                for slot in range(slots - 1, -1, -1):  # the first choice is the one used last
                    for n in range(few):
                        expert = ids_ltk[begin + n, token, slot]
                        if expert < experts:
                            uses = uses_ne[n, expert]
                            _move_up(rank_x, n * width, width, expert, more_ny[n, uses + 1])
                            more_ny[n, uses] += 1
                            uses_ne[n, expert] = uses + 1


@jit
def _rank_by_number(rank_x: NDArray[np.unsignedinteger], width: int) -> None:  # pragma: no cover
    """Ranks of experts of which none was used yet, in parts of so many."""
    for at in range(len(rank_x)):
        rank_x[at] = at % width


@jit
def _move_up(
    rank_x: NDArray[np.unsignedinteger], begin: int, width: int, expert: int, rank: int
) -> None:  # pragma: no cover
    """One expert of a layer moves ahead to a rank, those from there on to where it was go back by one."""
    first = spread(rank_x, rank, EXPERTS)
    passed = spread(rank_x, rank_x[begin + expert] - rank, EXPERTS)
    for place in range(begin, begin + width, EXPERTS):
        own = load(rank_x, place, EXPERTS)
        store(rank_x, place, minus(own, is_less(minus(own, first), passed)))
    rank_x[begin + expert] = rank
