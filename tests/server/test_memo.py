"""What is computed once for everybody: within a budget of bytes, never stale, and without a trace of who failed."""

import gc
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from gatescope.routing.errors import CaptureNotFoundError, ModelNotFoundError, OptionError
from gatescope.server import expert_sizes, memo_cache
from gatescope.server.memo_cache import Budget, MemoCache, invalidate
from gatescope.server.memory_size import size_of
from gatescope.server.settings import load_settings, settings
from gatescope.server.sources import Scope
from tests.records import build_record


def cache_of(most_bytes: int) -> MemoCache:
    return MemoCache(Budget(lambda: most_bytes))


def kilobytes(number: int):
    return lambda: np.zeros(number * 1000, np.uint8)


def refuse():
    raise OptionError("no scores", expected="scores", do="record them")


def test_what_is_asked_for_again_is_not_computed_again():
    cache, calls = cache_of(10_000), []
    for key in ("a", "b", "a", "b"):
        cache.get((key,), lambda key=key: calls.append(key))
    assert calls == ["a", "b"]


def test_beyond_the_budget_of_all_caches_what_was_used_longest_ago_goes():
    """Each answer takes 1,000 bytes and its bookkeeping, so three fit into 4,000 and a fourth does not."""
    budget = Budget(lambda: 4_000)
    first, second, calls = MemoCache(budget), MemoCache(budget), []

    def ask(cache, key):
        cache.get((key,), lambda: calls.append(key) or np.zeros(1000, np.uint8))

    ask(first, "a")
    ask(second, "b")
    ask(first, "c")
    ask(first, "a")  # now b is the one used longest ago
    ask(second, "d")
    assert 3_000 < budget.used_bytes <= 4_000
    ask(first, "a")
    assert calls == ["a", "b", "c", "d"]
    ask(second, "b")
    assert calls == ["a", "b", "c", "d", "b"]


def test_an_answer_larger_than_the_budget_is_handed_out_and_not_kept():
    budget = Budget(lambda: 5_000)
    cache = MemoCache(budget)
    small = cache.get(("small",), kilobytes(1))
    assert cache.get(("large",), kilobytes(9)).nbytes == 9_000
    assert cache.get(("small",), refuse) is small
    assert budget.used_bytes < 2_000


def test_the_budget_is_a_setting(monkeypatch):
    monkeypatch.setenv("GATESCOPE_MEMORY_BYTES", "2000000")
    settings.cache_clear()
    try:
        MemoCache().get(("large", "test"), kilobytes(1500))
        MemoCache().get(("larger", "test"), kilobytes(1900))
        assert 1_900_000 < memo_cache._SHARED.used_bytes <= 2_000_000
    finally:
        invalidate("test")
        settings.cache_clear()
    with pytest.raises(OptionError, match="memory_bytes"):
        load_settings(memory_bytes=10)


def test_what_cannot_be_had_is_not_tried_again_but_a_passing_trouble_is():
    cache, calls = cache_of(10_000), []

    def trip():
        calls.append(1)
        raise CaptureNotFoundError("gone", expected="there", do="wait")

    for _ in range(3):
        with pytest.raises(OptionError, match="no scores"):
            cache.get(("a",), lambda: calls.append(2) or refuse())
        with pytest.raises(CaptureNotFoundError):
            cache.get(("b",), trip)
    assert calls == [2, 1, 1, 1]


def test_an_error_is_raised_anew_each_time_and_holds_nobodys_frames():
    cache, depths, seen = cache_of(10_000), [], []

    class Page:
        """What a caller has on its stack."""

    def look() -> weakref.ref:
        page = Page()
        with pytest.raises(OptionError) as caught:
            cache.get(("a",), refuse)
        depths.append(len(caught.traceback))
        seen.append((id(caught.value), caught.value.found, caught.value.expected, caught.value.do))
        return weakref.ref(page)

    pages = [look() for _ in range(6)]
    gc.collect()
    assert [page() for page in pages] == [None] * 6
    assert len(set(depths[1:])) == 1
    assert {said[1:] for said in seen} == {("no scores", "scores", "record them")}


def test_an_error_that_may_pass_is_met_again_for_a_while_and_then_tried_anew():
    cache, calls = cache_of(10_000), []

    def hiccup():
        calls.append(1)
        if len(calls) < 2:
            raise ModelNotFoundError("no network", expected="one", do="wait")
        return 7

    for _ in range(3):
        with pytest.raises(ModelNotFoundError):
            cache.get(("a",), hiccup, retry_after=0.2)
    assert len(calls) == 1
    time.sleep(0.25)
    assert cache.get(("a",), hiccup, retry_after=0.2) == 7


@pytest.mark.parametrize("error", [ValueError, CaptureNotFoundError, OptionError, None])
def test_nothing_stays_of_a_computation_that_is_over(error):
    budget = Budget(lambda: 100_000)
    cache = MemoCache(budget)

    def compute():
        if error is ValueError:
            raise ValueError
        if error is not None:
            raise error("found", expected="expected", do="do")

    for number in range(100):
        with suppress(ValueError, CaptureNotFoundError, OptionError):
            cache.get((number,), compute)
    assert budget.computing == {}


def test_what_is_invalidated_while_it_is_computed_is_not_kept():
    budget = Budget(lambda: 100_000)
    cache, began, let = MemoCache(budget), threading.Event(), threading.Event()
    got = []

    def stale():
        began.set()
        assert let.wait(10)
        return "stale"

    asking = threading.Thread(target=lambda: got.append(cache.get(("study", "name"), stale)))
    asking.start()
    assert began.wait(10)
    budget.invalidate("study")
    fresh = cache.get(("study", "name"), lambda: "fresh")  # does not wait for the stale one
    let.set()
    asking.join(10)
    assert (got, fresh) == (["stale"], "fresh")
    assert cache.get(("study", "name"), lambda: "never") == "fresh"


def test_many_who_ask_at_once_wait_for_one_computation():
    cache, calls, barrier, got = cache_of(10_000), [], threading.Barrier(8), []

    def slow():
        calls.append(1)
        time.sleep(0.05)
        return 7

    def ask():
        barrier.wait()
        got.append(cache.get(("a",), slow))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls, got) == ([1], [7] * 8)


def test_what_is_removed_is_invalid_in_every_cache():
    budget, calls = Budget(lambda: 100_000), []
    caches = [MemoCache(budget), MemoCache(budget)]
    keys = [("gone", 1), ("beside", "gone", Scope()), ("stays",)]
    for cache in caches:
        for key in keys:
            cache.get(key, lambda: "x")
    budget.invalidate("gone")
    for cache in caches:
        for key in keys:
            cache.get(key, lambda key=key: calls.append(key))
    assert calls == keys[:2] * 2


@dataclass
class Holder:
    inside: object


def test_sizes_are_those_of_the_arrays_tables_and_texts_within():
    """Bookkeeping of Python comes to it: a tenth at most here."""
    array = np.zeros((250, 500), np.float64)
    record = build_record(["x" * 100] * 10_000)
    arrays = sum(each.nbytes for _, each in record.arrays())
    for value, size in [
        (array, 1_000_000),
        ({"a": [array, array]}, 1_000_000),  # once, however often it is held
        (Holder((Holder(array), {"b": array[:125]})), 1_500_000),
        (np.ma.MaskedArray(array, mask=np.zeros(array.shape, bool)), 1_125_000),
        (pd.DataFrame({"a": np.zeros(100_000), "b": np.zeros(100_000, np.int32)}), 1_200_000),
        ("x" * 1_000_000, 1_000_000),
        (np.array(["x" * 100_000, "y" * 100_000], object), 200_000),
    ]:
        assert size <= size_of(value) < 1.1 * size
    assert arrays < size_of(record) < arrays + 5_000_000


def test_a_network_that_failed_once_is_asked_again(monkeypatch):
    """The sizes of experts come from a configuration that may lie on the hub."""

    monkeypatch.setattr(expert_sizes, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(expert_sizes, "_sizes", cache_of(10_000))
    monkeypatch.setenv("GATESCOPE_MODELS", "small")
    answers = [ModelNotFoundError("no network", expected="one", do="wait"), OSError("reset"), (5, 5)]

    def look(*_args, **_more):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("gatescope.hooks.loading.expert_size.expert_weights", look)
    settings.cache_clear()
    record = build_record()
    try:
        assert expert_sizes.known_weights(record) is None
        assert expert_sizes.known_weights(record) is None
        assert len(answers) == 2, "not at once: a network that is down is slow to say so"
        time.sleep(0.06)
        assert expert_sizes.known_weights(record) is None
        time.sleep(0.06)
        assert expert_sizes.known_weights(record) == (5, 5)
        assert expert_sizes.known_weights(record) == (5, 5)
    finally:
        settings.cache_clear()
