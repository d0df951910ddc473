"""What a router with given loads would show if it preferred nothing beyond them: the load-matched null.

Busy experts are shared more often, whatever the router knows. Of all ways to choose k experts with given chances of
each, the one that assumes least weighs every set by the product of its experts' odds (conditional Poisson sampling);
tokens choose so independently of one another.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import compiled
from gatescope.analysis.statistics.nulls import jaccard_of
from gatescope.analysis.tally.pairs import set_odds
from gatescope.routing.errors import OptionError

SURE = 1e-12  # an expert this close to 1 is chosen always


class LoadMatched(NamedTuple):
    """What two tokens have in common by their loads alone, by layer.

    same_slot_l   two assignments are to the same expert
    any_shared_l  two tokens share at least one expert
    overlap_l     share of a token's experts that another token uses
    jaccard_l     experts that two tokens share, over experts that either uses
    """

    same_slot_l: NDArray[np.float64]
    any_shared_l: NDArray[np.float64]
    overlap_l: NDArray[np.float64]
    jaccard_l: NDArray[np.float64]


def load_matched(rates_le: NDArray[np.float64], other_le: NDArray[np.float64] | None = None) -> LoadMatched:
    """What two tokens share if the loads are all they have in common; of two kinds of text with `other_le`.

    Shapes      rates_le, other_le (layers, experts): share of tokens that use each expert, as `token_share` gives
                them; NaN where a layer has no such expert. Each layer sums to its k, the same in both.
    Units       1, all from 0 to 1.
    Undefined   NaN in a layer without rates. Errors: OptionError where a layer does not sum to a whole number.
    Not this    What tokens of one text share: those are alike beyond their loads, which is the point of comparing.
                With even loads the values are those of `chance`.
    Source      Overlap: the sum of p_e q_e, over k; same slot: the same of shares of assignments. Any shared and
                Jaccard need the chances of sets: Chen, Dempster and Liu 1994, exact but for rounding.

    Half of the tokens use expert 0, the others one of two more: 1/4 + 1/16 + 1/16.

    >>> [round(float(share_l[0]), 6) for share_l in load_matched(np.array([[0.5, 0.25, 0.25]]))]
    [0.375, 0.375, 0.375, 0.375]
    """
    rates_le = np.asarray(np.ma.filled(rates_le, np.nan), np.float64)
    other_le = rates_le if other_le is None else np.asarray(np.ma.filled(other_le, np.nan), np.float64)
    if rates_le.ndim != 2 or rates_le.shape != other_le.shape:
        raise _bad(f"rates of shapes {rates_le.shape} and {other_le.shape}", "(layers, experts), both alike")
    layers = [_layer(*pair) for pair in zip(rates_le, other_le, strict=True)]
    return LoadMatched(*np.array(layers, np.float64).reshape(-1, 4).T)


def _layer(rate_e: NDArray[np.float64], other_e: NDArray[np.float64]) -> tuple[float, float, float, float]:
    k, others_k, nan = _whole(rate_e), _whole(other_e), float("nan")
    if not k or not others_k:
        return nan, nan, nan, nan
    present = ~np.isnan(rate_e)
    if k != others_k or (present != ~np.isnan(other_e)).any():
        raise _bad(f"layers of {k} and {others_k} experts a token", "the same layer in both")
    rate_e, other_e = rate_e[present], other_e[present]
    shared_i = _shared(_chances(rate_e, k), _chances(other_e, k), k)
    same = float(rate_e @ other_e)
    return same / k**2, float(1 - shared_i[0]), same / k, jaccard_of(shared_i)


def _whole(rate_e: NDArray[np.float64]) -> int:
    """How many experts a token uses; 0 where there are no rates."""
    known_e = rate_e[~np.isnan(rate_e)]
    k = round(float(known_e.sum()))
    if len(known_e) and (abs(known_e.sum() - k) > 1e-6 * max(k, 1) or known_e.min() < 0 or known_e.max() > 1 + 1e-9):
        raise _bad(
            f"rates from {known_e.min():.6g} to {known_e.max():.6g} that sum to {known_e.sum():.6g}",
            "shares of tokens from 0 to 1 that sum to the experts per token",
        )
    return k


def _bad(found: str, expected: str) -> OptionError:
    return OptionError(found, expected=expected, do="pass what token_share gives, of tokens that have all k experts")


def _chances(rate_e: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Chances of independent choices that have the rates when exactly k are chosen."""
    rate_e = np.minimum(rate_e, 1.0)
    free = (rate_e > 0) & (rate_e < 1 - SURE)
    chance_e = np.where(rate_e >= 1 - SURE, 1.0, rate_e)
    if free.any():
        odds_e = set_odds(rate_e[free], k - int((rate_e >= 1 - SURE).sum()))
        chance_e[free] = odds_e / (1 + odds_e)
    return chance_e


@compiled
def _shared(
    chance_e: NDArray[np.float64], other_e: NDArray[np.float64], k: int
) -> NDArray[np.float64]:  # pragma: no cover
    """How likely two tokens with k experts each share 0 … k, expert by expert: chosen by one, by the other, by both."""
    chance_abi = np.zeros((k + 1, k + 1, k + 1))
    chance_abi[0, 0, 0] = 1.0
    for expert in range(len(chance_e)):
        p, q = chance_e[expert], other_e[expert]
        for a in range(k, -1, -1):
            for b in range(k, -1, -1):
                for i in range(min(a, b), -1, -1):
                    total = chance_abi[a, b, i] * (1 - p) * (1 - q)
                    if a:
                        total += chance_abi[a - 1, b, i] * p * (1 - q)
                    if b:
                        total += chance_abi[a, b - 1, i] * (1 - p) * q
                    if a and b and i:
                        total += chance_abi[a - 1, b - 1, i - 1] * p * q
                    chance_abi[a, b, i] = total
    share_i: NDArray[np.float64] = chance_abi[k, k] / chance_abi[k, k].sum()
    return share_i
