"""Pairs of wide models: counted exactly, those furthest from chance kept, and what was left out told."""

import re
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import poisson

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics import pairs as pair_metrics
from gatescope.analysis.statistics.whole_numbers import narrow_sum
from gatescope.analysis.tally import files as tally_file
from gatescope.analysis.tally import pairs
from gatescope.analysis.tally.kept_pairs import deviations, most_telling
from gatescope.analysis.tally.pairs import can_count, fits
from gatescope.analysis.tally.tally import Tally, merge_all, should_merge
from gatescope.routing import Document, RoutingRecord
from gatescope.routing.errors import OptionError
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

NAMES = ("coactivation_share", "coactivation_lift", "coactivation_support")
EXPERTS, K, LAYERS = 896, 8, 3
PLANTED = {0: (5, 700), 1: (895, 1), 2: (300, 301)}


def wide_record(tokens: int = 600, layers: int = LAYERS) -> RoutingRecord:
    """Eight experts at random for each token, where each third one has a layer's planted pair first."""
    generator = np.random.default_rng(0)
    ids_tlk = np.empty((tokens, layers, K), np.uint16)
    for layer in range(layers):
        for token in range(tokens):
            ids_tlk[token, layer] = generator.choice(EXPERTS, K, replace=False)
        if layer in PLANTED:
            ids_tlk[::3, layer] = [
                [*PLANTED[layer], *[e for e in row if e not in PLANTED[layer]][: K - 2]]
                for row in ids_tlk[::3, layer].tolist()
            ]
    return make_record(
        ids_tlk, experts=EXPERTS, kind=np.uint16, documents=np.arange(tokens) * 12 // tokens, token_t=_ids(tokens)
    )


def _ids(tokens: int) -> np.ndarray:
    return np.arange(tokens, dtype=np.int32)


def counted(record: RoutingRecord, layer: int) -> Counter[tuple[int, int]]:
    """A slow count of one layer's pairs, the smaller number first."""
    rows = record.ids_tlk[:, layer].tolist()
    return Counter(pair for row in rows for pair in combinations(sorted(row), 2))


@pytest.fixture(scope="module")
def wide() -> tuple[RoutingRecord, Tally]:
    record = wide_record()
    return record, tally(record, only=["coactivation", "tokens"])


@pytest.fixture
def narrow_bound(monkeypatch):
    """Results keep 100 pairs of each of three layers."""
    monkeypatch.setattr(pairs, "MOST_CELLS", 1 << 20)
    monkeypatch.setattr(pair_metrics, "KEPT", 300)


@pytest.mark.usefixtures("narrow_bound")
def test_planted_pairs_of_a_wide_model_are_kept_with_exact_counts(wide):
    record, whole = wide
    results = {name: METRICS[name](whole) for name in NAMES}
    support = results["coactivation_support"]
    assert support.shape == (LAYERS, EXPERTS, EXPERTS) and support.value.shape == (2 * 300,)
    for layer, (one, two) in PLANTED.items():
        count_ef, slow = support.layer(layer), counted(record, layer)
        assert count_ef[one, two] == count_ef[two, one] == slow[min(one, two), max(one, two)] >= 200
        kept = np.argwhere(np.isfinite(count_ef))
        assert len(kept) == 200 and all(count_ef[e, f] == slow[min(e, f), max(e, f)] for e, f in kept.tolist())
        own = sum(one in row for row in record.ids_tlk[:, layer].tolist())
        assert results["coactivation_share"].layer(layer)[one, two] == count_ef[one, two] / own
        lift = count_ef[one, two] / support.layer(layer, "null")[one, two]
        assert results["coactivation_lift"].layer(layer)[one, two] == pytest.approx(lift)
    for result in results.values():
        np.testing.assert_array_equal(result.places, support.places)


@pytest.mark.usefixtures("narrow_bound")
def test_the_warning_names_how_many_are_left_out_and_how_far_the_furthest_of_them_is(wide):
    record, whole = wide
    support, total = METRICS["coactivation_support"](whole), LAYERS * EXPERTS * (EXPERTS - 1) // 2
    (warning,) = support.warnings
    assert warning.startswith(f"{total - 300:,} of {total:,} pairs are left out, those nearest to chance")
    bound = float(re.search(r"within ([\d.]+) standard deviations", warning)[1])
    one_p, two_p = np.triu_indices(EXPERTS, 1)
    far_out = []
    for layer in range(LAYERS):
        slow = counted(record, layer)
        count_p = np.array([slow[pair] for pair in zip(one_p.tolist(), two_p.tolist(), strict=True)])
        pairs_lef = whole.pooled("coactivation")[layer : layer + 1]
        far_p = _far(count_p, pair_metrics.expected_pairs(pairs_lef, record.layers[:1])[0][0][one_p, two_p])
        is_kept_p = np.isfinite(support.layer(layer)[one_p, two_p])
        assert far_p[~is_kept_p].max() <= far_p[is_kept_p].min() + 1e-6
        far_out.append(far_p[~is_kept_p].max())
    assert max(far_out) <= bound + 1e-6 and bound < max(far_out) + 0.011


def _far(count, mean):
    """The root of twice the logarithm of how much likelier the best mean is than the one given."""
    return np.sqrt(np.maximum(2 * (poisson.logpmf(count, count) - poisson.logpmf(count, mean)), 0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_of_a_small_record_is_what_all_of_it_has(monkeypatch, name, seed):
    whole = tally(random_record(seed))
    dense = METRICS[name](whole)
    monkeypatch.setattr(pairs, "MOST_CELLS", 0)
    sparse = METRICS[name](whole)
    assert dense.places is None and sparse.places is not None and sparse.shape == dense.value.shape
    for layer in range(len(dense.value)):
        is_kept = np.zeros(dense.shape[1:], bool)
        is_kept[tuple(sparse.places[sparse.places[:, 0] == layer, 1:].T)] = True
        for what in ("value", "null"):
            np.testing.assert_array_equal(
                sparse.layer(layer, what), np.where(is_kept, dense.layer(layer, what), np.nan)
            )
        support = METRICS["coactivation_support"](whole)
        assert not np.isfinite(support.layer(layer)[~is_kept]).any()


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_bound")
def test_shards_add_up_to_the_bit_in_any_order(wide):
    record, whole = wide
    shards = []
    for number in range(0, 12, 3):
        is_own_t = np.isin(record.document_t, range(number, number + 3))
        own = {name: getattr(record, name)[is_own_t] for name in ("ids_tlk", "token_t", "position_t", "flag_t")}
        documents = tuple(Document(f"text {each}") for each in range(number, number + 3))
        document_t = record.document_t[is_own_t] - number
        shards.append(replace(record, **own, document_t=document_t.astype(np.int32), documents=documents))
    parts = [tally(shard, only=["coactivation", "tokens"]) for shard in shards]
    once = merge_all(parts)
    other = merge_all([merge_all(parts[2:]), tally_file.from_bytes(tally_file.to_bytes(parts[1])), parts[0]])
    for each in (once, other):
        assert tally_file.to_bytes(each) == tally_file.to_bytes(whole)
        for name in NAMES:
            found, expected = METRICS[name](each), METRICS[name](whole)
            for what in ("value", "null", "places"):
                np.testing.assert_array_equal(getattr(found, what), getattr(expected, what))


def test_a_layer_without_a_null_keeps_its_most_frequent_pairs(monkeypatch):
    record = make_record([[[0, 1], [0, 255]], [[0, 1], [0, 2]], [[0, 2], [1, 2]], [[2, 3], [1, 2]]], experts=4)
    monkeypatch.setattr(pairs, "MOST_CELLS", 0)
    monkeypatch.setattr(pair_metrics, "KEPT", 2)
    found = METRICS["coactivation_support"](tally(record))
    assert np.argwhere(found.layer(1) == 2).tolist() == [[1, 2], [2, 1]]
    assert "No null in layers [1]: some tokens have fewer than k experts there." in found.warnings
    assert found.warnings[1].startswith("10 of 12 pairs are left out")
    assert found.warnings[1].endswith(
        "in layers without a null those least frequent, each of them in 1 tokens or fewer."
    )


def test_tokens_that_no_facet_has_leave_no_pair(monkeypatch, wide):
    monkeypatch.setattr(pairs, "MOST_CELLS", 0)
    found = METRICS["coactivation_lift"](wide[1], MetricOptions(facets=()))
    assert found.places.shape == (0, 3) and not found.value.size and np.isnan(found.layer(2)).all()


def test_of_equal_pairs_the_first_are_kept_and_none_that_is_as_chance_has_it():
    even = most_telling(np.full((4, 4), 7), np.full((4, 4), 3.0), 4, 2)
    assert even.places.tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]] and even.left_out == 4 and even.met == 7
    chance = most_telling(np.full((4, 4), 3), np.full((4, 4), 3.0), 4, 2)
    assert not chance.places.size and chance.left_out == 6 and chance.within == 0
    fewer = most_telling(np.full((4, 4), 7), np.full((4, 4), 3.0), 3, 10)
    assert len(fewer.places) == 6 and fewer.left_out == 0 and fewer.places.max() == 2


@pytest.mark.parametrize(("count", "mean"), [(0, 2.0), (3, 2.0), (150, 100.0), (1, 0.001), (40, 90.5)])
def test_deviations_are_of_the_likelihood(count, mean):
    assert deviations(np.array(count), np.array(mean)) == pytest.approx(_far(count, mean), abs=1e-6)


def test_models_beyond_the_bound_of_counting_are_told_why(monkeypatch):
    assert not fits(60, 896) and can_count(60, 896) and can_count(113, 384) and can_count(120, 384)
    assert not can_count(84, 896)
    monkeypatch.setattr(pairs, "MOST_COUNTED", 15)
    record = make_record([[[0, 1]], [[1, 2]]], experts=4)
    with pytest.raises(OptionError, match="count their pairs \\(67,108,864 cells\\)"):
        METRICS["coactivation_lift"](tally(record, only=["coactivation", "tokens"]))


def test_sums_beyond_four_bytes_are_exact():
    most = np.array([2**32 - 1], np.uint32)
    assert narrow_sum([most, np.array([1], np.uint8)]).tolist() == [2**32]
    assert narrow_sum([most, np.array([0], np.uint8)]).dtype == np.uint32
    assert narrow_sum([np.array([-3], np.int64), np.array([1], np.uint8)]).tolist() == [-2]


def test_tallies_wait_to_be_merged_until_they_are_many_or_large(monkeypatch, wide):
    _, whole = wide
    assert whole.nbytes >= LAYERS * EXPERTS**2
    assert not should_merge([whole] * 3, 4) and should_merge([whole] * 4, 4)
    monkeypatch.setattr("gatescope.analysis.tally.tally.MOST_WAITING", whole.nbytes)
    assert should_merge([whole] * 2, 4) and not should_merge([whole], 4)


@pytest.mark.slow
def test_sixty_layers_of_896_experts_are_counted_in_bounded_memory():
    generator = np.random.default_rng(1)
    tokens, layers = 10_000, 60
    start_tl1 = generator.integers(0, EXPERTS, (tokens, layers, 1))
    ids_tlk = ((start_tl1 + np.cumsum(generator.integers(1, 100, (tokens, layers, K)), axis=2)) % EXPERTS).astype(
        np.uint16
    )
    record = make_record(ids_tlk, experts=EXPERTS, kind=np.uint16)
    cells = layers * EXPERTS**2
    tracemalloc.start()
    whole = tally(record, only=["coactivation", "tokens"])
    assert tracemalloc.get_traced_memory()[1] < 8 * cells  # one count of 4 bytes a cell and a narrow copy
    found = METRICS["coactivation_lift"](whole)
    assert tracemalloc.get_traced_memory()[1] < 8 * cells
    tracemalloc.stop()
    assert len(found.value) == 2 * (2**20 // layers) * layers
    slow, support = counted(record, 59), METRICS["coactivation_support"](whole)
    kept = np.argwhere(np.isfinite(support.layer(59)))
    assert all(support.layer(59)[e, f] == slow[min(e, f), max(e, f)] for e, f in kept[:500].tolist())
