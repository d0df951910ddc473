"""Could chance have done it? Labels shuffled among documents, for any statistic of sums by label, many at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from gatescope.analysis.statistics.bootstrap import Statistic, Tables, bad, check_draws, units_of
from gatescope.analysis.statistics.information import shuffled
from gatescope.routing.errors import OptionError

_TIE = 1e-9


class Permuted(NamedTuple):
    """A statistic against the same statistic of labels shuffled at random. Arrays of the statistic's own shape.

    value         of the true labels
    null_mean     mean over the shuffles and the true labels
    z             value minus null mean, in standard deviations of the same; 0 where every shuffle gives the same
    p_value       share of shuffles at least as large, the true one included: never 0
    family_p      the same, that the largest of all along the last axis would be as large: valid for all of them at once
    permutations  number of shuffles
    """

    value: NDArray[np.float64]
    null_mean: NDArray[np.float64]
    z: NDArray[np.float64]
    p_value: NDArray[np.float64]
    family_p: NDArray[np.float64]
    permutations: int


def permutation_test(
    counts_u: Tables,
    labels_u: NDArray[np.integer],
    statistic: Statistic,
    *,
    permutations: int = 1000,
    seed: int = 0,
    strata_u: NDArray[np.integer] | None = None,
) -> Permuted:
    """How often labels shuffled among the units at random give as large a statistic as the true labels.

    Small values are no evidence: for a two-sided question, pass a statistic that is large both ways. Statistics of
    one family (the experts of a layer) are compared in standard deviations of their own null, so that a rare expert
    counts as much as a busy one; shuffles are shared, so what they have in common, such as a fixed k, is respected.

    Shapes      counts_u (units, …), or a tuple of such tables; labels_u, strata_u (units,). `statistic` is called with
                one array of sums per table, (shuffles, labels, …), and answers (shuffles, …). A negative label leaves
                its unit out. With strata, labels move only within a stratum.
    Units       The statistic's own; p from 1 / (1 + permutations) to 1.
    Undefined   NaN where the statistic of the true labels is NaN or infinite. A shuffle whose statistic is so counts as
                larger. Where labels do not differ within any stratum, every shuffle is the true one and p is 1.
    Not this    A test of tokens, nor of cause. `p_value` of many statistics needs `q_values`; `family_p` does not,
                within its family.
    Source      p = (1 + #{T_π ≥ T}) / (1 + B), Phipson and Smyth 2010; step-down max-T, Westfall and Young 1993.

    Of the 6 ways to shuffle two labels to four documents, one gives label 1 as much of expert 0 as the true labels do.

    >>> test = permutation_test(
    ...     np.array([[0], [0], [8], [8]]), np.array([0, 0, 1, 1]), lambda sums_bge: sums_bge[:, 1], permutations=999
    ... )
    >>> test.value.tolist(), abs(float(test.p_value[0]) - 1 / 6) < 0.05, bool(test.p_value == test.family_p)
    ([16.0], True, True)
    """
    units = units_of(counts_u, labels_u, strata_u)
    check_draws(permutations)
    if units.group_u is None or units.groups < 2:
        raise OptionError(
            f"{units.groups} label for {len(units)} units", expected="at least 2", do="label units of another kind too"
        )
    stratum_u = np.zeros(len(units), np.intp) if strata_u is None else units.stratum_u
    shuffle_bu = shuffled(units.group_u, stratum_u, permutations, np.random.default_rng(seed))
    all_bu = np.concatenate([units.group_u[None], shuffle_bu])
    label_g1 = np.arange(units.groups)[:, None]
    value_b = units.answers(statistic, len(all_bu), lambda rows: all_bu[rows, None] == label_g1)
    return Permuted(value_b[0].copy(), *_compared(value_b), permutations)


def q_values(p_values: NDArray[np.float64], *, any_dependence: bool = False) -> NDArray[np.float64]:
    """The share of false discoveries that calling each test, and all with smaller p, a discovery would accept.

    Shapes      Any; all values together are the tests.
    Units       1, from 0 to 1; never below p.
    Undefined   NaN where p is, and such a test does not count as one.
    Not this    A chance of the one finding to be false. Holds for independent and positively dependent tests;
                `any_dependence` pays for all others with a factor of about the logarithm of their number.
    Source      Benjamini and Hochberg 1995; with any dependence, Benjamini and Yekutieli 2001.

    Three tests: 0.01 × 3 / 1, 0.02 × 3 / 2 and 0.9 × 3 / 3.

    >>> q_values(np.array([0.02, np.nan, 0.9, 0.01])).round(6).tolist()
    [0.03, nan, 0.9, 0.03]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(p_values)
    if known.any() and not 0 <= p_values[known].min() <= p_values[known].max() <= 1:
        raise bad(f"p from {p_values[known].min()} to {p_values[known].max()}", "p values, from 0 to 1")
    q_values = np.full(p_values.shape, np.nan)
    if known.any():
        q_values[known] = false_discovery_control(p_values[known], method="by" if any_dependence else "bh")
    return q_values


def _compared(
    value_b: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Null mean, z, p and p of the family; one family at a time, as all shuffles of many families are large."""
    if value_b.ndim > 2 and value_b.shape[1]:
        mean, z, p, family_p = zip(*(_compared(value_b[:, at]) for at in range(value_b.shape[1])), strict=True)
        return np.stack(mean), np.stack(z), np.stack(p), np.stack(family_p)
    mean_e, z_b = _standardised(value_b)
    return mean_e, z_b[0], _p_values(z_b), _family_p_values(z_b)


def _standardised(value_b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over all shuffles, the true one among them, and each shuffle's distance from it in standard deviations.

    Counting the true labels as one shuffle of many keeps the comparison exact. An undefined shuffle is infinitely far,
    and where the true labels are undefined, all are NaN.
    """
    known_b = np.isfinite(value_b)
    value_b = np.where(known_b, value_b, np.nan)
    number = np.maximum(np.count_nonzero(known_b, axis=0), 1)
    mean = np.where(known_b[0], np.nansum(value_b, axis=0) / number, np.nan)
    off_b = value_b - mean
    deviation = np.sqrt(np.nansum(off_b**2, axis=0) / number)
    varies = deviation > _TIE * np.nanmax(np.abs(np.where(known_b, value_b, 0)), axis=0)
    z_b = np.divide(off_b, deviation, out=np.zeros_like(off_b), where=varies)
    z_b[~known_b] = np.inf
    z_b[:, ~known_b[0]] = np.nan
    return mean, z_b


def _p_values(z_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the rows at least as large as the first; NaN where that is."""
    return np.where(np.isnan(z_b[0]), np.nan, np.count_nonzero(z_b >= z_b[0] - _TIE, axis=0) / len(z_b))


def _family_p_values(z_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Step-down: the largest is compared with the largest of each shuffle, the next with the largest of the others."""
    if z_b.ndim < 2:
        return _p_values(z_b)
    order = np.argsort(np.where(np.isnan(z_b[0]), np.inf, -z_b[0]), axis=-1, kind="stable")
    ranked_b = np.take_along_axis(z_b, order[None], axis=-1)
    filled_b = np.where(np.isnan(ranked_b), -np.inf, ranked_b)
    largest_b = np.maximum.accumulate(filled_b[..., ::-1], axis=-1)[..., ::-1]
    p = np.count_nonzero(largest_b >= filled_b[0] - _TIE, axis=0) / len(z_b)
    family_p = np.empty_like(p)
    np.put_along_axis(family_p, order, np.maximum.accumulate(p, axis=-1), axis=-1)
    return np.where(np.isnan(z_b[0]), np.nan, family_p)
