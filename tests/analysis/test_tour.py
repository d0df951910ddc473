"""What the tour points at: in records made by hand, and in the shipped ones, counted another way."""

import re
from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.claims.tour import digits, surest_taker, widest_parting
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import probed, welcome
from gatescope.routing import Flag
from tests.analysis.conftest import make_record

PIECES = {0: "a", 1: ".", 2: " 7", 3: "b"}


def reading(token_t, ids_tlk, **arrays):
    record = make_record(ids_tlk, experts=6, token_t=np.array(token_t, np.int32), **arrays)
    return replace(record, pieces=PIECES)


def test_the_repeat_with_the_fewest_experts_in_common_is_found():
    ids_tlk = [[[0, 1], [0, 1]], [[2, 3], [2, 3]], [[1, 0], [1, 4]], [[2, 3], [2, 3]]]
    found = widest_parting(reading([0, 2, 0, 2], ids_tlk))
    assert found == (1, 0, 2, 1, 2)  # in layer 1, tokens 0 and 2 share expert 1 of {0, 1} and {1, 4}


def test_marks_and_special_tokens_do_not_part():
    apart = [[[0, 1]], [[2, 3]]]
    assert widest_parting(reading([1, 1], apart)) is None, "a full stop"
    assert widest_parting(reading([0, 0], apart, flag_t=np.array([Flag.SPECIAL, 0], np.uint8))) is None
    assert widest_parting(reading([0, 0], apart)) == (0, 0, 1, 0, 2)


def test_digits_are_digits_alone():
    record = replace(
        make_record(np.zeros((5, 1, 1)), experts=2), pieces=dict(enumerate(["7", " 42", "<88>", "x1", ""]))
    )
    assert digits(record).tolist() == [True, True, False, False, False]


def test_tokens_that_agree_or_lie_in_two_documents_do_not_part():
    assert widest_parting(reading([0, 0], [[[0, 1]], [[1, 0]]])) is None
    assert widest_parting(reading([0, 0], [[[0, 1]], [[2, 3]]], documents=[0, 1])) is None
    assert widest_parting(reading([0, 3], [[[0, 1]], [[2, 3]]])) is None


def test_the_surest_taker_is_counted_by_hand():
    numbers, others = [[[0, 1]]] * 3 + [[[0, 2]]], [[[1, 2]]] * 4 + [[[0, 1]]]
    record = reading([2, 2, 2, 2, 0, 0, 0, 0, 0] * 4, (numbers + others) * 4, documents=np.repeat(range(4), 9))
    found = surest_taker(record, digits(record), resamples=50)
    assert (found.layer, found.expert, found.tokens, found.documents) == (0, 0, 16, 4)
    assert (found.share, found.share_of_others) == pytest.approx((1.0, 0.2))
    assert (found.low, found.high) == pytest.approx((0.8, 0.8)), "the documents are alike"


def test_who_takes_more_in_one_document_only_is_not_sure():
    steady = [[[0, 1]], [[2, 3]]] * 3  # expert 0 on half the tokens, in every document the chosen half
    wild = [[[0, 5]], [[2, 5]]] * 3
    ids_tlk = np.array(steady * 5 + wild)
    record = reading([2, 0] * 18, ids_tlk, documents=np.repeat(range(6), 6))
    found = surest_taker(record, digits(record), resamples=200)
    assert found.expert == 0 and found.low == pytest.approx(1.0)


def test_without_two_documents_or_without_others_nothing_is_sure():
    record = reading([2, 0], [[[0, 1]], [[2, 3]]])
    assert surest_taker(record, digits(record)) is None
    every = reading([2, 2], [[[0, 1]], [[2, 3]]], documents=[0, 1])
    assert surest_taker(every, digits(every)) is None


@pytest.mark.parametrize("model", BUNDLED_MODELS)
def test_in_the_shipped_captures_they_are_what_they_claim(model):
    text = welcome(model)
    layer, first, second, shared, slots = widest_parting(text)
    one, other = (set(text.ids_tlk[at, layer].tolist()) for at in (first, second))
    assert text.token_t[first] == text.token_t[second]
    assert len(one & other) == shared < slots == len(one)

    corpus = probed(model)
    found = surest_taker(corpus, digits(corpus), resamples=200)
    is_digit_t = np.array([bool(re.fullmatch(r"\s*\d+\s*", corpus.piece(at))) for at in corpus.token_t.tolist()])
    takes_t = (corpus.ids_tlk[:, found.layer] == found.expert).any(axis=1)
    assert takes_t[is_digit_t].mean() == pytest.approx(found.share)
    assert found.low > 0.5 and takes_t[~is_digit_t].mean() < 0.2
