"""Is this enough text? What tokens of one document being alike costs, and how far half the documents agree."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gatescope.analysis.statistics.bootstrap import (
    Statistic,
    Tables,
    Units,
    bad,
    check_draws,
    mean_of_known,
    percentiles,
    units_of,
)
from gatescope.analysis.statistics.information import shuffled
from gatescope.routing import RouterRule
from gatescope.routing.errors import OptionError

_FLAT = 1e-9  # values that differ by less, relative to themselves, do not vary


class DesignEffect(NamedTuple):
    """How much less than so many independent tokens the tokens of documents are worth, expert by expert.

    rate              share of tokens that use the expert
    correlation       of two tokens of one document in whether they do (intraclass correlation)
    factor            by which documents blow up the variance of the rate; never taken below 1
    effective_tokens  independent tokens that would give the rate as exactly
    error             standard error of the rate
    """

    rate: NDArray[np.float64]
    correlation: NDArray[np.float64]
    factor: NDArray[np.float64]
    effective_tokens: NDArray[np.float64]
    error: NDArray[np.float64]


class Needed(NamedTuple):
    """Tokens that each layer needs for figures on its experts, its pairs of experts, and its steps to the next layer.

    load_l         for the load of one expert to so many percent
    pairs_l        for so many tokens in the average pair of experts; NaN where tokens use one expert
    transitions_l  for so many tokens in the average step of the first expert to the next layer's
    """

    load_l: NDArray[np.float64]
    pairs_l: NDArray[np.float64]
    transitions_l: NDArray[np.float64]


class Halves(NamedTuple):
    """How far a statistic of one half of the documents agrees with that of the other, over many ways to halve them.

    correlation  of the two halves along the last axis (experts, say), on average
    reliability  the correlation to expect with as many documents again; 0 where halves do not agree
    error        standard error of each value of the whole, judged from how far halves differ
    """

    correlation: NDArray[np.float64]
    reliability: NDArray[np.float64]
    error: NDArray[np.float64]


class Rarefaction(NamedTuple):
    """A statistic of ever more documents.

    units_n              how many
    mean_n, low_n, high_n  mean and spread over ways to choose so many, (n, …)
    """

    units_n: NDArray[np.intp]
    mean_n: NDArray[np.float64]
    low_n: NDArray[np.float64]
    high_n: NDArray[np.float64]


def design_effect(counts_u: NDArray[np.number], tokens_u: NDArray[np.number]) -> DesignEffect:
    """What it costs that tokens of one document are alike: how many independent ones they are worth.

    Shapes      counts_u (units, …): tokens of each unit that use each expert, (units, layers, experts) say; tokens_u
                their numbers of tokens, (units,), or (units, layers) where layers see different ones.
    Units       Rates and correlation 1; factor 1 or more; tokens.
    Undefined   NaN where fewer than two units have tokens, and where an expert is used by no token or by all.
                `correlation` is NaN where no unit has two tokens; the factor is then 1.
    Not this    An interval: see `bootstrap`, which also holds for other statistics. With few documents the correlation
                is itself rough, and comes out negative by chance: the factor is then 1, not smaller.
    Source      Intraclass correlation of a one-way analysis of variance with unequal classes, Donner 1986; factor
                1 + (m - 1) ρ, Kish 1965, where m is the size of the document that the average token is in: with
                documents of unequal size that is more than their mean size.

    Two documents of 10 tokens, one of which uses the expert throughout: 20 tokens say as much as 2.

    >>> effect = design_effect(np.array([0, 10]), np.array([10, 10]))
    >>> float(effect.rate), float(effect.correlation), float(effect.factor), float(effect.effective_tokens)
    (0.5, 1.0, 10.0, 2.0)
    """
    count_u, size_u = _counted(counts_u, tokens_u)
    units, total, mean_size, own_size = _sizes(size_u)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = count_u.sum(axis=0) / total
        rate_u = np.where(size_u > 0, count_u / size_u, 0)
        between = (size_u * (rate_u - rate) ** 2).sum(axis=0) / (units - 1)
        within = (size_u * rate_u * (1 - rate_u)).sum(axis=0) / (total - units)
        correlation = (between - within) / (between + (mean_size - 1) * within)
        factor = np.where(total == units, 1.0, np.maximum(1 + (own_size - 1) * correlation, 1.0))
        factor = np.where((units < 2) | (rate <= 0) | (rate >= 1), np.nan, factor)
        error = np.sqrt(rate * (1 - rate) * factor / total)
    correlation = np.where(np.isnan(factor) | (total == units), np.nan, correlation)
    return DesignEffect(rate, correlation, factor, total / factor, error)


def tokens_needed(
    layers: Sequence[RouterRule],
    *,
    within: float = 0.1,
    level: float = 0.95,
    per_cell: float = 50,
    design_effect: float = 1.0,
) -> Needed:
    """How many tokens to capture: at a perfectly even router, and times the design effect of the text.

    Shapes      (layers,) each.
    Units       Tokens. `within` is the half width of the interval of one expert's load, relative to the load.
    Undefined   NaN for pairs where tokens use one expert only.
    Not this    Enough for a rare expert: one with a tenth of the even load needs ten times as many. Nor enough
                documents: at least about 50 of every kind.
    Source      (z / within)² (1 - p) / p with p = k/E; E (E - 1) / (k (k - 1)) and E² cells times `per_cell`.

    An expert that one token of four uses, to 10 %: 1.96² / 0.01 = 384 times 3.

    >>> rule = RouterRule(layer=0, block=0, module="mlp", experts=8, k=2, score="softmax")
    >>> [tokens.round().tolist() for tokens in tokens_needed([rule])]
    [[1152.0], [1400.0], [3200.0]]
    """
    if min(within, per_cell) <= 0 or design_effect < 1:
        found = f"within {within}, {per_cell} per cell, a design effect of {design_effect}"
        raise OptionError(found, expected="positive, the effect at least 1", do="pass 0.1 for 10 %")
    check_draws(1, level=level)
    experts_l = np.array([rule.experts for rule in layers], np.float64)
    k_l = np.array([rule.k for rule in layers], np.float64)
    next_l = np.append(experts_l[1:], experts_l[-1:])
    load_l = (ndtri((1 + level) / 2) / within) ** 2 * (experts_l / k_l - 1)
    several_l = np.where(k_l > 1, k_l * (k_l - 1), np.nan)
    pairs_l = per_cell * experts_l * (experts_l - 1) / several_l
    return Needed(*(design_effect * tokens_l for tokens_l in (load_l, pairs_l, per_cell * experts_l * next_l)))


def split_half(
    counts_u: Tables,
    statistic: Statistic,
    *,
    halves: int = 100,
    seed: int = 0,
    strata_u: NDArray[np.integer] | None = None,
    groups_u: NDArray[np.integer] | None = None,
) -> Halves:
    """Would other documents give the same picture? The statistic of one half of them beside that of the other.

    Shapes      As `bootstrap`. `correlation` and `reliability` lose the last axis, along which halves are correlated.
    Units       Correlation from -1 to 1; reliability from 0 to 1; `error` in those of the statistic.
    Undefined   NaN for fewer than two units; where the values of a half do not differ or are not all known; both
                correlations for a statistic of one value, whose `error` is still told.
    Not this    Rows of the same documents split into halves: those share their documents, and agree too well. Nor
                proof of being right: a bias that both halves have does not show.
    Source      Spearman 1910 and Brown 1910: 2 r / (1 + r), of the mean r over random halves of documents.

    Four documents that use the experts alike: any two of them say what the others say.

    >>> halves = split_half(np.array([[1, 2, 6]] * 4), lambda sums_be: sums_be / sums_be.sum(axis=1, keepdims=True))
    >>> round(float(halves.correlation), 6), round(float(halves.reliability), 6), halves.error.tolist()
    (1.0, 1.0, [0.0, 0.0, 0.0])
    """
    units = units_of(counts_u, groups_u, strata_u)
    check_draws(halves)
    if len(units) < 2:
        nan = np.full(units.observed(statistic).shape, np.nan)
        return Halves(nan[..., 0] if nan.ndim else nan, nan[..., 0] if nan.ndim else nan, nan)
    half_bu = _halved(units.stratum_u, halves, np.random.default_rng(seed))
    first_b = units.answers(statistic, halves, lambda rows: units.by_group(half_bu[rows] == 0))
    second_b = units.answers(statistic, halves, lambda rows: units.by_group(half_bu[rows] == 1))
    error = np.sqrt(mean_of_known((first_b - second_b) ** 2)) / 2
    correlation = mean_of_known(_correlation(first_b, second_b))
    return Halves(correlation, np.maximum(2 * correlation / (1 + np.maximum(correlation, 0)), 0), error)


def rarefaction(
    counts_u: Tables,
    statistic: Statistic,
    *,
    points: int = 8,
    draws: int = 100,
    seed: int = 0,
    strata_u: NDArray[np.integer] | None = None,
    groups_u: NDArray[np.integer] | None = None,
    level: float = 0.95,
) -> Rarefaction:
    """How a statistic settles as documents are added: of ever more of them, chosen at random, each at most once.

    Shapes      As `bootstrap`, with an axis of up to `points` sizes in front: from 2 documents (1 of 1) to all of them,
                each about the same factor above the one before. Strata are drawn from in proportion.
    Units       The statistic's own; `low_n` to `high_n` hold `level` of the draws.
    Undefined   NaN where no draw of that size defines the statistic. No units at all: an error.
    Not this    An interval of the truth: draws overlap, and all are the same at the end. A curve that still moves
                there says that more text would move it further; a flat one, that this kind of text would not.
    Source      Rarefaction, Sanders 1968, with documents as the unit.

    Documents that use one expert each: half of them know half of the experts.

    >>> curve = rarefaction(np.eye(8), lambda sums_be: (sums_be > 0).sum(axis=1), points=3, draws=10)
    >>> curve.units_n.tolist(), curve.mean_n.tolist()
    ([2, 4, 8], [2.0, 4.0, 8.0])
    """
    units = units_of(counts_u, groups_u, strata_u)
    check_draws(draws, level=level)
    check_draws(points)
    if not len(units):
        raise bad("no units", "at least one")
    least = min(2, len(units)) if points > 1 else len(units)
    units_n = np.unique(np.rint(np.geomspace(least, len(units), points)).astype(np.intp))
    rank_bu = _ranked(units.stratum_u, draws, np.random.default_rng(seed))
    mean_n, low_n, high_n = zip(*(_of_size(units, statistic, rank_bu < size, level) for size in units_n), strict=True)
    return Rarefaction(units_n, np.array(mean_n), np.array(low_n), np.array(high_n))


def _of_size(
    units: Units, statistic: Statistic, chosen_bu: NDArray[np.bool_], level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread of the statistic over draws of one size."""
    draws_b = units.answers(statistic, len(chosen_bu), lambda rows: units.by_group(chosen_bu[rows]))
    return mean_of_known(draws_b), *percentiles(draws_b, level)


def _counted(
    counts_u: NDArray[np.number], tokens_u: NDArray[np.number]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts, and tokens along the same axes; NaN where no unit has the expert."""
    absent = np.ma.getmaskarray(counts_u)
    count_u, size_u = np.ma.getdata(counts_u).astype(np.float64), np.asarray(tokens_u, np.float64)
    if not size_u.ndim or count_u.shape[: size_u.ndim] != size_u.shape:
        raise bad(f"counts of shape {count_u.shape} and tokens of shape {size_u.shape}", "tokens of the same units")
    size_u = size_u.reshape(size_u.shape + (1,) * (count_u.ndim - size_u.ndim))
    if (count_u < 0).any() or (count_u > size_u).any():
        raise bad("a unit with fewer tokens than tokens that use an expert", "0 <= count <= tokens")
    return np.where(absent, np.nan, count_u), size_u


def _sizes(
    size_u: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Units with tokens, tokens, the size that the variance between units goes by, and the average token's own."""
    units, total = np.count_nonzero(size_u, axis=0), size_u.sum(axis=0)
    own_size = (size_u**2).sum(axis=0) / np.maximum(total, 1)
    return units, total, (total - own_size) / np.maximum(units - 1, 1), own_size


def _halved(stratum_u: NDArray[np.intp], halves: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Each unit's half, 0 or 1, as even as may be within strata and in all."""
    side_u = np.empty(len(stratum_u), np.intp)
    side_u[np.argsort(stratum_u, kind="stable")] = np.arange(len(stratum_u)) % 2
    return shuffled(side_u, stratum_u, halves, generator)


def _ranked(stratum_u: NDArray[np.intp], draws: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Each unit's place in a random order that takes from all strata in proportion."""
    size_s = np.bincount(stratum_u)
    start_s = np.cumsum(size_s) - size_s
    place_u = np.arange(len(stratum_u)) - np.repeat(start_s, size_s)
    within_u = np.empty(len(stratum_u), np.intp)
    within_u[np.argsort(stratum_u, kind="stable")] = place_u
    share_bu = shuffled(within_u, stratum_u, draws, generator) + generator.random((draws, len(stratum_u)))
    return np.argsort(np.argsort(share_bu / size_s[stratum_u], axis=1), axis=1)


def _correlation(first_b: NDArray[np.float64], second_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's along the last axis, over values that every draw knows; NaN where a side does not vary."""
    if first_b.ndim < 2:
        return np.full(first_b.shape, np.nan)
    absent = np.isnan(first_b).all(axis=0) & np.isnan(second_b).all(axis=0)
    known = np.maximum((~absent).sum(axis=-1, keepdims=True), 1)
    sides = [np.where(absent, 0, side_b) for side_b in (first_b, second_b)]
    first_b, second_b = (np.where(absent, 0, side_b - side_b.sum(axis=-1, keepdims=True) / known) for side_b in sides)
    varies_b = (_length(first_b) > _FLAT * _length(sides[0])) & (_length(second_b) > _FLAT * _length(sides[1]))
    correlation_b = np.full(varies_b.shape, np.nan)
    lengths_b = _length(first_b) * _length(second_b)
    np.divide((first_b * second_b).sum(axis=-1), lengths_b, out=correlation_b, where=varies_b)
    return correlation_b


def _length(side_b: NDArray[np.float64]) -> NDArray[np.float64]:
    length_b: NDArray[np.float64] = np.sqrt((side_b**2).sum(axis=-1))
    return length_b
