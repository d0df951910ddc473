"""Which requests caches of every size serve: counts over the tokens of each document, a layer at a time.

One stack stands for all sizes (Mattson et al. 1970): its first C are what a cache of C keeps, the C most wanted of what
it kept before and of the token's own experts. Where a request makes an expert more wanted, as it does for those used
last and most, the stack is in order of what is wanted, and an expert's depth is how many are wanted more.
"""

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import in_threads, jit

LRU, LFU, BEST = 0, 1, 2  # what a cache keeps: the last used, the most used, the next used
AHEAD = 16
_MOST32 = 2**31 - 1


def find_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    group_t: NDArray[np.integer],
    experts: int,
    policy: int,
    count_glb: NDArray[np.int64],
) -> None:
    """Requests by the depth at which the policy's stack has their expert when the token arrives; at 0 where it is not.

    Shapes      (layers, tokens, slots) to (groups, layers, experts + 1), added to what is there.
    """
    span = _longest(document_t) * ids_ltk.shape[2] + 1

    def take(layers: slice) -> None:
        own_ltk, own_glb = ids_ltk[layers], count_glb[:, layers]
        if policy == BEST:
            _next_depths(own_ltk, document_t, group_t, experts, own_glb)
        else:
            is_short = policy == LRU or span * _longest(document_t) < _MOST32
            kind: type[np.signedinteger] = np.int32 if is_short else np.int64
            wanted_e: NDArray[np.signedinteger] = np.zeros(experts, kind)
            _wanted_depths(own_ltk, document_t, group_t, span if policy == LFU else 0, wanted_e, own_glb)

    in_threads(take, len(ids_ltk))


def keep_by_next_uses(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    place_t: NDArray[np.integer],
    k_l: NDArray[np.integer],
    experts: int,
    hits_xlbn: NDArray[np.int64],
) -> None:
    """Requests, and hits where 1, 2 … times k are kept that the next tokens use most, of equals the last used.

    Shapes      (layers, tokens, slots) to (places, layers, sizes, 2), added to what is there.
    """
    span = _longest(document_t) * ids_ltk.shape[2] + 1

    kind: type[np.signedinteger] = np.int32 if span * (AHEAD + 2) < _MOST32 else np.int64

    def take(layers: slice) -> None:
        wanted_s: NDArray[np.signedinteger] = np.empty(experts, kind)
        most_1: NDArray[np.signedinteger] = np.full(1, np.iinfo(kind).max, kind)
        _keep_by_next_uses(
            ids_ltk[layers], document_t, place_t, k_l[layers], span, wanted_s, most_1, hits_xlbn[:, layers]
        )

    in_threads(take, len(ids_ltk))


def _longest(document_t: NDArray[np.integer]) -> int:
    """Tokens of the longest document."""
    edges = np.flatnonzero(np.diff(document_t, prepend=-1, append=-1))
    return int(np.diff(edges).max(initial=1))


@jit
def _wanted_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    group_t: NDArray[np.integer],
    per_use: int,
    wanted_e: NDArray[np.signedinteger],
    count_glb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """By last uses, and by uses before those where each counts `per_use`; 0 for an expert that was not used yet."""
    layers, tokens, slots = ids_ltk.shape
    experts = len(wanted_e)
    uses_e = np.zeros(experts, np.int64)
    for layer in range(layers):
        time = 0
        for token in range(tokens):
            if token == 0 or document_t[token] != document_t[token - 1]:
                wanted_e[:], uses_e[:], time = 0, 0, 0
            count_b = count_glb[group_t[token], layer]
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    own, found = wanted_e[expert], np.int32(0)
                    for other in range(experts):
                        found = np.int32(found + (wanted_e[other] > own))
                    count_b[found + 1 if own > 0 else 0] += 1
            for slot in range(slots - 1, -1, -1):  # the first choice is the one used last
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    time += 1
                    uses_e[expert] += 1
                    wanted_e[expert] = time + per_use * uses_e[expert]


@jit
def _next_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    group_t: NDArray[np.integer],
    experts: int,
    count_glb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """By next uses. An expert whose turn was now is wanted less than before, and goes no deeper than it was.

    Each expert of a token begins at the top: whoever is wanted less goes down, as far as where the expert was.
    """
    layers, tokens, slots = ids_ltk.shape
    next_s, expert_s = np.zeros(experts + 1, np.int32), np.zeros(experts + 1, np.int32)
    place_e, coming_e = np.empty(experts, np.int64), np.empty(experts, np.int32)
    next_tk = np.empty((tokens, slots), np.int32)
    for layer in range(layers):
        for token in range(tokens - 1, -1, -1):
            if token + 1 == tokens or document_t[token + 1] != document_t[token]:
                coming_e[:] = tokens
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    next_tk[token, slot] = coming_e[expert]
                    coming_e[expert] = token
        depth = 0
        for token in range(tokens):
            if token == 0 or document_t[token] != document_t[token - 1]:
                place_e[:], depth = -1, 0
            count_b = count_glb[group_t[token], layer]
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    place = place_e[expert]
                    count_b[place + 1] += 1
                    if place >= 0:
                        next_s[place] = next_tk[token, slot]
            for slot in range(slots):
                expert = ids_ltk[layer, token, slot]
                if expert >= experts:
                    continue
                carried, coming, end = np.int32(expert), next_tk[token, slot], place_e[expert]
                if end < 0:
                    end = depth
                    depth += 1
                for at in range(end):
                    if next_s[at] > coming:
                        next_s[at], coming = coming, next_s[at]
                        expert_s[at], carried = carried, expert_s[at]
                        place_e[expert_s[at]] = at
                next_s[end], expert_s[end] = coming, carried
                place_e[carried] = end


@jit
def _keep_by_next_uses(
    ids_ltk: NDArray[np.unsignedinteger],
    document_t: NDArray[np.integer],
    place_t: NDArray[np.integer],
    k_l: NDArray[np.integer],
    span: int,
    wanted_s: NDArray[np.signedinteger],
    most_1: NDArray[np.signedinteger],
    hits_xlbn: NDArray[np.int64],
) -> None:  # pragma: no cover
    """An expert is wanted by its uses in the next tokens, each of which counts `span`, and by its last use."""
    layers, tokens, slots = ids_ltk.shape
    sizes, experts, most = hits_xlbn.shape[2], len(wanted_s), most_1[0]
    kept_bs, held_b = np.empty((sizes, experts), np.int64), np.empty(sizes, np.int64)
    is_kept_be = np.empty((sizes, experts), np.bool_)
    last_e, coming_e = np.empty(experts, np.int64), np.empty(experts, np.int64)
    for layer in range(layers):
        time, ahead = 0, 0
        for token in range(tokens):
            if token == 0 or document_t[token] != document_t[token - 1]:
                is_kept_be[:], held_b[:], coming_e[:], last_e[:], time, ahead = False, 0, 0, 0, 0, token
            while ahead < tokens and ahead <= token + AHEAD and document_t[ahead] == document_t[token]:
                for slot in range(slots):
                    if ids_ltk[layer, ahead, slot] < experts:
                        coming_e[ids_ltk[layer, ahead, slot]] += 1
                ahead += 1
            asked = 0
            for slot in range(slots - 1, -1, -1):  # the first choice is the one used last
                expert = ids_ltk[layer, token, slot]
                if expert < experts:
                    coming_e[expert] -= 1
                    time += 1
                    asked += 1
                    last_e[expert] = time
            for size in range(sizes):
                room, held, kept_s, hits = min((size + 1) * k_l[layer], experts), held_b[size], kept_bs[size], 0
                for slot in range(slots - 1, -1, -1):
                    expert = ids_ltk[layer, token, slot]
                    if expert < experts:
                        if is_kept_be[size, expert]:
                            hits += 1
                        else:
                            kept_s[held], is_kept_be[size, expert] = expert, True
                            held += 1
                count_n = hits_xlbn[place_t[token], layer, size]
                count_n[0] += asked
                count_n[1] += hits
                if held > room:
                    for at in range(held):
                        wanted_s[at] = span * coming_e[kept_s[at]] + last_e[kept_s[at]]
                    own_s, least = wanted_s[:held], wanted_s[0]
                    for out in range(held - room):  # the next that is wanted least, of those wanted more than the last
                        before, least = least, most
                        for at in range(held):
                            wanted = own_s[at]
                            least = min(least, wanted if out == 0 or wanted > before else most)
                    stay = 0
                    for at in range(held):
                        expert, stays = kept_s[at], own_s[at] > least
                        is_kept_be[size, expert] = stays
                        kept_s[stay] = expert
                        stay += stays
                    held = stay
                held_b[size] = held
