"""A capture while it is written: what is handed out is what is kept, and what is stopped is a shorter capture."""

import numpy as np
import pytest

from gatescope.hooks import CaptureOptions, Live, capture, load_model
from gatescope.routing import RoutingRecord


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model)


def assert_same(one: RoutingRecord, other: RoutingRecord) -> None:
    assert [name for name, _ in one.arrays()] == [name for name, _ in other.arrays()]
    for (name, array), (_, expected) in zip(one.arrays(), other.arrays(), strict=True):
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert one.provenance.options == other.provenance.options


def test_what_is_shown_are_the_first_tokens_of_what_is_kept(model):
    shown: list[RoutingRecord] = []
    record = capture(model, "the cat", CaptureOptions(max_new_tokens=12), live=Live(shown.append, every_seconds=0))
    assert [each.tokens for each in shown] == list(range(record.tokens - 12, record.tokens + 1))
    for each in shown:
        np.testing.assert_array_equal(each.ids_tlk, record.ids_tlk[: each.tokens])
        np.testing.assert_array_equal(each.token_t, record.token_t[: each.tokens])
        assert np.isnan(each.loss_t[-1])


def test_watching_changes_nothing_of_the_capture(model):
    options = CaptureOptions(max_new_tokens=9)
    watched = capture(model, "the cat", options, live=Live(lambda _: None, every_seconds=0))
    assert_same(watched, capture(model, "the cat", options))


@pytest.mark.parametrize("sample", [False, True])
def test_what_is_stopped_is_the_capture_of_as_many_new_tokens(model, sample):
    count = 0

    def show(_: RoutingRecord) -> None:
        nonlocal count
        count += 1

    options = CaptureOptions(max_new_tokens=50, sample=sample, seed=3)
    live = Live(show, is_stopped=lambda: count >= 8, every_seconds=0)  # the prompt, and seven tokens
    stopped = capture(model, "the cat", options, live=live)
    assert_same(stopped, capture(model, "the cat", CaptureOptions(max_new_tokens=7, sample=sample, seed=3)))


def test_at_least_one_token_is_written_before_it_stops(model):
    live = Live(lambda _: None, is_stopped=lambda: True)
    record = capture(model, "the cat", CaptureOptions(max_new_tokens=5), live=live)
    assert record.provenance.options["max_new_tokens"] == 1


def test_it_is_shown_once_in_a_while(model):
    shown: list[RoutingRecord] = []
    capture(model, "the cat", CaptureOptions(max_new_tokens=40), live=Live(shown.append, every_seconds=3600))
    assert len(shown) == 1
