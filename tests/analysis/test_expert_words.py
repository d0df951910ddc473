"""What one expert takes: words picked in half of the documents and counted in the other, against hand counts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control, norm

from gatescope.analysis.labels.expert_words import contexts, held_out, uses, vocabulary, weight_of, words_of
from gatescope.analysis.labels.vocabulary import token_table
from gatescope.routing import Document, Flag
from gatescope.routing.errors import OptionError
from tests.records import build_record


def corpus(documents=60, length=20, seed=0):
    """Documents of random words, 1 to 9; expert 0 of 4 takes word 1 always and any other word one time in four."""
    rng = np.random.default_rng(seed)
    token_t = rng.integers(1, 10, documents * length).astype(np.int32)
    other_t = rng.integers(1, 4, len(token_t))
    takes_t = (token_t == 1) | (rng.random(len(token_t)) < 0.25)
    ids_tlk = np.where(takes_t, 0, other_t).astype(np.uint8).reshape(-1, 1, 1)
    return build_record(
        [str(n) for n in range(10)][: len(token_t)] + [""] * (len(token_t) - 10),
        layers=1,
        k=1,
        ids_tlk=ids_tlk,
        weight_tlk=rng.random(len(token_t)).astype(np.float16).reshape(-1, 1, 1),
        rejected_tl=None,
        token_t=token_t,
        predicted_t=np.roll(token_t, -2),
        document_t=np.repeat(np.arange(documents), length).astype(np.int32),
        position_t=np.tile(np.arange(length), documents).astype(np.int32),
        flag_t=np.zeros(len(token_t), np.uint8),
        documents=tuple(Document(str(n), id=str(n)) for n in range(documents)),
    )


@pytest.fixture(scope="module")
def record():
    return corpus()


def everything(record):
    return np.ones(record.tokens, bool)


def test_about_half_is_held_out_whatever_stands_beside(record):
    held_d = held_out(record)
    assert 18 <= held_d.sum() <= 42
    some = [3, 17, 40, 41]
    assert held_out(record.of_documents(some)).tolist() == held_d[some].tolist()
    assert not held_out(record.of_documents([5])).any()


def test_a_word_is_counted_in_both_halves(record):
    found = vocabulary(record, 0, 0, "read", is_counted_t=everything(record))
    held_t = held_out(record)[record.document_t]
    own_t = record.ids_tlk[:, 0, 0] == 0
    assert found.words[0].token == 1
    first = found.words[0]
    for is_half_t, here, tokens, lift in (
        (~held_t, first.here, first.tokens, first.lift),
        (held_t, first.held_here, first.held_tokens, first.held_lift),
    ):
        ones = int((is_half_t & (record.token_t == 1)).sum())
        assert (here, tokens) == (ones, ones), "every one of them is the expert's"
        assert lift == pytest.approx((ones / (is_half_t & own_t).sum()) / (ones / is_half_t.sum()))


def test_what_is_claimed_is_counted_where_it_was_not_picked(record):
    found = vocabulary(record, 0, 0, "read", is_counted_t=everything(record))
    held_t = held_out(record)[record.document_t]
    sure = [word.token for word in found.words if word.q < 0.05]
    is_word_t, own_t = np.isin(record.token_t, sure), record.ids_tlk[:, 0, 0] == 0
    assert found.own == pytest.approx(is_word_t[held_t & own_t].mean())
    assert found.every == pytest.approx(is_word_t[held_t].mean())
    assert found.lift == pytest.approx(found.own / found.every)
    assert 1 < found.low < found.lift < found.high
    assert (found.tokens, found.documents) == (int((held_t & own_t).sum()), int(held_out(record).sum()))


def test_scores_are_those_of_the_whole_table(record):
    """Of the half in which words are picked, `token_table` and its scores; q is Benjamini and Hochberg's of them."""
    half = record.of_documents(np.flatnonzero(~held_out(record)).tolist())
    table = token_table(half, 0, most=9)[0]
    found = vocabulary(record, 0, 0, "read", is_counted_t=everything(record)).words
    assert [(word.token, word.here, word.tokens) for word in found] == [(w.token, w.here, w.tokens) for w in table]
    assert [word.z for word in found] == pytest.approx([w.z for w in table])
    assert found[0].q >= norm.sf(found[0].z) * (1 - 1e-9), "a q is no smaller than its p"
    assert found[0].q == pytest.approx(false_discovery_control([norm.sf(found[0].z)] + [1.0] * 8)[0])


def test_a_router_blind_to_words_replicates_nothing():
    misses = 0
    for seed in range(12):
        record = corpus(seed=seed)
        shuffled = np.random.default_rng(seed).permutation(record.ids_tlk)
        found = vocabulary(replace(record, ids_tlk=shuffled), 0, 0, "read", is_counted_t=everything(record))
        misses += found.low > 1
    assert misses <= 1


def test_few_tokens_make_no_word(record):
    few = record.of_documents([0, 1])
    counts = np.bincount(few.token_t[few.document_t == 0]).max(initial=0) + np.bincount(few.token_t).max()
    assert vocabulary(few, 0, 0, "read", is_counted_t=everything(few), least=int(counts) + 1).words == ()


def test_what_came_next_stays_within_its_text():
    record = build_record(
        ["a", "b", "c", "d"],
        document_t=np.array([0, 0, 1, 1], np.int32),
        position_t=np.array([0, 1, 0, 0], np.int32),
        flag_t=np.array([0, 0, Flag.ENCODER, 0], np.uint8),
        documents=(Document("ab"), Document("cd")),
    )
    assert words_of(record, "next").tolist() == [1, -1, -1, -1]
    assert words_of(record, "read").tolist() == [0, 1, 2, 3]


def test_predictions_must_have_been_recorded(record):
    assert words_of(record, "predicted").tolist() == np.roll(record.token_t, -2).tolist()
    with pytest.raises(OptionError, match="no predictions"):
        words_of(replace(record, predicted_t=None), "predicted")


def test_only_tokens_that_count_are_counted(record):
    first_t = record.position_t < 10
    found = vocabulary(record, 0, 0, "read", is_counted_t=first_t)
    held_t = held_out(record)[record.document_t]
    assert found.words[0].tokens == int((first_t & ~held_t & (record.token_t == 1)).sum())
    with pytest.raises(OptionError, match="never chosen"):
        vocabulary(record, 0, 0, "read", is_counted_t=np.zeros(record.tokens, bool))


def test_contexts_are_the_experts_own_and_held_out(record):
    found = contexts(record, 0, 0, is_counted_t=everything(record))
    held_d, own_t = held_out(record), uses(record, 0, 0)
    rows = np.concatenate([found.random_n, found.top_n])
    assert found.is_held_out and own_t[rows].all() and held_d[record.document_t[rows]].all()
    assert len(set(found.random_n.tolist())) == len(found.random_n) == 6
    again = contexts(record, 0, 0, is_counted_t=everything(record))
    assert again.random_n.tolist() == found.random_n.tolist(), "a link shows the same ones"


def test_the_heaviest_are_one_of_each_document(record):
    found = contexts(record, 0, 0, is_counted_t=everything(record))
    held_t, own_t = held_out(record)[record.document_t], uses(record, 0, 0)
    weight_t = np.where(held_t & own_t, record.weight_tlk[:, 0, 0].astype(float), -1)
    best = sorted((weight_t[record.document_t == number].max() for number in range(60)), reverse=True)[:6]
    assert weight_of(record, 0, 0, found.top_n).tolist() == pytest.approx(best)
    assert len(set(record.document_t[found.top_n].tolist())) == 6


def test_without_weights_none_is_heaviest(record):
    bare = replace(record, weight_tlk=None)
    found = contexts(bare, 0, 0, is_counted_t=everything(bare))
    assert len(found.top_n) == 0 and len(found.random_n) == 6
    assert np.isnan(weight_of(bare, 0, 0, found.random_n)).all()
