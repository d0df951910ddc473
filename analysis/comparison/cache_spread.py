"""How the hits of a cache of experts differ between documents: an interval for a plan, and the documents it fails."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.cache_depths import LRU, find_depths
from gatescope.analysis.tally.layers import by_layer
from gatescope.routing.record import RoutingRecord

MOST_BLOCKS = 600
MOST_CELLS = 30_000_000


class Loads(NamedTuple):
    """What a token asks for and does not find, over all layers, if each layer keeps some of the experts used last.

    mean        loads per token; low, high: its 95 % interval over documents, NaN where there are fewer than two
    asked       requests per token: what is loaded if nothing is kept
    light, heavy  loads per token of the document of which nine in ten load more, and of which nine in ten load less
    documents   how many documents, or blocks of neighbouring ones, the interval is over
    """

    mean: float
    low: float
    high: float
    asked: float
    light: float
    heavy: float
    documents: int


class Depths(NamedTuple):
    """Requests by how many experts must be kept, by block of documents (blocks, layers, experts + 1); 0: never seen.

    `tokens_b` are the tokens that count.
    """

    count_bld: NDArray[np.int64]
    tokens_b: NDArray[np.int64]


def lru_depths_by_document(record: RoutingRecord, counted_t: NDArray[np.bool_]) -> Depths:
    """Requests of each document by the depth at which least-recently-used caches hold their expert.

    Documents beyond some hundreds are counted in blocks of neighbouring ones. Every document starts with nothing kept;
    tokens that do not count are read all the same.
    """
    block_t, blocks = _blocks(record)
    size = (blocks + 1, len(record.layers), record.experts + 1)
    count_bld = np.zeros(size, np.int64)
    group_t = np.where(counted_t, block_t, blocks)
    find_depths(by_layer(record.ids_tlk), record.document_t, group_t, record.experts, LRU, count_bld)
    tokens_b = np.bincount(group_t, minlength=blocks + 1)[:blocks]
    return Depths(count_bld[:blocks], tokens_b.astype(np.int64))


def loads_per_token(
    depths: Depths,
    kept_l: NDArray[np.integer],
    size_l: NDArray[np.floating] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Loads:
    """What a token must load on average if layer l keeps the kept_l[l] experts used last.

    Units       Experts; with `size_l`, the size of one expert of each layer, whatever that is in (bytes).
    Undefined   NaN where no token counts.
    Not this    Time: a load may be hidden behind other work, or not.
    Source      Mattson et al. 1970, stack distances; percentile bootstrap of documents, Davison and Hinkley 1997.

    One document, one layer: of 4 requests two were never seen and one lies at depth 1.

    >>> depths = Depths(np.array([[[2, 1, 1]]]), np.array([2]))
    >>> [loads_per_token(depths, np.array([kept])).mean for kept in (0, 1, 2)]
    [2.0, 1.5, 1.0]
    """
    has_tokens_b = depths.tokens_b > 0
    count_bld, tokens_b = depths.count_bld[has_tokens_b], depths.tokens_b[has_tokens_b]
    is_hit_ld = (np.arange(count_bld.shape[2]) <= np.asarray(kept_l)[:, None]) & (np.arange(count_bld.shape[2]) > 0)
    size_l1 = np.ones((count_bld.shape[1], 1)) if size_l is None else np.asarray(size_l, np.float64)[:, None]
    missed_b = np.where(is_hit_ld, 0.0, count_bld * size_l1).sum(axis=(1, 2))
    tables = missed_b, tokens_b
    mean, low, high = (float(ratio(missed_b.sum(), tokens_b.sum())),) + (float("nan"),) * 2
    if len(tokens_b) > 1:
        found = bootstrap(tables, ratio, resamples=resamples, seed=seed, bounds=(0.0, np.inf))
        low, high = float(found.low), float(found.high)
    each_b = ratio(missed_b, tokens_b)
    light, heavy = np.quantile(each_b, [0.1, 0.9]) if len(each_b) else (np.nan, np.nan)
    asked = float(ratio((count_bld * size_l1).sum(), tokens_b.sum()))
    return Loads(mean, low, high, asked, float(light), float(heavy), len(tokens_b))


def _blocks(record: RoutingRecord) -> tuple[NDArray[np.int64], int]:
    """The block of each token's document, and how many there are."""
    documents = len(record.documents)
    cells = len(record.layers) * (record.experts + 1)
    blocks = max(1, min(documents, MOST_BLOCKS, MOST_CELLS // cells))
    return record.document_t.astype(np.int64) * blocks // max(documents, 1), blocks
