"""How a token's route resembles those of the tokens just before it, and how far that reaches."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.matched import load_matched
from gatescope.analysis.metrics.load_balance import counts_ule, interval
from gatescope.analysis.registry import MetricOptions, Result, metric, tokens_of
from gatescope.analysis.statistics.shares import ratio, shares
from gatescope.analysis.tally.adding import count_sets
from gatescope.analysis.tally.locality import (
    LAGS,
    WINDOWS,
    best_segment_score,
    count_overlaps,
    count_repeats,
    count_segments,
    segment_score_by_chance,
)
from gatescope.analysis.tally.tally import Reading, Tally, TokenRole, statistic

FACETS = len(TokenRole)
CLASSES = ("every pair", "another token", "the same token again")


@statistic(per="unit", axes="ufln")
def sets(reading: Reading) -> NDArray[np.int64]:
    """Tokens that had an expert in a layer, and those that had all k, by document and facet."""
    record = reading.record
    k_l = np.array([rule.k for rule in record.layers])
    count_xln = np.zeros((len(record.documents) * FACETS, len(record.layers), 2), np.int64)
    count_sets(np.ascontiguousarray(record.ids_tlk), places(reading), k_l, record.experts, count_xln)
    return _by_facet(reading, count_xln)


@statistic(per="unit", axes="uflcn")
def repeats(reading: Reading) -> NDArray[np.int64]:
    """Neighbours (another token, the same again), and how many share the first choice, and any, by document, facet."""
    record = reading.record
    size = len(record.documents) * FACETS
    count_xlcn = count_repeats(record.ids_tlk, places(reading), record.position_t, record.token_t, size, record.experts)
    return _by_facet(reading, count_xlcn)


@statistic(per="unit", axes="uflbn")
def overlaps(reading: Reading) -> NDArray[np.int64]:
    """Experts in common of tokens 1 … 128 apart, and how many both have together, by document and facet."""
    record, size = reading.record, len(reading.record.documents) * FACETS
    return _by_facet(reading, count_overlaps(record.ids_tlk, places(reading), record.position_t, size, record.experts))


@statistic(per="unit", axes="uflwb")
def segments(reading: Reading) -> NDArray[np.int64]:
    """Experts by how often each is active in 2, 4, 8 and 16 tokens on end; at 0 the number of such segments."""
    record, size = reading.record, len(reading.record.documents) * FACETS
    return _by_facet(reading, count_segments(record.ids_tlk, places(reading), record.position_t, size, record.experts))


@metric(
    title="Repeated first choice",
    unit="1 (share of neighbouring pairs)",
    axes="lc",
    range=(0, 1),
    uniform="1 / E",
    null="two tokens whose first choices have the observed loads",
    needs=("repeats", "first_choices", "tokens"),
    source="Mixtral of Experts (arXiv 2401.04088), table 5",
)
def first_choice_repeats(tally: Tally, ask: MetricOptions) -> Result:
    """How often a token and the next one have the same expert as first choice.

    Shapes      (layers, 3): every pair, pairs of different tokens, pairs in which a token is said again.
    Undefined   NaN where there is no such pair: the first column's mean is not that of the other two.
    Not this    What the word alone explains is in the third column; an even router's value is in `chance`. Neighbours
                are next to one another in a document and a facet.
    """
    count_le = tally.pooled("first_choices", facets=ask.facets).astype(np.float64)
    share_le = shares(count_le)
    return _repeated(tally, ask, 1, (share_le**2).sum(axis=1))


@metric(
    title="Any expert repeated",
    unit="1 (share of neighbouring pairs)",
    axes="lc",
    range=(0, 1),
    uniform="1 - C(E - k, k) / C(E, k)",
    null="two tokens that choose exactly k experts at random with the observed loads",
    needs=("repeats", "assignments", "sets", "tokens"),
    source="Mixtral of Experts (arXiv 2401.04088), table 5, for any k",
)
def any_choice_repeats(tally: Tally, ask: MetricOptions) -> Result:
    """How often a token and the next one have at least one expert in common.

    Shapes      (layers, 3): every pair, pairs of different tokens, pairs in which a token is said again.
    Undefined   NaN where there is no such pair. The null is NaN where some sets are smaller than k.
    Not this    See `first_choice_repeats`.
    """
    rates_le, warnings = _rates(tally, ask)
    return _repeated(tally, ask, 2, load_matched(rates_le).any_shared_l, warnings)


@metric(
    title="Overlap with earlier tokens",
    unit="1 (share of a token's experts)",
    axes="lb",
    range=(0, 1),
    uniform="k / E",
    null="tokens of other documents of the same domain and language",
    needs=("overlaps", "assignments", "tokens"),
    source="Experts in common over experts each, by distance; floor exact from the documents' counts",
)
def overlap_decay(tally: Tally, ask: MetricOptions) -> Result:
    """What share of its experts a token has in common with the one 1, 2, 4 … 128 tokens away.

    Shapes      (layers, 8), by distance. What lies above the floor belongs to the document, and what of that fades
                with distance to the neighbourhood; what the floor has above k / E, to the domain and to uneven loads.
    Undefined   NaN where no document is that long; the floor, where no domain has two documents.
    Not this    Jaccard, whose floor cannot be had from counts: with full sets it is overlap / (2 - overlap) for a
                single pair, not on average.
    """
    table_ulbn = tally.summed("overlaps", ask.facets)
    low_lb, high_lb = interval(tally, ask, table_ulbn, _overlap, bounds=(0, 1), corrected=False)
    null_lb = _other_documents(tally, ask, table_ulbn)
    return Result(
        value=_overlap(table_ulbn.sum(axis=0)),
        low=low_lb,
        high=high_lb,
        null=null_lb,
        labels={"b": tuple(str(lag) for lag in LAGS)},
    )


@metric(
    title="Segment predictability",
    unit="1 (F1)",
    axes="lw",
    range=(0, 1),
    uniform="of 16 tokens, 0.45 at k / E = 1/4, 0.32 at 1/8, 0.24 at 1/16, 0.20 at 1/32",
    null="tokens that choose each expert on their own, with the observed loads",
    needs=("segments", "assignments", "tokens"),
    source="Segment Routing best Performance, arXiv 2505.16056, there with 16 tokens",
)
def segment_predictability(tally: Tally, ask: MetricOptions) -> Result:
    """How well the best fixed choice of experts fits some tokens on end: those active often enough, for all of them.

    Shapes      (layers, 4): segments of 2, 4, 8 and 16 tokens, from every token on.
    Units       F1 of right and predicted activations, at the best threshold, one for all experts of a layer.
    Undefined   NaN where no document has so many tokens on end in one facet.
    Not this    Comparable between models as it stands: chance alone gives much of it, and more with a larger k / E. See
                `segment_predictability_excess`.
    """
    table_ulwb = tally.summed("segments", ask.facets)
    low_lw, high_lw = interval(tally, ask, table_ulwb, _segment_scores, bounds=(0, 1), corrected=False)
    value_lw = _segment_scores(table_ulwb.sum(axis=0))
    null_lw = np.where(np.isfinite(value_lw), _chance_of_segments(tally, ask), np.nan)
    return Result(
        value=value_lw,
        low=low_lw,
        high=high_lw,
        null=null_lw,
        labels={"w": tuple(str(window) for window in WINDOWS)},
    )


@metric(
    title="Segment predictability beyond chance",
    unit="1 (share of what chance leaves)",
    axes="lwc",
    range=(None, 1),
    uniform="0",
    null="0: tokens that choose each expert on their own",
    needs=("segments", "assignments", "tokens"),
    source="Segment Routing best Performance, arXiv 2505.16056, corrected: (value - chance) / (1 - chance)",
)
def segment_predictability_excess(tally: Tally, ask: MetricOptions) -> Result:
    """How much of the way from chance to certainty the best fixed choice for some tokens on end goes.

    Shapes      (layers, 4, 2): segments of 2, 4, 8 and 16 tokens; beyond an even router of the same k and E, and beyond
                the layer's own loads, which a router with a few experts for everything does not exceed.
    Undefined   As `segment_predictability`; NaN where every expert is always active.
    """
    plain = segment_predictability.compute(tally, ask)
    even_lw = [_chances_of(np.full(rule.experts, rule.k / rule.experts)) for rule in tally.layers]
    chance_lwc = np.stack([np.array(even_lw), _chance_of_segments(tally, ask)], axis=-1)

    def beyond(value_lw: NDArray[np.float64]) -> NDArray[np.float64]:
        return ratio(value_lw[..., None] - chance_lwc, 1 - chance_lwc)

    return replace(
        plain,
        value=beyond(plain.value),
        low=None if plain.low is None else beyond(plain.low),
        high=None if plain.high is None else beyond(plain.high),
        null=None,
        labels=plain.labels | {"c": ("beyond an even router", "beyond its own loads")},
    )


def places(reading: Reading) -> NDArray[np.int64]:
    """Document and facet of each token as one number."""
    return reading.record.document_t.astype(np.int64) * FACETS + reading.facet_t


def _repeated(
    tally: Tally, ask: MetricOptions, what: int, null_l: NDArray[np.float64], warnings: tuple[str, ...] = ()
) -> Result:
    """Share of neighbours in which one thing is the same, by kind of pair."""

    def share(count_lcn: NDArray[np.number]) -> NDArray[np.float64]:
        every_ln = count_lcn.sum(axis=-2, keepdims=True)
        both = np.concatenate([every_ln, count_lcn], axis=-2)
        return ratio(both[..., what], both[..., 0])

    table_ulcn = tally.summed("repeats", ask.facets)
    low_lc, high_lc = interval(tally, ask, table_ulcn, share, bounds=(0, 1), corrected=False)
    value_lc = share(table_ulcn.sum(axis=0))
    return Result(
        value=value_lc,
        low=low_lc,
        high=high_lc,
        null=np.where(np.isfinite(value_lc), null_l[:, None], np.nan),
        labels={"c": CLASSES},
        warnings=warnings,
    )


def _rates(tally: Tally, ask: MetricOptions) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Share of a layer's tokens that use each expert, NaN where some tokens have fewer than k; and a warning."""
    any_l, full_l = tally.table("sets")[:, list(ask.facets)].sum(axis=(0, 1)).T
    count_le = counts_ule(tally, ask).sum(axis=0)
    rates_le = ratio(count_le, np.where(any_l == full_l, full_l, 0)[:, None])
    rates_le[np.arange(count_le.shape[1]) >= np.array([[rule.experts] for rule in tally.layers])] = np.nan
    uneven = np.flatnonzero(any_l != full_l).tolist()
    remarks = (f"No null in layers {uneven}: some tokens have fewer than k experts there.",) if uneven else ()
    return rates_le, remarks


def _overlap(count_lbn: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(2 * count_lbn[..., 0], count_lbn[..., 1])


def _other_documents(tally: Tally, ask: MetricOptions, table_ulbn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean overlap of all pairs of tokens in different documents of a label, over labels by their pairs at each lag."""
    count_ule = counts_ule(tally, ask).astype(np.float64)
    tokens_u = tally.summed("tokens", ask.facets).astype(np.float64)
    above_lb, weight_lb = np.zeros(table_ulbn.shape[1:3]), np.zeros(table_ulbn.shape[1:3])
    for label in sorted({unit[1:3] for unit in tally.units}):
        own_u = np.array([unit[1:3] == label for unit in tally.units])
        count_vle, tokens_v = count_ule[own_u], tokens_u[own_u]
        slots_vl = count_vle.sum(axis=2)
        common_l = (count_vle.sum(axis=0) ** 2 - (count_vle**2).sum(axis=0)).sum(axis=1)
        have_l = slots_vl.sum(axis=0) * tokens_v.sum() - (slots_vl * tokens_v[:, None]).sum(axis=0)
        floor_l, pairs_lb = ratio(common_l, have_l), table_ulbn[own_u, ..., 1].sum(axis=0)
        known_lb = np.where(np.isfinite(floor_l)[:, None], pairs_lb, 0)
        above_lb += np.nan_to_num(floor_l)[:, None] * known_lb
        weight_lb += known_lb
    return ratio(above_lb, weight_lb)


def _segment_scores(count_lwb: NDArray[np.number]) -> NDArray[np.float64]:
    """The score of each length of segment, whose counts end at the length."""
    scores = [best_segment_score(count_lwb[..., at, : window + 1]) for at, window in enumerate(WINDOWS)]
    return np.stack(scores, axis=-1)


def _chances_of(share_e: NDArray[np.float64]) -> list[float]:
    return [segment_score_by_chance(share_e, window) for window in WINDOWS]


def _chance_of_segments(tally: Tally, ask: MetricOptions) -> NDArray[np.float64]:
    """The segment scores of each layer's own loads: (layers, windows)."""
    count_le, tokens = counts_ule(tally, ask).sum(axis=0), tokens_of(tally, ask)
    return np.array([_chances_of(count_e / max(tokens, 1)) for count_e in count_le])


def _by_facet(reading: Reading, count_x: NDArray[np.int64]) -> NDArray[np.int64]:
    return count_x.reshape(len(reading.record.documents), FACETS, *count_x.shape[1:])
