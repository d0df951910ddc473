"""The same word in other documents: against every pair counted one by one, and planted words and contexts."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.labels.vocabulary import sample_of
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.analysis.metrics.context import overlaps
from gatescope.routing import EMPTY8, Document
from tests.analysis.conftest import make_record
from tests.analysis.test_tally import random_record

ONLY = ("sampled", "tokens")


def named(record):
    """A document a name of its own."""
    return replace(record, documents=tuple(Document(str(n), id=str(n)) for n in range(len(record.documents))))


def every_pair(record, k):
    """Sums over pairs of tokens from different documents: same word (other context), and different words."""
    sums = {"same": [0, 0], "other": [0, 0]}
    rows = [t for t in range(record.tokens) if record.flag_t[t] != 1]

    def before(t):
        start = np.searchsorted(record.document_t, record.document_t[t])
        left = record.token_t[max(start, t - 4) : t].tolist()
        return tuple(left)

    for t in rows:
        for u in rows:
            one, two = (set(record.ids_tlk[n, 0].tolist()) - {EMPTY8} for n in (t, u))
            if record.document_t[t] == record.document_t[u] or not one or not two:
                continue
            alike = record.token_t[t] == record.token_t[u]
            if alike and before(t) == before(u):
                continue
            entry = sums["same" if alike else "other"]
            entry[0] += len(one & two) / k
            entry[1] += 1
    return {name: total / number if number else np.nan for name, (total, number) in sums.items()}


@pytest.mark.parametrize("seed", range(4))
def test_overlaps_agree_with_every_pair_counted_one_by_one(seed):
    record = random_record(seed, documents=10)
    ids_tlk = record.ids_tlk.copy()
    ids_tlk[::5, 0, 1], ids_tlk[::7, 0] = EMPTY8, EMPTY8
    token_t = record.token_t % 3
    record = replace(record, ids_tlk=ids_tlk, weight_tlk=None, token_t=token_t)
    found, expected = (
        overlaps(sample_of(tally(record, only=ONLY), MetricOptions()), np.array([2, 2])),
        every_pair(record, 2),
    )
    assert found.same_l[0] == pytest.approx(expected["same"], nan_ok=True)
    assert found.other_l[0] == pytest.approx(expected["other"])
    share = METRICS["context_share"](tally(record, only=ONLY), MetricOptions(resamples=0))
    by_hand = 1 - (expected["same"] - expected["other"]) / (1 - expected["other"])
    assert share.value[0] == pytest.approx(by_hand, nan_ok=True) and share.low is None


def planted(by_word, documents=300, tokens=12):
    """Top-1 of 4 experts: by the word with some chance, else by nothing."""
    generator = np.random.default_rng(0)
    token_t = generator.integers(0, 8, documents * tokens).astype(np.int32)
    route = np.where(generator.random(len(token_t)) < by_word, token_t % 4, generator.integers(0, 4, len(token_t)))
    document_t = np.arange(documents * tokens) // tokens
    return named(make_record(route[:, None, None], experts=4, documents=document_t, token_t=token_t))


@pytest.mark.parametrize("by_word", [0.0, 0.5, 1.0])
def test_the_share_of_the_context_is_what_the_word_does_not_decide(by_word):
    """Two tokens agree at random unless both go by their words, which have an expert in common for 1 other of 7."""
    record, both = planted(by_word), by_word**2
    same, other = both + (1 - both) / 4, both / 7 + (1 - both) / 4
    result = METRICS["context_share"](tally(record, only=ONLY), MetricOptions(resamples=1))
    assert result.value[0] == pytest.approx(1 - (same - other) / (1 - other), abs=0.05)
    assert result.low[0] <= result.value[0] <= result.high[0]
    same = METRICS["same_word_overlap"](tally(record, only=ONLY), MetricOptions(resamples=1))
    other = METRICS["different_word_overlap"](tally(record, only=ONLY), MetricOptions(resamples=1))
    np.testing.assert_array_equal(same.null, other.value)
    assert other.null[0] == 0.25 and other.value[0] < 0.26
    if by_word:
        assert same.low[0] > same.null[0]


@pytest.mark.slow
def test_intervals_have_about_the_right_width():
    """Over draws of the data, the deviation of the value is what its interval says, within a third."""
    values, widths = [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        token_t = generator.integers(0, 8, 480).astype(np.int32)
        own_de = generator.dirichlet(np.ones(4), 60)
        drawn = (own_de.cumsum(axis=1)[np.arange(480) // 8] > generator.random((480, 1))).argmax(axis=1)
        route = np.where(generator.random(480) < 0.5, token_t % 4, drawn)
        record = named(make_record(route[:, None, None], experts=4, documents=np.arange(480) // 8, token_t=token_t))
        result = METRICS["same_word_overlap"](tally(record, only=ONLY), MetricOptions(resamples=1))
        values.append(result.value[0])
        widths.append((result.high[0] - result.low[0]) / (2 * 1.96))
    assert np.mean(widths) == pytest.approx(np.std(values), rel=0.35)


def test_repeated_passages_are_not_taken_for_words():
    """Every document opens with the same six words and the same routes: after the first, they are no evidence."""
    opening, generator = np.arange(100, 106), np.random.default_rng(3)
    token_t = np.concatenate([np.append(opening, generator.integers(0, 2, 2)) for _ in range(30)]).astype(np.int32)
    route = np.where(token_t >= 100, 0, generator.integers(0, 4, len(token_t)))
    record = named(make_record(route[:, None, None], experts=4, documents=np.arange(240) // 8, token_t=token_t))
    value = METRICS["same_word_overlap"](tally(record, only=ONLY), MetricOptions(resamples=0)).value[0]
    assert value < 0.5  # the openings alone would give 1


def test_one_document_and_no_routes_are_undefined():
    record = named(make_record([[[0]], [[1]]], experts=4))
    for name in ("same_word_overlap", "different_word_overlap", "context_share"):
        assert np.isnan(METRICS[name](tally(record, only=ONLY)).value).all()
    nothing = named(make_record(np.full((4, 1, 1), EMPTY8), experts=4, documents=[0, 1, 2, 3]))
    assert np.isnan(METRICS["same_word_overlap"](tally(nothing, only=ONLY)).value).all()
