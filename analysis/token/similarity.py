"""Tokens that take the same experts: the nearest to one token in routing space, and what its word has to do with it.

Overlap of two tokens: which share of a layer's k experts they have in common, the mean over the layers.
"""

from math import lcm
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.routing import RouterRule, RoutingRecord

RESAMPLES = 500
FEW_DOCUMENTS = 5
"""Documents below which the overlap of a word has no interval."""


class Near(NamedTuple):
    """Tokens of other words that are nearest to one token, and what chance would give.

    row_n       rows of the record, nearest first, of every word its nearest one only
    overlap_n   how much of the route each shares
    best        the overlap of the nearest one; NaN without any
    random      mean overlap of the tokens with this one: what a token at random gives
    by_chance   overlap that the nearest of so many tokens would have, were layers independent of each other
    expected    tokens that would be as near as the nearest one, by the same chance
    tokens      how many tokens of other words were compared
    """

    row_n: NDArray[np.intp]
    overlap_n: NDArray[np.float64]
    best: float
    random: float
    by_chance: float
    expected: float
    tokens: int


class SameWord(NamedTuple):
    """What one token shares with the other tokens of its word.

    row_n, overlap_n   the word's other tokens, nearest first
    same_l, other_l    mean share of k in common with the word's tokens, and with those of all other words
    share              how much of the route is the context's: 1 - (same - other) / (1 - other), of means over layers
    low, high          95 % interval of it over documents; NaN where the word is in fewer than `FEW_DOCUMENTS`
    documents          documents the word's other tokens are in
    is_apart           whether only tokens of other documents were compared: not where there is one document only
    """

    row_n: NDArray[np.intp]
    overlap_n: NDArray[np.float64]
    same_l: NDArray[np.float64]
    other_l: NDArray[np.float64]
    share: float
    low: float
    high: float
    documents: int
    is_apart: bool


def shared_experts(record: RoutingRecord, route_lk: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """How many experts of a route every token has too, layer by layer: (tokens, layers).

    It does not matter in which order: a slot is no rank here.
    """
    experts = record.experts
    found_tl = np.zeros(record.ids_tlk.shape[:2], np.uint8)
    for layer, route_k in enumerate(route_lk):
        is_in_e = np.zeros(experts + 1, np.uint8)
        is_in_e[route_k[route_k < experts]] = 1
        for slot in range(record.slots):
            found_tl[:, layer] += is_in_e[np.minimum(record.ids_tlk[:, layer, slot], experts)]
    return found_tl


def overlap_of(shared_tl: NDArray[np.integer], layers: tuple[RouterRule, ...]) -> NDArray[np.float64]:
    """Mean over layers of the share of k in common: (tokens,)."""
    return shared_tl @ (1 / np.array([rule.k for rule in layers])) / len(layers)


def chance_overlap(
    shared_tl: NDArray[np.integer], layers: tuple[RouterRule, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Overlaps that there can be, rising, and how likely a token has as much: its layers shuffled on their own.

    Shapes      (points,), twice. The second falls from 1.
    Units       Each layer's shares are those of the tokens; a token takes every layer's from another token at random.

    Of two tokens one shares all in both layers, the other nothing: mixed, a quarter shares all.

    >>> from gatescope.routing import RouterRule
    >>> rules = [RouterRule(layer=n, block=n, module="m", experts=4, k=1, score="softmax") for n in range(2)]
    >>> points, tail = chance_overlap(np.array([[1, 1], [0, 0]]), tuple(rules))
    >>> points.tolist(), tail.tolist()
    ([0.0, 0.5, 1.0], [1.0, 0.75, 0.25])
    """
    unit = lcm(*(rule.k for rule in layers))
    likely_n = np.ones(1)
    for rule, shared_t in zip(layers, shared_tl.T, strict=True):
        step = unit // rule.k
        own_n = np.zeros(unit + 1)
        own_n[::step] = np.bincount(shared_t, minlength=rule.k + 1)[: rule.k + 1] / max(len(shared_t), 1)
        likely_n = np.convolve(likely_n, own_n)
    return np.arange(len(likely_n)) / (unit * len(layers)), np.cumsum(likely_n[::-1])[::-1]


def nearest(record: RoutingRecord, row: int, *, is_counted_t: NDArray[np.bool_], most: int = 8) -> Near:
    """The tokens of other words that share most of a token's route, one of each word.

    The null takes every layer's experts from a token of its own, so that it keeps how common each set is at each layer
    and knows nothing of routes that go together. Of equals the first comes first.
    Errors      IndexError for a row that is not there.
    """
    return nearest_to(record, record.ids_tlk[row], int(record.token_t[row]), is_counted_t=is_counted_t, most=most)


def nearest_to(
    record: RoutingRecord,
    route_lk: NDArray[np.unsignedinteger],
    token: int,
    *,
    is_counted_t: NDArray[np.bool_],
    most: int = 8,
) -> Near:
    """As `nearest`, of a route and a word that need not be of this record."""
    row_c = np.flatnonzero(is_counted_t & (record.token_t != token))
    shared_cl = shared_experts(record, route_lk)[row_c]
    overlap_c = overlap_of(shared_cl, record.layers)
    if not len(row_c):
        nan = float("nan")
        return Near(row_c, overlap_c, nan, nan, nan, nan, 0)
    order_c = np.argsort(-overlap_c, kind="stable")
    _, first_x = np.unique(record.token_t[row_c[order_c]], return_index=True)
    chosen_n = order_c[np.sort(first_x)[:most]]
    best, count = float(overlap_c[chosen_n[0]]), len(row_c)
    point_n, tail_n = chance_overlap(shared_cl, record.layers)
    return Near(
        row_n=row_c[chosen_n],
        overlap_n=overlap_c[chosen_n],
        best=best,
        random=float(overlap_c.mean()),
        by_chance=_best_of(point_n, tail_n, count),
        expected=count * float(tail_n[np.searchsorted(point_n, best - 1e-9)]),
        tokens=count,
    )


def _best_of(point_n: NDArray[np.float64], tail_n: NDArray[np.float64], count: int) -> float:
    """The median of the largest of so many draws."""
    reaches_n = 1 - (1 - np.minimum(tail_n, 1.0)) ** count >= 0.5
    return float(point_n[np.flatnonzero(reaches_n)[-1]])


def same_word(
    record: RoutingRecord,
    route_lk: NDArray[np.unsignedinteger],
    token: int,
    *,
    own_t: NDArray[np.bool_],
    document: int | None,
    is_counted_t: NDArray[np.bool_],
) -> SameWord:
    """What a token's route has in common with its word elsewhere, beside what it has with other words.

    `own_t` marks the token itself, which is no other token; `document` is its document (None: not of this record).
    Only tokens of other documents count where there are any: what stands nearby shares its context.
    Undefined   NaN where the word occurs nowhere else.
    """
    apart_t = np.ones(record.tokens, bool) if document is None else record.document_t != document
    is_apart = bool((apart_t & is_counted_t).any())
    pool_t = is_counted_t & ~own_t & (apart_t if is_apart else True)
    shared_tl = shared_experts(record, route_lk)
    row_n = np.flatnonzero(pool_t & (record.token_t == token))
    k_l = np.array([rule.k for rule in record.layers])
    same_l = _mean(shared_tl[row_n] / k_l)
    other_l = _mean(shared_tl[pool_t & (record.token_t != token)] / k_l)
    overlap_n = overlap_of(shared_tl[row_n], record.layers)
    order_n = np.argsort(-overlap_n, kind="stable")
    low, high = _interval(overlap_n, record.document_t[row_n], float(other_l.mean()))
    return SameWord(
        row_n=row_n[order_n],
        overlap_n=overlap_n[order_n],
        same_l=same_l,
        other_l=other_l,
        share=context_share_of(float(same_l.mean()), float(other_l.mean())),
        low=low,
        high=high,
        documents=len(np.unique(record.document_t[row_n])),
        is_apart=is_apart,
    )


def context_share_of(same: float, other: float) -> float:
    """How much of a route is the context's: 0 if the word alone decides, 1 if it says no more than any other word.

    >>> context_share_of(0.75, 0.5), context_share_of(0.5, 0.5)
    (0.5, 1.0)
    """
    return 1 - (same - other) / (1 - other) if other < 1 - 1e-9 else float("nan")


def _mean(value_nl: NDArray[np.float64]) -> NDArray[np.float64]:
    return value_nl.mean(axis=0) if len(value_nl) else np.full(value_nl.shape[1], np.nan)


def _interval(overlap_n: NDArray[np.float64], document_n: NDArray[np.integer], other: float) -> tuple[float, float]:
    """Bootstrap over the documents of the word's tokens."""
    met, place_n = np.unique(document_n, return_inverse=True)
    if len(met) < FEW_DOCUMENTS or not other < 1 - 1e-9:
        return float("nan"), float("nan")
    sum_d, count_d = np.bincount(place_n, overlap_n), np.bincount(place_n)
    drawn_bd = np.random.default_rng(0).integers(len(met), size=(RESAMPLES, len(met)))
    same_b = sum_d[drawn_bd].sum(axis=1) / count_d[drawn_bd].sum(axis=1)
    low, high = np.quantile(1 - (same_b - other) / (1 - other), [0.025, 0.975])
    return float(low), float(high)


def spread_over(count: int, most: int) -> NDArray[np.intp]:
    """Places of a few of many things in order, evenly from the first to the last.

    >>> spread_over(3, 8).tolist(), spread_over(9, 3).tolist()
    ([0, 1, 2], [0, 4, 8])
    """
    return np.unique(np.linspace(0, max(count - 1, 0), min(most, count)).round().astype(np.intp))
