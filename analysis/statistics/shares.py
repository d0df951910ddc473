"""Shares of counts: the one division that knows nothing from zero, and what shares are compared by."""

import numpy as np
from numpy.typing import NDArray


def ratio(above: NDArray[np.number], below: NDArray[np.number] | float) -> NDArray[np.float64]:
    """Above over below, broadcast; NaN where masked, or where nothing (0, less, or NaN) is below.

    >>> ratio(np.array([[1, 2], [0, 0]]), np.array([[4], [0]])).tolist()
    [[0.25, 0.5], [nan, nan]]
    """
    absent = np.ma.getmaskarray(above)
    above, below = np.ma.getdata(above), np.asarray(below)
    out = np.full(np.broadcast(above, below).shape, np.nan)
    with np.errstate(invalid="ignore"):  # NaN is not above 0
        present = np.broadcast_to(below > 0, out.shape) & ~np.broadcast_to(absent, out.shape)
    np.divide(above, below, out=out, where=present)
    return out


def shares(count_le: NDArray[np.number]) -> NDArray[np.float64]:
    """Profiles along the last axis that sum to 1; NaN where there are no counts.

    >>> shares(np.array([[1, 3], [0, 0]])).tolist()
    [[0.25, 0.75], [nan, nan]]
    """
    return ratio(count_le, count_le.sum(axis=-1, keepdims=True))


def entropy_bits(share_le: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy along the last axis; NaN where a share is.

    >>> entropy_bits(np.array([0.5, 0.5, 0.0])).tolist()
    1.0
    """
    return np.asarray(-(share_le * np.log2(np.where(share_le > 0, share_le, 1.0))).sum(axis=-1) + 0.0)


def divergence_bits(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence of two profiles: how much one assignment tells which of the two it is from.

    Shapes      (..., experts) shares to (...).
    Units       Bits, from 0 (the same profile) to 1 (no expert in common). Both profiles count alike.
    Undefined   NaN where a profile is.
    Source      Lin 1991.

    >>> divergence_bits(np.array([1.0, 0.0]), np.array([0.0, 1.0])).tolist()
    1.0
    """
    bits = entropy_bits((one + other) / 2) - (entropy_bits(one) + entropy_bits(other)) / 2
    return np.clip(bits, 0.0, 1.0)


def total_variation(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total variation of two profiles: the share of assignments that would have to move for one to become the other.

    >>> total_variation(np.array([0.5, 0.5]), np.array([0.75, 0.25])).tolist()
    0.25
    """
    return np.asarray(np.abs(one - other).sum(axis=-1) / 2)
