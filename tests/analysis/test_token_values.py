"""Values of tokens: their bins are those of the nearest half floats, their shares and entropies numpy's to the bit."""

import numpy as np
import pytest

from gatescope.analysis.statistics.shares import entropy_bits
from gatescope.analysis.tally.token_values import BINS, FIXED, bin_of, count_values, shares_of

BITS = np.arange(0x7C00, dtype=np.uint16)
HALVES = BITS[np.isin(BITS % 64, [0, 1, 31, 62, 63])].view(np.float16).astype(np.float64)
"""Half floats at the ends of bins and in their middle."""


def counted(value_t, bins, *, first_t=None, largest=np.inf):
    """Sums of all, and the bin that each value by itself is counted in, -1 for none."""
    first_t = np.zeros(len(value_t), np.uint8) if first_t is None else first_t
    sums_xn, found_t = np.zeros((1, 2), np.int64), np.full(len(value_t), -1)
    for start in range(0, len(value_t), 500):
        rows = slice(start, start + 500)
        own_t = value_t[rows]
        bins_gb, place_t, group_t = np.zeros((500, bins), np.int64), np.zeros(500, np.int64), np.arange(500)
        count_values(own_t, first_t[rows], 255, place_t, group_t, largest, sums_xn, bins_gb)
        at_n, bin_n = np.nonzero(bins_gb)
        found_t[start + at_n] = bin_n
    return sums_xn[0].tolist(), found_t


def edges_and_beside():
    """Half floats, the middle to the next, where rounding turns, and the numbers of 64 bits right beside each."""
    following = (HALVES[:-1].astype(np.float16).view(np.uint16) + np.uint16(1)).view(np.float16)
    middle = (HALVES[:-1] + following.astype(np.float64)) / 2
    at = np.concatenate([HALVES, middle])
    return np.concatenate([at, np.nextafter(at, 0), np.nextafter(at, np.inf)])


def test_bins_are_those_of_the_nearest_half_float():
    value_t = edges_and_beside()
    value_t = np.concatenate([value_t, -value_t, [65_519.0, 65_520.0, 1e7, -1e7]])
    with np.errstate(over="ignore"):
        expected = bin_of(value_t)
    _, found = counted(value_t, BINS)
    assert np.array_equal(found, expected)


def test_where_none_is_below_0_a_negative_number_counts_as_0():
    value_t = np.concatenate([edges_and_beside(), [-1.0, -0.0, -1e-9]])
    _, found = counted(value_t, BINS // 2)
    assert np.array_equal(found[:-3], bin_of(value_t[:-3]) - BINS // 2)
    assert found[-3:].tolist() == [0, 0, 0]


def test_what_is_not_known_too_large_or_of_no_expert_is_left_out():
    value_t = np.array([0.5, np.nan, np.inf, -np.inf, 4097.0, 0.25, -4096.0])
    first_t = np.array([0, 0, 0, 0, 0, 255, 3], np.uint8)
    sums, found = counted(value_t, BINS, first_t=first_t, largest=4096.0)
    assert sums == [2, round((0.5 - 4096.0) * FIXED)]
    assert (found >= 0).tolist() == [True, False, False, False, False, False, True]


@pytest.mark.parametrize("slots", [1, 2, 7, 8, 9, 16, 22])
def test_shares_and_entropies_are_those_of_numpy_to_the_bit(slots):
    generator = np.random.default_rng(slots)
    weight_tk = np.concatenate(
        [
            generator.random((400, slots)),
            10 ** generator.uniform(-8, 4, (200, slots)),
            generator.normal(size=(20, slots)),
        ]
    ).astype(np.float16)
    weight_tk[:10], weight_tk[10:20, -1], weight_tk[20:30] = 0, 0, 0.125
    wide_tk = weight_tk.astype(np.float64)
    total_t1 = wide_tk.sum(axis=1, keepdims=True)
    usable_t1 = (total_t1 > 0) & (wide_tk >= 0).all(axis=1, keepdims=True)
    share_tk = np.divide(wide_tk, total_t1, out=np.full(wide_tk.shape, np.nan), where=usable_t1)
    found = shares_of(weight_tk)
    assert np.array_equal(found.total_t, total_t1[:, 0])
    assert np.array_equal(found.share_tk, share_tk, equal_nan=True)
    assert np.array_equal(found.entropy_t, entropy_bits(share_tk), equal_nan=True)
