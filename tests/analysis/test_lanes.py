"""Numbers side by side are worked on as numpy works on them one by one, whatever their kind and number."""

import numpy as np
import pytest

from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.lanes import (
    bits,
    both,
    either,
    is_less,
    is_same,
    least,
    load,
    minus,
    most,
    plus,
    spread,
    store,
)

EIGHT = 8


@jit
def _by_lanes(one_x, other_x, out_rx):
    """Every operation on two arrays of whole EIGHT numbers, a row of the result for each."""
    for at in range(0, len(one_x), EIGHT):
        one, other = load(one_x, at, EIGHT), load(other_x, at, EIGHT)
        store(out_rx[0], at, plus(one, other))
        store(out_rx[1], at, minus(one, other))
        store(out_rx[2], at, least(one, other))
        store(out_rx[3], at, most(one, other))
        store(out_rx[4], at, both(one, other))
        store(out_rx[5], at, either(one, other))
        store(out_rx[6], at, is_same(one, other))
        store(out_rx[7], at, is_less(one, other))
        store(out_rx[8], at, bits(one))
        store(out_rx[9], at, spread(one_x, other_x[at], EIGHT))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_every_operation_is_numpy_s(kind):
    limit, generator = np.iinfo(kind), np.random.default_rng(0)
    one_x = generator.integers(limit.min, limit.max, 4 * EIGHT, kind, endpoint=True)
    other_x = generator.integers(limit.min, limit.max, 4 * EIGHT, kind, endpoint=True)
    other_x[::3], one_x[:2], other_x[:2] = one_x[::3], (limit.min, limit.max), (limit.max, limit.min)
    out_rx = np.zeros((10, 4 * EIGHT), kind)
    _by_lanes(one_x, other_x, out_rx)
    every_bit = np.array(-1).astype(kind)
    expected = [
        one_x + other_x,
        one_x - other_x,
        np.minimum(one_x, other_x),
        np.maximum(one_x, other_x),
        one_x & other_x,
        one_x | other_x,
        np.where(one_x == other_x, every_bit, 0),
        np.where(one_x < other_x, every_bit, 0),
        [bin(int(value) & (1 << limit.bits) - 1).count("1") for value in one_x],
        np.repeat(other_x[::EIGHT], EIGHT),
    ]
    for found, wanted in zip(out_rx, expected, strict=True):
        assert found.tolist() == np.asarray(wanted).astype(kind).tolist()
