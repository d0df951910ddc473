"""Numbers of single tokens and layers, such as how sure the gate was: added up, and counted in bins of half floats."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit

STEPS = 16
BINS = 1024
FIXED = 2.0**20
_INFINITE = 31 * STEPS
"""The bin of numbers that a half float does not hold."""


class Shares(NamedTuple):
    """What the weights of some tokens of a layer say.

    total_t     their sum
    share_tk    each of that sum; NaN where there is none, or one is below 0
    entropy_t   entropy of the shares in bits; NaN likewise
    """

    total_t: NDArray[np.float64]
    share_tk: NDArray[np.float64]
    entropy_t: NDArray[np.float64]


def bin_of(value: NDArray[np.floating]) -> NDArray[np.intp]:
    """The bin of each number, in the order of the numbers; NaN is not asked for.

    >>> bin_of(np.array([0.0, 0.5, 0.51, 1.0, -1.0])).tolist()
    [512, 736, 736, 752, 271]
    """
    bits = np.asarray(value, np.float16).view(np.uint16) >> 6
    return np.where(bits < BINS // 2, BINS // 2 + bits, BINS - 1 - bits).astype(np.intp)


def edges() -> NDArray[np.float64]:
    """Least number of each bin, and beyond the last: (BINS + 1,)."""
    rising = (np.arange(BINS // 2 - STEPS + 1, dtype=np.uint16) << 6).view(np.float16).astype(np.float64)
    rising[-1] = 2.0**16  # infinity's own bins are never filled
    half = np.concatenate([rising, np.full(STEPS, 2.0**16)])
    return np.concatenate([-half[:0:-1], half])


def shares_of(weight_tk: NDArray[np.float16]) -> Shares:
    """Sum, shares and their entropy of the weights of every token.

    >>> found = shares_of(np.array([[0.5, 0.5], [1, -1]], np.float16))
    >>> found.total_t.tolist(), found.share_tk.tolist(), found.entropy_t.tolist()
    ([1.0, 0.0], [[0.5, 0.5], [nan, nan]], [1.0, nan])
    """
    share_tk = weight_tk.astype(np.float64)
    total_t, or_one_tk = np.empty(len(share_tk)), np.empty(share_tk.shape)
    _share(share_tk, total_t, or_one_tk)
    np.log2(or_one_tk, out=or_one_tk)
    entropy_t = np.empty(len(share_tk))
    _entropies(share_tk, or_one_tk, entropy_t)
    return Shares(total_t, share_tk, entropy_t)


@jit
def _share(
    weight_tk: NDArray[np.float64], total_t: NDArray[np.float64], or_one_tk: NDArray[np.float64]
) -> None:  # pragma: no cover
    """Weights to shares in place, and a copy with 1 wherever there is nothing that has a logarithm.

    Half floats add up exactly in 64 bits, in whatever order.
    """
    tokens, slots = weight_tk.shape
    for token in range(tokens):
        total, usable = 0.0, True
        for slot in range(slots):
            total += weight_tk[token, slot]
            usable &= weight_tk[token, slot] >= 0
        total_t[token] = total
        for slot in range(slots):
            share = weight_tk[token, slot] / total if usable and total > 0 else np.nan
            weight_tk[token, slot] = share
            or_one_tk[token, slot] = share if share > 0 else 1.0


@jit
def _entropies(
    share_tk: NDArray[np.float64], log_tk: NDArray[np.float64], entropy_t: NDArray[np.float64]
) -> None:  # pragma: no cover
    """What `entropy_bits` gives, added in the order in which numpy adds: eight sums side by side, then those."""
    tokens, slots = share_tk.shape
    sum_n = np.empty(8)
    for token in range(tokens):
        share_k, log_k, whole = share_tk[token], log_tk[token], slots - slots % 8
        total = 0.0
        if whole:
            for n in range(8):
                sum_n[n] = share_k[n] * log_k[n]
            for at in range(8, whole, 8):
                for n in range(8):
                    sum_n[n] += share_k[at + n] * log_k[at + n]
            total = ((sum_n[0] + sum_n[1]) + (sum_n[2] + sum_n[3])) + ((sum_n[4] + sum_n[5]) + (sum_n[6] + sum_n[7]))
        for at in range(whole, slots):
            total += share_k[at] * log_k[at]
        entropy_t[token] = 0.0 - total


@jit
def count_values(
    value_t: NDArray[np.float64],
    first_t: NDArray[np.unsignedinteger],
    empty: int,
    place_t: NDArray[np.integer],
    group_t: NDArray[np.integer],
    largest: float,
    sums_xn: NDArray[np.int64],
    bins_gb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Values that are known and not beyond the largest, of tokens with an expert: how many, their sum, and their bins.

    Sums are in multiples of 1/FIXED. Where there are bins for half of the numbers, those are the ones from 0 on, and
    what is below counts as 0.
    """
    bits_t = value_t.view(np.int64)
    none_below = bins_gb.shape[1] < BINS
    zero = bins_gb.shape[1] - BINS // 2
    for token in range(len(value_t)):
        value = value_t[token]
        if first_t[token] != empty and abs(value) <= largest:  # which NaN is not
            sums_xn[place_t[token], 0] += 1
            sums_xn[place_t[token], 1] += np.int64(np.rint(value * FIXED))
            place = _half_bin(abs(value), bits_t[token])
            if bits_t[token] < 0:
                place = 0 if none_below else -1 - place
            bins_gb[group_t[token], zero + place] += 1


@jit
def _half_bin(value: float, bits: int) -> int:  # pragma: no cover
    """How many bins a number's half float, which is the nearest, lies above 0, by its own 64 bits."""
    if value < 2.0**-14:  # half floats lie evenly there
        return int((value + 2.0**-25) * 2.0**18)
    magnitude = bits & 0x7FFFFFFFFFFFFFFF
    return min(((magnitude + (1 << 41)) >> 48) - (1023 - 15) * STEPS, _INFINITE)
