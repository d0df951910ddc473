"""Whether a word's route is the word's or its context's: what the same word shares across documents."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.vocabulary import TAKEN, Sampled, sample_of
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.tally import Tally

NEEDS = ("sampled", "tokens")
SOURCE = "Token-identity decomposition (arXiv 2604.17182), by documents and free of repeated contexts"
PARTS = 20
NORMAL = 1.959964


class Overlaps(NamedTuple):
    """Mean share of experts in common, of pairs of tokens from different documents: of the same word, and of others.

    pairs   pairs of the same word that it rests on, per layer
    """

    same_l: NDArray[np.float64]
    other_l: NDArray[np.float64]
    pairs_l: NDArray[np.float64]


@metric(
    title="Same word, other document",
    unit="1 (share of k experts in common)",
    axes="l",
    range=(0, 1),
    uniform="k/E",
    null="different words of different documents",
    needs=NEEDS,
    source=SOURCE,
)
def same_word_overlap(tally: Tally, ask: MetricOptions) -> Result:
    """Which share of its experts a word keeps from one document to another.

    Pairs in which the four ids before are the same too are left out: those repeat more than a word. The null is the
    same of two different words; what is above it belongs to the word.
    Units       From a sample of a few tokens of each document, over every pair of it; intervals leave documents out a
                twentieth at a time.
    Undefined   NaN where no word occurs in two sampled documents.
    """
    sample = sample_of(tally, ask)
    found = overlaps(sample, _k(tally))
    low, high = _interval(sample, tally, ask, 0)
    return _result(sample, value=found.same_l, low=low, high=high, null=found.other_l)


@metric(
    title="Different words, other document",
    unit="1 (share of k experts in common)",
    axes="l",
    range=(0, 1),
    uniform="k/E",
    null="k/E, an even router; uneven loads alone raise it",
    needs=NEEDS,
    source=SOURCE,
)
def different_word_overlap(tally: Tally, ask: MetricOptions) -> Result:
    """Which share of their experts two different words of different documents have in common.

    Undefined   NaN with fewer than two sampled documents.
    """
    sample = sample_of(tally, ask)
    found = overlaps(sample, _k(tally))
    low, high = _interval(sample, tally, ask, 1)
    even_l = np.array([rule.k / rule.experts for rule in tally.layers])
    null = np.where(np.isnan(found.other_l), np.nan, even_l)
    return _result(sample, value=found.other_l, low=low, high=high, null=null)


@metric(
    title="Context share",
    unit="1 (share of what can differ)",
    axes="l",
    range=(0, None),
    uniform="1: the word decides nothing",
    null="1, a router that does not see the word",
    needs=NEEDS,
    source=SOURCE,
)
def context_share(tally: Tally, ask: MetricOptions) -> Result:
    """How much of a route is the context's: 0 if the word alone decides, 1 if it says no more than any other word.

    1 - (same - different) / (1 - different), of the overlaps of `same_word_overlap` and `different_word_overlap`.
    Undefined   NaN where those are, or where different words already have all experts in common.
    Not this    Meaning: position, topic and document are context as well.
    """
    sample = sample_of(tally, ask)
    value = _share(overlaps(sample, _k(tally)))
    low, high = _interval(sample, tally, ask, 2)
    return _result(sample, value=value, low=low, high=high, null=np.where(np.isnan(value), np.nan, 1.0))


def overlaps(sample: Sampled, k_l: NDArray[np.integer]) -> Overlaps:
    """Over every pair of the sample at once: pairs in common are sums of squared counts, less those to be left out.

    A token without an expert at a layer makes no pair there.
    """
    word, context, document = (_codes(part) for part in (sample.token_n, sample.context_n, sample.document_n))
    here, there = _codes(word, context), _codes(word, document)
    every, own = _pairs(sample.ids_nlk, np.zeros_like(word)), _pairs(sample.ids_nlk, document)
    same, repeated, twice = (
        _pairs(sample.ids_nlk, word),
        _pairs(sample.ids_nlk, here),
        _pairs(sample.ids_nlk, _codes(here, document)),
    )
    inside = _pairs(sample.ids_nlk, there)
    apart = same - inside
    clear = apart - (repeated - twice)
    other = every - own - apart
    return Overlaps(_per_slot(clear, k_l), _per_slot(other, k_l), clear[:, 1] / 2)


def _pairs(ids_nlk: NDArray[np.unsignedinteger], group_n: NDArray[np.integer]) -> NDArray[np.float64]:
    """Per layer: experts in common and number of ordered pairs of different tokens of one group, (layers, 2)."""
    order_n = np.argsort(group_n, kind="stable")
    is_last_n = np.diff(group_n[order_n], append=-1) != 0
    ids_lnk = np.ascontiguousarray(ids_nlk[order_n].swapaxes(0, 1))
    experts = int(ids_lnk.max(initial=0, where=ids_lnk != np.iinfo(ids_lnk.dtype).max)) + 1
    found = np.zeros((len(ids_lnk), 2))
    _count_pairs(ids_lnk, is_last_n, experts, found)
    return found


@jit
def _count_pairs(
    ids_lnk: NDArray[np.unsignedinteger], is_last_n: NDArray[np.bool_], experts: int, found: NDArray[np.float64]
) -> None:  # pragma: no cover
    """Squares of how often a group's tokens have an expert, and of how many they are, less each with itself."""
    layers, tokens, slots = ids_lnk.shape
    count_e = np.zeros(experts, np.int64)
    for layer in range(layers):
        first, size, shared, pairs = 0, 0, 0, 0
        for token in range(tokens):
            filled = 0
            for slot in range(slots):
                expert = ids_lnk[layer, token, slot]
                if expert < experts:
                    shared += 2 * count_e[expert]  # with each token before
                    count_e[expert] += 1
                    filled += 1
            pairs += 2 * size if filled else 0
            size += filled > 0
            if is_last_n[token]:
                for own in range(first, token + 1):
                    for slot in range(slots):
                        if ids_lnk[layer, own, slot] < experts:
                            count_e[ids_lnk[layer, own, slot]] = 0
                first, size = token + 1, 0
        found[layer, 0], found[layer, 1] = shared, pairs


def _per_slot(shared_lc: NDArray[np.float64], k_l: NDArray[np.integer]) -> NDArray[np.float64]:
    return ratio(shared_lc[:, 0], shared_lc[:, 1] * k_l)


def _codes(*parts: NDArray[np.integer]) -> NDArray[np.int64]:
    """One number for each combination of some numbers."""
    return np.unique(np.column_stack(parts), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _k(tally: Tally) -> NDArray[np.int64]:
    return np.array([rule.k for rule in tally.layers], np.int64)


def _share(found: Overlaps) -> NDArray[np.float64]:
    below = 1 - found.other_l
    out = np.full(len(below), np.nan)
    np.divide(found.same_l - found.other_l, below, out=out, where=below > 1e-9)
    return 1 - out


def _interval(
    sample: Sampled, tally: Tally, ask: MetricOptions, which: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Jackknife over parts of the documents of one of: same, different, context share."""
    if not ask.resamples:
        return None, None
    k_l = _k(tally)
    met = np.unique(sample.document_n)
    part_n = np.searchsorted(met, sample.document_n) % PARTS
    without = []
    for part in range(min(PARTS, len(met))):
        found = overlaps(Sampled(*(column[part_n != part] for column in sample)), k_l)
        without.append((found.same_l, found.other_l, _share(found))[which])
    whole = overlaps(sample, k_l)
    value = (whole.same_l, whole.other_l, _share(whole))[which]
    if len(without) < 2:
        return np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    table = np.array(without)
    error = np.sqrt((len(table) - 1) * table.var(axis=0))
    low, high = np.maximum(value - NORMAL * error, 0), value + NORMAL * error
    return low, high if which == 2 else np.minimum(high, 1)


def _result(sample: Sampled, **numbers: NDArray[np.float64] | None) -> Result:
    value = numbers.pop("value")
    return Result(
        value=np.asarray(value),
        low=numbers["low"],
        high=numbers["high"],
        null=numbers["null"],
        tokens=len(sample.token_n),
        warnings=(f"from a sample of {TAKEN} tokens of each document",),
    )
