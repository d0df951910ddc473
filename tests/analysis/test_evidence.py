"""What lies behind a cell: parts that sum to the measured difference, worked out by hand on a text of two words."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.labels.evidence import document_use, uses_expert, word_parts
from gatescope.analysis.metrics import METRICS
from gatescope.analysis.registry import MetricOptions
from gatescope.routing.record import Document
from tests.records import build_record

WORDS = np.array([1, 1, 1, 2, 1, 2, 2, 2, 3, 2], np.int32)
EXPERT = np.array([0, 0, 1, 1, 0, 1, 0, 1, 1, 1], np.uint8)
"""Document 0 (code): words 1 1 1 2; document 1 (law): 1 2 2 2 3 2; the experts they are given, one each."""


def record():
    built = build_record(["·"] * 10, layers=1, experts=2, k=1, token_t=WORDS, flag_t=np.zeros(10, np.uint8))
    return replace(
        built,
        ids_tlk=EXPERT[:, None, None],
        rejected_tl=(1 - EXPERT)[:, None],
        document_t=np.repeat(np.array([0, 1], np.int32), [4, 6]),
        position_t=np.concatenate([np.arange(4), np.arange(6)]).astype(np.int32),
        documents=(Document("a", domain="code"), Document("b", domain="law")),
    )


def parts(expert: int = 0):
    return word_parts(record(), np.ones(10, bool), np.array([True, False]), 0, expert)


def test_words_are_counted_on_both_sides():
    found = parts()
    by_id = {int(id): at for at, id in enumerate(found.id_x)}
    count = np.stack([found.tokens_x, found.here_x, found.others_x, found.others_here_x], axis=1)
    assert count[by_id[1]].tolist() == [3, 2, 1, 1]
    assert count[by_id[2]].tolist() == [1, 0, 4, 1]
    assert count[by_id[3]].tolist() == [0, 0, 1, 0]


def test_the_difference_is_split_into_words_and_choice():
    found = parts()
    at = {int(id): place for place, id in enumerate(found.id_x)}
    # word 1: f 3/4 and 1/6, r 2/3 and 1. By words (3/4 - 1/6) (2/3 + 1)/2; by choice (2/3 - 1) (3/4 + 1/6)/2.
    assert found.by_words_x[at[1]] == pytest.approx(7 / 12 * 5 / 6)
    assert found.by_choice_x[at[1]] == pytest.approx(-1 / 3 * 11 / 24)
    # word 2: f 1/4 and 2/3, r 0 and 1/4.
    assert found.by_words_x[at[2]] == pytest.approx(-5 / 12 / 8)
    assert found.by_choice_x[at[2]] == pytest.approx(-1 / 4 * 11 / 24)
    # word 3 is in law alone: taken as often (never) in code.
    assert (found.by_words_x[at[3]], found.by_choice_x[at[3]]) == (0.0, 0.0)
    # Code gives expert 0 two of four tokens, law two of six.
    assert found.part_x.sum() == pytest.approx(2 / 4 - 2 / 6)
    assert found.id_x[0] == 1, "the largest part comes first"


def test_a_word_of_one_side_alone_counts_as_words_alone():
    counted_t = WORDS != 1
    counted_t[:3] = True
    found = word_parts(record(), counted_t, np.array([True, False]), 0, 0)
    at = int(np.flatnonzero(found.id_x == 1)[0])
    assert found.others_x[at] == 0
    assert found.by_words_x[at] == pytest.approx(3 / 4 * 2 / 3)
    assert found.by_choice_x[at] == 0


def test_the_parts_of_all_words_are_the_measured_leaning():
    random = np.random.default_rng(5)
    first = random.integers(0, 4, (300, 2)).astype(np.uint8)
    ids_tlk = np.stack([first, (first + 1 + random.integers(0, 3, first.shape)) % 4], axis=-1).astype(np.uint8)
    built = replace(
        build_record(["·"] * 300, ids_tlk=ids_tlk, rejected_tl=None, margin_tl=None),
        token_t=random.integers(0, 20, 300).astype(np.int32),
        flag_t=np.zeros(300, np.uint8),
        document_t=np.repeat(np.arange(6, dtype=np.int32), 50),
        position_t=np.tile(np.arange(50, dtype=np.int32), 6),
        documents=tuple(Document(str(n), domain="code" if n % 2 else "law", language="en") for n in range(6)),
    )
    leaning = METRICS["usage_difference"](tally(built), MetricOptions(by="domain", resamples=0))
    is_code_d = np.array([document.domain == "code" for document in built.documents])
    for layer, expert in np.ndindex(2, 4):
        found = word_parts(built, np.ones(300, bool), is_code_d, layer, expert)
        assert found.part_x.sum() == pytest.approx(leaning.value[leaning.groups.index("code"), layer, expert])
        assert found.part_x == pytest.approx(found.by_words_x + found.by_choice_x)


def test_tokens_that_do_not_count_are_left_out_of_documents_too():
    use = document_use(record(), np.ones(10, bool), 0, 0)
    assert (use.tokens_d.tolist(), use.here_d.tolist()) == ([4, 6], [2, 2])
    use = document_use(record(), np.arange(10) >= 4, 0, 0)
    assert (use.tokens_d.tolist(), use.here_d.tolist()) == ([0, 6], [0, 2])
    assert np.isnan(use.share_d[0]) and use.share_d[1] == pytest.approx(1 / 3)


def test_an_expert_of_any_slot_is_used():
    built = build_record(["a", "b"], layers=1, experts=4, k=2)  # token t is given experts t and t + 1
    assert uses_expert(built, 0, 1).tolist() == [True, True]
    assert uses_expert(built, 0, 0).tolist() == [True, False]
