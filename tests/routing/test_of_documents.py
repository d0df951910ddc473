"""Some documents of a record."""

import numpy as np
import pytest

from gatescope.routing import Document
from gatescope.routing.errors import RecordError
from tests.records import build_record


@pytest.fixture
def record():
    return build_record(
        ["a", "b", "c", "d"],
        document_t=np.array([0, 1, 1, 2], np.int32),
        documents=tuple(Document(text) for text in ("a", "bc", "d")),
    )


def test_documents_are_taken_in_the_order_asked_for_and_numbered_anew(record):
    found = record.of_documents([2, 1])
    assert found.token_t.tolist() == [3, 1, 2]
    assert found.document_t.tolist() == [0, 1, 1]
    assert [document.text for document in found.documents] == ["d", "bc"]
    assert (found.ids_tlk == record.ids_tlk[[3, 1, 2]]).all()


@pytest.mark.parametrize("numbers", [[3], [-1], [1, 1]])
def test_a_document_that_is_not_there_or_comes_twice_is_refused(record, numbers):
    with pytest.raises(RecordError, match="documents"):
        record.of_documents(numbers)
