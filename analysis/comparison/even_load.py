"""The sorted load of a perfectly even router: what chance alone makes of it at a given noise floor."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gatescope.routing.errors import OptionError


def even_ranks(experts: int, cv: float) -> NDArray[np.float64]:
    """Expected load of the least busy, the next … and the busiest expert of an even router, over the mean load.

    Shapes      (experts,), rising, with mean 1.
    Units       1. `cv` is the noise floor of the load: `load_cv_floor`, or the null of the metric `load_cv`.
    Undefined   OptionError for a noise floor below 0 or unknown.
    Not this    Exact where an expert expects fewer than some ten tokens: counts are taken for normal, and none lies
                below 0.
    Source      Order statistics of E equicorrelated normals, Blom 1958, as in `max_violation_floor`.

    >>> even_ranks(4, 0.0).tolist(), bool((even_ranks(8, 0.1) > 0.8).all())
    ([1.0, 1.0, 1.0, 1.0], True)
    """
    if not cv >= 0:
        raise OptionError(f"a noise floor of {cv}", expected="a number from 0 up", do="count tokens of two documents")
    rank_r = np.arange(1, experts + 1)
    score_r = ndtri((rank_r - 0.375) / (experts + 0.25)) * np.sqrt(experts / max(experts - 1, 1))
    load_r = np.clip(1 + cv * score_r, 0.0, None)
    relative_r: NDArray[np.float64] = load_r / load_r.mean()
    return relative_r


def even_lorenz(experts: int, cv: float) -> NDArray[np.float64]:
    """Share of the work that the r least busy experts of an even router do together, for r = 0 … E.

    >>> even_lorenz(4, 0.0).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return np.concatenate([[0.0], np.cumsum(even_ranks(experts, cv)) / experts])
