"""A corpus in batches: every document routed as if alone, in the order given."""

import numpy as np
import pytest

from gatescope.hooks import CaptureOptions, capture, capture_corpus, stream_corpus
from gatescope.routing.errors import PromptError
from gatescope.routing.record import Document

DOCUMENTS = [
    Document("A rather long sentence that comes first.", id="long", domain="a"),
    Document("Short.", id="short", domain="b"),
    Document("四つ目の文", id="other", language="ja"),
    Document("Of middling length.", id="middle"),
]


def test_documents_keep_their_order_and_their_own_routing(qwen):
    record = capture_corpus(qwen, DOCUMENTS, batch_tokens=40)
    assert record.documents == tuple(DOCUMENTS)
    for number, document in enumerate(DOCUMENTS):
        alone, rows_t = capture(qwen, document), record.document_t == number
        np.testing.assert_array_equal(record.token_t[rows_t], alone.token_t)
        np.testing.assert_array_equal(record.position_t[rows_t], alone.position_t)
        np.testing.assert_array_equal(record.ids_tlk[rows_t], alone.ids_tlk)
        np.testing.assert_allclose(record.loss_t[rows_t], alone.loss_t, rtol=1e-3)
    assert set(record.token_t) <= set(record.pieces)


def test_progress_counts_documents_and_a_document_longer_than_a_batch_runs_alone(qwen):
    seen = []
    capture_corpus(qwen, DOCUMENTS, batch_tokens=1, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_generated_tokens_stay_with_their_document(qwen):
    record = capture_corpus(qwen, DOCUMENTS[:2], CaptureOptions(max_new_tokens=2), batch_tokens=1000)
    assert (np.diff(record.document_t) >= 0).all()
    assert (np.bincount(record.document_t) > [len(d.text.encode()) for d in DOCUMENTS[:2]]).all()


def test_a_stream_gives_every_document_once_and_says_which(qwen):
    seen = []
    for index_d, record in stream_corpus(qwen, DOCUMENTS, batch_tokens=40):
        assert record.documents == tuple(DOCUMENTS[index] for index in index_d)
        for number, index in enumerate(index_d):
            alone, rows_t = capture(qwen, DOCUMENTS[index]), record.document_t == number
            np.testing.assert_array_equal(record.token_t[rows_t], alone.token_t)
            np.testing.assert_array_equal(record.ids_tlk[rows_t], alone.ids_tlk)
        seen.append(index_d.tolist())
    assert seen == [[1, 2], [3], [0]]  # of 7 and 16, 20, and 41 tokens: with 20 the first would fill 3 × 20 places


def test_a_stream_refuses_what_cannot_be_read_when_it_is_asked_for(qwen):
    with pytest.raises(PromptError, match="'void' is blank"):
        stream_corpus(qwen, [DOCUMENTS[0], Document(" ", id="void")])


@pytest.mark.parametrize(
    ("documents", "found"),
    [([], "no documents"), ([Document(" \n", id="void")], "'void' is blank"), ([Document("x" * 9000, id="tome")], "9")],
)
def test_what_cannot_be_read_is_named_before_anything_runs(qwen, documents, found):
    with pytest.raises(PromptError, match=found):
        capture_corpus(qwen, documents)
