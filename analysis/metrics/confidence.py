"""How sure the gate is of a token: entropies, shares, margins and the scale of the raw scores.

Every quantity is one number per token and layer. Sums by document give means with intervals; the spread is counted by
domain in bins with half floats, `STEPS` to the doubling, as edges: quantiles are exact to a sixteenth.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.metrics.load_balance import counts_ule, interval, with_sample_size
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.shares import ratio, shares
from gatescope.analysis.tally.quantities import DECLARED, Quantity, Rows, Take, counted_once, first_bin
from gatescope.analysis.tally.tally import Reading, Tally, statistic
from gatescope.analysis.tally.token_values import BINS, FIXED, Shares, edges
from gatescope.routing import RouterRule

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BY = ("", "domain", "language")


def _weights(of: Callable[[Shares], NDArray[np.float64]]) -> Take:
    """From the weights of the chosen experts as shares of their sum, NaN where they have none or one is negative."""

    def take(rows: Rows) -> NDArray[np.float64] | None:
        return None if rows.shares is None else of(rows.shares)

    return take


def gate_shares(logit_te: NDArray[np.floating], rule: RouterRule) -> NDArray[np.float64]:
    """The gate over all of a layer's experts, made to sum to 1: NaN where a score is not known or the rule is not."""
    logit_te = logit_te[:, : rule.experts].astype(np.float64)
    logit_te = np.where(np.isfinite(logit_te).all(axis=1, keepdims=True), logit_te, np.nan)
    if rule.score == "sigmoid":
        score_te = np.exp(-np.logaddexp(0, -logit_te))
    elif rule.score == "sqrtsoftplus":
        score_te = np.sqrt(np.logaddexp(0, logit_te))
    elif rule.score == "unknown":
        score_te = np.full_like(logit_te, np.nan)
    else:
        score_te = np.exp(logit_te - logit_te.max(axis=1, keepdims=True))
    return shares(score_te)


def column(name: str, of: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.asarray) -> Take:
    """From one recorded number per token and layer."""

    def take(some: Rows) -> NDArray[np.float64] | None:
        array_tl = getattr(some.record, name)
        return None if array_tl is None else of(array_tl[some.rows, some.rule.layer].astype(np.float64))

    return take


def _kept(some: Rows) -> NDArray[np.float64] | None:
    """From the raw scores, or, where the executed weights are the gate's own shares, from those."""
    record, rule, rows = some.record, some.rule, some.rows
    if record.logit_tle is not None:
        share_te = gate_shares(record.logit_tle[rows, rule.layer], rule)
        ids_tk = record.ids_tlk[rows, rule.layer]
        is_there_tk = ids_tk < rule.experts
        share_tk = np.take_along_axis(share_te, np.where(is_there_tk, ids_tk, 0).astype(np.intp), axis=1)
        kept_t: NDArray[np.float64] = np.where(is_there_tk, share_tk, 0.0).sum(axis=1)
        return kept_t
    if some.shares is None:
        return None
    total_t = some.shares.total_t / rule.scale
    changed = rule.is_renormalised or rule.has_expert_scales or rule.shares_norm or rule.score != "softmax"
    return np.where((total_t > 1.001) | changed, np.nan, np.minimum(total_t, 1.0))


QUANTITIES = (
    Quantity(
        "gate_entropy",
        "Gate entropy",
        "bits",
        "How undecided the gate is between all experts before it keeps the best, token by token.",
        column("entropy_tl", lambda nats_t: nats_t / np.log(2)),
        "entropies",
        even=lambda rule: float(np.log2(rule.experts)),
        uniform="log2 E",
    ),
    Quantity(
        "gate_effective_experts",
        "Experts in doubt",
        "experts",
        "Between how many equally good experts the gate hesitates: the perplexity of its shares.",
        column("entropy_tl", np.exp),
        "entropies",
        even=lambda rule: float(rule.experts),
        range=(1, None),
        uniform="E",
    ),
    Quantity(
        "chosen_entropy",
        "Entropy of the executed weights",
        "bits",
        "How evenly the chosen experts share the output, from 0 (one has it all) to log2 k.",
        _weights(lambda shares: shares.entropy_t),
        "weights",
        even=lambda rule: float(np.log2(rule.k)),
        uniform="log2 k",
    ),
    Quantity(
        "first_share",
        "Share of the first expert",
        "1 (of the executed weights)",
        "How much of a token's executed weight its first expert has.",
        _weights(lambda shares: shares.share_tk[:, 0]),
        "weights",
        even=lambda rule: 1 / rule.k,
        range=(0, 1),
        uniform="1 / k",
        source="Largest combine weight over the sum",
    ),
    Quantity(
        "first_lead",
        "Lead of the first expert",
        "1 (of the executed weights)",
        "By how much of the executed weight the first expert is ahead of the second (of nothing, where there is one).",
        _weights(lambda shares: shares.share_tk[:, 0] - shares.share_tk[:, 1:2].sum(axis=1)),
        "weights",
        even=lambda _rule: 0.0,
        range=(0, 1),
        uniform="0",
        source="Largest less second largest combine weight, over the sum",
    ),
    Quantity(
        "kept_share",
        "Share of the gate that is kept",
        "1 (of the gate over all experts)",
        "How much of the gate's preference the chosen experts have together, the rest being dropped.",
        _kept,
        "weights",
        even=lambda rule: rule.k / rule.experts,
        range=(0, 1),
        uniform="k / E",
        source="Sum of the gate's shares over the executed set; scores that do not sum to 1 are made to",
    ),
    Quantity(
        "selection_margin",
        "Selection margin",
        "difference of selection scores",
        "How far the last chosen expert is ahead of the best one left out.",
        column("margin_tl"),
        "margins",
        source="k-th less (k+1)-th selection score",
    ),
    Quantity(
        "log_sum_exp",
        "Log-sum-exp of the raw scores",
        "nats",
        "How large the raw scores are; it grows where a router runs away, but also with any constant added to all.",
        column("lse_tl"),
        "log-sum-exps",
        range=(None, None),
        source="Zoph et al. 2022 (ST-MoE)",
    ),
    Quantity(
        "z_loss",
        "Router z-loss",
        "nats squared",
        "Mean square of the log-sum-exp, which training with a z-loss keeps small.",
        column("lse_tl", np.square),
        "log-sum-exps",
        source="Zoph et al. 2022 (ST-MoE), without its coefficient",
    ),
)


def _sums(reading: Reading, quantity: Quantity) -> NDArray[np.int64] | None:
    """Tokens for which the quantity is known, and its sum in multiples of 1/FIXED, by document and facet."""
    found = counted_once(reading, quantity)
    return None if found is None else found[0]


def _bins(reading: Reading, quantity: Quantity) -> NDArray[np.int64] | None:
    """Tokens in each bin, by group and layer."""
    found = counted_once(reading, quantity)
    return None if found is None else found[1]


def _bounds(quantity: Quantity) -> tuple[float, float]:
    least, greatest = quantity.range
    return -np.inf if least is None else least, np.inf if greatest is None else greatest


def _groups(tally: Tally, by: str) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Names of the groups and each unit's own."""
    if not by:
        return ("",), np.zeros(len(tally.units), np.intp)
    names, group_u = np.unique([getattr(unit, by) for unit in tally.units], return_inverse=True)
    return tuple(names.tolist()), group_u


def _mean(sums_n: NDArray[np.number]) -> NDArray[np.float64]:
    return ratio(sums_n[..., 1], sums_n[..., 0] * FIXED)


def _means(tally: Tally, ask: MetricOptions, quantity: Quantity) -> Result:
    """Mean over tokens by group and layer, with an interval over each group's documents."""
    table_uln = tally.summed(f"{quantity.name}_sums", ask.facets)
    names, group_u = _groups(tally, ask.by)
    value_gl = np.stack([_mean(table_uln[group_u == g].sum(axis=0)) for g in range(len(names))])
    ends = [
        interval(
            _only(tally, group_u == g), ask, table_uln[group_u == g], _mean, bounds=_bounds(quantity), corrected=False
        )
        for g in range(len(names))
    ]
    low, high = (np.stack(end) if ask.resamples else None for end in zip(*ends, strict=True))
    even = quantity.even
    null = None if even is None else np.array([[even(rule) for rule in tally.layers]] * len(names))
    return with_sample_size(
        Result(value=value_gl, low=low, high=high, null=null, groups=names, warnings=_partly(tally, ask, table_uln)),
        tally,
        ask,
    )


def _only(tally: Tally, is_one_u: NDArray[np.bool_]) -> Tally:
    """The tally's units of one group: what an interval needs to know of them."""
    return replace(tally, units=tuple(unit for unit, is_one in zip(tally.units, is_one_u, strict=True) if is_one))


def _partly(tally: Tally, ask: MetricOptions, table_uln: NDArray[np.int64]) -> tuple[str, ...]:
    slots_l = counts_ule(tally, ask).sum(axis=(0, 2))
    known_l = table_uln[..., 0].sum(axis=0)
    absent = [str(layer) for layer in np.flatnonzero((known_l == 0) & (slots_l > 0)).tolist()]
    warnings = [f"Not known in layers {', '.join(absent)}: it cannot be had from what is recorded."] if absent else []
    tokens_l = slots_l / [rule.k for rule in tally.layers]
    partly_l = (known_l > 0) & (known_l < 0.99 * tokens_l)
    if partly_l.any():
        share = float((known_l / np.maximum(tokens_l, 1))[partly_l].min())
        warnings.append(f"Known for {100 * share:.0f} % of the tokens in one layer or more; the others are left out.")
    return tuple(warnings)


def quantile_of(bins_b: NDArray[np.int64], edge_b: NDArray[np.float64], share: float) -> float:
    """The number that such a share of the counted ones lies below, its bin taken for evenly filled; NaN of none.

    >>> quantile_of(np.array([2, 2]), np.array([0.0, 1.0, 2.0]), 0.75)
    1.5
    """
    reach_b = np.cumsum(bins_b)
    if not reach_b[-1]:
        return float("nan")
    wanted = share * reach_b[-1]
    place = int(np.searchsorted(reach_b, wanted))
    before = reach_b[place] - bins_b[place]
    return float(edge_b[place] + (wanted - before) / bins_b[place] * (edge_b[place + 1] - edge_b[place]))


def counted(tally: Tally, ask: MetricOptions, quantity: Quantity) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of groups, and counts (groups, layers, bins)."""
    names, _ = _groups(tally, ask.by)
    bins_glb = np.zeros((len(names), len(tally.layers), BINS - first_bin(quantity)), np.int64)
    for group, table_lb in tally.grouped(f"{quantity.name}_bins"):
        if group.facet in ask.facets:
            bins_glb[names.index(getattr(group, ask.by) if ask.by else "")] += table_lb
    return names, bins_glb


def _quantiles(tally: Tally, ask: MetricOptions, quantity: Quantity) -> Result:
    """Quantiles by group and layer, from the bins."""
    names, bins_glb = counted(tally, ask, quantity)
    edge_b = edges()[first_bin(quantity) :]
    value_glr = np.array(
        [[[quantile_of(bins_b, edge_b, share) for share in QUANTILES] for bins_b in bins_lb] for bins_lb in bins_glb]
    )
    value_glr = np.clip(value_glr, *_bounds(quantity))
    labels = {"r": tuple(f"{100 * share:g} %" for share in QUANTILES)}
    return with_sample_size(Result(value=value_glr, groups=names, labels=labels), tally, replace(ask, resamples=0))


def declare(quantity: Quantity) -> None:
    """The statistics of one quantity, and the metrics of its mean and of its spread."""
    DECLARED[quantity.name] = quantity

    def sums(reading: Reading) -> NDArray[np.int64] | None:
        return _sums(reading, quantity)

    def bins(reading: Reading) -> NDArray[np.int64] | None:
        return _bins(reading, quantity)

    def mean(tally: Tally, ask: MetricOptions) -> Result:
        return _means(tally, ask, quantity)

    def quantiles(tally: Tally, ask: MetricOptions) -> Result:
        return _quantiles(tally, ask, quantity)

    sums.__name__, sums.__doc__ = f"{quantity.name}_sums", f"{quantity.title}: tokens and total, by document and facet."
    bins.__name__, bins.__doc__ = (
        f"{quantity.name}_bins",
        f"{quantity.title}: tokens in each bin of a sixteenth octave.",
    )
    statistic(per="unit", axes="ufln")(sums)
    statistic(per="group", axes="glb")(bins)
    mean.__name__, mean.__doc__ = quantity.name, quantity.meaning
    quantiles.__name__, quantiles.__doc__ = f"{quantity.name}_quantiles", f"{quantity.meaning[:-1]}: its quantiles."
    for compute, needed, axes, title in (
        (mean, sums, "gl", f"{quantity.title}, mean"),
        (quantiles, bins, "glr", f"{quantity.title}, quantiles"),
    ):
        metric(
            title=title,
            unit=quantity.unit,
            axes=axes,
            range=quantity.range,
            uniform=quantity.uniform,
            null="a gate to which all experts are alike" if quantity.even and compute is mean else "",
            needs=(needed.__name__, "assignments", "tokens"),
            source=quantity.source,
            by=BY,
        )(compute)


for _quantity in QUANTITIES:
    declare(_quantity)
