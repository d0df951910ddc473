"""How routing differs between languages: on passages said in several of them, and by experts of one or of all."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.profiles import labelled
from gatescope.analysis.metrics.domains import (
    need_resamples,
    present_le,
    result_of,
    significantly_above,
    usage_difference,
)
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.shares import entropy_bits, ratio, shares
from gatescope.analysis.tally.tally import Reading, Tally, label_numbers, statistic

BY = ("language",)
LARGE = 0.3
NULL = "mean divergence of two different passages in one language, of the two languages"
SOURCE = "Bandarkar et al. 2025 (arXiv 2510.04694), equations 1 and 2: Jensen-Shannon divergence over its largest value"


@statistic(per="unit", axes="u")
def passages(reading: Reading) -> NDArray[np.int64]:
    """Number of the passage that a document says in its language (its id: passage, hyphen, language), 0 for none."""
    names = [
        f"{document.source}\0{document.id.removesuffix(f'-{document.language}')}"
        if document.language and document.id.endswith(f"-{document.language}")
        else ""
        for document in reading.record.documents
    ]
    digests = [hashlib.blake2b(name.encode(), digest_size=6).digest() if name else b"" for name in names]
    return np.array([int.from_bytes(digest) for digest in digests], np.int64)


@metric(
    title="Divergence of languages",
    unit="1 (share of the largest possible divergence)",
    axes="lgh",
    range=(0, 1),
    uniform="1/2, as the null: noise alone is half as far apart as can be",
    null=NULL,
    needs=("assignments", "tokens", "passages"),
    source=SOURCE,
    by=BY,
)
def language_divergence(tally: Tally, ask: MetricOptions) -> Result:
    """How differently two languages use the experts when they say the same: mean over passages said in both.

    The divergence of the two texts' shares of assignments, over the largest that two profiles as concentrated as these
    can have, so that languages which spread over more experts do not seem far from all others. Passages count alike.
    Low and high are over passages drawn anew.
    Undefined   NaN for languages without a passage in common; interval and null NaN with fewer than two passages.
                Passages are known only while documents are kept apart (see `analysis.tally.MOST_UNITS`).
    Not this    The source takes the whole softmax; see `language_divergence_by_weight` for shares of the weights given.
                A text of few tokens is far from any other: hold it against the null, not against 0.
    """
    return _divergence(tally, ask, "assignments")


@metric(
    title="Divergence of languages, by weight",
    unit="1 (share of the largest possible divergence)",
    axes="lgh",
    range=(0, 1),
    uniform="1/2, as the null: noise alone is half as far apart as can be",
    null=NULL,
    needs=("gate_mass", "tokens", "passages"),
    source=SOURCE,
    by=BY,
)
def language_divergence_by_weight(tally: Tally, ask: MetricOptions) -> Result:
    """How differently two languages spread the router's weight over experts when they say the same.

    As `language_divergence`, of the weights that the chosen experts were given instead of their number.
    """
    return _divergence(tally, ask, "gate_mass")


@metric(
    title="Languages that share an expert",
    unit="1 (share of languages)",
    axes="le",
    range=(0, 1),
    uniform="0, but for what a 95 % interval lets pass (some 2 %)",
    needs=("assignments", "tokens"),
    source="Shared experts of Zheng et al. 2026 (arXiv 2604.03592), by intervals over documents",
    by=BY,
)
def language_reach(tally: Tally, ask: MetricOptions) -> Result:
    """In which share of the languages an expert significantly does more than an even share of the work.

    Significantly: the lower end of the interval of its relative load over that language's documents is above 1.
    Undefined   Languages of one document have no interval and do not count; NaN where all are such, or no such expert.
    """
    units = labelled(tally, ask)
    need_resamples(ask, "language_reach")
    return result_of(units, value=significantly_above(tally, units, ask, 1.0))


@metric(
    title="Experts of one language",
    unit="1 (share of the layer's experts)",
    axes="gl",
    range=(0, 1),
    uniform="0",
    needs=("assignments", "tokens"),
    source="Bandarkar et al. 2025 (arXiv 2510.04694): difference of frequencies above 0.3",
    by=BY,
)
def exclusive_experts(tally: Tally, ask: MetricOptions) -> Result:
    """Which share of a layer's experts works for at least 30 % more of one language's tokens than of all others'.

    Undefined   NaN where `usage_difference` is: a language without others beside it.
    Not this    Corrected for what languages' own tokens explain. Nor possible where k/E leaves no room: an expert must
                run for more than 30 % of the language's tokens to count.
    """
    result = usage_difference.compute(tally, MetricOptions(facets=ask.facets, by=ask.by, resamples=0, seed=ask.seed))
    known_gl = np.isfinite(result.value).any(axis=2)
    share_gl = (np.nan_to_num(result.value) > LARGE).sum(axis=2) / present_le(tally).sum(axis=1)
    return result_of(labelled(tally, ask), value=np.where(known_gl, share_gl, np.nan))


def normalised_divergence(
    one: NDArray[np.float64], other: NDArray[np.float64], experts_l: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Jensen-Shannon divergence over the largest that two profiles of such entropies can have.

    Shapes      (..., layers, experts) shares, beyond a layer's own experts 0, to (..., layers).
    Units       1, from 0 (the same) to 1 (the mean of the two is even over all experts).
    Undefined   NaN where a profile is, and where both are perfectly even.

    >>> float(normalised_divergence(np.array([[1.0, 0, 0, 0]]), np.array([[0, 1.0, 0, 0]]), np.array([4]))[0])
    0.5
    """
    mean = (entropy_bits(one) + entropy_bits(other)) / 2
    above, below = entropy_bits((one + other) / 2) - mean, np.log2(experts_l) - mean
    out = np.full(above.shape, np.nan)
    share: NDArray[np.float64] = np.clip(np.divide(above, below, out=out, where=below > 1e-9), 0, 1)
    return share


def _divergence(tally: Tally, ask: MetricOptions, name: str) -> Result:
    share_pgle, names, tokens = _by_passage(tally, ask, name)
    experts_l = np.array([rule.experts for rule in tally.layers])
    size, layers = len(names), len(tally.layers)
    value, low, high, null = (np.full((layers, size, size), np.nan) for _ in range(4))
    apart_lg = _known_mean(normalised_divergence(np.roll(share_pgle, 1, axis=0), share_pgle, experts_l)).T
    if len(share_pgle) < 2:
        apart_lg = np.full((layers, size), np.nan)
    for g in range(size):
        value[:, g, g] = low[:, g, g] = high[:, g, g] = 0.0
        if not g:
            continue
        found = _against(normalised_divergence(share_pgle[:, :g], share_pgle[:, g : g + 1], experts_l), ask)
        for table, table_gl in zip((value, low, high), found, strict=True):
            table[:, g, :g] = table_gl.T
            table[:, :g, g] = table_gl.T
        null[:, g, :g] = (apart_lg[:, :g] + apart_lg[:, g : g + 1]) / 2
        null[:, :g, g] = null[:, g, :g]
    return Result(
        value=value,
        low=low if ask.resamples else None,
        high=high if ask.resamples else None,
        null=null,
        tokens=tokens,
        groups=names,
        warnings=_warnings(tally, len(share_pgle), value),
    )


def _by_passage(tally: Tally, ask: MetricOptions, name: str) -> tuple[NDArray[np.float64], tuple[str, ...], int]:
    """Profiles by passage and language, NaN where a language has not got the passage; languages; tokens they rest on.

    Where none is a passage, languages still have their names.
    """
    tokens_u = tally.summed("tokens", ask.facets)
    group_u, names = label_numbers([unit.language for unit in tally.units])
    passage_u = tally.table("passages")
    alone_u = np.array([unit.documents == 1 for unit in tally.units], bool)
    used_u = alone_u & (passage_u > 0) & (group_u >= 0) & (tokens_u > 0)
    number, place_u = np.unique(passage_u[used_u], return_inverse=True)
    table_ule = tally.summed(name, ask.facets)[used_u]
    count_pgle = np.zeros((len(number), len(names), *table_ule.shape[1:]), np.int64)
    np.add.at(count_pgle, (place_u, group_u[used_u]), table_ule)
    tokens = tokens_u[used_u if used_u.any() else group_u >= 0].sum()
    return shares(count_pgle), names, int(tokens)


def _against(
    apart_pgl: NDArray[np.float64], ask: MetricOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean over passages and its interval, for one language against others: (g, l) each."""
    tables = np.nan_to_num(apart_pgl), np.isfinite(apart_pgl).astype(np.float64)
    if ask.resamples and len(apart_pgl):
        return bootstrap(tables, _mean, resamples=ask.resamples, seed=ask.seed, bounds=(0.0, 1.0))[:3]
    return (_mean(*(table.sum(axis=0) for table in tables)),) * 3


def _mean(total: NDArray[np.float64], number: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(total, number)


def _known_mean(apart_pgl: NDArray[np.float64]) -> NDArray[np.float64]:
    return _mean(np.nan_to_num(apart_pgl).sum(axis=0), np.isfinite(apart_pgl).sum(axis=0).astype(np.float64))


def _warnings(tally: Tally, passages: int, value: NDArray[np.float64]) -> tuple[str, ...]:
    warnings = []
    if any(unit.documents > 1 for unit in tally.units):
        warnings.append("documents were folded into blocks: their passages are no longer known and do not count")
    if not passages:
        warnings.append("no passage is said in a language: ids must be the passage, a hyphen and the language")
    elif np.isnan(value).any():
        warnings.append("some languages have no passage in common")
    return tuple(warnings)
