"""Whether a document's domain, or language, can be told from its experts: and from its words, which need no router."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.profiles import Labelled, labelled
from gatescope.analysis.metrics.domains import BY, result_of
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.shares import ratio
from gatescope.analysis.tally.tally import Reading, Tally, TokenRole, statistic

NEEDS = ("assignments", "tokens")
SOURCE = "Multinomial naive Bayes (McCallum and Nigam 1998), cross-validated in folds of equal parts of every group"
TEXT = (TokenRole.PROMPT, TokenRole.GENERATED)
BINS = 2048
PRIOR = 0.5
FOLDS = 10
_HASH = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(64 - 11)  # 2048 bins


@statistic(per="unit", axes="ufx", needs="the ids of tokens", names_words=True)
def words(reading: Reading) -> NDArray[np.int64]:
    """Prompt tokens, then generated ones, by a hash of the token id, by document."""
    record = reading.record
    count_dfx = np.zeros((len(record.documents), len(TEXT), BINS), np.int64)
    is_text_t = np.isin(reading.facet_t, TEXT)
    bin_t = ((record.token_t.astype(np.uint64) * _HASH) >> _SHIFT).astype(np.intp)
    place = (record.document_t[is_text_t], reading.facet_t[is_text_t], bin_t[is_text_t])
    np.add.at(count_dfx, place, 1)
    return count_dfx


@metric(
    title="Documents told from their routing",
    unit="1 (share of documents)",
    axes="l",
    range=(0, 1),
    uniform="the share of the largest group, or less",
    null="share of the largest group: what always naming it gives",
    needs=NEEDS,
    source=SOURCE,
    by=BY,
)
def label_decoding_accuracy(tally: Tally, ask: MetricOptions) -> Result:
    """How often a document's domain (or language) is named right from the experts of one layer alone.

    A tenth of every group's documents is set aside at a time; each goes to the group of the others that makes its
    assignments most likely. (Leaving out one document alone would make its own group the least likely one.)
    Undefined   NaN where a layer has no assignments, or no group has two documents.
    Not this    Evidence beyond words: see `decoding_gain_over_words`. Texts that come in several versions
                (translations, pages of one book) help each other: their documents are not independent.
    """
    units = _own(tally, ask)
    return _told(units, ask, _hits(units), bounds=(0.0, 1.0), null=_largest(units))


@metric(
    title="Documents told from their words",
    unit="1 (share of documents)",
    axes="",
    range=(0, 1),
    uniform="whatever the router does: the baseline of `label_decoding_accuracy`",
    null="share of the largest group: what always naming it gives",
    needs=(*NEEDS, "words"),
    source=SOURCE,
    by=BY,
)
def word_decoding_accuracy(tally: Tally, ask: MetricOptions) -> Result:
    """How often a document's domain (or language) is named right from its bag of words, otherwise as from routing.

    Words are token ids of prompt and generated text, hashed into 2,048 bins: two ids may share one.
    """
    units = _own(tally, ask)
    return _told(units, ask, _word_hits(tally, ask, units), bounds=(0.0, 1.0), null=_largest(units))


@metric(
    title="Documents told from their routing, over their words",
    unit="1 (difference of shares of documents)",
    axes="l",
    range=(-1, 1),
    uniform="what guessing gives less what words give: below 0",
    null="0: as good as the words",
    needs=(*NEEDS, "words"),
    source=SOURCE,
    by=BY,
)
def decoding_gain_over_words(tally: Tally, ask: MetricOptions) -> Result:
    """How much more often a document's group is named right from one layer's experts than from its words.

    Above 0 for sure: the experts of that layer hold something about the group that a bag of words does not show.
    Undefined   As `label_decoding_accuracy`.
    Not this    A share of what the experts tell that is not words: see the composition of a record.
    """
    units = _own(tally, ask)
    difference_ul = _hits(units) - _word_hits(tally, ask, units)[:, None]
    return _told(units, ask, difference_ul, bounds=(-1.0, 1.0), null=0.0)


def _own(tally: Tally, ask: MetricOptions) -> Labelled:
    units = labelled(tally, ask)
    return units.only(units.group_u >= 0)


def _largest(units: Labelled) -> float:
    size_g = np.bincount(units.group_u, minlength=1)
    return float(ratio(size_g.max(), size_g.sum()))


def _hits(units: Labelled) -> NDArray[np.float64]:
    """Whether each document is named right from each layer, (units, layers)."""
    layers = range(units.count_ule.shape[1])
    return np.stack([named_right(units.count_ule[:, layer], units.group_u) for layer in layers], axis=1)


def _word_hits(tally: Tally, ask: MetricOptions, units: Labelled) -> NDArray[np.float64]:
    facets = [TEXT.index(facet) for facet in ask.facets if facet in TEXT]
    return named_right(tally.table("words")[units.row_u][:, facets].sum(axis=1), units.group_u)


def named_right(count_ux: NDArray[np.integer], group_u: NDArray[np.intp]) -> NDArray[np.float64]:
    """1 where naive Bayes, on documents of other folds, names a document's own group; NaN where it has no counts.

    A group is as likely as any other beforehand, and `PRIOR` is added to every count. NaN where no group has two.

    >>> named_right(np.array([[9, 1], [8, 2], [1, 9], [2, 8], [9, 1]]), np.array([0, 0, 1, 1, 1])).tolist()
    [1.0, 1.0, 1.0, 1.0, 0.0]
    """
    own_u, size = count_ux.sum(axis=1), int(group_u.max(initial=-1)) + 1
    number_g = np.bincount(group_u[own_u > 0], minlength=size)
    if number_g.max(initial=0) < 2:
        return np.full(len(count_ux), np.nan)
    count_ux = count_ux[:, count_ux.any(axis=0)].astype(np.float64)
    total_gx, hit_u = _by_group(count_ux, group_u, size), np.full(len(count_ux), np.nan)
    fold_u = folds(group_u, own_u > 0)
    for fold in range(fold_u.max() + 1):
        out_u = fold_u == fold
        left_gx = total_gx - _by_group(count_ux[out_u], group_u[out_u], size)
        likely_ug = count_ux[out_u] @ _logs(left_gx).T
        likely_ug[:, ~left_gx.any(axis=1)] = -np.inf
        hit_u[out_u] = likely_ug.round(9).argmax(axis=1) == group_u[out_u]
    return hit_u


def folds(group_u: NDArray[np.intp], known_u: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Each document's fold, -1 without counts: a group is spread over as many folds as its size allows, at most ten.

    >>> folds(np.array([0, 1, 0, 1, 0]), np.array([True, True, True, True, True])).tolist()
    [0, 0, 1, 1, 0]
    """
    size_g = np.bincount(group_u[known_u])
    number = min(FOLDS, int(size_g[size_g > 1].min(initial=FOLDS)))
    fold_u = np.full(len(group_u), -1, np.intp)
    for group in np.unique(group_u[known_u]):
        own = np.flatnonzero(known_u & (group_u == group))
        fold_u[own] = np.arange(len(own)) % number
    return fold_u


def _by_group(count_ux: NDArray[np.number], group_u: NDArray[np.intp], size: int) -> NDArray[np.float64]:
    total_gx = np.zeros((size, count_ux.shape[1]))
    np.add.at(total_gx, group_u, count_ux)
    return total_gx


def _logs(count_gx: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the smoothed shares along the last axis."""
    whole = count_gx.sum(axis=-1, keepdims=True) + PRIOR * count_gx.shape[-1]
    return np.asarray(np.log((count_gx + PRIOR) / whole))


def _told(
    units: Labelled, ask: MetricOptions, hit_u: NDArray[np.float64], *, bounds: tuple[float, float], null: float
) -> Result:
    """Mean over documents, with its interval over them."""
    tables = np.nan_to_num(hit_u), np.isfinite(hit_u).astype(np.float64)
    value = np.asarray(ratio(*(table.sum(axis=0) for table in tables)))
    ends: dict[str, Any] = {}
    if ask.resamples and np.isfinite(value).any():
        interval = bootstrap(tables, ratio, resamples=ask.resamples, seed=ask.seed, bounds=bounds)
        ends = {"low": interval.low, "high": interval.high}
    return result_of(units, value=value, null=np.where(np.isnan(value), np.nan, null), **ends)
