"""What a router with given loads would show if it preferred nothing beyond them: the load-matched null.

Busy experts are shared more often, whatever the router knows. Of all ways to choose k experts with given chances of
each, the one that assumes least weighs every set by the product of its experts' odds (conditional Poisson sampling);
tokens choose so independently of one another.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from analysis.nulls import jaccard_of
from routing.errors import OptionError

_ROUNDS = 500
_CLOSE = 1e-10


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


def load_matched(rates_le: NDArray, other_le: NDArray | None = None) -> LoadMatched:
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


def pair_rates(rates_e: NDArray) -> NDArray[np.float64]:
    """Share of tokens that use both of two experts, if the loads of one layer are all there is to it.

    Shapes      (experts,) rates that sum to k, to (experts, experts); the diagonal holds the rates.
    Units       1, from 0 to the smaller rate. Each row less its diagonal sums to (k - 1) times the rate.
    Undefined   NaN where the layer has no such expert, and without rates. Errors: as `load_matched`.
    Not this    The product of the two rates: a token uses k experts, so that each makes the others a little rarer.
    Source      Chen, Dempster and Liu 1994.

    Two of four experts at even loads: each pair in 1 token of 6.

    >>> (pair_rates(np.full(4, 0.5)) * 6).round(6).tolist()[0]
    [3.0, 1.0, 1.0, 1.0]
    """
    rates_e = np.asarray(np.ma.filled(rates_e, np.nan), np.float64)
    k, present = _whole(rates_e), ~np.isnan(rates_e)
    pairs_ee = np.full((len(rates_e), len(rates_e)), np.nan)
    if not k:
        return pairs_ee
    rate_e = rates_e[present]
    chance_e = _chances(rate_e, k)
    both_ee = np.zeros((len(rate_e), len(rate_e)))
    for expert, rate in enumerate(rate_e):
        if rate > 0 and k > 1:
            both_ee[expert] = rate * _rates(np.where(np.arange(len(rate_e)) == expert, 0.0, chance_e), k - 1)
    np.fill_diagonal(both_ee, rate_e)
    pairs_ee[np.ix_(present, present)] = both_ee
    return pairs_ee


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
    free = (rate_e > 0) & (rate_e < 1)
    chance_e, odds_e = rate_e.copy(), rate_e[free] / (1 - rate_e[free])
    wanted_e = odds_e.copy()
    for _ in range(_ROUNDS):
        chance_e[free] = odds_e / (1 + odds_e)
        got_e = _rates(chance_e, k)[free]
        if np.abs(got_e - rate_e[free]).max(initial=0) < _CLOSE:
            break
        odds_e *= wanted_e * (1 - got_e) / got_e
    return chance_e


@numba.njit(nogil=True)
def _rates(chance_e: NDArray, k: int) -> NDArray:  # pragma: no cover
    """How often each of independent choices is made, given that k are: all before it, and all after it, by number."""
    experts = len(chance_e)
    before_ej, after_ej = np.zeros((experts + 1, k + 1)), np.zeros((experts + 1, k + 1))
    before_ej[0, 0] = after_ej[experts, 0] = 1.0
    for expert in range(experts):
        back = experts - 1 - expert
        for number in range(k + 1):
            before_ej[expert + 1, number] = before_ej[expert, number] * (1 - chance_e[expert])
            after_ej[back, number] = after_ej[back + 1, number] * (1 - chance_e[back])
            if number:
                before_ej[expert + 1, number] += before_ej[expert, number - 1] * chance_e[expert]
                after_ej[back, number] += after_ej[back + 1, number - 1] * chance_e[back]
    rate_e = np.zeros(experts)
    for expert in range(experts):
        for number in range(k):
            rate_e[expert] += before_ej[expert, number] * after_ej[expert + 1, k - 1 - number]
        rate_e[expert] *= chance_e[expert] / before_ej[experts, k]
    return rate_e


@numba.njit(nogil=True)
def _shared(chance_e: NDArray, other_e: NDArray, k: int) -> NDArray:  # pragma: no cover
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
    return chance_abi[k, k] / chance_abi[k, k].sum()
