"""How often a token's experts are still at hand, if only some can be kept: what offloading experts would gain.

Every document starts with nothing kept. Tokens come one by one, all of them in their order whatever their facet; a
request is a hit if the expert is among those kept when its token arrives, and counts for the facet of that token. The
experts of the running token have room of their own: afterwards a policy chooses which of these and of the kept ones to
keep. Such policies are stack algorithms (Mattson et al. 1970): what C experts hold is always part of what C + 1 hold,
so that one pass gives the hits of every size.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.load_balance import counts_ule, interval
from gatescope.analysis.metrics.locality import FACETS, places
from gatescope.analysis.registry import Compute, Metric, MetricOptions, Result, metric
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.cache_depths import BEST, LFU, LRU, find_depths, keep_by_next_uses
from gatescope.analysis.tally.layers import by_layer
from gatescope.analysis.tally.tally import Reading, Tally, statistic

TIMES_K = (1, 2, 3)
MIXED = 0x9E3779B97F4A7C15
SOURCE = "Mattson et al. 1970, stack distances"


@statistic(per="facet", axes="glb")
def lru_depths(reading: Reading) -> NDArray[np.int64]:
    """Requests by how many experts must be kept, least recently used out first; at 0 those never seen before."""
    return _depths(reading, LRU)


@statistic(per="facet", axes="glb")
def mixed_lru_depths(reading: Reading) -> NDArray[np.int64]:
    """The same with the tokens of each document in an order drawn at random: what its loads alone give."""
    return _depths(reading, LRU, order_t=_mixed(reading))


@statistic(per="facet", axes="glb")
def lfu_depths(reading: Reading) -> NDArray[np.int64]:
    """Requests by how many experts must be kept, least often used in the document out first; at 0 those never seen."""
    return _depths(reading, LFU)


@statistic(per="facet", axes="glb")
def best_depths(reading: Reading) -> NDArray[np.int64]:
    """Requests by how many experts must be kept, the one used again last out first; at 0 those never seen before."""
    return _depths(reading, BEST)


@statistic(per="unit", axes="uflbn")
def segment_hits(reading: Reading) -> NDArray[np.int64]:
    """Requests, and hits keeping 1, 2 and 3 k experts by their use in the next 16 tokens; as ordered, and mixed."""
    record = reading.record
    k_l = np.array([rule.k for rule in record.layers])
    size = len(record.documents) * FACETS
    count_xlbn = np.zeros((size, len(k_l), len(TIMES_K), 3), np.int64)
    ids_ltk, place_t = by_layer(record.ids_tlk), places(reading)
    for column, order_t in ((1, None), (2, _mixed(reading))):
        hits_xlbn = np.zeros((size, len(k_l), len(TIMES_K), 2), np.int64)
        keep_by_next_uses(ids_ltk, record.document_t, place_t, k_l, record.experts, hits_xlbn, order_t)
        count_xlbn[..., [0, column]] = hits_xlbn
    return count_xlbn.reshape(len(record.documents), FACETS, *count_xlbn.shape[1:])


def _hit_rate(title: str, uniform: str, null: str, needs: tuple[str, ...], source: str) -> Callable[[Compute], Metric]:
    """What the hit rates by size have in common."""
    return metric(
        title=title,
        unit="1 (share of requests)",
        axes="lb",
        range=(0, 1),
        uniform=uniform,
        null=null,
        needs=(*needs, "tokens"),
        source=source,
    )


EVEN = "C / E, less what a document's beginning costs"


@_hit_rate(
    "Cache hits, least recently used",
    EVEN,
    "the same documents with their tokens in random order",
    ("lru_depths", "mixed_lru_depths"),
    SOURCE,
)
def lru_hit_rate(tally: Tally, ask: MetricOptions) -> Result:
    """How many requests find their expert among the C used last, for every C.

    Shapes      (layers, experts): C = 1, 2 … E.
    Undefined   NaN beyond a layer's own experts and in a layer without requests.
    Not this    The rate of long contexts: a document's first use of an expert is a miss, and short ones have more.
                What lies above the null is order: neighbours that use the same experts.
    """
    return _of_depths(tally, ask, "lru_depths", null="mixed_lru_depths")


@_hit_rate("Cache hits, least often used", EVEN, "", ("lfu_depths",), SOURCE)
def lfu_hit_rate(tally: Tally, ask: MetricOptions) -> Result:
    """How many requests find their expert among the C used most often so far in the document, for every C.

    Shapes      (layers, experts): C = 1, 2 … E. Ties go to the one used last.
    Undefined   As `lru_hit_rate`.
    Not this    A cache that forgets the counts of what it lets go.
    """
    return _of_depths(tally, ask, "lfu_depths")


@_hit_rate(
    "Cache hits, best possible",
    "well above C / E: who knows what comes keeps what is asked for",
    "",
    ("best_depths",),
    "Belady 1966, by stack distances",
)
def belady_hit_rate(tally: Tally, ask: MetricOptions) -> Result:
    """How many requests any choice of C experts to keep could serve, if it knew the rest of the document.

    Shapes      (layers, experts): C = 1, 2 … E.
    Undefined   As `lru_hit_rate`.
    Not this    What prefetching could do, which brings experts before they are asked for.
    """
    return _of_depths(tally, ask, "best_depths")


@_hit_rate(
    "Cache hits, fixed experts",
    "C / E",
    "",
    ("assignments",),
    "The most used experts of all other documents, pinned",
)
def static_hit_rate(tally: Tally, ask: MetricOptions) -> Result:
    """How many requests go to the C experts that all other documents use most, for every C.

    Shapes      (layers, experts): C = 1, 2 … E. Experts used equally often share what room is left.
    Undefined   NaN beyond a layer's own experts, in a layer without requests, and where there are no other documents.
    Not this    A cache: nothing moves, and a document's beginning costs nothing. In a large corpus, documents stand for
                blocks of documents.
    """
    count_ule = counts_ule(tally, ask)
    others_ule = count_ule.sum(axis=0) - count_ule
    hits_lb = np.zeros(count_ule.shape[1:])
    for layer, rule in enumerate(tally.layers):
        own = slice(rule.experts)
        for count_e, other_e in zip(count_ule[:, layer, own], others_ule[:, layer, own], strict=True):
            hits_lb[layer, own] += _of_the_most_used(count_e, other_e)
    total_l = count_ule.sum(axis=(0, 2)) * (len(tally.units) > 1)
    return Result(value=_rates(tally, hits_lb, total_l), labels=_sizes(tally))


@metric(
    title="Cache hits against the best possible",
    unit="1 (share of the possible hits)",
    axes="lbc",
    range=(0, 1),
    uniform="well below 1 while C is small: the future cannot be told from the past",
    needs=("lru_depths", "lfu_depths", "best_depths", "tokens"),
    source="Belady 1966 and Mattson et al. 1970",
)
def cache_efficiency(tally: Tally, ask: MetricOptions) -> Result:
    """How many of the hits that are possible with C experts kept a policy gets that does not know what comes.

    Shapes      (layers, experts, 2): C = 1, 2 … E; keeping those used last, and those used most often so far.
    Undefined   NaN where no request could be a hit.
    """
    lru, lfu, best = (_of_depths(tally, ask, name) for name in ("lru_depths", "lfu_depths", "best_depths"))
    hits_lbc = np.stack([lru.value, lfu.value], axis=-1)
    value_lbc = ratio(hits_lbc, best.value[..., None])
    labels = lru.labels | {"c": ("least recently used", "least often used")}
    return Result(value=value_lbc, labels=labels)


@metric(
    title="Segment cache hits",
    unit="1 (share of requests)",
    axes="lb",
    range=(0, 1),
    uniform="about C / E and what knowing 16 tokens adds",
    null="the same documents with their tokens in random order",
    needs=("segment_hits", "tokens"),
    source="Segment Cache best Hit rate, arXiv 2505.16056, looking 16 tokens ahead",
)
def segment_cache_hits(tally: Tally, ask: MetricOptions) -> Result:
    """How many requests find their expert if k, 2 k or 3 k are kept by how often the next 16 tokens use them.

    Shapes      (layers, 3): once, twice and three times k, or all experts where a layer has no more.
    Undefined   NaN in a layer without requests.
    Not this    The best possible: it does not look at when an expert is next used (`belady_hit_rate`), so it can be a
                little lower; nor a policy that can be had, since it knows what comes.
    """
    table_ulbn = tally.summed("segment_hits", ask.facets)
    low_lb, high_lb = interval(tally, ask, table_ulbn, _segment_rate, bounds=(0, 1), corrected=False)
    sums_lbn = table_ulbn.sum(axis=0)
    return Result(
        value=_segment_rate(sums_lbn),
        low=low_lb,
        high=high_lb,
        null=_segment_rate(sums_lbn[..., [0, 2]]),
        labels={"b": tuple(f"{times} k" for times in TIMES_K)},
    )


@metric(
    title="Segment cache hits beyond chance",
    unit="1 (share of what chance leaves)",
    axes="lb",
    range=(None, 1),
    uniform="0",
    null="0: tokens in random order within their documents",
    needs=("segment_hits", "tokens"),
    source="Segment Cache best Hit rate, arXiv 2505.16056, corrected: (value - chance) / (1 - chance)",
)
def segment_cache_excess(tally: Tally, ask: MetricOptions) -> Result:
    """How much of the way from the hits of mixed tokens to hits alone the order of the tokens goes.

    Undefined   NaN where mixed tokens miss nothing.
    """
    table_ulbn = tally.summed("segment_hits", ask.facets)
    low_lb, high_lb = interval(tally, ask, table_ulbn, _segment_excess, bounds=(-np.inf, 1), corrected=False)
    value_lb = _segment_excess(table_ulbn.sum(axis=0))
    labels = {"b": tuple(f"{times} k" for times in TIMES_K)}
    return Result(value=value_lb, low=low_lb, high=high_lb, labels=labels)


def _depths(reading: Reading, policy: int, order_t: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
    """Requests of each group and layer by the depth at which a policy's stack has their expert."""
    record = reading.record
    count_glb = np.zeros((len(reading.groups), len(record.layers), record.experts + 1), np.int64)
    ids_ltk = by_layer(record.ids_tlk)
    find_depths(ids_ltk, record.document_t, reading.group_t, record.experts, policy, count_glb, order_t)
    return count_glb


def _mixed(reading: Reading) -> NDArray[np.int64]:
    """The tokens of each document and facet in an order that depends on their words alone, not on the record."""
    if "mixed" in reading.memo:
        known_t: NDArray[np.int64] = reading.memo["mixed"]
        return known_t
    record, place_t = reading.record, places(reading)
    order_t = np.arange(record.tokens)
    for start, end in zip(reading.start_d[:-1], reading.start_d[1:], strict=True):
        token_t = np.ascontiguousarray(record.token_t[start:end])
        generator = np.random.default_rng([MIXED, *token_t[:64].astype(np.uint32).tolist(), len(token_t)])
        drawn_t = generator.random(len(token_t))
        for place in np.unique(place_t[start:end]):
            rows = start + np.flatnonzero(place_t[start:end] == place)
            order_t[rows] = rows[np.argsort(drawn_t[rows - start])]
    reading.memo["mixed"] = order_t
    return order_t


def _of_depths(tally: Tally, ask: MetricOptions, name: str, null: str = "") -> Result:
    """Hit rates of every size: requests no deeper, over all."""
    rates = []
    for each in filter(None, (name, null)):
        count_lb = tally.pooled(each, facets=ask.facets)
        rates.append(_rates(tally, count_lb[:, 1:].cumsum(axis=1), count_lb.sum(axis=1)))
    found = rates[1] if null else None
    return Result(value=rates[0], null=found, labels=_sizes(tally))


def _rates(tally: Tally, hits_lb: NDArray[np.number], total_l: NDArray[np.number]) -> NDArray[np.float64]:
    own_lb = np.arange(hits_lb.shape[1]) < np.array([[rule.experts] for rule in tally.layers])
    return np.where(own_lb, ratio(hits_lb, total_l[:, None]), np.nan)


def _sizes(tally: Tally) -> dict[str, tuple[str, ...]]:
    return {"b": tuple(str(size + 1) for size in range(max(rule.experts for rule in tally.layers)))}


def _of_the_most_used(count_e: NDArray[np.number], other_e: NDArray[np.number]) -> NDArray[np.float64]:
    """Requests to the 1, 2 … E experts most used elsewhere; equals are taken in a random order, on average."""
    value, group_e, size_g = np.unique(-other_e, return_inverse=True, return_counts=True)
    mean_g = np.bincount(group_e, weights=count_e, minlength=len(value)) / size_g
    return np.repeat(mean_g, size_g).cumsum()


def _segment_rate(count_lbn: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(count_lbn[..., 1], count_lbn[..., 0])


def _segment_excess(count_lbn: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(count_lbn[..., 1] - count_lbn[..., 2], count_lbn[..., 0] - count_lbn[..., 2])
