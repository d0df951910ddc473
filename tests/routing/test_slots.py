"""What is said of all slots at once is what looking at each of them says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gatescope.cache.importers.reading.rows import _order
from gatescope.routing.slots import extremes, has_twice, is_falling

SHAPES = st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 4))
HALVES = st.floats(width=16, allow_nan=True, allow_infinity=True)
KINDS = st.sampled_from([np.uint8, np.uint16, np.int64])


@given(st.data())
def test_one_number_in_two_slots_is_seen(data):
    number_tlk = data.draw(arrays(data.draw(KINDS), data.draw(SHAPES), elements=st.integers(0, 9)))
    apart = all(len(set(slots)) == len(slots) for slots in number_tlk.reshape(-1, number_tlk.shape[2]).tolist())
    assert has_twice(number_tlk) == (not apart)


def test_it_is_seen_in_the_last_of_many_tokens():
    number_tlk = np.tile(np.arange(8, dtype=np.uint8), (40_001, 2, 1))
    assert not has_twice(number_tlk)
    number_tlk[-1, -1, -1] = 0
    assert has_twice(number_tlk)


@given(st.data())
def test_falling_finite_numbers_without_a_sign_are_known_by_their_bits(data):
    half_tlk = data.draw(arrays(np.float16, data.draw(SHAPES), elements=HALVES))
    by_sight = (
        np.isfinite(half_tlk).all()
        and not np.signbit(half_tlk).any()
        and (half_tlk[..., 1:] <= half_tlk[..., :-1]).all()
    )
    assert is_falling(half_tlk) == by_sight
    assert is_falling(half_tlk.astype(">f2")) == by_sight


@given(st.data())
def test_extremes_are_those_of_each_layer(data):
    number_tlk = data.draw(arrays(data.draw(KINDS), data.draw(SHAPES), elements=st.integers(0, 9)))
    least_l, greatest_l = extremes(number_tlk)
    for layer in range(number_tlk.shape[1]):
        own = number_tlk[:, layer].ravel().tolist() or [0]
        assert (least_l[layer], greatest_l[layer]) == (min(own), max(own))


@given(st.data())
def test_slots_are_put_in_the_order_that_a_stable_sort_gives(data):
    finite = st.one_of(st.just(np.inf), st.floats(width=16, allow_nan=False))
    rank_tlk = data.draw(arrays(np.float16, data.draw(SHAPES), elements=finite))
    assert np.array_equal(_order(rank_tlk), np.argsort(rank_tlk, axis=2, kind="stable"))
    is_empty_tlk = rank_tlk > 0
    assert np.array_equal(_order(is_empty_tlk), np.argsort(is_empty_tlk, axis=2, kind="stable"))
