"""The pairs of a layer that lie furthest from chance, where there are too many to keep them all."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import kl_div

KEPT = 1 << 20
"""Pairs that a result keeps over all layers, where it cannot keep every one."""


class Telling(NamedTuple):
    """Pairs of one layer that are kept, and what is known of the others.

    places       both experts of each, in both orders, by number: (2 pairs, 2)
    left_out     how many those are, each counted once
    within       the most that one of them lies from chance, in standard deviations; NaN where there is no null
    met          the most tokens that one of them shared
    """

    places: NDArray[np.intp]
    left_out: int
    within: float
    met: int


def deviations(count: NDArray[np.number], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many standard deviations counts lie from what was expected, to either side: the root of Poisson's deviance.

    Undefined   NaN where nothing is known to be expected; infinite where it is 0 and something was counted.
    Not this    Their difference over the root of what was expected, by which a single count of what hardly ever happens
                is further from chance than a hundred where fifty were expected.
    Source      McCullagh and Nelder 1989, section 2.4 (the deviance residual).

    >>> deviations(np.array([100, 50, 1]), np.array([50.0, 50.0, 0.01])).round(2).tolist()
    [6.22, 0.0, 2.69]
    """
    deviance = 2 * kl_div(np.asarray(count, np.float64), expected)
    return np.asarray(np.sqrt(np.maximum(deviance, 0.0)), np.float64)


def most_telling(pairs_ef: NDArray[np.integer], expected_ef: NDArray[np.float64], experts: int, most: int) -> Telling:
    """Up to so many of a layer's pairs, by their distance from chance; where there is no null, the most frequent.

    Shapes      (size, size), symmetric, of which the first `experts` are the layer's own.
    Not this    A test: some are far from chance because there are so many. One exactly as chance has it is not kept.

    >>> pairs_ef = np.array([[9, 9, 1], [9, 9, 4], [1, 4, 9]])
    >>> most_telling(pairs_ef, np.full((3, 3), 4.0), 3, 1).places.tolist()
    [[0, 1], [1, 0]]
    """
    one_p, two_p = np.triu_indices(experts, 1)
    count_p, expected_p = pairs_ef[one_p, two_p], expected_ef[one_p, two_p]
    has_null = bool(np.isfinite(expected_p).any())
    far_p = deviations(count_p, expected_p) if has_null else count_p.astype(np.float64)
    kept_p = _largest(far_p, most)
    is_kept_ef = np.zeros(pairs_ef.shape, bool)
    is_kept_ef[one_p[kept_p], two_p[kept_p]] = is_kept_ef[two_p[kept_p], one_p[kept_p]] = True
    within = float(far_p.max(initial=0.0, where=~kept_p)) if has_null else math.nan
    return Telling(
        np.argwhere(is_kept_ef), int(np.count_nonzero(~kept_p)), within, int(count_p.max(initial=0, where=~kept_p))
    )


def _largest(far_p: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    """Which are the largest above 0; of equal ones those that come first."""
    if len(far_p) <= most:
        return far_p > 0
    least = np.partition(far_p, len(far_p) - most)[len(far_p) - most]
    kept_p: NDArray[np.bool_] = far_p > max(least, 0.0)
    if least > 0:
        kept_p[np.flatnonzero(far_p == least)[: most - np.count_nonzero(kept_p)]] = True
    return kept_p


def left_out_words(parts: Sequence[Telling]) -> tuple[str, ...]:
    """What a reader must know of the pairs left out; nothing where none was."""
    left_out = sum(part.left_out for part in parts)
    if not left_out:
        return ()
    total = left_out + sum(len(part.places) // 2 for part in parts)
    sentence = f"{left_out:,} of {total:,} pairs are left out, those nearest to chance"
    within = [part.within for part in parts if not math.isnan(part.within)]
    if within:
        most = math.ceil(100 * max(within)) / 100
        sentence += f": each of them lies within {most:.2f} standard deviations of it (root of Poisson's deviance)"
    unknown = [part.met for part in parts if math.isnan(part.within)]
    if any(unknown):
        sentence += f"; in layers without a null those least frequent, each of them in {max(unknown):,} tokens or fewer"
    return (f"{sentence}.",)
