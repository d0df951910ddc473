"""What is lost without an expert, beside experts that are as busy, with intervals over documents."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.bootstrap import bootstrap

POWER = 7.85
"""(1.960 + 0.842)²: the normal quantiles of a two-sided test at 5 % and of a power of 80 %."""


class Loss(NamedTuple):
    """Rise of the loss without one expert, in nats a token, and its 95 % interval over documents.

    spread      standard deviation over documents of their own rises
    needed      documents that would show a rise of this size in four of five draws
    """

    expert: int
    rise: float
    low: float
    high: float
    spread: float = float("nan")
    needed: float = float("nan")


def texts_needed(rise: float, spread: float) -> float:
    """How many texts would tell such a rise from none: a test at 5 %, two-sided, with a power of 80 %.

    Undefined   Infinity for no rise; NaN where the spread is.
    Not this    A promise for this expert: rise and spread are themselves measured on few texts.
    Source      n = (z₀.₉₇₅ + z₀.₈)² (σ / δ)², the normal approximation for paired means.

    >>> round(texts_needed(0.005, 0.0225)), texts_needed(0.0, 0.1)
    (159, inf)
    """
    return POWER * (spread / rise) ** 2 if rise else float("inf") if spread == spread else float("nan")


def smallest_shown(spread: float, documents: int) -> float:
    """The rise that so many texts would tell from none in four of five draws.

    >>> round(smallest_shown(0.0225, 159), 4)
    0.005
    """
    return float(spread * np.sqrt(POWER / documents))


def as_busy(load_e: NDArray[np.float64], expert: int, *, most: int = 4) -> list[int]:
    """The other experts whose load is nearest to that of one, of those that worked at all.

    >>> as_busy(np.array([1.0, 0.4, 1.2, 0.0, 3.0]), 0, most=2)
    [2, 1]
    """
    others = [each for each in np.flatnonzero(np.nan_to_num(load_e) > 0).tolist() if each != expert]
    return sorted(others, key=lambda each: abs(load_e[each] - load_e[expert]))[:most]


def rises(
    loss_xd: NDArray[np.float64], tokens_d: NDArray[np.integer], experts: list[int], *, resamples: int = 1000
) -> list[Loss]:
    """How much the loss of a token rises without each expert; the first row is the model as it is.

    Undefined   Interval, spread and the number of texts needed are NaN with fewer than two documents.
    """
    more_dx = (loss_xd[1:] - loss_xd[0]).T
    spread_x = _spread(more_dx, np.asarray(tokens_d, np.float64))
    table = np.concatenate([more_dx, np.asarray(tokens_d, np.float64)[:, None]], axis=1)
    found = bootstrap(table, lambda sums: sums[..., :-1] / sums[..., -1:], resamples=resamples)
    losses = []
    for at, expert in enumerate(experts):
        rise, spread = float(found.value[at]), float(spread_x[at])
        needed = texts_needed(rise, spread)
        losses.append(Loss(expert, rise, float(found.low[at]), float(found.high[at]), spread, needed))
    return losses


def _spread(more_dx: NDArray[np.float64], tokens_d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of the documents' own rises; documents that predict nothing say nothing."""
    told_d = tokens_d > 0
    if np.count_nonzero(told_d) < 2:
        return np.full(more_dx.shape[1], np.nan)
    spread_x: NDArray[np.float64] = (more_dx[told_d] / tokens_d[told_d, None]).std(axis=0, ddof=1)
    return spread_x
