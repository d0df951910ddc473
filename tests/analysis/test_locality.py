"""Neighbours and segments: by hand, by slow counts, against chance that is known, and as published for GPT-OSS."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.statistics.nulls import chance
from gatescope.analysis.tally.locality import LAGS, WINDOWS, best_segment_score, segment_score_by_chance
from gatescope.analysis.tally.tally import TokenRole
from gatescope.routing import Document, Flag
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

NAMES = ["repeats", "overlaps", "segments", "sets", "first_choices", "tokens", "assignments"]


def found(name, record, **ask):
    return METRICS[name](tally(record, only=NAMES), MetricOptions(**({"resamples": 0} | ask)))


def facet_of(record, row):
    flag = record.flag_t[row]
    return TokenRole.FORMAT if flag & 3 else TokenRole.GENERATED if flag & 4 else TokenRole.PROMPT


def runs(record):
    """Rows on end in one document and facet."""
    run = [[0]] if record.tokens else []
    for row in range(1, record.tokens):
        alike = record.document_t[row] == record.document_t[row - 1]
        alike = alike and facet_of(record, row) == facet_of(record, row - 1)
        if alike and record.position_t[row] == record.position_t[row - 1] + 1:
            run[-1].append(row)
        else:
            run.append([row])
    return run


def chosen(record, row, layer):
    return set(record.ids_tlk[row, layer].tolist()) - {record.empty}


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_counts_are_those_a_slow_count_finds(seed):
    record = random_record(seed, documents=5)
    counted = tally(record, only=NAMES)
    repeats, segments = np.zeros((2, 2, 3), int), np.zeros((2, len(WINDOWS), 17), int)
    overlaps = np.zeros((2, len(LAGS), 2), int)
    for run in runs(record):
        for layer in range(2):
            for one, two in pairwise(run):
                first = record.ids_tlk[[one, two], layer, 0]
                both = chosen(record, one, layer) & chosen(record, two, layer)
                again = int(record.token_t[one] == record.token_t[two])
                repeats[layer, again] += [1, int(first[0] == first[1]), int(bool(both))]
            for at, window in enumerate(WINDOWS):
                for start in range(len(run) - window + 1):
                    times = [
                        sum(expert in chosen(record, row, layer) for row in run[start : start + window])
                        for expert in range(5)
                    ]
                    segments[layer, at] += np.bincount([n for n in times if n], minlength=17)
                    segments[layer, at, 0] += 1
    for one in range(record.tokens):
        for at, lag in enumerate(LAGS):
            two = one + lag
            if two >= record.tokens or record.document_t[one] != record.document_t[two]:
                continue
            if facet_of(record, one) == facet_of(record, two):
                for layer in range(2):
                    overlaps[layer, at] += [len(chosen(record, one, layer) & chosen(record, two, layer)), 4]
    np.testing.assert_array_equal(counted.table("repeats").sum(axis=(0, 1)), repeats)
    np.testing.assert_array_equal(counted.table("segments").sum(axis=(0, 1)), segments)
    np.testing.assert_array_equal(counted.table("overlaps").sum(axis=(0, 1)), overlaps)


def test_repeats_by_hand():
    record = make_record(
        [[[0, 1]], [[0, 2]], [[1, 0]], [[2, 3]], [[2, 3]]],
        experts=4,
        documents=[0, 0, 0, 0, 1],
        token_t=np.array([7, 7, 5, 6, 6], np.int32),
    )
    first = found("first_choice_repeats", record)
    assert first.value[0].tolist() == [1 / 3, 0, 1] and first.labels["c"][2] == "the same token again"
    assert first.null[0].tolist() == pytest.approx([9 / 25] * 3)  # loads of 2, 1 and 2 of 5
    assert found("any_choice_repeats", record).value[0].tolist() == [2 / 3, 1 / 2, 1]


def test_neighbours_are_of_one_document_one_facet_and_next_to_one_another():
    ids = np.zeros((6, 1, 1), np.uint8)
    record = make_record(
        ids,
        experts=2,
        documents=[0, 0, 0, 0, 1, 1],
        position_t=np.array([0, 1, 2, 4, 0, 1], np.int32),
        flag_t=np.array([0, 0, Flag.GENERATED, Flag.GENERATED, 0, Flag.SPECIAL], np.uint8),
    )
    repeats = tally(record, only=NAMES).table("repeats")
    assert repeats.sum(axis=(0, 2, 3))[:, 0].tolist() == [1, 0, 0, 0]  # the first two tokens, and no others
    assert tally(record, only=NAMES).table("overlaps")[..., 1, 1].sum() == 0


def test_a_layer_that_did_not_run_and_smaller_sets():
    record = make_record([[[0, 1], [0, 255]], [[1, 2], [255, 255]], [[2, 0], [1, 0]]], experts=3)
    result = found("any_choice_repeats", record)
    assert result.value[0, 0] == 1 and np.isnan(result.value[1]).all() and np.isnan(result.null[1]).all()
    assert result.warnings == ("No null in layers [1]: some tokens have fewer than k experts there.",)
    decay = found("overlap_decay", record)
    assert decay.value[:, 0].tolist() == [0.5, 0] and decay.value[1, 1] == pytest.approx(2 / 3)


def test_chance_is_met_by_a_router_without_memory():
    """Sets of 2 of 8 drawn with uneven loads: every value is its null, and an even router's where loads are even."""
    generator = np.random.default_rng(0)
    weight_te = generator.gumbel(size=(30_000, 2, 8)) + np.linspace(0, 1.5, 8) * np.array([0, 1])[:, None]
    ids = np.argsort(-weight_te, axis=2)[..., :2].astype(np.uint8)
    document_t = np.repeat(np.arange(100), 300)
    record = make_record(ids, experts=8, documents=document_t, token_t=generator.integers(0, 9, 30_000, np.int32))
    record = replace(record, documents=tuple(Document("", id=str(n)) for n in range(100)))
    even = chance(record.layers)
    for name, even_l in (("first_choice_repeats", even.slot_share_l), ("any_choice_repeats", even.any_shared_l)):
        result = found(name, record, resamples=200)
        assert np.abs(result.value - result.null).max() < 0.03 and np.abs(result.value - result.null)[:, 0].max() < 0.01
        assert result.value[0, 0] == pytest.approx(even_l[0], abs=0.01) and result.value[1, 0] > even_l[1] + 0.02
        assert (result.low < result.value).all() and (result.value < result.high).all()
    decay = found("overlap_decay", record)
    assert np.abs(decay.value - decay.null).max() < 0.01 and decay.labels["b"][-1] == "128"
    excess = found("segment_predictability_excess", record)
    assert np.abs(excess.value[0]).max() < 0.01 and excess.value[1, -1, 0] > 0.05
    assert np.abs(excess.value[1, :, 1]).max() < 0.02  # uneven loads are no locality


def test_the_floor_is_that_of_all_pairs_of_tokens_in_other_documents():
    record = random_record(5, documents=8)
    labels = ["law", "law", "code", "code", "code", "law", "law", "code"]
    record = replace(record, documents=tuple(Document("", id=str(n), domain=d) for n, d in enumerate(labels)))
    record = replace(record, flag_t=np.zeros(record.tokens, np.uint8))
    result = found("overlap_decay", record)
    floor, weight = np.zeros(2), np.zeros(2)
    for at, domain in enumerate(("code", "law")):
        rows = [row for row in range(record.tokens) if labels[record.document_t[row]] == domain]
        pairs = [(a, b) for a in rows for b in rows if record.document_t[a] != record.document_t[b]]
        floor[at] = np.mean([len(chosen(record, a, 0) & chosen(record, b, 0)) / 2 for a, b in pairs])
        weight[at] = sum(1 for a in rows if a + 1 in rows and record.document_t[a] == record.document_t[a + 1])
    assert result.null[0, 0] == pytest.approx((floor * weight).sum() / weight.sum())
    alone = replace(record, documents=tuple(replace(d, language=d.id) for d in record.documents))
    assert np.isnan(found("overlap_decay", alone).null).all()


def test_topics_of_documents_stand_above_the_floor_at_every_distance():
    generator = np.random.default_rng(1)
    own = generator.integers(0, 16, (40, 1))
    first = np.where(generator.random((40, 200)) < 0.5, own, generator.integers(0, 16, (40, 200))).reshape(-1, 1, 1)
    record = make_record(first.astype(np.uint8), experts=16, documents=np.repeat(np.arange(40), 200))
    decay = found("overlap_decay", record)
    floor = np.mean(own == own.T) * 40 / 39 - 1 / 39  # how often two documents have the same expert of their own
    np.testing.assert_allclose(decay.value, 0.25 + 0.75 / 16, atol=0.02)
    np.testing.assert_allclose(decay.null, 0.25 * floor + 0.75 / 16, atol=0.02)


@pytest.mark.parametrize(
    ("share", "value"), [(1 / 4, 0.452), (1 / 8, 0.321), (3 / 32, 0.281), (1 / 16, 0.237), (1 / 32, 0.199)]
)
def test_chance_of_segments_as_computed_elsewhere(share, value):
    assert segment_score_by_chance(np.full(7, share)) == pytest.approx(value, abs=5e-4)


def test_segment_score_by_the_definition():
    """Every threshold tried on every activation, one by one."""
    generator = np.random.default_rng(2)
    for _ in range(30):
        is_active = generator.random((6, 9)) < generator.random((6, 1))
        if not is_active.any():
            continue
        times = is_active.sum(axis=1)
        best = 0.0
        for threshold in range(1, 10):
            predicted = np.repeat((times >= threshold)[:, None], 9, axis=1)
            right = (predicted & is_active).sum()
            best = max(best, 2 * right / max(predicted.sum() + is_active.sum(), 1))
        assert best_segment_score(np.bincount(times, minlength=10)) == pytest.approx(best)
    assert np.isnan(best_segment_score(np.zeros(5))) and best_segment_score(np.array([0, 0, 0, 7])) == 1


def test_a_segment_that_never_changes_is_fully_predictable():
    record = make_record(np.tile([[[0, 3]]], (40, 1, 1)), experts=4)
    assert found("segment_predictability", record).value[0].tolist() == [1, 1, 1, 1]
    excess = found("segment_predictability_excess", record)
    assert excess.value[0, :, 0].tolist() == [1, 1, 1, 1]
    assert np.isnan(excess.value[0, :, 1]).all()  # its loads explain all of it
    short = found("segment_predictability", make_record(np.zeros((5, 1, 1)), experts=2))
    assert np.isnan(short.value[0, 2:]).all() and short.labels["w"] == ("2", "4", "8", "16")


@pytest.mark.slow
def test_repetition_as_counted_for_gpt_oss(gptoss, realdata):
    """Neighbours within an example; even routers would give 3.125 % and 43.06 %."""
    expected = json.loads((realdata / "expected.json").read_text())["gptoss20b"]
    layers, counted = [0, 11, 23], tally(gptoss, only=NAMES)
    for name, key, even_l, even in (
        ("first_choice_repeats", "consecutive_same_first_choice_pct_L0_11_23", chance(gptoss.layers).slot_share_l, 0),
        ("any_choice_repeats", "consecutive_any_of_top4_pct_L0_11_23", chance(gptoss.layers).any_shared_l, 1),
    ):
        result = METRICS[name](counted, MetricOptions(resamples=100))
        np.testing.assert_allclose(100 * result.value[layers, 0], expected[key], atol=0.00501)
        assert 100 * even_l[0] == pytest.approx(expected["random"][even], abs=0.00501)
        assert (result.null[:, 0] > even_l).all() and (result.value[11] > result.null[11])[0]
        assert (result.low[:, 0] < result.value[:, 0]).all() and (result.value[:, 0] < result.high[:, 0]).all()
        assert np.isnan(result.value[:, 2]).all()  # the tokens of this record are numbered, none comes twice


@pytest.mark.slow
def test_gpt_oss_is_local_beyond_its_documents(gptoss):
    counted = tally(gptoss, only=NAMES)
    decay = METRICS["overlap_decay"](counted, MetricOptions(resamples=0))
    assert (decay.value[11] > decay.null[11]).all() and (np.diff(decay.value[11, :6]) < 0).all()
    excess = METRICS["segment_predictability_excess"](counted, MetricOptions(resamples=0))
    assert (excess.value[11, -1] > 0.1).all() and (excess.value[:, :, 1] < excess.value[:, :, 0]).all()
