"""The loop that draws routes: slot by slot, each from a source of its own, no expert twice."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit
from gatescope.simulation.effects import SOURCES
from gatescope.simulation.numbers import GOLDEN

LOAD, WORDS, DOMAINS, LANGUAGES, PAIRS, TRANSITIONS, LOCALITY = range(len(SOURCES))
TRIES, LOAD_TRIES = 8, 64
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Tables(NamedTuple):
    """What routes are drawn from (see `planted`), and how: all arrays as the loop reads them.

    experts_l, group_size_l   experts of each layer, and of each of its groups
    source_s                  the source by the first 16 bits of a random number
    kind_v                    each word's kind
    """

    experts_l: NDArray[np.int64]
    group_size_l: NDArray[np.int64]
    source_s: NDArray[np.uint8]
    share_le: NDArray[np.float64]
    threshold_le: NDArray[np.uint32]
    other_le: NDArray[np.uint32]
    kind_v: NDArray[np.int64]
    words_lcx: NDArray[np.int64]
    domains_lgx: NDArray[np.int64]
    languages_lgx: NDArray[np.int64]
    partner_le: NDArray[np.int64]
    successor_le: NDArray[np.int64]


@jit
def draw_routes(
    tables: Tables,
    groups_kept: int,
    seed_d: NDArray[np.uint64],
    start_d: NDArray[np.int64],
    domain_d: NDArray[np.int64],
    language_d: NDArray[np.int64],
    token_t: NDArray[np.int32],
    ids_tlk: NDArray[np.uint16],
    source_tlk: NDArray[np.uint8],
    weights_tl: NDArray[np.uint16],
) -> None:  # pragma: no cover
    """Fill ids, the source that filled each slot, and 12 random bits for the weights of each token and layer."""
    layers, slots = ids_tlk.shape[1], ids_tlk.shape[2]
    preferring = np.uint64(tables.words_lcx.shape[2])
    taken_e = np.zeros(tables.share_le.shape[1], np.int64)
    opened_g = np.zeros(tables.share_le.shape[1], np.int64)
    turn = 0
    for d in range(len(seed_d)):
        state = seed_d[d]
        for t in range(start_d[d], start_d[d + 1]):
            kind = tables.kind_v[token_t[t]]
            is_first = t == start_d[d]
            for layer in range(layers):
                turn += 1
                opened = 0
                experts = np.uint64(tables.experts_l[layer])
                group_size = tables.group_size_l[layer]
                is_grouped = group_size * groups_kept < tables.experts_l[layer]
                for slot in range(slots):
                    state += GOLDEN
                    bits = (state ^ (state >> np.uint64(30))) * _FIRST
                    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
                    bits ^= bits >> np.uint64(31)
                    source = tables.source_s[bits & np.uint64(0xFFFF)]
                    if slot == 0:
                        weights_tl[t, layer] = (bits >> np.uint64(16)) & np.uint64(0xFFF)
                    if (
                        (source == LOCALITY and is_first)
                        or (source == TRANSITIONS and layer == 0)
                        or (source == PAIRS and slot == 0)
                    ):
                        source = LOAD
                    expert = np.int64(-1)
                    if source != LOAD:
                        for _ in range(TRIES):
                            state += GOLDEN
                            bits = (state ^ (state >> np.uint64(30))) * _FIRST
                            bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
                            high = (bits ^ (bits >> np.uint64(31))) >> np.uint64(32)
                            if source <= LANGUAGES:
                                at = (high * preferring) >> np.uint64(32)
                                if source == WORDS:
                                    found = tables.words_lcx[layer, kind, at]
                                elif source == DOMAINS:
                                    found = tables.domains_lgx[layer, domain_d[d], at]
                                else:
                                    found = tables.languages_lgx[layer, language_d[d], at]
                            elif source == PAIRS:
                                at = (high * np.uint64(slot)) >> np.uint64(32)
                                found = tables.partner_le[layer, ids_tlk[t, layer, at]]
                            else:
                                at = (high * np.uint64(slots)) >> np.uint64(32)
                                if source == TRANSITIONS:
                                    found = tables.successor_le[layer, ids_tlk[t, layer - 1, at]]
                                else:
                                    found = np.int64(ids_tlk[t - 1, layer, at])
                            if found < 0 or taken_e[found] == turn:
                                continue
                            if is_grouped and opened == groups_kept and opened_g[found // group_size] != turn:
                                continue
                            expert = found
                            break
                        if expert < 0:
                            source = LOAD
                    if expert < 0:
                        for _ in range(LOAD_TRIES):
                            state += GOLDEN
                            bits = (state ^ (state >> np.uint64(30))) * _FIRST
                            bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
                            bits ^= bits >> np.uint64(31)
                            at = ((bits >> np.uint64(16)) & np.uint64(0xFFFFFF)) * experts >> np.uint64(24)
                            if (bits >> np.uint64(40)) >= np.uint64(tables.threshold_le[layer, at]):
                                at = np.uint64(tables.other_le[layer, at])
                            found = np.int64(at)
                            if taken_e[found] == turn:
                                continue
                            if is_grouped and opened == groups_kept and opened_g[found // group_size] != turn:
                                continue
                            expert = found
                            break
                    if expert < 0:  # what is left is rare: the same, by going through all of it
                        left = 0.0
                        for e in range(tables.experts_l[layer]):
                            if taken_e[e] != turn and not (
                                is_grouped and opened == groups_kept and opened_g[e // group_size] != turn
                            ):
                                left += tables.share_le[layer, e]
                        state += GOLDEN
                        bits = (state ^ (state >> np.uint64(30))) * _FIRST
                        bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
                        bits ^= bits >> np.uint64(31)
                        left *= np.float64(bits >> np.uint64(11)) * 2.0**-53
                        for e in range(tables.experts_l[layer]):
                            if taken_e[e] != turn and not (
                                is_grouped and opened == groups_kept and opened_g[e // group_size] != turn
                            ):
                                expert = np.int64(e)
                                left -= tables.share_le[layer, e]
                                if left < 0:
                                    break
                    taken_e[expert] = turn
                    if is_grouped and opened_g[expert // group_size] != turn:
                        opened_g[expert // group_size] = turn
                        opened += 1
                    ids_tlk[t, layer, slot] = expert
                    source_tlk[t, layer, slot] = source
