"""Random numbers that are the same everywhere: a mix of a seed, a name and a count, by whole numbers alone."""

import hashlib

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mixed(number_n: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014), of each number."""
    with np.errstate(over="ignore"):
        number_n = (number_n ^ (number_n >> np.uint64(30))) * _FIRST
        number_n = (number_n ^ (number_n >> np.uint64(27))) * _SECOND
    return number_n ^ (number_n >> np.uint64(31))


def drawn(seed: int, what: str, count: int, first: int = 0) -> NDArray[np.uint64]:
    """64 random bits for each of the numbers `first` and on, the same whichever part of them is asked for.

    >>> bool((drawn(1, "loads", 5)[2:] == drawn(1, "loads", 3, first=2)).all())
    True
    """
    named = hashlib.blake2b(f"{seed} {what}".encode(), digest_size=8).digest()
    start = np.uint64(int.from_bytes(named, "little"))
    with np.errstate(over="ignore"):
        return mixed(start + GOLDEN * np.arange(first + 1, first + count + 1, dtype=np.uint64))


def fractions(seed: int, what: str, count: int, first: int = 0) -> NDArray[np.float64]:
    """The same as numbers from 0 to below 1."""
    fraction_n: NDArray[np.float64] = (drawn(seed, what, count, first) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return fraction_n


def shuffled(seed: int, what: str, count: int) -> NDArray[np.intp]:
    """The numbers below `count` in a random order."""
    return np.argsort(drawn(seed, what, count), kind="stable")


def aliases(share_e: NDArray[np.float64], bits: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Walker's tables (Vose 1991): draw a place; keep it below its threshold of 2**bits, else take the other.

    >>> threshold, other = aliases(np.array([0.25, 0.75]), 8)
    >>> threshold.tolist(), other.tolist()
    ([128, 256], [1, 1])
    """
    count = len(share_e)
    height = (share_e / share_e.sum() * count).tolist()
    threshold, other = [1.0] * count, list(range(count))
    small = [at for at in range(count) if height[at] < 1]
    large = [at for at in range(count) if height[at] >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        threshold[low], other[low] = height[low], high
        height[high] -= 1 - height[low]
        if height[high] < 1:
            small.append(large.pop())
    return np.round(np.array(threshold) * 2**bits).astype(np.uint32), np.array(other, np.uint32)
