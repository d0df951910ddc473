"""First choices of two models: all shared under a renaming, nothing by chance, the bits as scikit-learn counts them."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from gatescope.analysis.tally.first_choices import shared_information
from gatescope.routing.errors import OptionError


def model(records, choice_tl, *, experts=4, documents=None):
    return records(choice_tl[..., None], experts=experts, documents=documents)


@pytest.fixture
def choices():
    return np.random.default_rng(1).integers(0, 4, (400, 2))


def test_a_renamed_model_shares_all(records, choices):
    documents = np.arange(400) // 40
    one = model(records, choices, documents=documents)
    renamed = model(records, np.array([2, 0, 3, 1])[choices], documents=documents)
    found = shared_information(one, renamed, permutations=50)
    assert np.diag(found.value_lm) == pytest.approx([1.0, 1.0])
    assert np.diag(found.p_lm) == pytest.approx([1 / 51, 1 / 51])
    assert abs(found.value_lm[0, 1]) < 0.05
    assert (found.tokens, found.documents) == (400, 10)


def test_bits_are_those_of_scikit_learn(records, choices):
    other = (choices + np.random.default_rng(2).integers(0, 2, choices.shape)) % 4
    found = shared_information(model(records, choices), model(records, other), permutations=5)
    for row in range(2):
        for column in range(2):
            nats = mutual_info_score(choices[:, row], other[:, column])
            assert found.bits_lm[row, column] == pytest.approx(nats / np.log(2))


def test_what_documents_alone_explain_is_chance(records):
    """Both models choose by the document and not by the token: nothing is shared beyond it."""
    documents = np.arange(400) // 40
    one = model(records, (documents % 4)[:, None], documents=documents)
    two = model(records, (documents % 2)[:, None], documents=documents)
    found = shared_information(one, two, permutations=20)
    assert found.bits_lm[0, 0] == pytest.approx(1.0)
    assert found.null_lm[0, 0] == pytest.approx(found.bits_lm[0, 0])
    assert found.p_lm[0, 0] == 1.0
    assert np.isnan(found.value_lm[0, 0])


def test_documents_are_drawn_until_there_are_enough_tokens(records, choices):
    one = model(records, choices, documents=np.arange(400) // 40)
    found = shared_information(one, one, permutations=2, most=100)
    assert found.tokens == 100
    assert found.documents == 3


def test_other_tokens_are_refused(records, choices):
    one = model(records, choices)
    with pytest.raises(OptionError, match="other tokens"):
        shared_information(one, replace(one, token_t=one.token_t + 1))
