"""Every document twice, under another name: what is a property of the text and its routes does not change.

What changes is named in `CHANGED`, with what it must become instead: corrections and noise floors, which fall with more
documents, counts, and what compares a document with the others, of which one is now its copy.
"""

from dataclasses import replace
from math import log

import numpy as np
import pytest

from gatescope.analysis.counting import tally
from gatescope.analysis.metrics import METRICS, MetricOptions
from gatescope.routing.joined import joined
from tests.analysis.extremes import CLASS, DOCUMENTS, EXPERTS, LAYERS, LENGTH, PLAIN, SPECIAL, WORDS, ZIPF, K, record_of
from tests.analysis.test_extremes import CASES

SLOTS, BIT = K * DOCUMENTS * PLAIN, 2 * log(2)
INSIDE = 5
"""Windows that fit into a document; larger ones are batches, which are drawn anew."""


def leaning_record():
    """A router with busy experts, which goes by the word and by the domain besides."""
    generator = np.random.default_rng(8)
    token_dt = generator.choice(WORDS, size=(DOCUMENTS, LENGTH), p=ZIPF)
    domain_d = np.arange(DOCUMENTS) // 2 % 2
    own_dle = generator.normal(0, 0.7, (2, LAYERS, EXPERTS))[domain_d]
    by_word_xle = generator.normal(0, 0.7, (WORDS, LAYERS, EXPERTS))
    score = generator.normal(size=(DOCUMENTS, LENGTH, LAYERS, EXPERTS)) + by_word_xle[token_dt] + own_dle[:, None]
    token_dt[:, 0] = SPECIAL
    score += np.linspace(-1, 1, EXPERTS)
    return record_of(score.reshape(-1, LAYERS, EXPERTS), token_dt.ravel())


RECORD = leaning_record()


@pytest.fixture(scope="module")
def once():
    return tally(RECORD)


@pytest.fixture(scope="module")
def twice():
    copies = tuple(replace(document, id=f"again-{document.id}") for document in RECORD.documents)
    return tally(joined([RECORD, replace(RECORD, documents=copies)]))


def plain_rows():
    return RECORD.token_t != SPECIAL


def miller_less():
    """Of eight experts: half of what the correction was."""
    return (EXPERTS - 1) / (BIT * SLOTS) / 2


def association(times):
    """Cramér's V by Bergsma's formula, of all counts so many times."""
    found = []
    for layer in range(LAYERS):
        ids_nk, class_n = RECORD.ids_tlk[plain_rows(), layer], CLASS[RECORD.token_t[plain_rows()]]
        count_ce = np.zeros((19, EXPERTS))
        np.add.at(count_ce, (class_n[:, None], ids_nk), times)
        count_ce = count_ce[count_ce.sum(axis=1) > 0]
        slots, (rows, columns) = count_ce.sum(), count_ce.shape
        expected = np.outer(count_ce.sum(axis=1), count_ce.sum(axis=0)) / slots
        phi = ((count_ce - expected) ** 2 / expected).sum() / slots - (rows - 1) * (columns - 1) / (slots - 1)
        sides = [size - (size - 1) ** 2 / (slots - 1) for size in (rows, columns)]
        found.append(np.sqrt(max(phi, 0) / (min(sides) - 1)))
    return np.array(found)


def fixed_hits(copies):
    """Hits of the experts most used by all other documents, of which `copies` say the same."""
    count_dle = np.zeros((DOCUMENTS, LAYERS, EXPERTS))
    for layer in range(LAYERS):
        ids_nk, document_n = RECORD.ids_tlk[plain_rows(), layer], RECORD.document_t[plain_rows()]
        np.add.at(count_dle[:, layer], (document_n[:, None], ids_nk), 1)
    others_dle = (1 + copies) * count_dle.sum(axis=0) - count_dle
    order = np.argsort(-others_dle, axis=2)
    return np.take_along_axis(count_dle, order, axis=2).sum(axis=0).cumsum(axis=1) / SLOTS


def same_path(value):
    """Of all pairs of tokens those of one path, out of pairs with each other and now also with their copies."""
    tokens = SLOTS / K
    squares = value * tokens * (tokens - 1) + tokens
    return (4 * squares - 2 * tokens) / (2 * tokens * (2 * tokens - 1))


def less_chance(before, after):
    """The plain value stays, and chance gives less of it: about half."""
    known = np.isfinite(before.value)
    assert (after.null / before.null)[known] == pytest.approx(0.5, rel=0.05)  # exactly, if every cell were full
    return before.value + before.null - after.null


def shuffled_anew(before, after):
    """The same, where chance is drawn: the value changes by less than what chance gave."""
    assert (after.null < 0.8 * before.null).all() and (np.abs(after.value - before.value) < before.null).all()
    return before.value + before.null - after.null


def not_less(before, after):
    assert (after.value >= before.value - 1e-9).all() and (after.value <= 1).all()
    return after.value


def sampled_anew(before, after):
    """Eight tokens of each document, drawn by its name: the first interval holds the new value, or nearly."""
    room = (before.high - before.low) / 2
    assert (np.abs(after.value - before.value) <= 2 * room).all() and (before.value != after.value).all()
    return after.value


def larger_sample(before, after):
    """As above; there is no interval: some 40 words give a mean to about 0.05."""
    assert (np.abs(after.value - before.value) < 0.2).all()
    return after.value


def inside(before, after):
    """Batches of documents are drawn anew; there is now text for one of 8,192 tokens."""
    assert np.isfinite(after.value[:, : INSIDE + 6]).all() and np.isnan(before.value[:, INSIDE + 5 :]).all()
    return np.concatenate([before.value[:, :INSIDE], after.value[:, INSIDE:]], axis=1)


CHANGED = {
    "load_entropy": lambda before, _after: before.value - miller_less(),
    "load_effective_experts": lambda before, _after: before.value * 2 ** -miller_less(),
    "static_hit_rate": lambda _before, _after: fixed_hits(1),  # the copy is one of the others
    "class_information": less_chance,
    "class_association": lambda _before, _after: association(2),
    "same_word_overlap": sampled_anew,
    "different_word_overlap": sampled_anew,
    "context_share": sampled_anew,
    "vocabulary_specialisation": larger_sample,
    "vocabulary_specialisation_by_token": larger_sample,
    "mutual_information": shuffled_anew,
    "label_decoding_accuracy": not_less,  # a document's copy speaks for its own group
    "word_decoding_accuracy": not_less,
    "core_membership": not_less,  # intervals are narrower
    "core_coverage": not_less,
    "language_reach": not_less,
    "coactivation_support": lambda before, _after: 2 * before.value,
    "transition_information": less_chance,
    "transition_information_by_label": less_chance,
    "same_path": lambda before, _after: same_path(before.value),
    "window_violation": inside,
    "window_cv": inside,
}
BY_OTHERS = {"transition_predictability", "decoding_gain_over_words"}
"""Made of two metrics that change: see their test."""


def asked(name, by, counted):
    return METRICS[name](counted, MetricOptions(by=by, resamples=200, seed=1))


def test_what_changes_is_among_the_metrics():
    assert set(CHANGED) | BY_OTHERS <= set(METRICS)


@pytest.mark.parametrize(("name", "by"), [case for case in CASES if case[0] not in BY_OTHERS])
def test_documents_that_are_said_twice_say_the_same(name, by, once, twice):
    before, after = asked(name, by, once), asked(name, by, twice)
    assert after.documents == 2 * before.documents
    expected = CHANGED[name](before, after) if name in CHANGED else before.value
    np.testing.assert_allclose(after.value, expected, rtol=1e-9, atol=1e-9)


FLOORS = tuple(f"load_{shape}" for shape in ("gini", "cv", "min_violation", "mean_violation", "max_violation"))
NULLS = {
    **dict.fromkeys(FLOORS, (0.70, 0.71)),  # √½, and a design effect of some more documents
    "prompt_against_generated": (0.7071, 0.7072),
    "position_distance": (0.7071, 0.7072),
    "profile_shift": (0.67, 0.74),  # shuffles are drawn anew
    "profile_divergence": (0.45, 0.55),
    "mutual_information": (0.45, 0.55),
    "class_information": (0.5, 0.5),
    "transition_information": (0.48, 0.52),
    "transition_information_by_label": (0.48, 0.52),
    "load_entropy": (1.0, 1.002),
    "load_effective_experts": (1.0, 1.004),
    "overlap_decay": (1.0, 1.01),  # a document's copy is another document of its label
    "coactivation_support": (2.0, 2.0),
    "same_word_overlap": (0.9, 1.1),  # of the tokens that are sampled
    "language_divergence": (0.5, 1.5),  # passages are compared with others than before
    "language_divergence_by_weight": (0.5, 1.5),
}
"""By how much that changes what metrics are held against: least and most; √½ for noise, a half for its square."""
DRAWN = {"usage_difference": "the mean of a few shuffles around 0"}


@pytest.mark.parametrize(("name", "by"), CASES)
def test_noise_is_less_where_there_is_more_text_and_other_nulls_stay(name, by, once, twice):
    before, after = (asked(name, by, counted).null for counted in (once, twice))
    if before is None:
        assert after is None and name not in NULLS
    elif name in DRAWN:
        assert np.abs(after).max() < 0.02
    else:
        least, most = NULLS.get(name, (1.0, 1.0))
        np.testing.assert_array_equal(np.isnan(before), np.isnan(after))
        known = np.isfinite(before)
        assert (after >= least * before - 1e-9)[known].all() and (after <= most * before + 1e-9)[known].all()


def test_the_floor_of_the_entropy_comes_nearer_by_half(once, twice):
    for name, even in (("load_entropy", log(EXPERTS, 2)), ("load_effective_experts", EXPERTS)):
        before, after = (even - asked(name, "", counted).null for counted in (once, twice))
        assert after == pytest.approx(before / 2, rel=0.03) and (before > 0).all()


def test_what_is_made_of_two_metrics_that_change(once, twice):
    """Predictability is excess over what is left to tell; what is over words is the one share less the other."""
    share, bits = (
        [asked(name, "", counted) for counted in (once, twice)]
        for name in ("transition_predictability", "transition_information")
    )
    plain = bits[0].value + bits[0].null
    left = bits[0].value / share[0].value + bits[0].null - bits[1].null
    np.testing.assert_allclose(share[1].value, (plain - bits[1].null) / left, rtol=1e-9)
    for by in ("domain", "language"):
        told, words, over = (
            asked(name, by, twice).value
            for name in ("label_decoding_accuracy", "word_decoding_accuracy", "decoding_gain_over_words")
        )
        np.testing.assert_allclose(over, told - words, atol=1e-9)
