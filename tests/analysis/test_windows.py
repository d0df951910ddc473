"""Balance by window size: against windows counted one by one, simulated even routers, and bursts planted in them."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics import windows as scaling
from gatescope.analysis.tally.tally import TokenRole, merge
from gatescope.routing import EMPTY8, Flag
from gatescope.routing.router import RouterRule
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import part

NEEDED = ["window_sums", "lot", "assignments", "tokens"]
QUIET = MetricOptions(resamples=0)
VIOLATION, CV = METRICS["window_violation"], METRICS["window_cv"]


def record_of(seed, lengths, *, experts=6, layers=2, k=2, empty=0.1):
    """Documents of given lengths, with some empty slots and generated tokens, and random token ids."""
    generator = np.random.default_rng(seed)
    rows = int(np.sum(lengths))
    ids = np.argsort(generator.random((rows, layers, experts)), axis=-1)[..., :k].astype(np.uint8)
    ids[..., -1][generator.random((rows, layers)) < empty] = EMPTY8
    ids[0] = np.arange(k)
    return make_record(
        ids,
        experts=experts,
        documents=np.repeat(np.arange(len(lengths)), lengths),
        token_t=generator.integers(0, 99, rows).astype(np.int32),
        flag_t=np.where(generator.random(rows) < 0.3, Flag.GENERATED, 0).astype(np.uint8),
    )


def slow_windows(record, window, facets):
    """Counts (windows, layers, experts) of every whole window, by plain loops."""
    found = []
    for document in range(len(record.documents)):
        for generated in facets:
            is_one = (record.document_t == document) & ((record.flag_t == Flag.GENERATED) == generated)
            rows = np.flatnonzero(is_one)
            for start in range(0, len(rows) - window + 1, window):
                chosen = record.ids_tlk[rows[start : start + window]]
                found.append([[(chosen[:, n] == e).sum() for e in range(record.experts)] for n in (0, 1)])
    return np.array(found)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 70), min_size=1, max_size=4), st.sampled_from([1, 2]))
def test_windows_inside_documents_agree_with_counting_one_by_one(seed, lengths, facets):
    record = record_of(seed, lengths)
    table = tally(record, only=NEEDED).table("window_sums")[:, :facets].sum(axis=(0, 1))
    for place, window in enumerate((8, 16, 32)):
        count_wle = slow_windows(record, window, [False, True][:facets])
        if not len(count_wle):
            assert (table[:, place] == 0).all()
            continue
        slots_wl = count_wle.sum(axis=2)
        parts = [np.ones_like(slots_wl), slots_wl, count_wle.max(axis=2), (count_wle**2).sum(axis=2), slots_wl**2]
        assert table[:, place].tolist() == np.stack([part.sum(axis=0) for part in parts], axis=-1).tolist()


def test_measures_are_those_of_whole_windows():
    """Without empty slots all windows weigh the same: means over windows of MaxVio and of squared CV."""
    record = record_of(1, [50, 64, 200], empty=0)
    found = tally(record, only=NEEDED)
    for place, window in enumerate((8, 16, 32)):
        count_wle = slow_windows(record, window, [False, True])
        mean_wl = count_wle.mean(axis=2)
        violation = (count_wle.max(axis=2) / mean_wl - 1).mean(axis=0)
        spread = np.sqrt(((count_wle.std(axis=2) / mean_wl) ** 2).mean(axis=0))
        np.testing.assert_allclose(VIOLATION(found, QUIET).value[:, place], violation)
        np.testing.assert_allclose(CV(found, QUIET).value[:, place], spread)


def test_an_even_router_lies_on_the_null_at_every_size():
    record = record_of(2, [256] * 160, experts=16, layers=1, empty=0)
    record = record.take(record.flag_t >= 0)
    plain = make_record(record.ids_tlk, experts=16, documents=record.document_t, token_t=record.token_t)
    found = tally(plain, only=NEEDED)
    for measure, tolerance in ((VIOLATION, 0.12), (CV, 0.12)):
        result = measure(found, QUIET)
        known = np.isfinite(result.value[0])
        assert known.sum() >= 10 and known[:6].all() and known[6:10].all()
        np.testing.assert_allclose(result.value[0, :10] / result.null[0, :10], 1, atol=tolerance)
        assert "512 tokens and more are batches" in result.warnings[0]


def test_a_load_even_over_all_is_lopsided_where_it_comes_in_bursts():
    """Each run of 16 tokens keeps to one pair of 8 experts, all pairs alike often."""
    runs = np.tile(np.array([[0, 1], [2, 3], [4, 5], [6, 7]]), (32, 1))
    ids = np.repeat(runs, 16, axis=0)[:, None]
    record = make_record(ids, experts=8, documents=np.repeat(np.arange(4), 512))
    found = VIOLATION(tally(record, only=NEEDED), MetricOptions(resamples=50))
    assert found.value[0, :7].round(6).tolist() == [3, 3, 1, 0, 0, 0, 0]
    assert (found.low[0, :7] == found.value[0, :7]).all()


def test_batches_are_of_whole_documents_and_come_near_the_window():
    """Eight kinds of document of 10 tokens, each on one expert: a batch of four holds at most four of them."""
    ids = np.repeat(np.arange(400) % 8, 10)[:, None, None]
    tokens = np.repeat(np.arange(400), 10).astype(np.int32)
    record = make_record(ids, experts=8, documents=tokens, token_t=tokens)
    found = VIOLATION(tally(record, only=NEEDED), QUIET)
    generator = np.random.default_rng(0)
    largest = [np.bincount(generator.choice(400, 3, replace=False) % 8).max() for _ in range(2000)]
    assert found.value[0, 2] == pytest.approx(8 * np.mean(largest) / 3 - 1, rel=0.03)  # windows of 32: 30 tokens
    assert np.isnan(found.value[0, -3:]).all() and "No windows of 4096, 8192" in found.warnings[1]


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.sampled_from([8, 16, 64]))
def test_no_batch_could_end_nearer(sizes, window):
    reach = np.cumsum(sizes)
    ends = scaling._ends(reach, window)
    start = done = 0
    for end in ends.tolist():
        choices = [abs(reach[last] - done - window) for last in range(start, len(reach))]
        assert abs(reach[end - 1] - done - window) == min(choices)
        start, done = end, reach[end - 1]


def test_documents_of_about_the_window_but_shorter_leave_it_undefined_only_where_neither_fits():
    found = VIOLATION(tally(record_of(3, [100] * 20, empty=0), only=NEEDED), QUIET)
    assert np.isfinite(found.value[:, :8]).all() and np.isnan(found.value[:, 9:]).all()


def test_batches_do_not_depend_on_shards_nor_on_names_of_experts():
    record = record_of(4, [12] * 30)
    pieces = [tally(part(record, list(range(start, 30, 3))), only=NEEDED) for start in range(3)]
    merged = merge(pieces[2], merge(pieces[0], pieces[1]))
    np.testing.assert_array_equal(CV(tally(record, only=NEEDED), QUIET).value, CV(merged, QUIET).value)
    new_e = np.array([3, 0, 5, 1, 2, 4])
    ids = np.where(record.ids_tlk == EMPTY8, EMPTY8, new_e[np.minimum(record.ids_tlk, 5)])
    other = make_record(
        ids, experts=6, documents=record.document_t, token_t=record.token_t, flag_t=record.flag_t.copy()
    )
    np.testing.assert_allclose(CV(tally(other, only=NEEDED), QUIET).value, CV(merged, QUIET).value)


def test_without_tokens_nothing_is_known():
    found = VIOLATION(
        tally(record_of(5, [20, 20]), only=NEEDED), MetricOptions(facets=(TokenRole.ENCODER,), resamples=20)
    )
    assert np.isnan(found.value).all() and found.tokens == 0 and "No windows of 8" in found.warnings[0]


@pytest.mark.parametrize(("experts", "k", "window"), [(64, 8, 8), (64, 8, 128), (8, 2, 64), (256, 8, 32)])
def test_the_null_of_small_windows_agrees_with_a_simulation(experts, k, window):
    generator, found = np.random.default_rng(9), []
    for _ in range(100_000 // (window * 8)):
        ids = np.argsort(generator.random((window, experts)), axis=1)[:, :k]
        found.append(np.bincount(ids.ravel()).max() * experts / (window * k) - 1)
    rule = RouterRule(layer=0, block=0, module="m", experts=experts, k=k, score="softmax")
    assert scaling.even_violation(rule, window) == pytest.approx(np.mean(found), rel=0.06)


@pytest.mark.slow
def test_real_routes_are_less_even_inside_answers_than_over_all(gptoss):
    start = time.process_time()
    found = tally(gptoss, only=NEEDED)
    assert time.process_time() - start < 30
    result = CV(found, QUIET)
    small, large = result.value[:, 3], METRICS["load_cv"](found, QUIET).value
    assert (small > large).all() and (result.value[:, 3:7] > result.null[:, 3:7]).all()
