"""What is lost without an expert, beside experts that are as busy, with intervals over documents."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.statistics import bootstrap


class Loss(NamedTuple):
    """Rise of the loss without one expert, in nats a token, and its 95 % interval over documents."""

    expert: int
    rise: float
    low: float
    high: float


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

    Undefined   The interval is NaN with fewer than two documents.
    """
    more_dx = (loss_xd[1:] - loss_xd[0]).T
    table = np.concatenate([more_dx, np.asarray(tokens_d, np.float64)[:, None]], axis=1)
    found = bootstrap(table, lambda sums: sums[..., :-1] / sums[..., -1:], resamples=resamples)
    return [
        Loss(expert, float(found.value[at]), float(found.low[at]), float(found.high[at]))
        for at, expert in enumerate(experts)
    ]
