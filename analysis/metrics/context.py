"""Whether a word's route is the word's or its context's: what the same word shares across documents."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.vocabulary import TAKEN, Sampled, sample_of
from gatescope.analysis.registry import Ask, Result, metric
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
def same_word_overlap(tally: Tally, ask: Ask) -> Result:
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
def different_word_overlap(tally: Tally, ask: Ask) -> Result:
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
def context_share(tally: Tally, ask: Ask) -> Result:
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
    found = np.zeros((ids_nlk.shape[1], 2))
    groups = int(group_n.max(initial=-1)) + 1
    for layer in range(len(found)):
        ids_nk = ids_nlk[:, layer].astype(np.int64)
        filled_nk = ids_nlk[:, layer] != np.iinfo(ids_nlk.dtype).max
        if not filled_nk.any():
            continue
        place_n, slots_n = group_n.astype(np.int64), filled_nk.sum(axis=1)
        experts = int(ids_nk[filled_nk].max()) + 1
        number = np.unique((place_n[:, None] * experts + ids_nk)[filled_nk], return_counts=True)[1]
        size_g = np.bincount(place_n[slots_n > 0], minlength=groups).astype(np.float64)
        found[layer] = (number.astype(np.float64) ** 2).sum() - slots_n.sum(), (size_g**2).sum() - size_g.sum()
    return found


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
    sample: Sampled, tally: Tally, ask: Ask, which: int
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
