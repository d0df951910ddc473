"""Which experts work together: pairs of a layer or of two, and how often chance alone would put two together.

A router that keeps exactly k experts cannot choose them independently: who takes one place leaves one fewer. The null
here is the most random choice of k experts with the loads that were observed (conditional Bernoulli, or maximum entropy
under a fixed size): independent coins, of which only the throws with exactly k heads count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.statistics.whole_numbers import kind_for
from gatescope.analysis.tally.layers import by_layer
from gatescope.routing.errors import OptionError

MOST_CELLS = 1 << 24
"""Cells over layers and pairs of experts, up to which transitions are counted and a result keeps every pair."""
FEW = "few enough layers and experts for a table of their pairs (16,777,216 cells)"
MOST_COUNTED = 1 << 26
"""Cells of one facet's counts of pairs, which are 4 bytes each; larger models get none (a stated bound of memory)."""
FEW_COUNTED = "few enough layers and experts to count their pairs (67,108,864 cells)"
BINS = 1 << 16
"""Paths are counted exactly while (E + 1) ** depth is no more than this; beyond, by a hash into so many bins."""
STEPS = 10_000
CLOSE = 1e-10


class Chance(NamedTuple):
    """What a random choice of k experts with given loads does.

    pair_ef   probability that both are chosen; the diagonal is that of each expert
    disjoint  probability that two independent choices have no expert in common
    """

    pair_ef: NDArray[np.float64]
    disjoint: float


def fits(layers: int, experts: int) -> bool:
    """Whether a table over layers and pairs of experts can be held whole."""
    return layers * experts * experts <= MOST_CELLS


def can_count(layers: int, experts: int) -> bool:
    """Whether the pairs of every layer can be counted within the bound of memory."""
    return layers * experts * experts <= MOST_COUNTED


def count_pairs(
    ids_tlk: NDArray[np.unsignedinteger], group_t: NDArray[np.integer], groups: int, experts: int
) -> NDArray[np.unsignedinteger]:
    """Tokens by group, layer and pair of chosen experts: symmetric, with the experts' own counts on the diagonal.

    Shapes      (tokens, layers, slots) and (tokens,) to (groups, layers, experts, experts).
    Units       Tokens, fewer than 2 ** 32, in as few bytes as hold that many. Off the diagonal a row adds up to k - 1
                times its diagonal where no slot is empty.
    Source      Every pair of the executed set counts, as OLMoE (arXiv 2409.02060), equation 6, says.

    >>> count_pairs(np.array([[[0, 2, 1]], [[2, 0, 255]]], np.uint8), np.zeros(2, int), 1, 3)[0, 0].tolist()
    [[2, 1, 2], [1, 1, 1], [2, 1, 2]]
    """
    pairs_glef = np.zeros((groups, ids_tlk.shape[1], experts, experts), kind_for(len(ids_tlk)))
    _count_pairs(by_layer(ids_tlk), np.ascontiguousarray(group_t), pairs_glef)
    return pairs_glef


def count_transitions(
    ids_tlk: NDArray[np.unsignedinteger], group_t: NDArray[np.integer], groups: int, experts: int
) -> NDArray[np.unsignedinteger]:
    """Tokens by group, layer but the last, expert chosen there, and expert chosen in the next layer.

    >>> count_transitions(np.array([[[0, 2], [1, 255]]], np.uint8), np.zeros(1, int), 1, 3)[0, 0].tolist()
    [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    """
    count_glef = np.zeros((groups, ids_tlk.shape[1] - 1, experts, experts), kind_for(len(ids_tlk)))
    _count_transitions(by_layer(ids_tlk), np.ascontiguousarray(group_t), count_glef)
    return count_glef


def count_paths(
    ids_tlk: NDArray[np.unsignedinteger],
    group_t: NDArray[np.integer],
    groups: int,
    experts: int,
    depths: Sequence[int],
    exact: Sequence[bool],
) -> NDArray[np.int64]:
    """Tokens by group, depth and path of first choices so far, in `BINS` bins: by number where exact, else by hash.

    A token is left out at depths before the first layer that ran it.
    """
    count_gwb = np.zeros((groups, len(depths), BINS), np.int64)
    first_tl = np.ascontiguousarray(ids_tlk[:, :, 0])
    _count_paths(first_tl, np.ascontiguousarray(group_t), np.array(depths), np.array(exact), experts, count_gwb)
    return count_gwb


def adjacent_rank_pairs(ids_tlk: NDArray[np.unsignedinteger], experts: int) -> NDArray[np.int64]:
    """Pairs of neighbours in rank only, as OLMoE's released script counts them: to reproduce its figure, not to use.

    Shapes      (tokens, layers, slots) to (layers, experts, experts), symmetric, nothing on the diagonal.
    Units       Tokens. First with second choice, second with third …: k - 1 of the k (k - 1) / 2 pairs of a token, so
                that an expert's row adds up to at most twice its tokens.
    Not this    Co-activation by the paper's own equation 6: `count_pairs`.

    >>> adjacent_rank_pairs(np.array([[[0, 2, 1]]], np.uint8), 3)[0].tolist()
    [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    """
    layers = ids_tlk.shape[1]
    pairs_lef = np.zeros((layers, experts, experts), np.int64)
    for layer in range(layers):
        one, two = ids_tlk[:, layer, :-1].ravel(), ids_tlk[:, layer, 1:].ravel()
        is_pair = two < experts  # empty slots come last
        np.add.at(pairs_lef[layer], (one[is_pair], two[is_pair]), 1)
    return pairs_lef + pairs_lef.swapaxes(1, 2)


def product_lift(
    count: NDArray[np.number], count_e: NDArray[np.number], count_f: NDArray[np.number], tokens: int
) -> NDArray[np.float64]:
    """How often a pair works together over the product of the shares of tokens, as if k did not bind the choice.

    Units       1. A little below 1 for a random router: (k - 1) E / (k (E - 1)) if it is even.
    Undefined   NaN where an expert was never used.
    Not this    The lift over a choice of exactly k: `fixed_k_chance`.

    >>> product_lift(np.array([20]), np.array([40]), np.array([25]), 100).tolist()
    [2.0]
    """
    below = np.asarray(count_e, np.float64) * count_f
    return ratio(np.asarray(count, np.float64) * tokens, below)


def fixed_k_chance(share_e: NDArray[np.float64], k: int) -> Chance:
    """Pairs and overlaps of a random choice of exactly k experts in which expert e has probability share_e.

    Shapes      (experts,), adding up to k; to (experts, experts).
    Units       Probabilities. An even router: k (k - 1) / (E (E - 1)).
    Undefined   OptionError for shares that are none, or do not add up to k.
    Not this    The distribution of all tables with the same margins, which differs by terms of 1 / tokens; nor that of
                a router limited to groups of experts.
    Source      Chen, Dempster and Liu 1994 (weights of the conditional Bernoulli by iteration); the pairs by products
                of elementary symmetric polynomials without a subtraction.

    >>> chance = fixed_k_chance(np.full(8, 0.25), 2)
    >>> round(float(chance.pair_ef[0, 1]) * 28, 9), round(1 - chance.disjoint, 4)
    (1.0, 0.4643)
    """
    share_e = np.asarray(share_e, np.float64)
    if not (np.isfinite(share_e) & (share_e >= 0) & (share_e <= 1 + 1e-9)).all() or abs(share_e.sum() - k) > 1e-6:
        found = f"shares from {share_e.min():.3g} to {share_e.max():.3g} that add up to {share_e.sum():.6g}"
        raise OptionError(found, expected=f"shares of tokens that add up to k={k}", do="divide counts by tokens")
    open_e = (share_e > 0) & (share_e < 1 - 1e-12)
    always_e = share_e >= 1 - 1e-12
    free = k - int(always_e.sum())
    pair_ef = np.outer(always_e, share_e) + np.outer(share_e, always_e) - np.outer(always_e, always_e)
    disjoint = 0.0 if always_e.any() else 1.0
    if free and open_e.any():
        weight_e = set_odds(share_e[open_e], free)
        pair_ef[np.ix_(open_e, open_e)] = _pair_chance(weight_e, free)
        disjoint *= _disjoint(weight_e, free)
    np.fill_diagonal(pair_ef, share_e)
    return Chance(pair_ef, disjoint)


@jit
def _count_pairs(
    ids_ltk: NDArray[np.unsignedinteger], group_t: NDArray[np.integer], pairs_glef: NDArray[np.unsignedinteger]
) -> None:  # pragma: no cover
    layers, tokens, slots = ids_ltk.shape
    experts = pairs_glef.shape[2]
    for layer in range(layers):
        for token in range(tokens):
            pairs_ef = pairs_glef[group_t[token], layer]
            for one in range(slots):
                expert = ids_ltk[layer, token, one]
                for two in range(slots if expert < experts else 0):
                    other = ids_ltk[layer, token, two]
                    if other < experts:
                        pairs_ef[expert, other] += 1


@jit
def _count_transitions(
    ids_ltk: NDArray[np.unsignedinteger], group_t: NDArray[np.integer], count_glef: NDArray[np.unsignedinteger]
) -> None:  # pragma: no cover
    layers, tokens, slots = ids_ltk.shape
    experts = count_glef.shape[2]
    for layer in range(layers - 1):
        for token in range(tokens):
            count_ef = count_glef[group_t[token], layer]
            for one in range(slots):
                expert = ids_ltk[layer, token, one]
                for two in range(slots if expert < experts else 0):
                    other = ids_ltk[layer + 1, token, two]
                    if other < experts:
                        count_ef[expert, other] += 1


@jit
def _count_paths(
    first_tl: NDArray[np.unsignedinteger],
    group_t: NDArray[np.integer],
    depths: NDArray[np.integer],
    exact: NDArray[np.bool_],
    experts: int,
    count_gwb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """The path so far as a number in the base of E + 1, and as a hash (Steele, Lea and Flood 2014, splitmix64)."""
    tokens, layers = first_tl.shape
    for token in range(tokens):
        number, mixed, ran, at = np.int64(0), np.uint64(0x9E3779B97F4A7C15), False, 0
        for layer in range(layers):
            expert = min(first_tl[token, layer], experts)
            ran |= expert < experts
            if exact[at]:
                number = number * (experts + 1) + expert
            mixed ^= np.uint64(expert + 1)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
            if layer + 1 == depths[at]:
                if ran:
                    place = number if exact[at] else np.int64(mixed >> np.uint64(48))
                    count_gwb[group_t[token], at, place] += 1
                at += 1


def set_odds(share_e: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Odds of the coins whose throws with k heads have the given shares, each strictly between 0 and 1."""
    if k >= len(share_e):
        return np.ones(len(share_e))
    if 2 * k > len(share_e):  # which are left out: the same choice, and fewer steps to it
        return 1 / set_odds(1 - share_e, len(share_e) - k)
    weight_e, worst = _fit(share_e, k, STEPS, CLOSE)
    if worst > 1e-6:
        raise OptionError(
            f"no random choice of {k} found with these loads (off by {worst:.2g})",
            expected="shares of tokens strictly between 0 and 1",
            do="leave out experts that are chosen always or never",
        )
    return weight_e


@jit
def _fit(
    share_e: NDArray[np.float64], k: int, steps: int, close: float
) -> tuple[NDArray[np.float64], float]:  # pragma: no cover
    """Weights by iteration until every share is met; the largest miss beside them."""
    weight_e = share_e / (1 - share_e)
    worst = np.inf
    for _ in range(steps):
        front, back = _partial(weight_e, k, -1)
        whole = front[len(weight_e), k]
        worst = 0.0
        new_e = np.empty_like(weight_e)
        for expert in range(len(weight_e)):
            without = _joined(front, back, expert, k - 1) / whole
            worst = max(worst, abs(weight_e[expert] * without - share_e[expert]))
            new_e[expert] = share_e[expert] / without
        if worst < close:
            break
        scale = np.exp(np.mean(np.log(weight_e)) - np.mean(np.log(new_e)))  # only ratios matter: keep them in range
        weight_e = new_e * scale
    return weight_e, worst


@jit
def _partial(
    weight_e: NDArray[np.float64], k: int, left_out: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # pragma: no cover
    """Elementary symmetric polynomials up to degree k of every front part and every back part of the weights."""
    experts = len(weight_e)
    front, back = np.zeros((experts + 1, k + 1)), np.zeros((experts + 1, k + 1))
    front[0, 0] = back[experts, 0] = 1.0
    for at in range(experts):
        weight = 0.0 if at == left_out else weight_e[at]
        front[at + 1, 0] = 1.0
        for degree in range(1, k + 1):
            front[at + 1, degree] = front[at, degree] + weight * front[at, degree - 1]
    for at in range(experts - 1, -1, -1):
        weight = 0.0 if at == left_out else weight_e[at]
        back[at, 0] = 1.0
        for degree in range(1, k + 1):
            back[at, degree] = back[at + 1, degree] + weight * back[at + 1, degree - 1]
    return front, back


@jit
def _joined(
    front: NDArray[np.float64], back: NDArray[np.float64], expert: int, degree: int
) -> float:  # pragma: no cover
    """The polynomial of all but one expert: what is before it times what is after it."""
    total = 0.0
    for before in range(degree + 1):
        total += front[expert, before] * back[expert + 1, degree - before]
    return total


@jit
def _pair_chance(weight_e: NDArray[np.float64], k: int) -> NDArray[np.float64]:  # pragma: no cover
    experts = len(weight_e)
    pair_ef = np.zeros((experts, experts))
    front, _ = _partial(weight_e, k, -1)
    whole = front[experts, k]
    if k < 2:
        return pair_ef
    for one in range(experts):
        front, back = _partial(weight_e, k, one)
        for two in range(experts):
            if two != one:
                pair_ef[one, two] = weight_e[one] * weight_e[two] * _joined(front, back, two, k - 2) / whole
    return pair_ef


@jit
def _disjoint(weight_e: NDArray[np.float64], k: int) -> float:  # pragma: no cover
    """Each expert goes to one choice, to the other or to none: the coefficient of k and k over all there are."""
    ways = np.zeros((k + 1, k + 1))
    ways[0, 0] = 1.0
    for weight in weight_e:
        for one in range(k, -1, -1):
            for two in range(k, -1, -1):
                if one:
                    ways[one, two] += weight * ways[one - 1, two]
                if two:
                    ways[one, two] += weight * ways[one, two - 1]
    front, _ = _partial(weight_e, k, -1)
    chance: float = ways[k, k] / front[len(weight_e), k] ** 2
    return chance
