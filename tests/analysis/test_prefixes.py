"""A beginning that documents share counts once, however many begin so."""

import numpy as np
import pytest

from gatescope.analysis.comparison.compare import cascade, flips_by_margin, load_shift
from gatescope.analysis.comparison.saturation import agreement, agreement_by_label
from gatescope.analysis.tally.first_choices import shared_information
from gatescope.analysis.tally.prefixes import first_of_prefix, without_repeats
from gatescope.routing.record import Flag


def of_texts(records, *texts, ids=None, **arrays):
    """A record of documents given as token ids, positions counted anew in each."""
    tokens = sum(map(len, texts))
    return records(
        np.zeros((tokens, 1, 1), int) if ids is None else ids,
        experts=3,
        documents=np.repeat(np.arange(len(texts)), [len(text) for text in texts]),
        token_t=np.array([token for text in texts for token in text], np.int32),
        position_t=np.array([place for text in texts for place in range(len(text))], np.int32),
        **arrays,
    )


def by_hand(*texts):
    """Every prefix as a tuple, kept in a set."""
    seen, firsts = set(), []
    for text in texts:
        own = [tuple(text[: end + 1]) for end in range(len(text))]
        firsts += [prefix not in seen for prefix in own]
        seen |= set(own)
    return firsts


def test_what_an_earlier_document_began_with_is_left_out(records):
    texts = [0, 5, 6], [0, 5, 7, 6], [1, 5], [0, 5, 7, 6, 6], [0, 5, 6]
    expected = [1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0]
    assert first_of_prefix(of_texts(records, *texts)).astype(int).tolist() == expected
    assert by_hand(*texts) == [bool(each) for each in expected]


@pytest.mark.parametrize("seed", range(5))
def test_any_documents_agree_with_a_set_of_prefixes(records, seed):
    random = np.random.default_rng(seed)
    texts = [random.integers(0, 2, random.integers(0, 9)).tolist() for _ in range(30)]
    texts[-1] = texts[-1] or [0]
    assert first_of_prefix(of_texts(records, *texts)).tolist() == by_hand(*texts)


def test_a_past_that_is_not_known_counts(records):
    image = np.array([0, Flag.IMAGE, 0] * 2, np.uint8)
    assert first_of_prefix(of_texts(records, [0, 5, 6], [0, 5, 6], flag_t=image)).tolist() == [True] * 3 + [
        False, True, True,
    ]  # fmt: skip
    assert first_of_prefix(of_texts(records, [0, -1, 6], [0, -1, 6])).tolist() == [True] * 3 + [False, True, True]
    later = of_texts(records, [0, 5], [0, 5]).take(np.array([0, 1, 3]))
    assert first_of_prefix(later).tolist() == [True, True, True], "the second document's beginning is not there"


def test_what_an_encoder_read_is_one_with_what_follows(records):
    read = Flag.ENCODER
    flags = np.array([read, read, 0, 0, read, read, 0, 0, read, read, read, 0], np.uint8)
    positions = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 0], np.int32)
    record = records(
        np.zeros((12, 1, 1), int),
        experts=3,
        documents=np.repeat([0, 1, 2], 4),
        token_t=np.array([7, 8, 0, 4, 7, 8, 0, 5, 7, 8, 9, 0], np.int32),
        position_t=positions,
        flag_t=flags,
    )
    assert first_of_prefix(record).tolist() == [True] * 4 + [False] * 3 + [True] * 5


def test_a_begin_token_that_flips_in_every_document_is_no_shift_of_the_load(records):
    """Twelve documents; the begin token goes from expert 0 to 1 in all, the word after it stays with 2."""
    texts = [[0, 10 + number] for number in range(12)]
    one = np.tile([[[0]], [[2]]], (12, 1, 1))
    two = np.tile([[[1]], [[2]]], (12, 1, 1))
    found = load_shift(of_texts(records, *texts, ids=one), of_texts(records, *texts, ids=two), resamples=2000)
    assert found.value_le[0].tolist() == pytest.approx([1 / 13, -1 / 13, 0])  # of 1 begin token and 12 words
    assert (found.q_le[0, :2] > 0.5).all(), "one observation establishes nothing"


def test_what_stands_behind_a_gap_counts(records):
    """Two documents that differ in the middle, which is then taken out: what is left looks alike and is not."""
    record = of_texts(records, [0, 5, 6], [0, 7, 6])
    kept = record.take(np.array([0, 2, 3, 5]))
    assert first_of_prefix(kept).tolist() == [True, True, False, True]


def test_nothing_is_left_out_twice(records):
    record = of_texts(records, [0, 5, 6], [0, 5, 7, 6], [1, 5], [0, 5, 7, 6, 6])
    once = without_repeats(record, record)
    assert once[0].tokens == sum(by_hand([0, 5, 6], [0, 5, 7, 6], [1, 5], [0, 5, 7, 6, 6]))
    assert without_repeats(*once)[0] is once[0] and without_repeats(*once)[1] is once[1]


@pytest.fixture
def flipping(records):
    """Two captures of twelve documents: the begin token, alike in all, flips in both layers; no word after it does."""
    texts = [[0, 10 + number, 30 + number] for number in range(12)]
    one = np.tile([[[0], [0]], [[2], [2]], [[0], [2]]], (12, 1, 1))
    two = np.tile([[[1], [1]], [[2], [2]], [[0], [2]]], (12, 1, 1))
    margin_tl = np.tile(np.array([[0.1], [0.5], [0.9]], np.float16), (12, 2))
    return of_texts(records, *texts, ids=one, margin_tl=margin_tl), of_texts(records, *texts, ids=two)


def test_captures_agree_but_in_one_begin_token(flipping):
    for layer in agreement(*flipping, resamples=10):
        assert (layer.tokens, layer.share) == (25, pytest.approx(24 / 25))  # 1 begin token and 24 words
        assert layer.load_matched > 0.4
    labels_d = np.arange(12) % 2
    for layers in agreement_by_label(*flipping, labels_d, resamples=10).values():
        assert layers[0].tokens == 13, "each label's documents on their own: one begin token in each"


def test_one_begin_token_is_one_flip(flipping):
    found = flips_by_margin(*flipping, bins=5, resamples=10)
    assert found.tokens_b.sum() == 2 * 25
    assert found.overall == pytest.approx(1 / 25)


def test_one_begin_token_is_one_that_carries_on(flipping):
    found = cascade(*flipping, resamples=10)
    assert found.rate_l.tolist() == pytest.approx([1 / 25, 1 / 25])
    assert np.isnan(found.after_l[1]), "one token that changed before is too few"


def test_one_begin_token_tells_two_models_apart_once(flipping):
    assert shared_information(*flipping, permutations=5).tokens == 25
