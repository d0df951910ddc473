"""How differently the experts are used by domain, or by language: asked by either."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.labels.profiles import (
    Distance,
    Labelled,
    Tested,
    against_shuffles,
    group_sums,
    labelled,
    observed,
    pair_distances,
    token_share_by_group,
)
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.statistics.bootstrap import bootstrap
from gatescope.analysis.statistics.information import excess_information
from gatescope.analysis.statistics.permutation import q_values
from gatescope.analysis.statistics.shares import divergence_bits, ratio, shares, total_variation
from gatescope.analysis.tally.tally import Tally
from gatescope.routing.errors import OptionError

BY = ("domain", "language")
NEEDS = ("assignments", "tokens")
CORE_LOAD = 2.0
CORE_GROUPS = 0.9


@metric(
    title="Share of a group's tokens",
    unit="1 (share of tokens)",
    axes="gle",
    range=(0, 1),
    uniform="k/E",
    null="k/E, an even router",
    needs=NEEDS,
    source="OLMoE (arXiv 2409.02060), equation 7: domain specialisation",
    by=BY,
)
def token_share_of_group(tally: Tally, ask: MetricOptions) -> Result:
    """Which share of a domain's (or language's) tokens uses each expert.

    Units       Rows sum to k where no slot is empty: a share of tokens, not of assignments.
    Undefined   NaN where a group has no tokens, or a layer no such expert.
    Not this    A difference between groups (`usage_difference`): an expert busy everywhere is high in every row.
    """
    units = labelled(tally, ask)
    value, low, high = token_share_by_group(units, resamples=ask.resamples, seed=ask.seed)
    is_there_le = present_le(tally)
    even_l = np.array([rule.k / rule.experts for rule in tally.layers])
    null = np.where(is_there_le, even_l[:, None], np.nan)
    return result_of(
        units,
        value=np.where(is_there_le, value, np.nan),
        low=None if low is None else np.where(is_there_le, low, np.nan),
        high=None if high is None else np.where(is_there_le, high, np.nan),
        null=np.broadcast_to(null, value.shape).copy(),
    )


@metric(
    title="Usage difference of a group",
    unit="1 (difference of shares of tokens)",
    axes="gle",
    range=(-1, 1),
    uniform="0",
    null="mean with labels shuffled among documents of one language (or domain), near 0; p two-sided",
    needs=NEEDS,
    source="Bandarkar et al. 2025 (arXiv 2510.04694), equation 3: specialisation as a difference of frequencies",
    by=BY,
)
def usage_difference(tally: Tally, ask: MetricOptions) -> Result:
    """How much larger the share of tokens that uses an expert is in one group than in all other documents.

    Units       1: every token of the group and no other; -1: the reverse. Documents without a label are among the
                others. q is over the experts of a layer. The interval is over the documents of either side.
    Undefined   NaN where either side has no tokens; interval, p and q where either has one document.
    Not this    Free of what the words explain: tokens differ between groups. See the composition of a record.
    """
    units = labelled(tally, ask)
    size = len(units.names)
    shape = (size, *units.count_ule.shape[1:])
    value, low, high, null, p, q = (np.full(shape, np.nan) for _ in range(6))
    for g in range(size):
        value[g], null[g], p[g] = np.where(present_le(tally), _against_rest(units, g, ask), np.nan)
        low[g], high[g] = np.where(present_le(tally), _ends_of_difference(units, g, ask), np.nan)
    for at in np.ndindex(shape[:2]):
        q[at] = q_values(p[at])
    around = {"low": low, "high": high, "null": null, "p": p, "q": q}
    return result_of(units, value=value, **(around if ask.resamples else {}))


@metric(
    title="Information about the group",
    unit="bits in excess of chance",
    axes="l",
    range=(None, None),
    uniform="0",
    null="mean of the same, labels shuffled among documents of one language (or domain); the plain value is the sum",
    needs=NEEDS,
    source="Shannon 1948; permutation of documents, Phipson and Smyth 2010",
    by=BY,
)
def mutual_information(tally: Tally, ask: MetricOptions) -> Result:
    """How many bits one choice of an expert tells about the domain (or language), beyond what chance tells.

    Units       Bits. 0, also somewhat below: nothing; the entropy of the label: everything. q is over layers.
    Undefined   NaN where a layer has no assignments. Where every language has one domain only, nothing is told beyond
                the language: 0, and p is 1.
    Not this    Bits of a whole route of k experts, which tells at least as much.
    """
    units = labelled(tally, ask)
    need_resamples(ask, "mutual_information")
    layers = excess_information(
        units.count_ule, units.group_u, permutations=ask.resamples, seed=ask.seed, strata_d=units.strata_u
    )
    value, null, p = (
        np.array([getattr(layer, name) for layer in layers]) for name in ("excess_bits", "null_mean_bits", "p_value")
    )
    return result_of(units, value=value, null=null, p=p, q=q_values(p))


@metric(
    title="Distance of two groups' profiles",
    unit="bits (Jensen-Shannon divergence)",
    axes="lgh",
    range=(0, 1),
    uniform="0, up to noise",
    null="mean with the two labels shuffled among the documents of the two, within a language (or domain)",
    needs=NEEDS,
    source="Lin 1991; permutation of documents",
    by=BY,
)
def profile_divergence(tally: Tally, ask: MetricOptions) -> Result:
    """How far apart two domains (or languages) lie in the experts they use: what one choice tells which it is from.

    Undefined   null, p and q are NaN for a group with itself, and where one of the two has one document only.
    Not this    Corrected for chance: subtract the null. Few tokens look like distance.
    """
    return _distances(tally, ask, divergence_bits)


@metric(
    title="Shift between two groups' profiles",
    unit="1 (total variation, share of assignments)",
    axes="lgh",
    range=(0, 1),
    uniform="0, up to noise",
    null="mean with the two labels shuffled among the documents of the two, within a language (or domain)",
    needs=NEEDS,
    source="Total variation distance; permutation of documents",
    by=BY,
)
def profile_shift(tally: Tally, ask: MetricOptions) -> Result:
    """Which share of assignments would have to go to other experts for one group's profile to become the other's.

    Undefined   null, p and q are NaN for a group with itself, and where one of the two has one document only.
    Not this    Corrected for chance: subtract the null.
    """
    return _distances(tally, ask, total_variation)


@metric(
    title="Groups that favour an expert",
    unit="1 (share of groups)",
    axes="le",
    range=(0, 1),
    uniform="0",
    needs=NEEDS,
    source="Standing committee of Wang et al. 2026 (arXiv 2601.03425), by intervals over documents and all tokens",
    by=BY,
)
def core_membership(tally: Tally, ask: MetricOptions) -> Result:
    """In which share of the domains (or languages) an expert does significantly more than twice an even share of work.

    Significantly: the lower end of the interval of its relative load over that group's documents is above 2. The
    invariant core are the experts at 0.9 and above.
    Undefined   Groups of one document have no interval and do not count; NaN where all are such, or no such expert.
    """
    units = labelled(tally, ask)
    need_resamples(ask, "core_membership")
    return result_of(units, value=significantly_above(tally, units, ask, CORE_LOAD))


@metric(
    title="Work done by the invariant core",
    unit="1 (share of assignments)",
    axes="l",
    range=(0, 1),
    uniform="0",
    needs=NEEDS,
    source="Wang et al. 2026 (arXiv 2601.03425), coverage, of the core of `core_membership`",
    by=BY,
)
def core_coverage(tally: Tally, ask: MetricOptions) -> Result:
    """Which share of a layer's work the experts do that lead significantly in 90 % of the domains (or languages).

    Groups count alike. Undefined: NaN where `core_membership` is.
    """
    units = labelled(tally, ask)
    need_resamples(ask, "core_coverage")
    member_le = significantly_above(tally, units, ask, CORE_LOAD)
    share_le = np.nan_to_num(shares(group_sums(units)[0])).mean(axis=0)
    value = np.where(member_le >= CORE_GROUPS, share_le, 0.0).sum(axis=1)
    return result_of(units, value=np.where(np.isnan(member_le).all(axis=1), np.nan, value))


def present_le(tally: Tally) -> NDArray[np.bool_]:
    """Which experts each layer has."""
    experts_l = np.array([rule.experts for rule in tally.layers])
    return np.arange(experts_l.max()) < experts_l[:, None]


def significantly_above(tally: Tally, units: Labelled, ask: MetricOptions, load: float) -> NDArray[np.float64]:
    """Share of the groups, of those with an interval, whose relative load lies above `load` for sure."""
    experts_l1 = np.array([[rule.experts] for rule in tally.layers])
    lows = []
    for g in range(len(units.names)):
        own_ule = units.count_ule[units.group_u == g]
        if len(own_ule) > 1:
            found = bootstrap(own_ule, shares, resamples=ask.resamples, seed=ask.seed, bounds=(0.0, 1.0))
            lows.append(found.low * experts_l1)
    if not lows:
        return np.full(units.count_ule.shape[1:], np.nan)
    above_gle = np.where(np.isnan(lows), np.nan, np.array(lows) > load)
    known_le = np.isfinite(above_gle).any(axis=0) & present_le(tally)
    number_le = np.maximum(np.isfinite(above_gle).sum(axis=0), 1)
    return np.where(known_le, np.nansum(above_gle, axis=0) / number_le, np.nan)


def result_of(units: Labelled, *, value: NDArray[np.float64], **more: Any) -> Result:
    """Values with what travels with them."""
    return Result(
        value=value,
        tokens=int(units.tokens_u.sum()),
        groups=units.names,
        warnings=units.warnings,
        **more,
    )


def need_resamples(ask: MetricOptions, name: str) -> None:
    """Errors: OptionError where a metric that is made of draws is asked for none."""
    if not ask.resamples:
        raise OptionError(f"{name} with 0 resamples", expected="at least 1", do="ask for 1000")


def _against_rest(units: Labelled, group: int, ask: MetricOptions) -> Tested:
    """Difference of token shares between a group and the others, with its null and two-sided p."""
    two = _group_and_rest(units, group)
    if ask.resamples and _both_have_several(two):
        return against_shuffles(two, _difference, shuffles=ask.resamples, seed=ask.seed, either_side=True)
    value = observed(two, _difference)
    return Tested(value, *np.full((2, *value.shape), np.nan))


def _ends_of_difference(units: Labelled, group: int, ask: MetricOptions) -> NDArray[np.float64]:
    """Both ends of the interval of that difference, (2, layers, experts): documents of either side drawn anew."""
    two = _group_and_rest(units, group)
    if not ask.resamples or not _both_have_several(two):
        return np.full((2, *units.count_ule.shape[1:]), np.nan)
    found = bootstrap(
        (two.count_ule, two.tokens_u),
        _difference,
        resamples=ask.resamples,
        seed=ask.seed,
        strata_u=two.group_u,
        groups_u=two.group_u,
        bounds=(-1.0, 1.0),
    )
    return np.stack([found.low, found.high])


def _group_and_rest(units: Labelled, group: int) -> Labelled:
    return units._replace(group_u=(units.group_u != group).astype(np.intp), names=("", ""))


def _both_have_several(two: Labelled) -> bool:
    return bool(np.bincount(two.group_u, minlength=2).min() > 1)


def _difference(count_bgle: NDArray[np.float64], tokens_bg: NDArray[np.float64]) -> NDArray[np.float64]:
    share_bgle = ratio(count_bgle, tokens_bg[:, :, None, None])
    return share_bgle[:, 0] - share_bgle[:, 1]


def _distances(tally: Tally, ask: MetricOptions, distance: Distance) -> Result:
    units = labelled(tally, ask)
    value, null, p = pair_distances(units, distance, shuffles=ask.resamples, seed=ask.seed)
    q = np.full(p.shape, np.nan)
    below = np.tril_indices(len(units.names), -1)
    for layer in range(len(p)):
        found = q_values(p[layer][below])
        q[layer][below] = q[layer].T[below] = found
    return result_of(units, value=value, **({"null": null, "p": p, "q": q} if ask.resamples else {}))
