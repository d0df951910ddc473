"""Before and after one expert, and its load along documents, against hand counts."""

import numpy as np
import pytest

from gatescope.analysis.comparison.expert_flow import flows, place_load
from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import MetricOptions
from gatescope.models.bundled_captures import load_probe_capture
from gatescope.routing import Document
from tests.records import build_record

FIRSTS = [[0, 1, 2], [0, 1, 3], [2, 1, 2], [0, 3, 3], [1, 1, 2]]
"""First choices of five tokens at three layers."""


def record_of(firsts=FIRSTS):
    ids_tlk = np.array([[[first, (first + 1) % 4] for first in token] for token in firsts], np.uint8)
    return build_record(list("abcde")[: len(firsts)], layers=len(firsts[0]), ids_tlk=ids_tlk, rejected_tl=None)


def test_shares_before_and_after_are_of_its_own_tokens():
    record = record_of()
    before, after = flows(record, 1, 1, is_counted_t=np.ones(5, bool))
    assert (before.layer, before.tokens) == (0, 4)
    assert dict(zip(before.expert_n.tolist(), before.share_n.tolist(), strict=True)) == {0: 0.5, 1: 0.25, 2: 0.25}
    assert before.null_n.tolist() == pytest.approx([3 / 5, 1 / 5, 1 / 5])
    assert (after.layer, after.expert_n.tolist(), after.share_n.tolist()) == (2, [2, 3], [0.75, 0.25])
    assert (before.other, after.other) == (0, 0)


def test_what_is_not_named_is_other():
    before, _ = flows(record_of(), 1, 1, is_counted_t=np.ones(5, bool), most=1)
    assert before.expert_n.tolist() == [0]
    assert (before.other, before.other_null) == (0.5, pytest.approx(2 / 5))


def test_beyond_the_ends_and_without_tokens_there_is_nothing():
    record = record_of()
    assert flows(record, 0, 0, is_counted_t=np.ones(5, bool))[0] is None
    assert flows(record, 2, 2, is_counted_t=np.ones(5, bool))[1] is None
    assert flows(record, 1, 0, is_counted_t=np.ones(5, bool)) == (None, None)
    before, _ = flows(record, 1, 1, is_counted_t=np.array([False, False, True, False, False]))
    assert (before.expert_n.tolist(), before.tokens) == ([2], 1)


def test_shares_after_are_those_of_the_metric():
    record = load_probe_capture("sift-softmax").of_documents(range(40))
    found = METRICS["transition_share"](
        tally(record, only=METRICS["transition_share"].needs), MetricOptions(resamples=0)
    )
    from gatescope.analysis.tally.tally import TokenRole, token_roles

    _, after = flows(record, 2, 5, is_counted_t=token_roles(record) == TokenRole.PROMPT)
    assert after.share_n.tolist() == pytest.approx(found.value[2, 5, after.expert_n].tolist())
    assert after.null_n.tolist() == pytest.approx(found.null[2, 5, after.expert_n].tolist())


def test_load_by_place_is_a_multiple_of_an_even_share():
    """Two documents of two tokens, 4 experts, 2 a token: expert 0 has both first tokens, no second one."""
    ids_tlk = np.array([[[0, 1]], [[2, 3]], [[0, 2]], [[1, 2]]], np.uint8)
    record = build_record(
        list("abcd"),
        layers=1,
        ids_tlk=ids_tlk,
        rejected_tl=None,
        document_t=np.array([0, 0, 1, 1], np.int32),
        position_t=np.array([0, 1, 0, 1], np.int32),
        documents=(Document("ab"), Document("cd")),
    )
    found = place_load(record, 0, 0, is_counted_t=np.ones(4, bool))
    assert found.places[:2] == ("0", "1–3")
    assert found.value_b[:2].tolist() == [2 * 4 / 4, 0.0]
    assert np.isnan(found.value_b[2:]).all()
    assert found.whole == 2 * 4 / 8
    assert (found.low_b[0], found.high_b[0]) == (2, 2), "the two documents agree"
    assert np.isnan(place_load(record.of_documents([0]), 0, 0, is_counted_t=np.ones(2, bool)).low_b).all()
