"""How even the load is at every scale: in a few consecutive tokens, in batches, in everything.

A load that is even over a corpus may be lopsided in every window of it, and it is windows that machines work on. Small
windows are consecutive tokens of one document and facet; where hardly any document is as long as the window, it is a
batch of whole documents drawn at random.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.load_balance import counts_ule, interval, with_sample_size
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.load import load_cv_floor, max_violation_floor
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.layers import by_layer
from gatescope.analysis.tally.tally import Reading, Tally, TokenRole, statistic
from gatescope.routing import RouterRule

INSIDE = tuple(2**power for power in range(3, 13))
SIZES = tuple(2**power for power in range(3, 17))
WINDOWS, SLOTS, LARGEST, SQUARES, SLOTS_SQUARED = range(5)
COVERED, MOSTLY = 0.2, 0.5
DRAWN_CELLS = 4_000_000
NEAR = (0.75, 4 / 3)
SHUFFLES = 20
FEW = 30
"""Below so many expected tokens per expert the largest count of an even router is drawn, not computed."""


@statistic(per="unit", axes="uflwn")
def window_sums(reading: Reading) -> NDArray[np.int64]:
    """Sums over windows of consecutive tokens inside a document and facet, by window size.

    In this order: windows, their slots, the busiest expert's slots, the squares of experts' slots, those of all slots.
    """
    record = reading.record
    place_t = record.document_t.astype(np.int64) * len(TokenRole) + reading.facet_t
    order_t = np.argsort(place_t, kind="stable")
    sums = np.zeros((len(record.documents) * len(TokenRole), len(record.layers), len(INSIDE), 5), np.int64)
    start_x = np.searchsorted(place_t[order_t], np.arange(len(sums) + 1))
    _count_windows(by_layer(record.ids_tlk), order_t, start_x, INSIDE[0], record.experts, sums)
    return sums.reshape(len(record.documents), len(TokenRole), *sums.shape[1:])


@statistic(per="unit", axes="u")
def lot(reading: Reading) -> NDArray[np.int64]:
    """A number drawn for each document by what it says, blind to its routes: the order batches are shuffled in."""
    record, start_d = reading.record, reading.start_d
    drawn = np.zeros(len(record.documents), np.int64)
    for number, document in enumerate(record.documents):
        tokens = np.ascontiguousarray(record.token_t[start_d[number] : start_d[number + 1]], "<i4").tobytes()
        digest = blake2b(f"{document.source}\0{document.id}\0".encode() + tokens, digest_size=6)
        drawn[number] = int.from_bytes(digest.digest(), "little")
    return drawn


@jit
def _count_windows(
    ids_ltk: NDArray[np.unsignedinteger],
    order_t: NDArray[np.integer],
    start_x: NDArray[np.integer],
    smallest: int,
    experts: int,
    sums_xlwn: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Windows of every size next to one another, each made of two of half the size; what is left over is left out."""
    layers, _, slots = ids_ltk.shape
    sizes = sums_xlwn.shape[2]
    count_e, waiting_we = np.zeros(experts, np.uint16), np.zeros((sizes, experts), np.uint16)
    for place in range(len(start_x) - 1):
        whole = (start_x[place + 1] - start_x[place]) // smallest
        for layer in range(layers):
            for window in range(whole):
                count_e[:] = 0
                first = start_x[place] + window * smallest
                for row in range(first, first + smallest):
                    for slot in range(slots):
                        expert = ids_ltk[layer, order_t[row], slot]
                        if expert < experts:
                            count_e[expert] += 1
                _add_window(count_e, sums_xlwn[place, layer, 0])
                w = 0
                while w + 1 < sizes and (window >> w) & 1:  # the second half of one twice as large
                    for expert in range(experts):
                        count_e[expert] += waiting_we[w, expert]
                    w += 1
                    _add_window(count_e, sums_xlwn[place, layer, w])
                for expert in range(experts):
                    waiting_we[w, expert] = count_e[expert]


@jit
def _add_window(count_e: NDArray[np.uint16], sums_n: NDArray[np.int64]) -> None:  # pragma: no cover
    """One window's counts to the sums over windows: 4096 tokens of up to 255 slots add up to squares below 2 ** 32."""
    total, largest, squares = np.uint32(0), np.uint16(0), np.uint32(0)
    for expert in range(len(count_e)):
        count = count_e[expert]
        total = np.uint32(total + count)
        largest = max(largest, count)
        squares = np.uint32(squares + np.uint32(count) * np.uint32(count))
    sums_n[0] += 1
    sums_n[1] += np.int64(total)
    sums_n[2] += np.int64(largest)
    sums_n[3] += np.int64(squares)
    sums_n[4] += np.int64(total) * np.int64(total)


class Scale(NamedTuple):
    """Windows of every size, as sums over them that both measures are made of.

    inside_ulwn   sums over windows of consecutive tokens, by unit
    is_inside_w   whether windows of that size are consecutive tokens
    batches_lwn   sums over batches of whole documents, 0 where there are none
    """

    inside_ulwn: NDArray[np.int64]
    is_inside_w: NDArray[np.bool_]
    batches_lwn: NDArray[np.float64]
    warnings: tuple[str, ...]


def violation(sums_n: NDArray[np.number], experts_l1: NDArray[np.integer]) -> NDArray[np.float64]:
    """MaxVio of windows, each weighed by its slots: sums (…, layers, windows, 5) to (…, layers, windows).

    >>> violation(np.array([[[2, 8, 6, 20, 32]]]), np.array([[4]])).tolist()  # (2, 1, 1, 0), then (4, 0, 0, 0)
    [[2.0]]
    """
    return ratio(experts_l1 * sums_n[..., LARGEST], sums_n[..., SLOTS]) - 1.0


def spread(sums_n: NDArray[np.number], experts_l1: NDArray[np.integer]) -> NDArray[np.float64]:
    """Root mean square of the load's CV in windows, each weighed by the square of its slots.

    >>> spread(np.array([[[2, 8, 6, 22, 32]]]), np.array([[4]])).round(3).tolist()  # squared: 0.5 and 3
    [[1.323]]
    """
    square = experts_l1 * ratio(sums_n[..., SQUARES], sums_n[..., SLOTS_SQUARED]) - 1.0
    return np.sqrt(np.maximum(square, 0.0))


def scales(tally: Tally, ask: MetricOptions) -> Scale:
    """Sums over windows of every size, inside documents where they cover a fifth of the tokens, else of batches."""
    inside_ulwn = np.zeros((len(tally.units), len(tally.layers), len(SIZES), 5), np.int64)
    inside_ulwn[:, :, : len(INSIDE)] = tally.summed("window_sums", ask.facets)
    size_u = tally.summed("tokens", ask.facets)
    windows_w = inside_ulwn[..., WINDOWS].max(axis=1, initial=0).sum(axis=0)
    share_w = windows_w * np.array(SIZES) / max(1, int(size_u.sum()))
    is_inside_w = share_w >= COVERED
    made = _MADE.setdefault(tally, {})
    if (ask.facets, ask.seed) not in made:
        batches_lwn = np.zeros(inside_ulwn.shape[1:])
        count_ule = counts_ule(tally, ask)
        for place in np.flatnonzero(~is_inside_w):
            batches_lwn[:, place] = _batches(count_ule, size_u, tally.table("lot"), SIZES[place], ask.seed)
        made[ask.facets, ask.seed] = batches_lwn
    batches_lwn = made[ask.facets, ask.seed]
    return Scale(inside_ulwn, is_inside_w, batches_lwn, _said(share_w, batches_lwn))


_MADE: WeakKeyDictionary[Tally, dict[tuple[tuple[TokenRole, ...], int], NDArray[np.float64]]] = WeakKeyDictionary()
"""Batches of a tally by facets and seed: both measures are made of the same."""


def _batches(
    count_ule: NDArray[np.int64], size_u: NDArray[np.int64], lot_u: NDArray[np.int64], window: int, seed: int
) -> NDArray[np.float64]:
    """Sums over batches of whole documents of about so many tokens; 0 where documents are too long or too few."""
    by_lot = np.argsort(lot_u, kind="stable")
    by_lot = by_lot[size_u[by_lot] > 0]
    generator = np.random.default_rng([seed, window])
    sums_ln, tokens, batches = np.zeros((count_ule.shape[1], 5)), 0, 0
    for _ in range(SHUFFLES):
        order = generator.permutation(by_lot)
        end_b = _ends(np.cumsum(size_u[order]), window)
        if not len(end_b):
            break
        tokens, batches = tokens + int(size_u[order[: end_b[-1]]].sum()), batches + len(end_b)
        _add_batches(count_ule, order, end_b, sums_ln)
    is_near = batches > 0 and NEAR[0] <= tokens / batches / window <= NEAR[1]
    return sums_ln if is_near else np.zeros_like(sums_ln)


def _ends(reach: NDArray[np.int64], window: int) -> NDArray[np.intp]:
    """Where batches end (exclusive) that come nearest to the window; the last one is left out if it is too short.

    >>> _ends(np.array([5, 9, 16, 30, 33]), 8).tolist()
    [2, 3, 4]
    """
    ends, start, done = [], 0, 0
    while start < len(reach):
        end = int(np.searchsorted(reach, done + window))
        if end == len(reach):
            break
        if end > start and done + window - reach[end - 1] <= reach[end] - done - window:
            end -= 1
        ends.append(end + 1)
        start, done = end + 1, int(reach[end])
    return np.array(ends, np.intp)


@jit
def _add_batches(
    count_ule: NDArray[np.int64], order_u: NDArray[np.intp], end_b: NDArray[np.intp], sums_ln: NDArray[np.float64]
) -> None:  # pragma: no cover
    """Sums over batches of units one after another: whole numbers, so that floats add them up exactly."""
    for layer in range(count_ule.shape[1]):
        count_e, start = np.zeros(count_ule.shape[2], np.int64), 0
        for end in end_b:
            count_e[:] = 0
            for at in range(start, end):
                count_e += count_ule[order_u[at], layer]
            total, start = count_e.sum(), end
            sums_ln[layer, 0] += 1
            sums_ln[layer, 1] += total
            sums_ln[layer, 2] += count_e.max()
            sums_ln[layer, 3] += (count_e * count_e).sum()
            sums_ln[layer, 4] += float(total) ** 2


def _said(share_w: NDArray[np.float64], batches_lwn: NDArray[np.number]) -> tuple[str, ...]:
    is_inside_w, is_batch_w = share_w >= COVERED, batches_lwn[..., WINDOWS].any(axis=0)
    remarks = []
    if is_batch_w.any():
        first = SIZES[int(np.argmax(is_batch_w))]
        remarks.append(f"Windows of {first} tokens and more are batches of whole documents: few documents are as long.")
    partly = [str(size) for size, share in zip(SIZES, share_w, strict=True) if COVERED <= share < MOSTLY]
    if partly:
        remarks.append(f"Windows of {', '.join(partly)} tokens are of the longer documents: less than half the tokens.")
    absent = [str(size) for size, ok in zip(SIZES, is_inside_w | is_batch_w, strict=True) if not ok]
    if absent:
        remarks.append(f"No windows of {', '.join(absent)} tokens: too few tokens, or documents of another length.")
    return tuple(remarks)


def _measured(
    tally: Tally,
    ask: MetricOptions,
    of: Callable[[NDArray[np.number], NDArray[np.integer]], NDArray[np.float64]],
    floor: Callable[..., float],
) -> Result:
    found = scales(tally, ask)
    experts_l1 = np.array([[rule.experts] for rule in tally.layers])
    pooled_lwn = np.where(found.is_inside_w[:, None], found.inside_ulwn.sum(axis=0), found.batches_lwn)
    value_lw = of(pooled_lwn, experts_l1)
    bounds = (0.0, np.inf)
    low, high = interval(
        tally, ask, found.inside_ulwn, lambda sums: of(sums, experts_l1), bounds=bounds, corrected=False
    )
    if low is not None and high is not None:
        low, high = (np.where(found.is_inside_w, end, np.nan) for end in (low, high))
    null_lw = np.array([[floor(rule, size) for size in SIZES] for rule in tally.layers])
    labels = {"w": tuple(str(size) for size in SIZES)}
    return with_sample_size(
        Result(value=value_lw, low=low, high=high, null=null_lw, labels=labels, warnings=found.warnings), tally, ask
    )


def even_violation(rule: RouterRule, window: int) -> float:
    """MaxVio that a perfectly even router shows in a window: falls as 1 over its root; drawn where counts are few."""
    if window * rule.k / rule.experts >= FEW:
        return float(max_violation_floor([rule], tokens=window)[0])
    return _drawn_violation(rule.experts, rule.k, window)


@lru_cache(maxsize=512)
def _drawn_violation(experts: int, k: int, window: int) -> float:
    generator = np.random.default_rng(window)
    draws = int(np.clip(DRAWN_CELLS // (window * experts), 8, 4096))
    chosen = np.argpartition(generator.random((draws * window, experts), np.float32), k - 1, axis=1)[:, :k]
    count_be = np.zeros((draws, experts), np.int64)
    np.add.at(count_be, (np.repeat(np.arange(draws), window)[:, None], chosen), 1)
    return float(count_be.max(axis=1).mean() * experts / (window * k) - 1)


def even_spread(rule: RouterRule, window: int) -> float:
    """CV that a perfectly even router shows in a window, root mean square, exact."""
    return float(load_cv_floor([rule], tokens=window)[0])


@metric(
    title="Balance at every window size (MaxVio)",
    unit="1",
    axes="lw",
    range=(0, None),
    uniform="falls as 1 / √w",
    null="an even router over as many independent tokens",
    needs=("window_sums", "lot", "assignments", "tokens"),
    source="MaxVio (Wang et al. 2024, arXiv 2408.15664, equation 4) by window, from a few tokens to a large batch",
)
def window_violation(tally: Tally, ask: MetricOptions) -> Result:
    """How far the busiest expert lies above the mean inside windows of 8 to 65,536 tokens.

    Shapes      (layers, windows). Windows inside documents have intervals; batches drawn at random have none.
    Undefined   NaN where there are too few tokens for the window, or documents are neither much shorter nor longer.
    Not this    The MaxVio of everything read, which is blind to how it is spread over time.
    """
    return _measured(tally, ask, violation, even_violation)


@metric(
    title="Balance at every window size (CV)",
    unit="1",
    axes="lw",
    range=(0, None),
    uniform="falls as 1 / √w",
    null="an even router over as many independent tokens",
    needs=("window_sums", "lot", "assignments", "tokens"),
    source="Load CV (Shazeer et al. 2017) by window, root mean square over windows",
)
def window_cv(tally: Tally, ask: MetricOptions) -> Result:
    """How widely the load spreads over experts inside windows of 8 to 65,536 tokens.

    Shapes      (layers, windows), as `window_violation`.
    """
    return _measured(tally, ask, spread, even_spread)
